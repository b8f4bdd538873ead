"""Where a convolution can be cut in parts, and how long these take: for `cuts.py`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cached_property

from mensa.rtl.timing import SETUP_CYCLES, feed_cycles, room_cycles, start_cycle
from mensa.sched.lower.blocks import Rectangle, Region, largest
from mensa.sched.lower.convolution import Convolution, cut_runs
from mensa.sched.lower.cuts import Cut, Part
from mensa.sched.lower.mappings.choice import loops, mapper
from mensa.sched.lower.mappings.columns import LayerMapping, Piece, Run
from mensa.sched.lower.work import Span

__all__ = ["ConvolutionCuts"]

MOST_CUTS = 12
"""So many even cuts of a layer are looked at."""


class ConvolutionCuts:
    """The cuts of a layer (`Parts` of `mensa.sched.lower.cuts`).

    Hundreds of cuts are asked for, again and again with other results before them, and their parts
    are alike: what is worked out is kept.

    Parameters
    ----------
    layer : Convolution
        It has not been cut yet.
    """

    def __init__(self, layer: Convolution) -> None:
        self._layer = layer
        self._mapping = layer.best_mapping
        self._runs = layer.runs(self._mapping)
        self._blocks = layer.rectangles("", self._mapping, 1, False)
        self._ends: dict[int, int] = {}  # of what is seen above a row, or left of a column
        self._early: dict[Span, int] = {}
        self._parts: dict[tuple[int, Rectangle], Part] = {}  # of rectangles
        self._feeds: dict[tuple[Run, Piece, int, int], list[int]] = {}

    def cuts(self, results: Sequence[Span]) -> list[Cut]:
        """Cuts that are worth a look; see `Parts`."""
        if not self._can_be_cut:
            return []
        ordered = sorted({self._seen_early(span) for span in results} - {0})
        rows: dict[tuple[int, ...], None] = {}
        rows |= dict.fromkeys((at,) for at in (*self._even_cuts, *ordered))
        rows |= dict.fromkeys(itertools.combinations(ordered, 2))
        rows |= self._even_pairs
        cuts = [Cut(at) for at in rows]
        if len(self._runs) == 1:
            (run,) = self._runs
            cuts += [Cut((at,), True) for at in _even(len(run.groups), 1, MOST_CUTS)]
            if self._keeps:
                known = sorted({span.channels.last for span in results if span.channels})
                segment = run.groups[0].segment
                cuts += [Cut((1,), True, channels) for channels in known if channels < segment]
        return cuts

    def parts(self, cut: Cut | None) -> list[Part]:
        """What is to be done; see `Parts`."""
        layer, mapping = self._layer, self._mapping
        works = [
            (run, piece)
            for run in cut_runs(self._runs, cut)
            for piece, _ in layer.pieces_of(mapping, run, cut)
        ]
        if cut is not None and cut.of_groups:
            (rectangle,) = self._blocks
            return [self._part(0, rectangle, [work]) for work in works]
        rectangles = self._blocks
        if len(rectangles) == 1:
            rectangles = layer.cut_rectangle(rectangles[0], cut)
        made = []
        for number in range(layer.batch):
            for rectangle in rectangles:
                key = number, rectangle
                if key not in self._parts:
                    self._parts[key] = self._part(number, rectangle, works)
                made.append(self._parts[key])
        return made

    def _part(self, number: int, rectangle: Rectangle, works: Sequence[tuple[Run, Piece]]) -> Part:
        """Some works of a rectangle of the outputs of image `number`."""
        layer, mapping = self._layer, self._mapping
        source, target = layer.regions(number, rectangle)
        reads, writes = source.span, target.span
        if len(works) == 1:
            reads, writes = layer.spans(mapping, *works[0], source, target)
        feeds = [n for work in works for n in self._known(*work, rectangle, source)]
        cycles = sum(feeds) + (len(feeds) - 1) * self._between
        return Part(mapping.mode, len(feeds), cycles, reads, writes)

    @cached_property
    def _can_be_cut(self) -> bool:
        """Whether it is one block of one image, all of it on chip."""
        layer = self._layer
        return layer.batch == 1 and not layer.cutter.streams and len(self._blocks) == 1

    @cached_property
    def _units(self) -> tuple[int, int]:
        """Of what is cut: how many rows stay together, or columns of the only row; and how often
        that is."""
        layer = self._layer
        if layer.y.outputs > 1:
            return 1, layer.y.outputs
        return self._mapping.pixels, -(-layer.x.outputs // self._mapping.pixels)

    @cached_property
    def _even_cuts(self) -> list[int]:
        """Rows, or columns, that cut it evenly, and those whose parts fill the array."""
        layer, (unit, count) = self._layer, self._units
        places = dict.fromkeys(_even(count * unit, unit, MOST_CUTS))
        if self._mapping.mode.is_tiled:
            tile, packs = layer.machine.array.tile, -(-layer.x.outputs // self._mapping.pixels)
            step = tile if layer.y.outputs == 1 else tile // math.gcd(tile, packs)
            places |= dict.fromkeys(_even(count * unit, step * unit, MOST_CUTS))
        return list(places)

    @cached_property
    def _even_pairs(self) -> dict[tuple[int, ...], None]:
        """Two cuts, which are even."""
        unit, count = self._units
        return dict.fromkeys(itertools.combinations(_even(count * unit, unit, 4), 2))

    def _seen_early(self, result: Span) -> int:
        """Where a first part ends that sees no more than what of a result is there early."""
        if result not in self._early:
            unit, count = self._units
            sees = count > 1 and result.overlaps(self._whole)
            self._early[result] = (
                unit * largest(count - 1, lambda n: self._seen(n * unit) <= result.end)
                if sees
                else 0
            )
        return self._early[result]

    @cached_property
    def _whole(self) -> Span:
        """What the layer sees."""
        source, _ = self._layer.regions(0, self._blocks[0])
        assert source.span is not None
        return source.span

    def _seen(self, at: int) -> int:
        """The end of what is seen by the outputs above a row, or left of a column."""
        if at not in self._ends:
            source, _ = self._layer.regions(
                0, self._layer.cut_rectangle(self._blocks[0], Cut((at,)))[0]
            )
            assert source.span is not None
            self._ends[at] = source.span.end
        return self._ends[at]

    @cached_property
    def _keeps(self) -> bool:
        """Whether sums may be kept from some input channels to the others: one tap, few tiles."""
        layer, mapping = self._layer, self._mapping
        pixels = -(-layer.x.outputs // mapping.pixels) * layer.y.outputs
        one_tap = layer.plan.kernel_h == layer.plan.kernel_w == 1
        return mapping.mode.is_dense and one_tap and pixels <= layer.kept_packs

    @cached_property
    def _between(self) -> int:
        """Cycles without a step between a command of the layer and the next one."""
        mode = self._mapping.mode
        room = room_cycles(self._layer.machine, mode, mode)
        assert room is not None
        return start_cycle(0, room, ()) + SETUP_CYCLES

    def _known(self, run: Run, piece: Piece, rectangle: Rectangle, source: Region) -> list[int]:
        """Cycles in which the feed takes a step, of each command for a rectangle."""
        rows = rectangle.rows[1] - rectangle.rows[0]
        key = run, piece, rows, rectangle.width
        if key not in self._feeds:
            self._feeds[key] = list(
                _feeds(self._layer, self._mapping, run, piece, rectangle, source)
            )
        return self._feeds[key]


def _even(whole: int, unit: int, most: int) -> range:
    """About `most` places at most, at multiples of a unit, that cut a whole evenly."""
    return range(unit, whole, unit * max(1, whole // unit // most))


def _feeds(
    layer: Convolution,
    mapping: LayerMapping,
    run: Run,
    piece: Piece,
    rectangle: Rectangle,
    source: Region,
) -> Iterator[int]:
    """Cycles of each command's feed."""
    rows = rectangle.rows[1] - rectangle.rows[0]
    for left, right in layer.strips(mapping, run, rectangle, source):
        registers = loops(layer.plan, mapping, run, piece, rows, right - left, source.pixel_pitch)
        if mapping.mode in layer.machine.array.own_modes:
            registers |= mapper(layer.machine).own_registers(registers, source.pitch)
        if registers["PIXELS"]:
            yield feed_cycles(layer.machine, registers)
