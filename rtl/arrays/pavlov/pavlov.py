"""Pavlov's array to a machine: every element owns an output channel and holds its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mensa.rtl.arrays.grid import Grid
from mensa.rtl.commands import Mode
from mensa.rtl.setting import check_power_of_two, check_range

__all__ = ["Pavlov"]


@dataclass(frozen=True, kw_only=True)
class Pavlov(Grid):
    """Each element computes an output channel of one pixel; a group has R x C channels.

    Element (r, c) has channel r C + c. Its registers hold parameters, one for each byte of a
    reduction: they are the memory that the load unit writes where other machines have a parameter
    buffer.

    Attributes
    ----------
    rows, cols : int
        R and C, powers of two, so that a byte's address says whose register it is for.
    registers : int
        Bytes of parameters that an element holds, a power of two from 4 to 4,096.
    accumulators : int
        Pixels whose sums an element holds from one command to the next (A), 2 to 256.
    post_lanes : int or None
        L; None gives C.
    """

    kind: ClassVar[str] = "pavlov"
    logic_per_mac: ClassVar[int] = 32
    """The adder, which takes its product or a kept sum besides."""
    flip_flops_per_mac: ClassVar[int] = 32
    """The sum. Operands are the multiplier's, parameters and kept sums those of memories."""

    registers: int = 512
    accumulators: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_power_of_two("rows", self.rows, 1, self.most_rows)
        check_power_of_two("cols", self.cols, 1, 128)
        check_range("rows x cols", self.group, 1, 256)
        check_power_of_two("registers", self.registers, 4, 4096)
        check_range("accumulators", self.accumulators, 2, 256)

    @property
    def group(self) -> int:
        """A channel an element."""
        return self.rows * self.cols

    @property
    def lanes(self) -> int:
        """L."""
        return self.cols if self.post_lanes is None else self.post_lanes

    @property
    def tile(self) -> int:
        """One pixel, whose bytes go to all elements, one a cycle."""
        return 1

    @property
    def kept_tiles(self) -> int:
        """A pixels."""
        return self.accumulators

    @property
    def store_bytes(self) -> int:
        """The registers of all elements."""
        return self.group * self.registers

    @property
    def store_setting(self) -> str:
        """Registers of an element."""
        return "registers"

    @property
    def spacing(self) -> int:
        """A pixel's results leave before those of the next, be they of four bytes, and two cycles
        more, in which is looked up where they go: so they can stay in one register meanwhile."""
        return 2 * self.pace + 2

    link_bytes_per_mac: ClassVar[int] = 1
    """The activation passes the PE; the parameter is there."""

    @property
    def register_bytes_per_mac(self) -> float:
        """The activation and the sum; the parameter's registers are counted as a memory."""
        return 5.0

    @property
    def kept_bank_bytes(self) -> int:
        """A PE's accumulators."""
        return 4 * self.accumulators

    @property
    def parameter_bank_bytes(self) -> int:
        """A PE's registers."""
        return self.registers

    def latency(self, mode: Mode) -> int:
        """Cycles from a pixel's last beat to its results: to what all elements share, to the
        multiplier's registers, the product, the sum."""
        return 4

    def group_channels(self, mode: Mode) -> int:
        """One an element in any mode."""
        return self.group

    def hardware(self) -> Any:
        """R x C elements and the accumulators."""
        from mensa.rtl.arrays.pavlov.gateware import PavlovArray

        return PavlovArray(self)
