"""Flip-flops that many cells read, copied so that each part of the design has its own.

nextpnr leaves a netlist as it is, and yosys makes one flip-flop of all that are alike, so a mark
that a whole row of processing elements reads is one flip-flop with a net across the device. This
pass between yosys and nextpnr gives every part of the hierarchy a copy, as vendors' tools do. A
copy has the inputs of the flip-flop, so the circuit does the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from mensa.sched.synth_netlist import FLIP_FLOP, Netlist

__all__ = ["copy_registers"]

MOST_READERS = 32
"""Pins that read one copy, at most."""

_Pin = tuple[str, str]

_PART = re.compile(r"[.\[]")
"""What separates the parts of a cell's name: modules, then the bit."""


def copy_registers(netlist: Mapping[str, Any], top: str) -> int:
    """Copy the flip-flops of a flat netlist that have too many readers, in place.

    Parameters
    ----------
    netlist : mapping
        What yosys' `write_json` wrote after `synth_ecp5`.
    top : str
        Name of the module.

    Returns
    -------
    int
        Copies made.
    """
    design = Netlist(netlist["modules"][top])
    copies = 0
    for name in design.named(FLIP_FLOP):
        readers = design.readers[design.bit(name, "Q")]
        # Ports of the design, and those of a memory's cells that have several bits, stay with the
        # flip-flop itself.
        inside = sorted(pin for pin in readers if pin[0] and design.is_bit(*pin))
        if len(inside) <= MOST_READERS or any(_is_clock(pin) for _, pin in inside):
            continue
        for number, group in enumerate(_groups(inside)[1:]):
            net = design.copy(name, f"{name}$copy{number}", "Q")
            for reader, pin in group:
                design.set(reader, {pin: net}, {})
            copies += 1
    return copies


def _is_clock(pin: str) -> bool:
    return "CLK" in pin or pin == "WCK"


def _groups(pins: list[_Pin], depth: int = 1) -> list[list[_Pin]]:
    """Cut readers into groups of at most `MOST_READERS`, of neighbours in the hierarchy."""
    if len(pins) <= MOST_READERS:
        return [pins]
    parts = defaultdict[tuple[str, ...], list[_Pin]](list)
    for pin in pins:
        parts[tuple(_PART.split(pin[0])[:depth])].append(pin)
    if len(parts) == 1 and depth > len(_PART.split(pins[0][0])):
        return [pins[at : at + MOST_READERS] for at in range(0, len(pins), MOST_READERS)]
    groups: list[list[_Pin]] = [[]]
    for part in sorted(parts):
        for group in _groups(parts[part], depth + 1):
            if len(groups[-1]) + len(group) <= MOST_READERS:
                groups[-1] = groups[-1] + group
            else:
                groups.append(group)
    return [group for group in groups if group]
