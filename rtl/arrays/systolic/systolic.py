"""The systolic array as a machine knows it: output stationary, R x C, with a filter mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.systolic.filter_stream import filter_feed_cycles, filter_stream
from mensa.rtl.commands import Mode
from mensa.rtl.setting import check_range

__all__ = ["Systolic"]


@dataclass(frozen=True, kw_only=True)
class Systolic(Array):
    """Rows are output pixels of a tile, columns output channels of a group.

    Attributes
    ----------
    rows, cols : int
        R and C, 1 to 128 each.
    """

    kind: ClassVar[str] = "systolic"

    rows: int
    cols: int

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 1, 128)
        check_range("cols", self.cols, 1, 128)
        super().__post_init__()

    @property
    def edges(self) -> dict[str, int]:
        """R and C."""
        return {"rows": self.rows, "cols": self.cols}

    @property
    def tile(self) -> int:
        """A pixel a row."""
        return self.rows

    @property
    def chunk(self) -> int:
        """A byte a cycle while the words of all rows come."""
        return self.rows

    @property
    def group(self) -> int:
        """A channel a column."""
        return self.cols

    @property
    def spacing(self) -> int:
        """All R rows of a tile's results leave before those of the next."""
        return self.rows * self.pace

    @property
    def peak_macs_per_cycle(self) -> int:
        """A product a PE."""
        return self.rows * self.cols

    @property
    def own_modes(self) -> frozenset[Mode]:
        """Depthwise convolution as a filter (docs/depthwise.md)."""
        return frozenset({Mode.FILTER})

    def latency(self, mode: Mode) -> int:
        """Cycles from a tile's, or a filter's, last beat to the last row of results.

        One cycle into the array's registers, R - 1 down column 0, four to the multiplier, the
        product, the sum and the drain register, C - 1 across the columns; of a tile R - 1 times the
        pace more, while the other rows shift down.
        """
        across = self.rows + self.cols + 3
        return across if mode == Mode.FILTER else across + (self.rows - 1) * self.pace

    def group_channels(self, mode: Mode) -> int:
        """C of a tile; one result a cycle is no more than the post-processor takes in it, L."""
        return self.cols if mode.is_tiled else self.lanes

    def own_feed_cycles(self, registers: Mapping[str, int]) -> int:
        """Of a filter."""
        return filter_feed_cycles(registers)

    def stream(self, registers: Mapping[str, int], row_step: int) -> dict[str, int] | None:
        """The registers of a filter's stream, or None where there is none; see `filter_stream`."""
        return filter_stream(self.rows, registers, row_step)

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
            return f"there is no stream of its pixels for {self.rows} rows of taps"
        rows = registers["PIXELS"] // registers["OUT_WIDTH"]
        for used, name in ((rows > 1, "PIXEL_Y"), (registers["KERNEL_H"] > 1, "TAP_Y")):
            if used:
                stream[f"{name}_ADDRESS_STEP"] = registers[f"{name}_STEP"] * row_step
        for name, value in stream.items():
            if registers[name] != value:
                return f"{name} is {registers[name]}, the filter's {value}"
        return None

    def hardware(self) -> Any:
        """R x C processing elements."""
        from mensa.rtl.arrays.systolic.gateware import SystolicArray

        return SystolicArray(self)

    def nest(self) -> Any:
        """The nest of a filter."""
        from mensa.rtl.arrays.systolic.filter_nest import FilterNest

        return FilterNest(self, self.group_channels(Mode.FILTER))
