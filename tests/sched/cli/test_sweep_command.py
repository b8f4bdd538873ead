"""`mensa sweep`: its files, what it prints, and that it goes on."""

from __future__ import annotations

import polars
import pytest

from mensa.sched import api, digits
from mensa.sched.cli.main import invoke
from mensa.sched.cli.settings import SettingError, parse_grid

MODEL = str(digits.DATA / "digits.tflite")
SETTINGS = ("--set", "rows=cols=8,16", "--set", "memory.bandwidth_bytes_per_s=1e9,32e9")
GRID = {"rows=cols": [8, 16], "memory.bandwidth_bytes_per_s": [10**9, 32 * 10**9]}
READERS = {
    ".csv": polars.read_csv,
    ".parquet": polars.read_parquet,
    ".json": polars.read_json,
}


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty directory that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("suffix", READERS)
def test_other_tools_read_the_table(workplace, capsys, suffix):
    name = f"sweep{suffix}"
    assert invoke(["sweep", MODEL, *SETTINGS, "-o", name]) == 0
    wanted = api.sweep(MODEL, GRID, jobs=1)
    found = READERS[suffix](name)
    assert found.columns == wanted.columns
    assert found.drop("error").equals(wanted.drop("error"), null_equal=True)
    assert [each.name for each in workplace.iterdir()] == [name]  # no journal is left
    assert "4 rows, the fastest first" in capsys.readouterr().out


def test_the_plot_has_a_line_for_each_of_the_other_values(workplace):
    assert invoke(["sweep", MODEL, *SETTINGS, "--plot", "sweep.svg"]) == 0
    text = (workplace / "sweep.svg").read_text()
    for value in GRID["memory.bandwidth_bytes_per_s"]:
        assert f"memory.bandwidth_bytes_per_s={value}" in text
    assert invoke(["sweep", MODEL, *SETTINGS, "--plot", "sweep.png"]) == 0
    assert (workplace / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_a_sweep_that_was_stopped_goes_on(workplace, monkeypatch, capsys):
    def stop(self, done, *_):
        if done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mensa.sched.cli.progress.ProgressBar.__call__", stop)
        assert invoke(["sweep", MODEL, *SETTINGS, "-o", "sweep.csv", "--jobs", "1"]) == 130
    assert [each.name for each in workplace.iterdir()] == ["sweep.csv.journal"]
    said = []
    with monkeypatch.context() as patch:
        patch.setattr(
            "mensa.sched.cli.progress.ProgressBar.__call__", lambda _, done, *__: said.append(done)
        )
        assert invoke(["sweep", MODEL, *SETTINGS, "-o", "sweep.csv", "--jobs", "1"]) == 0
    assert said == [2, 3, 4]
    assert (
        polars.read_csv("sweep.csv")
        .drop("error")
        .equals(api.sweep(MODEL, GRID, jobs=1).drop("error"))
    )


def test_values_that_are_no_numbers_are_plotted_side_by_side(workplace, capsys):
    assert invoke(["sweep", MODEL, "--set", "cell=none,tflm", "--plot", "sweep.svg"]) == 0
    text = (workplace / "sweep.svg").read_text()
    assert "None" in text
    assert "tflm" in text
    assert "2 rows" in capsys.readouterr().out


def test_what_machines_are_made_of_is_said(capsys):
    assert invoke(["sweep", MODEL, "--set", "energy.device=lstp,hp", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "energy: node_nm 22, device lstp|hp, temperature_k 300, power_gated False" in out


def test_it_says_what_can_not_be_and_what_changes_nothing(capsys):
    settings = ("--set", "rows=8,1000", "--set", "memory.bandwidth_bytes_per_s=64e9,128e9")
    assert invoke(["sweep", MODEL, *settings]) == 0
    out = capsys.readouterr().out
    assert "2 combination(s) can't be: rows must be between 1 and 128, not 1000" in out
    assert "memory.bandwidth_bytes_per_s changes nothing here: the data port" in out


def test_the_port_s_bandwidth_is_said_where_it_is_less(capsys):
    assert invoke(["run", MODEL, "--set", "rows=8", "--set", "cols=8"]) == 0
    assert "32 GB/s, 4 GB/s through the port" in capsys.readouterr().out
    assert invoke(["run", MODEL]) == 0
    shown = capsys.readouterr().out
    assert "through the port" not in shown
    assert "rows and refresh" not in shown
    assert invoke(["run", MODEL, "--set", "memory.rows=on"]) == 0
    assert "32 GB/s, rows and refresh" in capsys.readouterr().out


def test_values_are_read_as_those_of_a_run():
    assert parse_grid(["rows=cols=8,0x10", "cell=none,tflm", "memory.latency_ns=1e2,62.5"]) == {
        "rows=cols": [8, 16],
        "cell": [None, "tflm"],
        "memory.latency_ns": [100.0, 62.5],
    }
    with pytest.raises(SettingError, match="cols is given twice"):
        parse_grid(["cols=8", "rows=cols=8"])
