"""Runs an ExampleSystem in Icarus Verilog, alone and under cocotb."""

from pathlib import Path

import cocotb_tools.runner

from mensa.rtl.registers import OFFSET
from tests.rtl import bench, icarus
from tests.sched.example_system import MEMORY_BYTES

BENCH = Path(__file__).with_name("example_bench.v")
CHECKER = Path(__file__).parents[1] / "rtl" / "axi_checker.v"
COCOTB = Path(__file__).with_name("example_cocotb.py")

MOST_CYCLES = 10_000
"""Several times as many as the network takes."""


def run_icarus(system, language):
    """Run the programs of an ExampleSystem; `language` is one of `icarus.LANGUAGES`."""
    macros = {
        "MEMORY_BYTES": MEMORY_BYTES,
        "BEAT_BYTES": system.beat_bytes,
        "PROGRAMS": len(system.programs),
        "MOST_CYCLES": MOST_CYCLES,
        **{name: OFFSET[name] for name in ("PROGRAM_ADDRESS", "CONTROL", "STATUS", "CYCLES_LOW")},
    }
    text = "".join(f"{address:x}\n" for address in system.programs)
    (system.folder / "programs.hex").write_text(text)
    defined = [f"-D{name}={value}" for name, value in macros.items()]
    model = system.folder / f"model.{language}"
    sources = [BENCH, CHECKER, *system.verilog]
    icarus.compile_verilog(sources, model, "-s", "bench", *defined, language=language)
    said = icarus.run_model(model)
    assert (system.folder / "after.hex").is_file(), said


def run_cocotb(system):
    """Run the programs of an ExampleSystem by cocotb, whose runner chooses the language."""
    icarus.check_tools()
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
