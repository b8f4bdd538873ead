"""Depthwise convolution as a filter: strips of output columns whose taps fit the array.

The taps of a tap row lie as many array rows apart as words of an input row pass between them, so
the width of a strip is bounded. Neighbouring strips both pass the input columns that both see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mensa.rtl.arrays.systolic.filter_stream import filter_stream
from mensa.rtl.commands import Mode
from mensa.rtl.machine import Machine
from mensa.rtl.timing import SETUP_CYCLES, drain_cycles, feed_cycles

Registers = Mapping[str, int]


def filter_strips(
    machine: Machine, words: int, loops: Callable[[int], Registers]
) -> tuple[tuple[int, ...], int] | None:
    """The widths of strips that take the fewest cycles, and these cycles.

    Parameters
    ----------
    machine : Machine
        Whose array it is.
    words : int
        Words in an output row, at least 1.
    loops : callable
        The command's registers for a strip of so many words, apart from addresses and stream.

    Returns
    -------
    tuple of int, int
        Widths from left to right; cycles of all strips, one after another.
    None
        If the taps of not even one word fit.
    """
    overhead = SETUP_CYCLES + drain_cycles(machine, Mode.FILTER)
    costs: dict[int, int | None] = {}

    def cost(width: int) -> int | None:
        if width not in costs:
            registers = loops(width)
            stream = filter_stream(machine.rows, registers, 0)
            costs[width] = (
                None if stream is None else overhead + feed_cycles(machine, {**registers, **stream})
            )
        return costs[width]

    best: tuple[tuple[int, ...], int] | None = None
    if cost(1) is None:
        return None
    for count in range(1, words + 1):
        wide, wider = divmod(words, count)
        first, last = cost(wide + (wider > 0)), cost(wide)
        if first is None or last is None:
            continue
        cycles = wider * first + (count - wider) * last
        if best is not None and cycles >= best[1]:
            break  # ever more of the columns that two strips see
        best = (wide + 1,) * wider + (wide,) * (count - wider), cycles
    return best
