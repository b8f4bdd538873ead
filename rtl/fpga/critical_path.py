"""The critical path of nextpnr's report, in the design's own names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Hop", "critical_path"]

_WRAPPER = "core."
"""Instance of `mensa.rtl.fpga.pin_wrapper.PinWrapper` that everything is in."""

_CELLS = "LUT4|PFUMX|L6MUX21|CCU2C|TRELLIS_FF|TRELLIS_DPR16X4|DP16KD|PDPW16KD|MULT18X18D"
_AUTOMATIC = re.compile(rf"_(?:{_CELLS})(?:_.*|$)")
"""What yosys appends to the name of a signal to name the cells before and after it."""

_BIT = re.compile(r"(\$\d+)?(\[\d+\])?$")
_MEMORY_PART = re.compile(r"(\.\d+)+(_DO(_\d+)?)?$")
_NAMELESS = re.compile(r"\$|\._\d+_")
"""In what the tools, or Amaranth's Verilog, had to find a name for."""


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One stretch of a path between two registers.

    Attributes
    ----------
    signal : str
        Which signal's logic it is, as module.signal; the first is where the path starts.
    ns : float
        Time from the stretch before, wires included.
    cells : int
        Cells that it goes through.
    """

    signal: str
    ns: float
    cells: int

    def to_json(self) -> dict[str, Any]:
        """Return the hop as JSON values."""
        return {"signal": self.signal, "ns": round(self.ns, 3), "cells": self.cells}


def _signal(cell: str) -> str:
    """Return the signal that a cell is named after; empty if it is named after none."""
    name = _AUTOMATIC.sub("", cell.removeprefix(_WRAPPER))
    name = _MEMORY_PART.sub("", _BIT.sub("", name))
    if _NAMELESS.search(name):
        return ""
    return name.replace("__", ".")


def critical_path(report: Mapping[str, Any]) -> list[Hop]:
    """Return the path that bounds the clock, from nextpnr's ``--report``.

    Neighbouring cells of one signal are one hop, and cells without a name of the design's go with
    the hop before them. Empty if there is no path between registers.
    """
    paths = [path for path in report["critical_paths"] if _clocked(path)]
    if not paths:
        return []
    path = max(paths, key=lambda path: sum(step["delay"] for step in path["path"]))
    return _merged(_steps(path["path"]))


def _clocked(path: Mapping[str, Any]) -> bool:
    return path["from"] == path["to"] and "clk" in path["from"]


def _steps(path: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, float, bool]]:
    """Signal, nanoseconds, and whether it is a cell of its own, of every step of a path."""
    for step in path:
        if step["type"] == "routing":
            yield _signal(step["to"]["cell"]), step["delay"], False
        else:
            yield _signal(step["from"]["cell"]), step["delay"], True


def _merged(steps: Iterable[tuple[str, float, bool]]) -> list[Hop]:
    hops: list[Hop] = []
    for signal, ns, is_cell in steps:
        if hops and (not signal or signal == hops[-1].signal):
            last = hops.pop()
            hops.append(Hop(signal=last.signal, ns=last.ns + ns, cells=last.cells + is_cell))
        else:
            hops.append(Hop(signal=signal or "(unnamed)", ns=ns, cells=int(is_cell)))
    return hops
