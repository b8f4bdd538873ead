"""Which results are in the activation buffer for certain, whatever the time that commands take."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from mensa.rtl.commands import Mode, Token, Unit, Width
from mensa.rtl.program import Command

__all__ = ["CommandOrder"]

_VECTOR = frozenset(mode for mode in Mode if mode.is_vector)


class CommandOrder:
    """Follows the tokens of programs, and what each unit knows by them to be done.

    Compute commands overlap, so one may read where an earlier one has not written yet. A unit knows
    a compute command to be done by a token that this one or a later one gave, at first or at second
    hand, and the compute unit also because those in a vector mode wait and are waited for.

    For each command in program order: `start`, then `read` and `written` for what it does to the
    activation buffer, then `done`.

    Parameters
    ----------
    activation_bytes : int
        Size of the activation buffer.
    """

    def __init__(self, activation_bytes: int) -> None:
        self._writer = np.zeros(activation_bytes, np.int32)  # compute command that wrote a byte
        self._number = 0  # of the latest compute command
        self.begin()

    def begin(self) -> None:
        """Begin a program: all commands of the one before are done."""
        self._tokens: dict[Token, deque[int]] = {token: deque() for token in Token}
        self._known = dict.fromkeys(Unit, self._number)
        self._long = self._number  # the latest compute command whose results have four bytes

    def start(self, command: Command) -> Token | None:
        """Take what the command waits for. Returns: a token that nobody has given, if any."""
        unit = command.unit
        for token in sorted(command.wait):
            if not self._tokens[token]:
                return token
            self._known[unit] = max(self._known[unit], self._tokens[token].popleft())
        if unit is Unit.COMPUTE:
            if command["MODE"] in _VECTOR:
                self._known[unit] = self._number
            self._number += 1
        return None

    def done(self, command: Command) -> None:
        """Give what the command signals."""
        if command.unit is Unit.COMPUTE and command["MODE"] in _VECTOR:
            self._known[Unit.COMPUTE] = self._number
        if command.unit is Unit.COMPUTE and command["WIDTH"] == Width.INT32:
            self._long = self._number
        known = self._number if command.unit is Unit.COMPUTE else self._known[command.unit]
        for token in command.signal:
            self._tokens[token].append(known)

    def crowds(self, command: Command) -> bool:
        """Whether a command's results may come while long ones are written, which takes longer."""
        return (
            command.unit is Unit.COMPUTE
            and (command["PIXELS"] > 1 or command["MODE"] == Mode.FILTER)
            and self._known[Unit.COMPUTE] < self._long
        )

    def written(self, unit: Unit, addresses: npt.NDArray[np.int64]) -> None:
        """Note that the command writes these bytes."""
        self._writer[addresses] = self._number if unit is Unit.COMPUTE else 0

    def read(self, unit: Unit, addresses: npt.NDArray[np.int64]) -> int | None:
        """Return one of the addresses that the command's unit doesn't know to be written."""
        if self._known[unit] == self._number - (unit is Unit.COMPUTE):
            return None
        late = self._writer[addresses] > self._known[unit]
        return int(addresses[late][0]) if late.any() else None
