"""Where layers are cut, so that the next one begins while the first one's results drain.

A command that reads what one before it writes waits until that one's results are in the buffer,
hundreds of cycles after its feed's last step. A layer in two parts lets the next one's first begin
while its own second is fed; but a window sees rows of both, and a filter passes these twice.
So which cuts pay depends on the layers before and behind: all that are worth a look are followed
from layer to layer, by the closed forms of `mensa.rtl.timing`, and those that end first are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mensa.rtl.commands import Mode
from mensa.rtl.machine import Machine
from mensa.rtl.timing import (
    COMMANDS_IN_FLIGHT,
    SETTLED_AHEAD,
    SETUP_CYCLES,
    drain_cycles,
    room_cycles,
)
from mensa.sched.lower.work import Span

__all__ = ["Cut", "Part", "Parts", "choose_cuts"]

Numbers = npt.NDArray[np.int64]

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
        """What is to be done after a cut, or without one, in order: something, in one mode."""


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
        What parts have written that may not be there yet, and when it is.
    cuts : tuple of Cut or None
        One for each layer.
    """

    mode: Mode | None = None
    start: int = 0
    fed: int = 0
    ends: tuple[int, ...] = (0,) * COMMANDS_IN_FLIGHT
    results: tuple[tuple[Span, int], ...] = ()
    cuts: tuple[Cut | None, ...] = ()

    @property
    def end(self) -> int:
        """When all is done."""
        return self.ends[-1]


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
            ways = _followed(machine, layer, ways)
    return list(min(ways, key=lambda way: way.end).cuts)


def _followed(machine: Machine, layer: Parts, ways: Sequence[_Way]) -> list[_Way]:
    """The best way to each cut of a layer more, of these the best."""
    numbers: dict[Cut | None, int] = {}
    tries = [  # the way before, and the cut
        (before, numbers.setdefault(cut, len(numbers)))
        for before, way in enumerate(ways)
        for cut in (None, *layer.cuts([span for span, _ in way.results]))
    ]
    cuts = list(numbers)
    parts = [layer.parts(cut) for cut in cuts]
    times = _Times.of(machine, ways, parts, np.array(tries))
    # For each cut the first of those that end first; of these, whose last and first parts end soon.
    chosen: dict[int, int] = {}
    for each in np.argsort(times.ends[:, -1], kind="stable").tolist():
        chosen.setdefault(tries[each][1], each)
    late = times.ends[:, -1] + times.part_ends[:, 0]
    kept = sorted((chosen[cut] for cut in range(len(cuts))), key=late.__getitem__)[:FOLLOWED]
    return [
        times.way(each, ways[before], cuts[cut], parts[cut])
        for each in kept
        for before, cut in [tries[each]]
    ]


@dataclass(frozen=True, eq=False)
class _Times:
    """When the commands of many tries start and end, each a way and a cut of the layer behind it.

    Attributes
    ----------
    start, fed : int64[tries]
        As of `_Way`.
    ends : int64[tries, COMMANDS_IN_FLIGHT]
        As of `_Way`.
    part_ends : int64[tries, most parts]
        When each part of the layer ends.
    """

    start: Numbers
    fed: Numbers
    ends: Numbers
    part_ends: Numbers

    @classmethod
    def of(
        cls,
        machine: Machine,
        ways: Sequence[_Way],
        parts: Sequence[Sequence[Part]],
        tries: Numbers,
    ) -> _Times:
        """Of `tries` [tries, 2]: numbers of one of `ways` and one of the cuts, with its `parts`."""
        before, cut = tries.T
        mode, latest = parts[0][0].mode, ways[0].mode
        drain = drain_cycles(machine, mode)
        start = np.array([way.start for way in ways])[before]
        fed = np.array([way.fed for way in ways])[before]
        ends = np.array([way.ends for way in ways])[before]
        count, commands, cycles = _sizes(parts)
        settled = _settled(ways, parts)
        part_ends = np.zeros((len(tries), count.max()), np.int64)
        for number in range(count.max()):
            there = (number < count[cut])[:, None]
            after_feed = None if latest is None else room_cycles(machine, latest, mode)
            room = ends[:, -1] + 1
            if after_feed is not None:
                room = np.maximum(fed + after_feed, ends[:, 0] + 1)
            tokens = settled[before, cut, number]
            handled = start + COMMAND_WORDS
            starts = 1 + np.maximum(handled + 1, np.maximum(room, tokens))
            feds = starts + SETUP_CYCLES + cycles[cut, number]
            part_ends[:, number] = feds + drain
            later = np.minimum(
                np.arange(COMMANDS_IN_FLIGHT) + commands[cut, number, None], COMMANDS_IN_FLIGHT
            )
            longer = np.hstack([ends, part_ends[:, number, None]])
            ends = np.where(there, np.take_along_axis(longer, later, 1), ends)
            start = np.where(there[:, 0], starts, start)
            fed = np.where(there[:, 0], feds, fed)
            latest = mode
        return cls(start, fed, ends, part_ends)

    def way(self, number: int, before: _Way, cut: Cut | None, parts: Sequence[Part]) -> _Way:
        """A try as a way."""
        fed = int(self.fed[number])
        ends = self.part_ends[number].tolist()
        written = [(p.writes, end) for p, end in zip(parts, ends, strict=False) if p.writes]
        return _Way(
            mode=parts[-1].mode,
            start=int(self.start[number]),
            fed=fed,
            ends=tuple(self.ends[number].tolist()),
            results=tuple((span, end) for span, end in (*before.results, *written) if end > fed),
            cuts=(*before.cuts, cut),
        )


def _sizes(parts: Sequence[Sequence[Part]]) -> tuple[Numbers, Numbers, Numbers]:
    """How many parts [cuts], and commands and cycles of each [cuts, most parts]."""
    count = np.array([len(each) for each in parts])
    commands, cycles = np.zeros((2, len(parts), count.max()), np.int64)
    for number, each in enumerate(parts):
        commands[number, : len(each)] = [part.commands for part in each]
        cycles[number, : len(each)] = [part.cycles for part in each]
    return count, commands, cycles


def _settled(ways: Sequence[_Way], parts: Sequence[Sequence[Part]]) -> Numbers:
    """The first cycle in which all is there that a part reads [ways, cuts, most parts]; or 0."""
    spans = dict.fromkeys(span for way in ways for span, _ in way.results)
    reads = dict.fromkeys(part.reads for each in parts for part in each if part.reads)
    first = np.zeros((len(ways), len(reads) + 1), np.int64)  # of nothing, which comes last: 0
    if spans and reads:
        overlap = _overlap(list(spans), list(reads))
        place = {span: number for number, span in enumerate(spans)}
        for number, way in enumerate(ways):
            for span, end in way.results:
                there = 1 + end - SETTLED_AHEAD
                first[number, :-1] = np.maximum(first[number, :-1], there * overlap[place[span]])
    read = {span: number for number, span in enumerate(reads)}
    numbers = np.full((len(parts), max(map(len, parts))), len(reads))
    for number, each in enumerate(parts):
        numbers[number, : len(each)] = [
            len(reads) if part.reads is None else read[part.reads] for part in each
        ]
    return first[:, numbers]


def _overlap(spans: Sequence[Span], others: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """`Span.overlaps` of each and each [spans, others]."""
    (start, end, tensor, pixel, first, last), theirs = (
        np.array(
            [
                (s.start, s.end, c.tensor, c.pixel_bytes, c.first, c.last)
                if (c := s.channels)
                else (s.start, s.end, -1, -1, -1, -1)
                for s in each
            ]
        ).T
        for each in (spans, others)
    )
    touch = (start[:, None] < theirs[1]) & (theirs[0] < end[:, None])
    same = (tensor[:, None] == theirs[2]) & (pixel[:, None] == theirs[3]) & (tensor[:, None] >= 0)
    apart = (last[:, None] <= theirs[4]) | (theirs[5] <= first[:, None])
    overlap: npt.NDArray[np.bool_] = touch & ~(same & apart)
    return overlap
