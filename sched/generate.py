"""Hardware as files: Verilog, register map, C header, file list, and a waiver for linting."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from mensa.rtl.machine import Machine
from mensa.sched.files import fresh_directory

__all__ = ["generate", "hardware_files"]

LINT_WAIVER = """\
`verilator_config
// The Verilog comes from yosys, which declares more than it uses. What is waived, and why:
// names that exist only so that a waveform shows them
lint_off -rule UNUSEDSIGNAL
// constants that yosys compares with a different width
lint_off -rule WIDTHEXPAND
lint_off -rule WIDTHTRUNC
// one file holds all modules, so that a build needs only that file
lint_off -rule DECLFILENAME
// ports that a sub-module has and its parent does not need
lint_off -rule PINCONNECTEMPTY
lint_off -rule PINMISSING
"""
"""Verilator's control file for ``verilator --lint-only -Wall``."""


def hardware_files(machine: Machine) -> dict[str, str]:
    """Text of every file of a machine's hardware, by name; the same machine, the same bytes."""
    from mensa.rtl.core import core_verilog
    from mensa.rtl.registers import c_header, register_map_markdown

    top = f"mensa_{machine.name}"
    return {
        f"{top}.v": core_verilog(machine),
        f"{top}.f": f"{top}.vlt\n{top}.v\n",
        f"{top}.vlt": LINT_WAIVER,
        "registers.md": register_map_markdown(machine),
        "registers.h": c_header(machine),
        "machine.json": json.dumps(dataclasses.asdict(machine), indent=2) + "\n",
    }


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
    with fresh_directory(directory) as temporary:
        for name, text in files.items():
            (temporary / name).write_text(text, encoding="utf-8", newline="\n")
    return [Path(directory) / name for name in files]
