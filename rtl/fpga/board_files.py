"""What `mensa rtl` writes around the core: an example system, constraints, a FuseSoC core file."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from mensa.rtl.axi import LiteSignature, ReadSignature, WriteSignature
from mensa.rtl.commands import ADDRESS_BITS, WORD_BYTES
from mensa.rtl.machine import Machine
from mensa.rtl.registers import ADDRESS_BITS as CONTROL_ADDRESS_BITS

__all__ = ["CONSTRAINTS", "axi_ram", "example_top", "fusesoc_core"]

CONSTRAINTS = {
    "lpf": 'FREQUENCY PORT "clk" {mhz:g} MHZ;\n',
    "sdc": "create_clock -name clk -period {ns:.3f} [get_ports clk]\n",
    "xdc": "create_clock -name clk -period {ns:.3f} [get_ports clk]\n",
}
"""The clock for nextpnr and Diamond, for Quartus and OpenROAD, for Vivado, by the file's suffix."""


def _ports(prefix: str, signature: Any) -> Iterator[tuple[str, int, bool]]:
    """Name, bits, and whether its manager drives it, of every signal of an AXI port."""
    for (name,), member, value in signature.flatten(signature.create()):
        yield f"{prefix}_{name}", len(value), member.flow == wiring.Out


def _width(bits: int) -> str:
    return f"[{bits - 1}:0] " if bits > 1 else ""


def example_top(machine: Machine) -> str:
    """Verilog of a system: the core, a memory that both its AXI4 ports share, and its control port.

    Its top module is ``mensa_<name>_example``.
    """
    core = f"mensa_{machine.name}"
    control = list(_ports("s_axi_control", LiteSignature(CONTROL_ADDRESS_BITS)))
    memory = [
        *_ports("m_axi_command", ReadSignature(ADDRESS_BITS, WORD_BYTES)),
        *_ports("m_axi_data", ReadSignature(ADDRESS_BITS, machine.beat_bytes)),
        *_ports("m_axi_data", WriteSignature(ADDRESS_BITS, machine.beat_bytes)),
    ]
    ports = ["  input clk,", "  input rst,"]
    ports += [
        f"  {'input' if by_manager else 'output'} {_width(bits)}{name},"
        for name, bits, by_manager in control
    ]
    wires = [f"  wire {_width(bits)}{name};" for name, bits, _ in memory]
    # The memory wants no protection bits.
    unused = [name for name, _, _ in memory if name.endswith("prot")]
    to_core = [f"    .{name}({name})," for name, _, _ in (*control, *memory)]
    to_memory = [
        f"    .{name.removeprefix('m_axi_')}({name}),"
        for name, _, _ in memory
        if name not in unused
    ]
    traces = [f"    .trace_{name}()," for name in TRACES]
    return "\n".join(
        [
            f"// An example system: {core} on a memory of its own.",
            "// A processor drives the AXI4-Lite port and takes the interrupt; network.h of",
            "// `mensa compile` says how. In a system with DRAM, connect m_axi_command and",
            "// m_axi_data to its interconnect instead.",
            f"module {core}_example #(",
            "  parameter MEMORY_BYTES = 65536,",
            '  parameter MEMORY_FILE = ""  // memory.hex of `mensa compile`',
            ") (",
            *ports,
            "  output irq",
            ");",
            *wires,
            "",
            f"  {core} core (",
            "    .clk(clk),",
            "    .rst(rst),",
            *to_core,
            "    // The trace port is for simulation.",
            "    /* verilator lint_off PINCONNECTEMPTY */",
            *traces,
            "    /* verilator lint_on PINCONNECTEMPTY */",
            "    .irq(irq)",
            "  );",
            "",
            f"  wire unused = &{{1'b0, {', '.join(unused)}}};",
            "",
            "  mensa_axi_ram #(",
            f"    .BEAT_BYTES({machine.beat_bytes}),",
            "    .SIZE_BYTES(MEMORY_BYTES),",
            "    .FILE(MEMORY_FILE)",
            "  ) memory (",
            "    .clk(clk),",
            *to_memory,
            "    .rst(rst)",
            "  );",
            "endmodule",
            "",
        ]
    )


TRACES = (
    *("busy", "category", "start", "done", "pending", "running", "word"),
    *(f"{what}_{unit}" for what in ("tag", "missing") for unit in ("load", "compute", "store")),
)
"""The core's trace port, which is for simulation."""


def axi_ram() -> str:
    """Verilog of the example's memory."""
    return (Path(__file__).parent / "data" / "mensa_axi_ram.v").read_text(encoding="utf-8")


def fusesoc_core(machine: Machine) -> str:
    """A core file in FuseSoC's second format (CAPI=2), with the files that `mensa rtl` writes.

    Its targets: ``default`` is the core alone, ``lint`` and ``lint_example`` run Verilator over the
    core and the example.
    """
    top = f"mensa_{machine.name}"
    return f"""\
CAPI=2:
name: "::{top}:{metadata.version("mensa")}"
description: Int8 neural network accelerator, {machine.array.size} processing elements

filesets:
  rtl:
    files: [{top}.v]
    file_type: verilogSource
  example:
    files: [mensa_axi_ram.v, {top}_example.v]
    file_type: verilogSource
  waivers:
    files: [{top}.vlt]
    file_type: vlt

targets:
  default: &default
    filesets: [rtl]
    toplevel: {top}
  lint:
    <<: *default
    filesets: [waivers, rtl]
    default_tool: verilator
    tools: &lint
      verilator:
        mode: lint-only
        verilator_options: [-Wall]
  lint_example:
    filesets: [waivers, rtl, example]
    toplevel: {top}_example
    default_tool: verilator
    tools: *lint
"""
