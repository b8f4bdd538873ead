"""What arrays of R rows and C columns say of themselves, whatever flows between their elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mensa.rtl.arrays.array import Array
from mensa.rtl.setting import check_range

__all__ = ["Grid", "OutputStationary"]


@dataclass(frozen=True, kw_only=True)
class Grid(Array):
    """R x C elements, each with a multiplier; columns are output channels of a group.

    Attributes
    ----------
    rows, cols : int
        R and C, 1 to 128 each.
    """

    most_rows: ClassVar[int] = 128

    rows: int
    cols: int

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 1, self.most_rows)
        check_range("cols", self.cols, 1, 128)
        super().__post_init__()

    @property
    def edges(self) -> dict[str, int]:
        """R and C."""
        return {"rows": self.rows, "cols": self.cols}

    @property
    def chunk(self) -> int:
        """A byte for each row."""
        return self.rows

    @property
    def group(self) -> int:
        """A channel a column."""
        return self.cols

    @property
    def peak_macs_per_cycle(self) -> int:
        """A product an element."""
        return self.rows * self.cols


@dataclass(frozen=True, kw_only=True)
class OutputStationary(Grid):
    """Each element keeps the sum of one output; rows are output pixels of a tile."""

    @property
    def tile(self) -> int:
        """A pixel a row."""
        return self.rows

    @property
    def spacing(self) -> int:
        """All R rows of a tile's results leave before those of the next."""
        return self.rows * self.pace
