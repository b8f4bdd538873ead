"""Which layers' parameters stay on chip from inference to inference, and where.

They are loaded once, by a program of their own. What finds no room is streamed through two slots
in turn at the end of the buffers. The smallest layers stay: their computing is shortest, and least
of it hides the latency of a load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mensa.rtl.machine import Machine
from mensa.sched.lower.options import LoweringOptions

_SHARE = 8
"""A slot for streamed parameters has this share of the buffer, or what a column group needs."""


@dataclass(frozen=True)
class Demand:
    """What one layer needs of the parameter and the constant buffer.

    Attributes
    ----------
    layer : int
        Its number among those that have parameters.
    nbytes, entries : int
        Bytes of parameter words, and groups of channel records.
    group_bytes : int
        Bytes of its largest column group.
    can_stay : bool
        Whether all of it could be on chip at once.
    """

    layer: int
    nbytes: int
    entries: int
    group_bytes: int
    can_stay: bool = True


@dataclass(frozen=True)
class ParameterPlan:
    """How the memory for parameters and the constant buffer are used.

    Attributes
    ----------
    resident : mapping of int to (int, int)
        Byte address in the memory for parameters and first entry in the constant buffer by layer.
    start, slot_bytes, slots : int
        Where the slots for streamed parameters begin, their size and number.
    first_entry, slot_entries : int
        The same in the constant buffer, which has as many slots.
    """

    resident: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    start: int = 0
    slot_bytes: int = 0
    slots: int = 2
    first_entry: int = 0
    slot_entries: int = 0


def parameter_plan(
    demands: Iterable[Demand], machine: Machine, options: LoweringOptions
) -> ParameterPlan:
    """Keep all layers' parameters if they fit, else as many as leave room to stream the others."""
    demands = sorted(demands, key=lambda each: (each.nbytes, each.layer))
    size, entries = machine.parameter_bytes, machine.constant_entries
    if options.residency:
        resident = _resident(demands, size, entries, machine)
        if len(resident) == len(demands):
            return ParameterPlan(resident)
    slots = 2
    unit = machine.parameter_unit_bytes
    largest = max((each.group_bytes for each in demands), default=1)
    slot_bytes = size // slots
    slot_entries = entries // slots
    if options.residency:
        slot_bytes = min(slot_bytes, max(size // _SHARE, largest) // unit * unit + unit)
        slot_entries = max(1, entries // _SHARE)
    start, first_entry = size - slots * slot_bytes, entries - slots * slot_entries
    return ParameterPlan(
        _resident(demands, start, first_entry, machine) if options.residency else {},
        start,
        slot_bytes,
        slots if options.prefetch else 1,
        first_entry,
        slot_entries,
    )


def _resident(
    demands: Iterable[Demand], size: int, entries: int, machine: Machine
) -> dict[int, tuple[int, int]]:
    """Places of the layers, in this order, that fit `size` bytes and so many entries."""
    resident = {}
    unit = machine.parameter_unit_bytes
    address = entry = 0
    for each in demands:
        if not each.can_stay:
            continue
        nbytes = -(-each.nbytes // unit) * unit
        if address + nbytes <= size and entry + each.entries <= entries:
            resident[each.layer] = address, entry
            address += nbytes
            entry += each.entries
    return resident
