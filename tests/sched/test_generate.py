"""Generated hardware: the same bytes every time, and accepted by tools that did not write it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mensa.rtl.machine import edge_tpu
from mensa.sched.cli.main import invoke
from mensa.sched.generate import MACHINE_FILES, hardware_files
from mensa.sim.engines.verilator import tools
from tests.rtl.fpga.yosys import run_yosys

SMALL = (
    "--set", "rows=8", "--set", "cols=8",
    "--set", "parameter_buffer_bytes=32768", "--set", "activation_buffer_bytes=65536",
)  # fmt: skip

EXTREMES = {
    "one element": "rows=1 cols=1 port_bytes=4 burst_beats=256 outstanding_reads=1 "
    "activation_banks=2 constant_entries=2 parameter_buffer_bytes=16 activation_buffer_bytes=16",
}
"""Settings by what is extreme in them; buffers are the smallest or the largest that there are."""
if os.environ.get("MENSA_REGRESS") == "1":
    EXTREMES |= {
        "a port wider than the array": "rows=1 cols=2 port_bytes=128 burst_beats=1 "
        "outstanding_reads=64 activation_banks=16 constant_entries=2 "
        "parameter_buffer_bytes=512 activation_buffer_bytes=4096",
        "one row": "rows=1 cols=128 port_bytes=4 burst_beats=256 outstanding_reads=64 "
        "activation_banks=2 parameter_buffer_bytes=1024 activation_buffer_bytes=1024",
        "one column": "rows=128 cols=1 port_bytes=128 burst_beats=32 outstanding_reads=64 "
        "activation_banks=16 parameter_buffer_bytes=1024 activation_buffer_bytes=8192",
        "the largest buffers": "rows=3 cols=5 constant_entries=4096 activation_banks=16 "
        "parameter_buffer_bytes=0x10000000 activation_buffer_bytes=0x10000000",
    }

NAMES = {
    "machine.json", "mensa_axi_ram.v", "mensa_edge_tpu.core", "mensa_edge_tpu.f",
    "mensa_edge_tpu.lpf", "mensa_edge_tpu.sdc", "mensa_edge_tpu.v", "mensa_edge_tpu.vlt",
    "mensa_edge_tpu.xdc", "mensa_edge_tpu_example.v", "registers.h", "registers.md",
}  # fmt: skip


@pytest.fixture(scope="module")
def hardware(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rtl") / "hardware"
    assert invoke(["rtl", "edge_tpu", *SMALL, "-o", str(folder)]) == 0
    return folder


def test_all_files_are_there_and_nothing_else(hardware):
    assert {path.name for path in hardware.iterdir()} == NAMES
    assert [path.name for path in hardware.parent.iterdir()] == [hardware.name]


def test_another_process_writes_the_same_bytes(hardware, tmp_path):
    program = Path(sys.executable).parent / "mensa"
    again = tmp_path / "again"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    subprocess.run(
        [program, "rtl", "edge_tpu", *SMALL, "-o", again],
        env=environment,
        check=True,
        capture_output=True,
    )
    for name in NAMES:
        assert (again / name).read_bytes() == (hardware / name).read_bytes(), name


EXAMPLE = ("mensa_axi_ram.v", "mensa_edge_tpu_example.v", "--top-module", "mensa_edge_tpu_example")


def lint(folder, *arguments):
    """What ``verilator --lint-only -Wall`` says: nothing if all is well."""
    found = tools()
    done = subprocess.run(
        [found.verilator, "--lint-only", "-Wall", *arguments],
        cwd=folder,
        env=found.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


@pytest.mark.parametrize("example", [(), EXAMPLE], ids=["core", "example"])
def test_verilator_lints_it_with_the_waivers(hardware, example):
    assert lint(hardware, "-f", "mensa_edge_tpu.f", *example) == ""


def test_every_waiver_is_needed_and_says_why(hardware):
    said = set(re.findall(r"%Warning-([A-Z]+):", lint(hardware, "mensa_edge_tpu.v")))
    _, *lines = (hardware / "mensa_edge_tpu.vlt").read_text().splitlines()
    waived = [line for line in lines if not line.startswith("//")]
    assert {line.split()[2] for line in waived} == said
    assert lines[0].startswith("//")
    assert all("-file" in line for line in waived)  # a user's own files are linted in full


@pytest.mark.skipif(os.environ.get("MENSA_REGRESS") != "1", reason="two minutes: make regress")
def test_verilator_lints_the_full_size_with_the_same_waivers(tmp_path):
    folder = tmp_path / "hardware"
    assert invoke(["rtl", "edge_tpu", "-o", str(folder)]) == 0
    assert lint(folder, "-f", "mensa_edge_tpu.f") == ""
    assert lint(folder, "-f", "mensa_edge_tpu.f", *EXAMPLE) == ""


@pytest.mark.parametrize("name", EXTREMES)
def test_verilator_lints_what_is_at_the_ends_of_the_domain(name, tmp_path):
    settings = [part for setting in EXTREMES[name].split() for part in ("--set", setting)]
    folder = tmp_path / "hardware"
    assert invoke(["rtl", "edge_tpu", *settings, "-o", str(folder)]) == 0
    assert lint(folder, "-f", "mensa_edge_tpu.f") == ""


def test_yosys_reads_it(hardware):
    script = "read_verilog mensa_edge_tpu.v; hierarchy -check -top mensa_edge_tpu"
    if os.environ.get("MENSA_REGRESS") == "1":
        script += "; proc; check -assert"
    run_yosys(script, hardware)


def test_the_header_compiles(hardware, tmp_path):
    source = tmp_path / "use.c"
    source.write_text(
        '#include "registers.h"\n'
        "int main(void) { return MENSA_ROWS == 8u && MENSA_COLS == 8u ? 0 : 1; }\n"
    )
    binary = tmp_path / "use"
    subprocess.run(
        [tools().compiler, "-x", "c", "-Wall", "-Werror", f"-I{hardware}", source, "-o", binary],
        check=True,
    )
    assert subprocess.run([binary], check=False).returncode == 0


def test_a_directory_with_other_things_in_it_is_not_replaced(tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    assert invoke(["rtl", "edge_tpu", *SMALL, "-o", str(tmp_path)]) == 2
    assert "precious.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_hardware_that_is_there_is_replaced_where_it_is(hardware, tmp_path, monkeypatch, capsys):
    again = tmp_path / "again"
    again.mkdir()
    for name in NAMES:
        (again / name).write_text("old")
    monkeypatch.chdir(again)
    assert invoke(["rtl", "edge_tpu", *SMALL, "-o", "."]) == 0
    assert Path.cwd().samefile(again)
    assert {path.name for path in again.iterdir()} == NAMES
    for name in NAMES:
        assert (again / name).read_bytes() == (hardware / name).read_bytes(), name


def test_the_fusesoc_core_names_files_and_modules_that_are_there(hardware):
    core = yaml.safe_load((hardware / "mensa_edge_tpu.core").read_text())
    assert next(iter(core)) == "CAPI=2"
    for fileset in core["filesets"].values():
        assert set(fileset["files"]) <= NAMES
    for target in core["targets"].values():
        assert set(target["filesets"]) <= set(core["filesets"])
        files = [name for each in target["filesets"] for name in core["filesets"][each]["files"]]
        verilog = "".join((hardware / name).read_text() for name in files if name.endswith(".v"))
        assert re.search(rf"^module {target['toplevel']}\b", verilog, re.MULTILINE)


def test_constraints_state_the_machines_clock(hardware):
    period_ns = 1e9 / edge_tpu.clock_hz
    for suffix in ("sdc", "xdc"):
        text = (hardware / f"mensa_edge_tpu.{suffix}").read_text()
        assert float(re.search(r"-period (\S+)", text)[1]) == period_ns
    text = (hardware / "mensa_edge_tpu.lpf").read_text()
    assert float(re.search(r'"clk" (\S+) MHZ;', text)[1]) * 1e6 == edge_tpu.clock_hz


def test_files_named_after_another_machine_are_known_as_ours():
    ours = hardware_files(edge_tpu)
    named = [name for name in hardware_files(edge_tpu.replace(name="other")) if name not in ours]
    assert named
    for name in named:
        assert re.fullmatch(MACHINE_FILES, name), name
    for name in ("README.md", "mensa_.txt", "top.v", "my_mensa_a.v"):
        assert not re.fullmatch(MACHINE_FILES, name)


def test_a_port_of_several_lanes_is_silent_too(tmp_path):
    folder = tmp_path / "hardware"
    assert invoke(["rtl", "jacquard", *SMALL, "-o", str(folder)]) == 0
    top = "mensa_jacquard_example"
    example = ("mensa_axi_ram.v", f"{top}.v", "--top-module", top)
    for more in ((), example):
        assert lint(folder, "-f", "mensa_jacquard.f", *more) == ""
    for port in ("rdata", "wdata"):
        for lane in (0, 1):
            assert f"[1023:0] m_axi_data_{lane}_{port}" in (folder / "mensa_jacquard.v").read_text()
