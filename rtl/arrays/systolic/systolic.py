"""The systolic array as a machine knows it: output stationary, R x C, with a filter mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mensa.rtl.arrays.filter.filter_array import FilterArray
from mensa.rtl.commands import Mode
from mensa.rtl.setting import check_range

__all__ = ["Systolic"]


@dataclass(frozen=True, kw_only=True)
class Systolic(FilterArray):
    """Rows are output pixels of a tile, columns output channels of a group.

    Attributes
    ----------
    rows, cols : int
        R and C, 1 to 128 each.
    """

    kind: ClassVar[str] = "systolic"
    logic_per_mac: ClassVar[int] = 32
    """What chooses for the drain register. A 7 series' multiplier has an adder."""
    flip_flops_per_mac: ClassVar[int] = 50
    """Drain register and two operands of 9 bits."""

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
    def tap_places(self) -> int:
        """One in each row."""
        return self.rows

    def latency(self, mode: Mode) -> int:
        """Cycles from a tile's, or a filter's, last beat to the last row of results.

        One cycle into the array's registers, R - 1 down column 0, four to the multiplier, the
        product, the sum and the drain register, C - 1 across the columns; of a tile R - 1 times the
        pace more, while the other rows shift down.
        """
        across = self.rows + self.cols + 3
        return across if mode == Mode.FILTER else across + (self.rows - 1) * self.pace

    def hardware(self) -> Any:
        """R x C processing elements."""
        from mensa.rtl.arrays.systolic.gateware import SystolicArray

        return SystolicArray(self)
