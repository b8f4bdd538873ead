"""What arrays with MODE FILTER say of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.filter.filter_stream import (
    Lines,
    filter_feed_cycles,
    filter_stream,
    filter_words,
)
from mensa.rtl.commands import Mode

__all__ = ["FilterArray"]


@dataclass(frozen=True, kw_only=True)
class FilterArray(Array):
    """An array that computes depthwise layers as a filter (docs/depthwise.md)."""

    @property
    @abstractmethod
    def tap_places(self) -> int:
        """Places for taps in a column."""

    @property
    def lines(self) -> Lines | None:
        """Its store of input rows, if it has one."""
        return None

    @property
    def own_modes(self) -> frozenset[Mode]:
        """Depthwise convolution as a filter."""
        return frozenset({Mode.FILTER})

    def group_channels(self, mode: Mode) -> int:
        """One result a cycle is no more than the post-processor takes in it, L."""
        return self.group if mode.is_tiled else self.lanes

    def turns(self, registers: Mapping[str, int]) -> int:
        """Cycles for which a word of a filter stays."""
        return self.lines.turns(self.tap_places, registers) if self.lines else 1

    def own_feed_cycles(self, registers: Mapping[str, int]) -> int:
        """Of a filter."""
        return filter_feed_cycles(registers, self.turns(registers))

    def own_buffer_reads(self, registers: Mapping[str, int]) -> tuple[int, int]:
        """Of a filter: each tap once for a group, and each word."""
        groups, taps = registers["GROUPS"], registers["KERNEL_H"] * registers["KERNEL_W"]
        return groups * taps, groups * filter_words(registers)

    def stream(self, registers: Mapping[str, int], row_step: int) -> dict[str, int] | None:
        """The registers of a filter's stream, or None where there is none; see `filter_stream`."""
        return filter_stream(self.tap_places, registers, row_step, self.lines)

    def refusal(self, registers: Mapping[str, int]) -> str | None:
        """A filter's stream must be the one that serves exactly its pixels and taps."""
        if registers["MODE"] != Mode.FILTER:
            return None
        row_step = registers["STREAM_ROW_STEP"]
        try:
            stream = self.stream(registers, row_step)
        except ValueError as error:
            return str(error)
        if stream is None:
            return f"there is no stream of its pixels for {self.tap_places} rows of taps"
        rows = registers["PIXELS"] // registers["OUT_WIDTH"]
        for used, name in ((rows > 1, "PIXEL_Y"), (registers["KERNEL_H"] > 1, "TAP_Y")):
            if used:
                stream[f"{name}_ADDRESS_STEP"] = registers[f"{name}_STEP"] * row_step
        for name, value in stream.items():
            if registers[name] != value:
                return f"{name} is {registers[name]}, the filter's {value}"
        return None

    def nest(self) -> Any:
        """The nest of a filter."""
        from mensa.rtl.arrays.filter.filter_nest import FilterNest

        return FilterNest(self, self.group_channels(Mode.FILTER), self.lines)
