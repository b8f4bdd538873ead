"""Sweeps: every combination is what a run of it is, in any number of processes, and goes on."""

from __future__ import annotations

import json
from concurrent.futures.process import BrokenProcessPool

import pytest

from mensa import golden
from mensa.golden.macs import total_macs
from mensa.sched import api, digits, sweep
from mensa.sched.frames import layers_table
from mensa.sched.journal import JournalError
from mensa.sched.sweep import COLUMNS, SweepError, without_effect
from tests.small_network import small_network

MODEL = digits.DATA / "digits.tflite"
GRID = {"rows=cols": [8, 16], "memory.bandwidth_bytes_per_s": [1e9, 32e9]}


def test_rows_are_what_runs_of_their_settings_are():
    table = api.sweep(MODEL, GRID, jobs=2)
    assert table.columns == ["network", "rows", "cols", "memory.bandwidth_bytes_per_s", *COLUMNS]
    network = api.load(MODEL)
    for row in table.iter_rows(named=True):
        settings = {name: row[name] for name in table.columns[1:4]}
        system = api.system("edge_tpu", settings, network=network)
        result = api.run(
            network, system, [[image[None]] for image in digits.load_samples().take(1)]
        )
        report = result.report
        assert row["cycles"] == report.cycles["edge_tpu"]
        assert row["time_us"] == report.time_ns_without_host / 1000
        assert row["read_bytes"] == sum(each.dram_read_bytes or 0 for each in report.layers)
        assert row["utilization"] == report.macs / (
            row["cycles"] * system.machine.peak_macs_per_cycle
        )
        assert row["error"] is None
    assert len(table) == 4
    assert table["cycles"].n_unique() > 1


def test_any_number_of_processes_gives_the_same_table():
    assert api.sweep(MODEL, GRID, jobs=1).equals(api.sweep(MODEL, GRID, jobs=2))


def test_a_combination_that_can_not_be_says_why():
    table = api.sweep(MODEL, {"rows": [0, 8], "cols": [4, 8]}, jobs=1)
    bad = table.filter(table["rows"] == 0)
    assert set(bad["error"]) == {"rows must be between 1 and 128, not 0"}
    assert bad["cycles"].null_count() == len(bad) == 2
    assert table.filter(table["rows"] == 8)["error"].null_count() == 2


@pytest.mark.parametrize(
    ("models", "settings", "message"),
    [([], {"rows": [8]}, "at least one network"), ([MODEL], {"rows": []}, "rows has no value")],
)
def test_a_sweep_of_nothing_is_refused(models, settings, message):
    with pytest.raises(SweepError, match=message):
        api.sweep(models, settings)


class StoppedError(Exception):
    """Somebody stops a sweep."""


def test_a_sweep_that_was_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    journal = tmp_path / "journal"
    whole = api.sweep(MODEL, GRID, jobs=1)

    def stop(done, *_):
        if done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        api.sweep(MODEL, GRID, jobs=1, journal=journal, progress=stop)
    assert len(journal.read_text().splitlines()) == 1 + 3
    with journal.open("a") as file:
        file.write('["a line that was cut')
    computed = []
    time_lowered = sweep.time_lowered

    def counted(*arguments, **options):
        computed.append(arguments)
        return time_lowered(*arguments, **options)

    monkeypatch.setattr(sweep, "time_lowered", counted)
    assert api.sweep(MODEL, GRID, jobs=1, journal=journal).equals(whole)
    assert len(computed) == 1
    assert len(journal.read_text().splitlines()) == 1 + 4


def test_the_journal_of_another_sweep_is_refused(tmp_path):
    journal = tmp_path / "journal"
    api.sweep(MODEL, {"rows": [8]}, jobs=1, journal=journal)
    with pytest.raises(JournalError, match="another sweep"):
        api.sweep(MODEL, {"rows": [8]}, machine="pascal", jobs=1, journal=journal)
    for content in ("no json\n", "3\n4\n", json.dumps({}) + "\n"):
        journal.write_text(content)
        with pytest.raises(JournalError, match="journal of a"):
            api.sweep(MODEL, {"rows": [8]}, jobs=1, journal=journal)


def test_a_journal_is_of_a_system_and_not_of_its_file_s_name(tmp_path):
    system, journal = tmp_path / "system.toml", tmp_path / "journal"
    system.write_text('[machine]\nbase = "edge_tpu"\n')
    api.sweep(MODEL, {"rows": [8]}, soc=str(system), jobs=1, journal=journal)
    system.write_text('[machine]\nbase = "pascal"\n')
    with pytest.raises(JournalError, match="another sweep"):
        api.sweep(MODEL, {"rows": [8]}, soc=str(system), jobs=1, journal=journal)


def test_a_network_that_has_changed_is_read_again(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(MODEL.read_bytes())
    before = api.sweep(path, {"rows": [8]}, jobs=1)
    path.write_bytes(golden.write(small_network()))
    after = api.sweep(path, {"rows": [8]}, jobs=1)
    assert before["macs"][0] != after["macs"][0] == total_macs(small_network())


def test_networks_of_one_name_are_told_apart(tmp_path):
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "net.tflite")
        paths[-1].write_bytes(MODEL.read_bytes())
    table = api.sweep(paths, {"rows": [8]}, jobs=1)
    assert table["network"].to_list() == [str(path) for path in paths]


def test_a_killed_process_is_a_clear_error(monkeypatch):
    def killed(*_):
        raise BrokenProcessPool

    monkeypatch.setattr(sweep.concurrent.futures, "as_completed", killed)
    with pytest.raises(SweepError, match="a process of the sweep was killed"):
        api.sweep(MODEL, GRID, jobs=2)


def test_a_network_is_lowered_once_for_combinations_of_one_machine(monkeypatch):
    lowered = []
    lower = sweep.lower

    def counted(*arguments, **options):
        lowered.append(arguments)
        return lower(*arguments, **options)

    monkeypatch.setattr(sweep, "lower", counted)
    memories = {"memory.latency_ns": [50, 60, 70], "energy.node_nm": [22, 28]}
    table = api.sweep(MODEL, {"rows": [9, 11], **memories}, jobs=1)
    assert len(table) == 12
    assert table["energy_uj"].n_unique() == 12
    assert len(lowered) == 2


def test_how_programs_are_made_can_be_swept():
    table = api.sweep(MODEL, {"prefetch": [True, False], "residency": [True, False]}, jobs=1)
    graph = api.load(MODEL)
    for row in table.iter_rows(named=True):
        options = api.LoweringOptions(prefetch=row["prefetch"], residency=row["residency"])
        report = api.time(graph, api.system(), options=options)
        assert row["cycles"] == report.cycles["edge_tpu"]
    assert table["cycles"].n_unique() > 1
    (error,) = api.sweep(MODEL, {"prefetch": [3]}, jobs=1)["error"]
    assert error == "prefetch is on or off, not 3"


def test_a_technology_that_can_not_be_is_a_row_with_an_error():
    table = api.sweep(MODEL, {"energy.node_nm": [5, 22]}, jobs=1)
    assert table["error"].null_count() == 1
    assert "node_nm must be between" in table["error"][0]


def test_settings_that_change_nothing_are_named():
    fast = {"rows": [8, 16], "cols": [8], "memory.bandwidth_bytes_per_s": [64e9, 256e9]}
    table = api.sweep(MODEL, fast, jobs=1)
    assert without_effect(table, fast) == ["memory.bandwidth_bytes_per_s"]


def test_layers_are_a_table():
    network = api.load(MODEL)
    report = api.time(network, api.system())
    table = layers_table(report)
    assert table["cycles"].sum() == report.cycles["edge_tpu"]
    stalls = [name for name in table.columns if name.startswith("stalls.")]
    assert table.select(stalls).sum_horizontal().sum() == report.cycles["edge_tpu"]
