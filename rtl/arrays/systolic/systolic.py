"""The systolic array as a machine knows it: output stationary, R x C, with a filter mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mensa.rtl.arrays.filter.filter_array import FilterArray
from mensa.rtl.arrays.grid import OutputStationary
from mensa.rtl.commands import Mode

__all__ = ["Systolic"]


@dataclass(frozen=True, kw_only=True)
class Systolic(OutputStationary, FilterArray):
    """Rows are output pixels of a tile, columns output channels of a group."""

    kind: ClassVar[str] = "systolic"
    logic_per_mac: ClassVar[int] = 32
    """What chooses for the drain register. A 7 series' multiplier has an adder."""
    flip_flops_per_mac: ClassVar[int] = 50
    """Drain register and two operands of 9 bits."""

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
