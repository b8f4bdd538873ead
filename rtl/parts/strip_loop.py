"""A strip-mined loop: over strips of a number of things, of which only the last may be smaller."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Mux, Signal, Value, signed

__all__ = ["StripLoop"]


class StripLoop:
    """Cuts a number of things into strips of a size, the last one being what is left.

    Whether the strip is the last one, and whether the next one will be, stands in registers, so
    that no comparison delays the loop. `restart` and `step` return the assignments to add to a
    clock domain.

    Parameters
    ----------
    bits : int
        Of the number of things.
    largest : int
        Things in a strip at most.
    name : str
        Prefix of its registers.

    Attributes
    ----------
    size : Signal
        Things in this strip.
    last : Value
        This strip is the last.
    """

    def __init__(self, bits: int, largest: int, name: str):
        self.size = Signal(range(largest + 1), name=f"{name}_size")
        self._beyond = Signal(signed(bits + 2), name=f"{name}_beyond")  # this strip, less one
        self._next_is_last = Signal(name=f"{name}_next_is_last")
        self.last: Value = self._beyond[-1]

    def restart(self, things: Value, whole: int) -> list[Any]:
        """Begin with the first strip of `things`, at least 1, cut into strips of `whole`."""
        return [
            self.size.eq(Mux(things <= whole, things, whole)),
            self._beyond.eq(things - (whole + 1)),
            self._next_is_last.eq(things <= 2 * whole),
        ]

    def step(self, whole: Value) -> list[Any]:
        """Go on to the next strip, `whole` being as it was at the loop's beginning."""
        return [
            self.size.eq(Mux(self._next_is_last, self._beyond + 1, whole)),
            self._beyond.eq(self._beyond - whole),
            self._next_is_last.eq(self._beyond < (whole << 1)),
        ]
