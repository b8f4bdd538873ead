"""Mappings that arrays with MODE FILTER have beside tiles: depthwise convolution as a filter.

The words of an input row lie in the array between those that a tap row sees and those of the next,
so the width of a strip of output columns is bounded. Neighbouring strips both pass the input
columns that both see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mensa.golden import ConvPlan
from mensa.rtl.arrays.filter.filter_array import FilterArray
from mensa.rtl.commands import Mode
from mensa.rtl.machine import Machine
from mensa.rtl.timing import SETUP_CYCLES, feed_cycles, room_cycles, start_cycle
from mensa.sched.lower.mappings.columns import LayerMapping
from mensa.sched.lower.mappings.mapper import Mapper
from mensa.sched.lower.work import Registers

__all__ = ["FilterMapper"]


class FilterMapper(Mapper):
    """The filters of an array."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        assert isinstance(machine.array, FilterArray)
        self._array = machine.array

    def candidates(
        self, plan: ConvPlan, most_pixels: Callable[[Mode], int]
    ) -> Iterator[LayerMapping]:
        """Of a depthwise layer, packs of one pixel and of more."""
        if plan.kind == "depthwise" and plan.depth_multiplier == 1:
            yield LayerMapping(Mode.FILTER)
            if plan.stride_w == 1:
                most = most_pixels(Mode.FILTER)
                yield from (LayerMapping(Mode.FILTER, pixels) for pixels in range(2, most + 1))

    def own_registers(self, registers: Registers, pitch: int) -> dict[str, int]:
        """The registers of a filter's stream, for a strip whose taps fit."""
        stream = self._array.stream(registers, pitch)
        assert stream is not None, "the strip was chosen so that its taps fit"
        return stream

    def strips(
        self, packs: int, loops: Callable[[int], Registers]
    ) -> tuple[tuple[int, ...], int] | None:
        """Strips whose taps fit the array, each as soon as the feed is free."""
        room = room_cycles(self.machine, Mode.FILTER, Mode.FILTER)
        assert room is not None
        between = start_cycle(0, room, ()) + SETUP_CYCLES  # one strip's steps and the next one's
        costs: dict[int, int | None] = {}

        def cost(width: int) -> int | None:
            if width not in costs:
                registers = loops(width)
                stream = self._array.stream(registers, 0)
                costs[width] = None
                if stream is not None:
                    costs[width] = between + feed_cycles(self.machine, {**registers, **stream})
            return costs[width]

        best: tuple[tuple[int, ...], int] | None = None
        if cost(1) is None:
            return None
        for count in range(1, packs + 1):
            narrow, wider = divmod(packs, count)
            first, last = cost(narrow + (wider > 0)), cost(narrow)
            if first is None or last is None:
                continue
            cycles = wider * first + (count - wider) * last - between
            if best is not None and cycles >= best[1]:
                break  # ever more of the columns that two strips see
            best = (narrow + 1,) * wider + (narrow,) * (count - wider), cycles
        return best
