"""Latencies that several places rely on, and how long a compute command takes in closed form.

Plain Python: the timing model uses it without Amaranth, and the gateware asserts that it is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mensa.rtl.commands import EXPONENTIAL_BYTES, TABLE_BYTES, Mode, Width
from mensa.rtl.machine import Machine

__all__ = [
    "CELL_LATENCY",
    "COMMANDS_IN_FLIGHT",
    "FEED_LATENCY",
    "LOADS_IN_FLIGHT",
    "LOAD_GAP",
    "OUTSTANDING_WRITES",
    "POST_LATENCY",
    "READ_LATENCY",
    "RECIPROCAL_CYCLES",
    "RECORDS_LATENCY",
    "SETTLED_AHEAD",
    "SETUP_CYCLES",
    "SOFTMAX_LATENCY",
    "VECTOR_LATENCY",
    "cell_taps",
    "drain_cycles",
    "feed_cycles",
    "room_cycles",
    "softmax_waits",
    "start_cycle",
]

READ_LATENCY = 5
"""From a buffer read's `valid` to its data: which memory, memory, its register, choice,
rotation."""

RECORDS_LATENCY = 3
"""From an entry of the constant buffer to its records: a register, memory, its register."""

OUTSTANDING_WRITES = 4
"""Write bursts that the store unit has in flight at most."""

LOADS_IN_FLIGHT = 2
"""Load commands that have started and are not done, at most."""

LOAD_GAP = 3
"""From a load's last beat to the first of the next one, at least: the end is known, the next one's
first row is taken, its first beat has a place."""

COMMANDS_IN_FLIGHT = 4
"""Compute commands that have started and are not done, at most."""

SETUP_CYCLES = 1
"""From the start cycle to the one before the feed's first step."""

FEED_LATENCY = 12
"""From a step of the feed to its operands at the array or vector unit: three in the address
generator, three to find the bytes that are real, five to read the buffers, one for zero points."""

SETTLED_AHEAD = 9
"""From a compute command's SETTLED to its end: who takes it starts two cycles later at the
earliest, and reads for the first time in the cycle after that end."""

VECTOR_LATENCY = 9
"""Of the vector unit, from a result's last operand to the result."""

CELL_LATENCY = {"tflm": 22, "litert": 95}
"""Of the LSTM cell, from a result's last operand to the result, by whose arithmetic it has."""

SOFTMAX_LATENCY = 4
"""Of the softmax unit, from an element of a row's last pass to its exponential."""

RECIPROCAL_CYCLES = 55
"""Of the softmax unit, from a row's sum to the multiplier that divides by it."""

POST_LATENCY = 17
"""Of the post-processor, from a row of sums to the write of its first lanes."""


def start_cycle(handled: int, room: int, tokens: Iterable[int]) -> int:
    """Cycle in which a unit starts a command: after the first in which nothing is in its way.

    Parameters: the cycle in which its GO is handled, the first one in which the unit has room for
    it, and for each token that it waits for the first one in which it is there.
    """
    return 1 + max((handled + 1, room, *tokens))


def cell_taps(mode: Mode, gates: int) -> int:
    """Operands of a result of the LSTM cell: both sums of each gate, and often the cell state.

    Of DOT: both numbers of each pair.
    """
    return 2 * gates + (mode in (Mode.CELL_STATE, Mode.HIDDEN_STATE))


def softmax_waits(lanes: int) -> tuple[int, int]:
    """Cycles in which a softmax of so many lanes fetches nothing, after a row's first two passes.

    The largest value is found pair by pair, then compared with those before it. Exponentials are
    added up likewise, and then the reciprocal is worked out, which results need behind their own.
    """
    levels = (lanes - 1).bit_length()
    return levels + 1, levels + 1 + RECIPROCAL_CYCLES


def room_cycles(machine: Machine, before: int, mode: int) -> int | None:
    """Cycles from a command's last feed step to the first one with room for the next command.

    None if the next one needs all results of the one before to be written: the vector unit and the
    array never have results together. Else it is when the feed is free, and for a mode of the
    array's own after a tiled one when the array is, too.

    Parameters: the modes of the two.
    """
    before, mode = Mode(before), Mode(mode)
    if before.is_vector or mode.is_vector:
        return None
    if before.is_tiled and not mode.is_tiled:
        return 1 + machine.array.clearance
    return 2


def drain_cycles(machine: Machine, mode: int, width: int = Width.BYTE) -> int:
    """Cycles from the feed's last step to the end of the command: its last write, if it has one.

    Parameters: `mode` and `width` are the command's registers.

    Sums that are kept in the array (KEEP) have settled by then; the time is the same, so that
    commands end in their order.
    """
    mode = Mode(mode)
    if mode.is_vector:
        latency = CELL_LATENCY[machine.cell or ""] if mode.is_cell else VECTOR_LATENCY
        if mode == Mode.SOFTMAX:
            latency = SOFTMAX_LATENCY
        return FEED_LATENCY + latency + POST_LATENCY
    parts = -(-machine.group_channels(mode) // machine.lanes)  # that the post-processor takes
    if width == Width.INT32:
        parts *= 2
    return FEED_LATENCY + machine.array.latency(mode) + POST_LATENCY + parts - 1


def feed_cycles(machine: Machine, registers: Mapping[str, int]) -> int:
    """Cycles in which the operand feed of a command takes a step.

    Parameters: the command's registers by name, as in `mensa.rtl.commands.REGISTERS`.
    """
    mode = Mode(registers["MODE"])
    if mode.is_cell:
        return registers["GROUPS"] * cell_taps(mode, registers["KERNEL_H"])
    if mode == Mode.SOFTMAX:
        passes = 3 * registers["GROUPS"] + sum(softmax_waits(machine.exponential_lanes))
        table = EXPONENTIAL_BYTES // machine.exponential_step_bytes
        return table + registers["PIXELS"] * passes
    if mode.is_vector:
        taps = registers["KERNEL_H"] * registers["KERNEL_W"]
        table = TABLE_BYTES // machine.table_step_bytes if mode == Mode.TABLE else 0
        return table + registers["GROUPS"] * registers["PIXELS"] * taps
    return machine.array.feed_cycles(registers)
