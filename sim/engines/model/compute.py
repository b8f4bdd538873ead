"""When compute commands start and end, and what the compute unit does in each cycle.

The rules are those of docs/architecture.md, "When things happen".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from mensa.rtl.commands import Token
from mensa.rtl.machine import Machine
from mensa.rtl.program import Command
from mensa.rtl.registers import CATEGORIES
from mensa.rtl.timing import (
    COMMANDS_IN_FLIGHT,
    SETUP_CYCLES,
    drain_cycles,
    feed_cycles,
    room_cycles,
    start_cycle,
)

__all__ = ["ComputeTiming"]

_CATEGORY = {name: index for index, name in enumerate(CATEGORIES)}
_COMPUTE, _FILL_DRAIN = _CATEGORY["compute"], _CATEGORY["fill_drain"]
_WAIT_COMMAND = _CATEGORY["wait_command"]

_WAITS = (
    (Token.PARAMETERS_READY, _CATEGORY["wait_parameters"]),
    (Token.ACTIVATIONS_READY, _CATEGORY["wait_activations"]),
    (Token.RESULTS_FREE, _CATEGORY["wait_store"]),
)
"""Which wait a missing token is, the first that is missing deciding."""


class _Timeline:
    """What the compute unit does, cycle by cycle, as runs of one category."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, int]] = []  # (first cycle, category), in order
        self._end = 0

    def until(self, cycle: int, category: int) -> None:
        """From where the timeline ends to before `cycle`, it is `category`."""
        if cycle > self._end:
            self._runs.append((self._end, category))
            self._end = cycle

    def counts(self, cycles: Iterable[int]) -> list[tuple[int, ...]]:
        """For rising `cycles`: how often each category came in cycles 0 to that one."""
        counts = [0] * len(CATEGORIES)
        answers = []
        ends = [first for first, _ in self._runs[1:]] + [self._end]
        run = 0
        at = 0
        for cycle in cycles:
            while run < len(ends) and ends[run] <= cycle + 1:
                counts[self._runs[run][1]] += ends[run] - at
                at = ends[run]
                run += 1
            now = list(counts)
            if run < len(ends):
                now[self._runs[run][1]] += cycle + 1 - at
            answers.append(tuple(now))
        return answers


class ComputeTiming:
    """The compute unit, command by command.

    The cycles from one command's start to the next one's belong to the feed, then to the tokens
    that the next one lacks, then to the drain of what is in flight.

    Parameters
    ----------
    machine : Machine
        Whose unit it is.

    Attributes
    ----------
    start, done : int
        Cycles of the latest command's two strobes; -1 before the first.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        self._timeline = _Timeline()
        self.start = self.done = -1
        self._fed = -1  # the latest command's last feed step
        self._mode: int | None = None  # and its mode
        self._dones = deque([-1] * COMMANDS_IN_FLIGHT)  # of as many latest commands

    def run(self, command: Command, handled: int, given: Mapping[Token, int]) -> None:
        """Run the next command.

        Parameters
        ----------
        command : Command
            Which.
        handled : int
            Cycle in which its GO was handled.
        given : mapping
            For each token that it waits for, the first cycle in which it is there.
        """
        mode = command["MODE"]
        room = 1 + self.done
        if self._mode is not None:
            after_feed = room_cycles(self._machine, self._mode, mode)
            if after_feed is not None:
                room = max(self._fed + after_feed, 1 + self._dones[0])
        self.start = start_cycle(handled, room, given.values())

        self.wait(handled + 1)
        for token, category in _WAITS:
            self._timeline.until(given.get(token, 0), category)
        self.wait(self.start + 1)
        self._timeline.until(self.start + 1 + SETUP_CYCLES, _FILL_DRAIN)

        self._fed = self.start + SETUP_CYCLES + feed_cycles(self._machine, command.registers)
        self._timeline.until(self._fed + 1, _COMPUTE)
        self.done = self._fed + drain_cycles(self._machine, mode, command["WIDTH"])
        self._dones.popleft()
        self._dones.append(self.done)
        self._mode = mode

    def wait(self, cycle: int) -> None:
        """Until before `cycle` no token is missing."""
        self._timeline.until(min(cycle, self.done + 1), _FILL_DRAIN)
        self._timeline.until(cycle, _WAIT_COMMAND)

    def counts(self, cycles: Iterable[int]) -> list[tuple[int, ...]]:
        """For rising `cycles`: how often each category came in cycles 0 to that one."""
        return self._timeline.counts(cycles)
