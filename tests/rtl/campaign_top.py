"""A core beside the AXI checker: a module ``top`` that has the ports of both."""

from pathlib import Path

from mensa.rtl.axi import LiteSignature, ReadSignature, WriteSignature
from mensa.rtl.commands import ADDRESS_BITS, WORD_BYTES
from mensa.rtl.core import core_verilog
from mensa.rtl.registers import ADDRESS_BITS as CONTROL_ADDRESS_BITS
from mensa.rtl.registers import FETCH_BURST_WORDS, FETCH_FIFO_WORDS
from mensa.rtl.timing import OUTSTANDING_WRITES

CHECKER = Path(__file__).with_name("axi_checker.v")

CHECKERS = ("command_read", "data_read", "data_write", "control")
"""Outputs of `top`, after ``violations_``, ``first_`` and ``outstanding_``."""


def campaign_top(machine):
    """Verilog of `top`; AXI4 ports have the identifiers that cocotbext-axi asks for, always 0.

    Its output `early` counts the cycles with `irq` in which an AXI4 port has a burst outstanding.
    """
    core = f"mensa_{machine.name}"
    ports = {
        "command_read": ("m_axi_command", ReadSignature(ADDRESS_BITS, WORD_BYTES)),
        "data_read": ("m_axi_data", ReadSignature(ADDRESS_BITS, machine.beat_bytes)),
        "data_write": ("m_axi_data", WriteSignature(ADDRESS_BITS, machine.beat_bytes)),
        "control": ("s_axi_control", LiteSignature(CONTROL_ADDRESS_BITS)),
    }
    modules = {
        "command_read": f"axi_read_checker #(.BYTES({WORD_BYTES}), "
        f".MOST({FETCH_FIFO_WORDS // FETCH_BURST_WORDS}))",
        "data_read": f"axi_read_checker #(.BYTES({machine.beat_bytes}), "
        f".MOST({machine.outstanding_reads}))",
        "data_write": f"axi_write_checker #(.BYTES({machine.beat_bytes}), "
        f".MOST({OUTSTANDING_WRITES}))",
        "control": f"axi_lite_checker #(.BITS({CONTROL_ADDRESS_BITS}))",
    }
    declared = {"clk": "input clk", "rst": "input rst", "irq": "output irq"}
    to_core, checkers = [".clk(clk), .rst(rst), .irq(irq)"], []
    for which, (prefix, signature) in ports.items():
        pins = []
        for (name,), member, value in signature.flatten(signature.create()):
            by_core = (member.flow.name == "Out") != (which == "control")
            width = f"[{len(value) - 1}:0] " if len(value) > 1 else ""
            direction = "output" if by_core else "input"
            declared[f"{prefix}_{name}"] = f"{direction} {width}{prefix}_{name}"
            to_core.append(f".{prefix}_{name}({prefix}_{name})")
            pins.append(f".{name}({prefix}_{name})")
        for what, bits in (("violations", 32), ("first", 8), ("outstanding", 16)):
            declared[f"{what}_{which}"] = f"output [{bits - 1}:0] {what}_{which}"
            pins.append(f".{what}({what}_{which})")
        checkers.append(f"{modules[which]} check_{which}(.clk(clk), .rst(rst), {', '.join(pins)});")
    assigned = []
    for which, channels in (("command", "ar r"), ("data", "ar r aw b")):
        for channel in channels.split():
            name = f"m_axi_{which}_{channel}id"
            by_core = channel.startswith("a")
            declared[name] = f"{'output' if by_core else 'input'} {name}"
            assigned += [f"assign {name} = 0;"] if by_core else []
    declared["early"] = "output reg [31:0] early"
    busy = " | ".join(f"outstanding_{which}" for which in CHECKERS if which != "control")
    return "\n".join(
        [
            f"module top({', '.join(declared)});",
            *(f"{each};" for each in declared.values()),
            *assigned,
            f"{core} core({', '.join(to_core)});",
            *checkers,
            "initial early = 0;",
            f"always @(posedge clk) if (!rst && irq && ({busy}) != 0) early <= early + 1;",
            "endmodule",
            CHECKER.read_text(),
            core_verilog(machine),
        ]
    )
