"""The example system of `mensa rtl` runs what `mensa compile` writes, driven as its header says."""

import subprocess
from pathlib import Path

import pytest

from mensa.sim.engines import verilator
from tests.rtl import icarus
from tests.rtl.fpga.yosys import run_yosys
from tests.sched.example_runs import run_cocotb, run_icarus
from tests.sched.example_system import MEMORY_BYTES, ExampleSystem

SETTINGS = {
    "rows": 4, "cols": 3, "parameter_buffer_bytes": 2048, "activation_buffer_bytes": 2048,
}  # fmt: skip
NETLIST_SETTINGS = {
    "rows": 4, "cols": 4, "parameter_buffer_bytes": 2048, "activation_buffer_bytes": 2048,
    "constant_entries": 16, "post_lanes": 1,
}  # fmt: skip
MAIN = Path(__file__).with_name("example_main.cpp")

# The system, and the way to see what its memory has in the end.
BENCH = """
module bench(
  input clk, input rst, output irq,
  input [11:0] s_axi_control_awaddr, input [2:0] s_axi_control_awprot,
  input s_axi_control_awvalid, output s_axi_control_awready,
  input [31:0] s_axi_control_wdata, input [3:0] s_axi_control_wstrb,
  input s_axi_control_wvalid, output s_axi_control_wready,
  output [1:0] s_axi_control_bresp, output s_axi_control_bvalid, input s_axi_control_bready,
  input [11:0] s_axi_control_araddr, input [2:0] s_axi_control_arprot,
  input s_axi_control_arvalid, output s_axi_control_arready,
  output [31:0] s_axi_control_rdata, output [1:0] s_axi_control_rresp,
  output s_axi_control_rvalid, input s_axi_control_rready
);
  mensa_edge_tpu_example #(.MEMORY_BYTES(%d), .MEMORY_FILE("memory.hex")) system (.*);
  final $writememh("after.hex", system.memory.words);
endmodule
"""


def run_verilator(system):
    """Run the example under Verilator, driven by a program in C++ that includes the headers."""
    build = verilator.build(
        verilator.Build(
            name="the example system",
            verilog=BENCH % MEMORY_BYTES + "".join(path.read_text() for path in system.verilog),
            top="bench",
            sources=(MAIN,),
            generated=tuple((path.name, path.read_text()) for path in system.network.glob("*.h")),
        )
    )
    subprocess.run([build], cwd=system.folder, check=True, timeout=60)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return ExampleSystem(tmp_path_factory.mktemp("example"), SETTINGS)


@pytest.fixture(autouse=True)
def nothing_left(system):
    (system.folder / "after.hex").unlink(missing_ok=True)


def test_the_example_system_gets_goldens_outputs(system):
    run_verilator(system)
    system.assert_file_equals_golden()


@pytest.mark.parametrize("language", icarus.LANGUAGES)
def test_it_does_in_every_language_that_icarus_reads(system, language):
    run_icarus(system, language)
    system.assert_file_equals_golden()


def test_it_does_under_cocotb(system):
    run_cocotb(system)


def test_it_does_after_synthesis(tmp_path):
    # Gates and flip-flops of no particular device; memories stay arrays. Icarus is much the faster:
    # Verilator's C++ of so many gates compiles for minutes. One post-processor lane: four are four
    # times the same gates.
    system = ExampleSystem(tmp_path, NETLIST_SETTINGS)
    (core,) = (path for path in system.verilog if path.stem == "mensa_edge_tpu")
    run_yosys(
        f"read_verilog {core.name}; synth -top {core.stem} -run begin:fine; opt -fast -full; "
        "opt -undriven -fine; techmap; opt -fast; abc; opt -fast; clean; check -assert; "
        f"select -assert-none t:$add t:$mul t:$dff; write_verilog -noattr {core.name}",
        core.parent,
    )
    run_icarus(system, icarus.LANGUAGES[-1])
    system.assert_file_equals_golden()
