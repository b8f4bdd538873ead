"""What `mensa rtl` writes around the core: an example system, constraints, a FuseSoC core file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    command = list(_ports("m_axi_command", ReadSignature(ADDRESS_BITS, WORD_BYTES)))
    data = [
        *_ports("m_axi_data", ReadSignature(ADDRESS_BITS, machine.beat_bytes)),
        *_ports("m_axi_data", WriteSignature(ADDRESS_BITS, machine.beat_bytes)),
    ]
    memory = [*command, *data]
    ports = ["  input clk,", "  input rst,"]
    ports += [
        f"  {'input' if by_manager else 'output'} {_width(bits)}{name},"
        for name, bits, by_manager in control
    ]
    wires = [f"  wire {_width(bits)}{name};" for name, bits, _ in memory]
    # The memory wants no protection bits.
    unused = [name for name, _, _ in memory if name.endswith("prot")]
    lanes, joints, alike = _lanes(machine, data)
    wires += [f"  wire {_width(bits)}{name};" for name, bits in lanes]
    core_ports = [*control, *command, *(data if machine.data_lanes == 1 else ())]
    to_core = [f"    .{name}({name})," for name, *_ in (*core_ports, *lanes)]
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
            *joints,
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
            f"  wire unused = &{{1'b0, {', '.join((*unused, *alike))}}};",
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


def _lanes(
    machine: Machine, data: Sequence[tuple[str, int, bool]]
) -> tuple[list[tuple[str, int]], list[str], list[str]]:
    """How a data port of several lanes, all on one memory, is one port as wide as all of them.

    Parameters: its signals as those of one port. Returns: the lanes' signals and their bits, what
    joins them, and those of which one lane's are enough.
    """
    count = machine.data_lanes
    if count == 1:
        return [], [], []
    signals: list[tuple[str, int]] = []
    joints = ["  // The lanes are in lock step: what one asks for, all do."]
    alike: list[str] = []
    for name, bits, by_manager in data:
        signal = name.removeprefix("m_axi_data_")
        is_split = signal in ("rdata", "wdata", "wstrb")
        part = bits // count if is_split else bits
        lanes = [f"m_axi_data_{lane}_{signal}" for lane in range(count)]
        signals += [(lane, part) for lane in lanes]
        if not by_manager:
            for number, lane in enumerate(lanes):
                mine = f"[{(number + 1) * part - 1}:{number * part}]" if is_split else ""
                joints.append(f"  assign {lane} = {name}{mine};")
            continue
        given = lanes[0]
        if is_split:
            given = "{" + ", ".join(reversed(lanes)) + "}"
        else:
            alike += lanes
        if signal.endswith("addr"):
            low = count.bit_length() - 1
            given = f"{{{lanes[0]}[{bits - 1 - low}:0], {low}'b0}}"
        joints.append(f"  assign {name} = {given};")
    return signals, [*joints, ""], alike


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
