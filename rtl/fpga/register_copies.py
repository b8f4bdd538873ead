"""Flip-flops and look-up tables that many cells read, copied: each part of the design has its own.

nextpnr leaves a netlist as it is, and yosys makes one cell of all that are alike, so a mark that a
whole row of processing elements reads is one flip-flop, or one look-up table, with a net across the
device. This pass between yosys and nextpnr gives every part of the hierarchy a copy, as vendors'
tools do. A copy has the inputs of the cell, so the circuit does the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mensa.rtl.fpga.netlist import FLIP_FLOP, LOOK_UP_TABLE, Netlist, Pin

__all__ = ["Copies", "copy_registers"]

MOST_READERS = 32
"""Pins that read a cell or one of its copies, at most; ports of the design are not counted."""

_PART = re.compile(r"[.\[]")
"""What separates the parts of a cell's name: modules, then the bit."""


OUTPUTS = {FLIP_FLOP: "Q", LOOK_UP_TABLE: "Z"}
"""Of each type that is copied, its output."""

_TIED = {"PFUMX": ("ALUT", "BLUT"), "L6MUX21": ("D0", "D1")}
"""Inputs of multiplexers that lie in one slice with what drives them."""


@dataclass(frozen=True)
class Copies:
    """Copies that were made, by the type of the cell."""

    flip_flops: int = 0
    look_up_tables: int = 0


def copy_registers(netlist: Mapping[str, Any], top: str) -> Copies:
    """Copy a flat netlist's flip-flops and look-up tables that have too many readers, in place.

    Parameters
    ----------
    netlist : mapping
        What yosys' `write_json` wrote after `synth_ecp5`.
    top : str
        Name of the module.

    Returns
    -------
    Copies
        How many.
    """
    design = Netlist(netlist["modules"][top])
    made = dict.fromkeys(OUTPUTS, 0)
    # Copies are readers too, and what they read may have too many by that. This ends: as groups are
    # of like size, they have room for more readers than the few inputs that their copies add.
    found = True
    while found:
        found = False
        for kind, output in OUTPUTS.items():
            for name in design.named(kind):
                count = _copy(design, name, output)
                made[kind] += count
                found = found or count > 0
    return Copies(made[FLIP_FLOP], made[LOOK_UP_TABLE])


def _copy(design: Netlist, name: str, output: str) -> int:
    """Copy a cell as often as its readers need. Returns: how often."""
    net = design.bit(name, output)
    # A port of the design stays with the cell itself, and what must lie beside it.
    readers = sorted(
        reader
        for reader in design.readers[net]
        if reader[0] and reader[1] not in _TIED.get(design.cells[reader[0]]["type"], ())
    )
    if len(readers) <= MOST_READERS or net == "x" or any(_is_clock(pin) for _, pin in readers):
        return 0
    fewest = -(-len(readers) // MOST_READERS)
    _, *others = _groups(readers, -(-len(readers) // fewest))
    for group in others:
        design.copy(name, output, group)
    return len(others)


def _is_clock(pin: str) -> bool:
    """Whether a pin of an ECP5's cell takes a clock, by its name."""
    return "CLK" in pin or pin == "WCK"


def _groups(pins: list[Pin], most: int, depth: int = 1) -> list[list[Pin]]:
    """Cut pins into groups of at most `most`, of neighbours in the hierarchy.

    Two groups that follow each other have more than `most` together, and what has no more than
    `most` below one name in the hierarchy is never cut.
    """
    if len(pins) <= most:
        return [pins]
    parts = defaultdict[tuple[str, ...], list[Pin]](list)
    for pin in pins:
        parts[tuple(_PART.split(pin[0])[:depth])].append(pin)
    if all(len(part) < depth for part in parts):
        # All are pins of one cell.
        return [pins[at : at + most] for at in range(0, len(pins), most)]
    groups: list[list[Pin]] = [[]]
    for part in sorted(parts):
        for group in _groups(parts[part], most, depth + 1):
            if len(groups[-1]) + len(group) <= most:
                groups[-1] = groups[-1] + group
            else:
                groups.append(group)
    return groups
