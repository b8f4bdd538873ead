"""Where layers are cut, so that the next one begins while the first one's results drain.

A command that reads what one before it writes waits until that one's results are in the buffer,
hundreds of cycles after its feed's last step. A layer in two parts lets the next one's first begin
while its own second is fed; but a window sees rows of both, and a filter passes these twice.
So which cuts pay depends on the layers before and behind: all that are worth a look are followed
from layer to layer, by the closed forms of `mensa.rtl.timing`, and those that end first are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mensa.rtl.commands import Mode
from mensa.rtl.machine import Machine
from mensa.rtl.timing import (
    COMMANDS_IN_FLIGHT,
    SETTLED_AHEAD,
    SETUP_CYCLES,
    drain_cycles,
    room_cycles,
    start_cycle,
)
from mensa.sched.lower.work import Span

__all__ = ["Cut", "Part", "Parts", "choose_cuts"]

FOLLOWED = 30
"""Ways of cutting the layers so far that are followed."""

COMMAND_WORDS = 24
"""About so many words say what a command of a layer does otherwise than the one before."""


@dataclass(frozen=True)
class Cut:
    """Where a layer is cut: before these output rows (of a single row: columns), or column groups.

    If `reduced` is not 0, the first part is one column group whose sums of so many input channels
    are kept in the array until the others are there.
    """

    at: tuple[int, ...]
    of_groups: bool = False
    reduced: int = 0


@dataclass(frozen=True)
class Part:
    """Commands of a layer that follow each other.

    Attributes
    ----------
    mode : Mode
        Theirs.
    commands, cycles : int
        How many, and from the first one's first step to the last one's last.
    reads, writes : Span or None
        Of the activation buffer; None for what is streamed.
    """

    mode: Mode
    commands: int
    cycles: int
    reads: Span | None
    writes: Span | None


class Parts(Protocol):
    """A layer that can be cut."""

    def cuts(self, results: Sequence[Span]) -> list[Cut]:
        """Cuts that are worth a look if `results` are written at times of their own."""

    def parts(self, cut: Cut | None) -> list[Part]:
        """What is to be done after a cut, or without one, in order."""


@dataclass(frozen=True)
class _Way:
    """One way of cutting the layers so far, and when their commands end.

    Attributes
    ----------
    mode : Mode or None
        Of the latest command.
    start, fed : int
        Its start, and its last feed step.
    ends : tuple of int
        Of as many commands as may be in flight, the latest last.
    results : tuple of (Span, int)
        What parts have written, and when; those of the latest layer last.
    cuts : tuple of Cut or None
        One for each layer.
    first : int
        When the first part of the latest layer ended.
    """

    mode: Mode | None = None
    start: int = 0
    fed: int = 0
    ends: tuple[int, ...] = (0,) * COMMANDS_IN_FLIGHT
    results: tuple[tuple[Span, int], ...] = ()
    cuts: tuple[Cut | None, ...] = ()
    first: int = 0

    @property
    def end(self) -> int:
        """When all is done."""
        return self.ends[-1]

    def after(self, machine: Machine, part: Part) -> _Way:
        """The way with a part more."""
        settled = [
            1 + end - SETTLED_AHEAD
            for span, end in self.results
            if part.reads is not None and span.overlaps(part.reads)
        ]
        room = self.ends[-1] + 1
        after_feed = None if self.mode is None else room_cycles(machine, self.mode, part.mode)
        if after_feed is not None:
            room = max(self.fed + after_feed, self.ends[0] + 1)
        handled = self.start + COMMAND_WORDS
        start = start_cycle(handled, room, settled)
        fed = start + SETUP_CYCLES + part.cycles
        end = fed + drain_cycles(machine, part.mode)
        results = self.results if part.writes is None else (*self.results, (part.writes, end))
        ends = (self.ends + (end,) * part.commands)[-COMMANDS_IN_FLIGHT:]
        return replace(self, mode=part.mode, start=start, fed=fed, ends=ends, results=results)


def choose_cuts(machine: Machine, layers: Sequence[Parts | None]) -> list[Cut | None]:
    """A cut for every layer, or None.

    Parameters: the machine, and the layers in order; None for one whose commands run alone.
    """
    ways = [_Way()]
    for layer in layers:
        if layer is None:
            best = min(ways, key=lambda way: way.end)
            ways = [_Way(cuts=(*best.cuts, None))]
        else:
            ways = _followed(list(_cut(machine, layer, ways)))
    return list(min(ways, key=lambda way: way.end).cuts)


def _cut(machine: Machine, layer: Parts, ways: Sequence[_Way]) -> Iterator[_Way]:
    """The ways with the layer, in whole and cut."""
    parts_of: dict[Cut | None, list[Part]] = {}
    for way in ways:
        known = tuple((span, end) for span, end in way.results if end > way.fed)
        for cut in (None, *layer.cuts([span for span, _ in known])):
            if cut not in parts_of:
                parts_of[cut] = layer.parts(cut)
            longer = replace(way, results=known, cuts=(*way.cuts, cut))
            first = None
            for part in parts_of[cut]:
                longer = longer.after(machine, part)
                first = longer.end if first is None else first
            yield replace(longer, first=first or 0)


def _followed(ways: Sequence[_Way]) -> list[_Way]:
    """The best way to each cut of the latest layer, of these the best."""
    best: dict[Cut | None, _Way] = {}
    for way in ways:
        cut = way.cuts[-1]
        if cut not in best or way.end < best[cut].end:
            best[cut] = way
    return sorted(best.values(), key=lambda way: way.end + way.first)[:FOLLOWED]
