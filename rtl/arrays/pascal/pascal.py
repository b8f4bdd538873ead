"""Pascal's array to a machine: each element owns an output, operands are multicast to lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mensa.rtl.arrays.grid import OutputStationary
from mensa.rtl.commands import Mode

__all__ = ["Pascal"]


@dataclass(frozen=True, kw_only=True)
class Pascal(OutputStationary):
    """Rows are output pixels of a tile, columns output channels of a group."""

    kind: ClassVar[str] = "pascal"
    logic_per_mac: ClassVar[int] = 32
    """What chooses for the drain register. A 7 series' multiplier has an adder."""
    flip_flops_per_mac: ClassVar[int] = 32
    """Drain register. The sum may be the multiplier's, and operands are those of a line."""

    @property
    def least_chunk(self) -> int:
        """The cycles in which the words of all rows come: each chunk waits for its last one."""
        return self.rows

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
