"""Hardware as files: Verilog, register map, C header, and what it takes to use them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mensa.rtl.core import core_verilog
from mensa.rtl.fpga.board_files import CONSTRAINTS, axi_ram, example_top, fusesoc_core
from mensa.rtl.machine import Machine
from mensa.rtl.registers import c_header, register_map_markdown
from mensa.rtl.strict_json import json_text
from mensa.sched.files import fresh_directory

__all__ = ["generate", "hardware_files"]

LINT_WAIVER = """\
`verilator_config
// The Verilog is written by Amaranth and yosys. What verilator -Wall says of their style:
// all modules are in one file, which is not named after each of them
lint_off -rule DECLFILENAME -file "*mensa_*.v"
// intermediate results are named, and buses cut, even where nothing reads all of them
lint_off -rule UNUSEDSIGNAL -file "*{top}.v"
// a register has a value at power-up besides the one at reset
lint_off -rule PROCASSINIT -file "*{top}.v"
// what wakes combinational blocks at time 0 comes after all of them have begun to wait
lint_off -rule INITIALDLY -file "*{top}.v"
// a default is assigned before a case statement, not inside it
lint_off -rule CASEINCOMPLETE -file "*{top}.v"
// a generator compares with a bound that this configuration's widths never reach
lint_off -rule CMPCONST -file "*{top}.v"
lint_off -rule UNSIGNED -file "*{top}.v"
// operands keep their own widths; results are cut to the width of what they are assigned to
lint_off -rule WIDTHEXPAND -file "*{top}.v"
lint_off -rule WIDTHTRUNC -file "*{top}.v"
"""
"""Verilator's control file for ``verilator --lint-only -Wall``; other files are linted in full."""


MACHINE_FILES = rf"mensa_\w+\.(v|f|vlt|core|{'|'.join(CONSTRAINTS)})"
"""Files that are named after the machine."""


def hardware_files(machine: Machine) -> dict[str, Callable[[], str]]:
    """What makes the text of every file of a machine's hardware, by the file's name.

    The same machine gives the same bytes.
    """
    top = f"mensa_{machine.name}"

    def clock(text: str) -> str:
        return text.format(mhz=machine.clock_hz / 1e6, ns=1e9 / machine.clock_hz)

    return {
        f"{top}.v": lambda: core_verilog(machine),
        f"{top}.f": lambda: f"{top}.vlt\n{top}.v\n",
        f"{top}.vlt": lambda: LINT_WAIVER.format(top=top),
        "registers.md": lambda: register_map_markdown(machine),
        "registers.h": lambda: c_header(machine),
        "machine.json": lambda: json_text(machine.settings),
        f"{top}.core": lambda: fusesoc_core(machine),
        f"{top}_example.v": lambda: example_top(machine),
        "mensa_axi_ram.v": axi_ram,
    } | {f"{top}.{suffix}": lambda text=text: clock(text) for suffix, text in CONSTRAINTS.items()}


def generate(machine: Machine, directory: str | Path) -> list[Path]:
    """Write a machine's hardware into `directory`, whole or not at all.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OutputError
        If the directory can't be written.
    """
    files = hardware_files(machine)
    with fresh_directory(directory, files, MACHINE_FILES) as temporary:
        for name, text in files.items():
            (temporary / name).write_text(text(), encoding="utf-8", newline="\n")
    return [Path(directory) / name for name in files]
