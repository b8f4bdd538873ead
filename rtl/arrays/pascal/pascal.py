"""Pascal's array to a machine: each element owns an output, operands are multicast to lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mensa.rtl.arrays.array import Array
from mensa.rtl.commands import Mode
from mensa.rtl.setting import check_range

__all__ = ["Pascal"]


@dataclass(frozen=True, kw_only=True)
class Pascal(Array):
    """Rows are output pixels of a tile, columns output channels of a group.

    Attributes
    ----------
    rows, cols : int
        R and C, 1 to 128 each.
    """

    kind: ClassVar[str] = "pascal"
    logic_per_mac: ClassVar[int] = 32
    """What chooses for the drain register. A 7 series' multiplier has an adder."""
    flip_flops_per_mac: ClassVar[int] = 32
    """Drain register. The sum may be the multiplier's, and operands are those of a line."""

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
    def least_chunk(self) -> int:
        """The cycles in which the words of all rows come: each chunk waits for its last one."""
        return self.rows

    @property
    def spacing(self) -> int:
        """All R rows of a tile's results leave before those of the next."""
        return self.rows * self.pace

    @property
    def peak_macs_per_cycle(self) -> int:
        """A product an element."""
        return self.rows * self.cols

    def latency(self, mode: Mode) -> int:
        """Cycles from a tile's last beat to the last row of results.

        A beat waits R cycles for its chunk's words; then one each to the lines, the multiplier's
        registers, the product, the sum and the drain register, and R - 1 times the pace while the
        other rows shift down.
        """
        return self.rows + 5 + (self.rows - 1) * self.pace

    def group_channels(self, mode: Mode) -> int:
        """One a column in any mode."""
        return self.group

    def hardware(self) -> Any:
        """R x C elements, and the words and parameters that wait for their chunk."""
        from mensa.rtl.arrays.pascal.gateware import PascalArray

        return PascalArray(self)
