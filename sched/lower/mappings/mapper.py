"""What an array's own mappings are: an interface, and what an array without any has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mensa.golden import ConvPlan
from mensa.rtl.commands import Mode
from mensa.rtl.machine import Machine
from mensa.sched.lower.mappings.columns import LayerMapping
from mensa.sched.lower.work import Registers

__all__ = ["Mapper"]


class Mapper:
    """The mappings that a machine's array has beside tiles, which every array takes; here none.

    Parameters
    ----------
    machine : Machine
        Whose array it is.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def candidates(
        self, plan: ConvPlan, most_pixels: Callable[[Mode], int]
    ) -> Iterator[LayerMapping]:
        """Mappings of a layer in modes of the array's own, the simplest first.

        Parameters: `most_pixels` says how many output pixels a pack may be in a mode.
        """
        return iter(())

    def own_registers(self, registers: Registers, pitch: int) -> dict[str, int]:
        """The registers that a command in a mode of the array's own needs beside its loops.

        Parameters: those of the loops, and the bytes from an input row to the next.
        """
        raise NotImplementedError(f"{self.machine.array.kind} has no modes of its own")

    def strips(
        self, packs: int, loops: Callable[[int], Registers]
    ) -> tuple[tuple[int, ...], int] | None:
        """The widths of strips of a layer in a mode of the array's own, with the fewest cycles.

        Parameters
        ----------
        packs : int
            Packs in an output row, at least 1.
        loops : callable
            The command's registers for a strip of so many packs, apart from addresses and those of
            `own_registers`.

        Returns
        -------
        tuple of int, int
            Widths from left to right; cycles from the first strip's first step to the last one's
            last.
        None
            If not even one pack can be.
        """
        raise NotImplementedError(f"{self.machine.array.kind} has no modes of its own")
