"""Icarus Verilog, in the languages that it reads, alone and under cocotb."""

import shutil
import subprocess
from pathlib import Path

import bench
import cocotb_tools.runner
import pytest

from mensa.rtl.registers import OFFSET

from .example_system import MEMORY_BYTES

LANGUAGES = ("2001", "2005", "2009", "2012")
"""Verilog's of 2001 and 2005, SystemVerilog's of 2009 and 2012."""

BENCH = Path(__file__).with_name("example_bench.v")
COCOTB = Path(__file__).with_name("example_cocotb.py")

MOST_CYCLES = 10_000
"""Several times as many as the network takes."""


def _check_tools():
    if shutil.which("iverilog") is None:
        pytest.fail("iverilog is not installed: apt install iverilog", pytrace=False)


def _run(command, folder):
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def run_icarus(system, language):
    """Run the programs of an ExampleSystem; `language` is one of LANGUAGES."""
    _check_tools()
    macros = {
        "MEMORY_BYTES": MEMORY_BYTES,
        "PROGRAMS": len(system.programs),
        "MOST_CYCLES": MOST_CYCLES,
        **{name: OFFSET[name] for name in ("PROGRAM_ADDRESS", "CONTROL", "STATUS", "CYCLES_LOW")},
    }
    text = "".join(f"{address:x}\n" for address in system.programs)
    (system.folder / "programs.hex").write_text(text)
    defined = [f"-D{name}={value}" for name, value in macros.items()]
    sources = [str(path) for path in (BENCH, *system.verilog)]
    model = f"model.{language}"
    command = ["iverilog", f"-g{language}", "-Wall", "-Wno-timescale", *defined, "-o", model]
    _run([*command, "-s", "bench", *sources], system.folder)
    said = _run(["vvp", "-n", model], system.folder)
    assert (system.folder / "after.hex").is_file(), said


def run_cocotb(system):
    """Run the programs of an ExampleSystem by cocotb, whose runner chooses the language."""
    _check_tools()
    top = "mensa_edge_tpu_example"
    runner = cocotb_tools.runner.get_runner("icarus")
    build = system.folder / "cocotb"
    runner.build(
        sources=system.verilog,
        hdl_toplevel=top,
        parameters={
            "MEMORY_BYTES": MEMORY_BYTES,
            "MEMORY_FILE": f'"{system.folder / "memory.hex"}"',
        },
        timescale=("1ns", "1ps"),
        build_dir=build,
    )
    environment = {
        "PROGRAMS": " ".join(str(address) for address in system.programs),
        "AFTER": system.folder / "after.hex",
        "MOST_CYCLES": MOST_CYCLES,
    }
    bench.simulate(runner, top, build, COCOTB, env=environment)
