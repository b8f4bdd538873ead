"""Jacquard's array to a machine: parameters stay, a column's products are added in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mensa.rtl.arrays.filter.filter_array import FilterArray
from mensa.rtl.arrays.filter.filter_stream import Lines
from mensa.rtl.arrays.grid import Grid
from mensa.rtl.commands import Mode
from mensa.rtl.setting import MachineError, check_power_of_two, check_range

__all__ = ["LINES", "Jacquard"]

LINES = 4
"""Input rows that a filter keeps, so that a kernel of five rows is one: each has 9 bits of an
accumulator, which has 32 bits, or 36 as a block RAM has."""


@dataclass(frozen=True, kw_only=True)
class Jacquard(Grid, FilterArray):
    """Rows are bytes of a chunk, or taps of a filter; columns output channels of a group.

    Attributes
    ----------
    rows, cols : int
        R, 1 to 64, and C, 1 to 128.
    accumulators : int
        Pixels whose sums the accumulator memory holds (T), 2 to 256; words of an input row that a
        filter may have.
    reload_rows : int or None
        Rows that get their parameters in one cycle (W): R, which None gives, or a power of two that
        divides it. They are read as a word of W x C bytes.
    """

    kind: ClassVar[str] = "jacquard"
    logic_per_mac: ClassVar[int] = 20
    """The adder of a tree and what chooses an element's activation."""
    flip_flops_per_mac: ClassVar[int] = 54
    """Two activations, two parameters, the operands of the multiplier, 9 bits each."""

    most_rows: ClassVar[int] = 64

    accumulators: int = 64
    reload_rows: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("accumulators", self.accumulators, 2, 256)
        check_range("reload_rows", self.parameter_rows, 1, self.rows, ", the rows")
        if self.parameter_rows != self.rows:
            check_power_of_two("reload_rows", self.parameter_rows, 1, self.rows)
            if self.rows % self.parameter_rows:
                raise MachineError(
                    f"reload_rows must divide the {self.rows} rows, not {self.parameter_rows}"
                )

    @property
    def tile(self) -> int:
        """T pixels, whose parameters stay for as many cycles."""
        return self.accumulators

    @property
    def parameter_rows(self) -> int:
        """W."""
        return self.rows if self.reload_rows is None else self.reload_rows

    @property
    def built(self) -> dict[str, int]:
        """Lanes, and the rows that are reloaded at once."""
        return {**super().built, "reload_rows": self.parameter_rows}

    @property
    def least_chunk(self) -> int:
        """The beats of a whole chunk: as long its parameters wait for the last of them."""
        return self.rows // self.parameter_rows

    @property
    def leaves_by_pixel(self) -> bool:
        """The accumulator of a pixel is read for its last word anyhow."""
        return True

    @property
    def spacing(self) -> int:
        """None: results leave as words come."""
        return 1

    @property
    def clearance(self) -> int:
        """A filter's first word, two steps after its first, finds all sums out of the memory."""
        return max(1, self.levels + self.least_chunk - 4)

    @property
    def tap_places(self) -> int:
        """Two for each row of elements: one for the parameters, one where those that come wait."""
        return 2 * self.rows

    @property
    def lines(self) -> Lines:
        """In the accumulator memory."""
        return Lines(LINES, self.accumulators, self.rows)

    @property
    def levels(self) -> int:
        """Additions that follow each other until R products are one sum."""
        return (self.rows - 1).bit_length()

    link_bytes_per_mac: ClassVar[int] = 5
    """The activation passes the PE, and a sum of four bytes goes down the adder tree."""

    @property
    def register_bytes_per_mac(self) -> float:
        """The activation and the product, while the parameter stays; and once for R products their
        sum, which is read from the accumulator memory and written back."""
        return 3.0 + 8.0 / self.rows

    def latency(self, mode: Mode) -> int:
        """Cycles from a pixel's last word, or a filter's last beat, to its sums.

        A word waits until the last beat of its parameters is there, and is then in the elements'
        registers; a filter's was read from the memory meanwhile. Then two to the multiplier's
        registers and the product, the tree, the accumulator.
        """
        wait = 2 if mode == Mode.FILTER else self.least_chunk
        return wait + 3 + self.levels

    def hardware(self) -> Any:
        """R x C elements, adder trees and the accumulator memory."""
        from mensa.rtl.arrays.jacquard.gateware import JacquardArray

        return JacquardArray(self)
