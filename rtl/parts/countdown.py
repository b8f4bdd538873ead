"""A loop counter whose last turn is a register's sign, so that no comparison delays the loop."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Mux, Signal, Value, ValueLike, signed

__all__ = ["Countdown"]


class Countdown:
    """Counts the turns of a loop of N turns.

    `restart` and `step` return the assignment to add to a clock domain.

    Parameters
    ----------
    bits : int
        Of N.
    name : str
        Of its register.

    Attributes
    ----------
    last : Value
        This turn is the last; defined up to it. In the cycle after ``restart(1)`` it is high.
    ending : Value
        This turn or the next one is the last. Unlike `last` a comparison.
    """

    def __init__(self, bits: int, name: str):
        self._left = Signal(signed(bits + 1), name=name)  # turns after the next one
        self.last: Value = self._left[-1]
        self.ending: Value = self.last | ~self._left.any()

    def restart(self, turns: ValueLike) -> Any:
        """Begin a loop of `turns`, at least 1."""
        return self._left.eq(Value.cast(turns) - 2)

    def step(self, condition: ValueLike = 1) -> Any:
        """Go on to the next turn if `condition` holds."""
        return self._left.eq(Mux(condition, self._left - 1, self._left))
