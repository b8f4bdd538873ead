"""Lowering convolution, depthwise convolution and fully connected layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden import ConvPlan
from mensa.rtl.commands import Keep, compute_registers
from mensa.rtl.machine import Machine
from mensa.sched.lower.blocks import (
    Axis,
    Cutter,
    Image,
    Rectangle,
    Region,
    channel_ranges,
)
from mensa.sched.lower.buffer_plan import BufferPlan
from mensa.sched.lower.cuts import Cut
from mensa.sched.lower.mappings.choice import (
    choose_mapping,
    loops,
    mapper,
    quicker_plan,
    strips_of,
    taps,
    whole,
)
from mensa.sched.lower.mappings.columns import (
    ColumnGroup,
    LayerMapping,
    Piece,
    Run,
    column_runs,
    parameter_words,
    pieces,
    put_constants,
)
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.requantisation import Requantisation, requantisation
from mensa.sched.lower.residency import Demand, ParameterPlan
from mensa.sched.lower.work import Block, Compute, Home, LayerSite, ParameterSet, Phase, Span


def convolution_parts(
    plan: ConvPlan,
    site: LayerSite,
    sources: Sequence[Home],
    targets: Sequence[Home],
    spread: tuple[int, int] | None = None,
    words: int | None = None,
) -> list[Convolution]:
    """The layer, or ranges of its output channels where a pixel of all of them fits no slot.

    Parameters: `spread` and `words` as of `Convolution.of`. Raises: LoweringError if not even a
    single pixel of few channels fits.
    """
    machine, layer = site.machine, site.layer
    source, target = sources[0], targets[0]

    @cache
    def part(first: int, last: int) -> Convolution:
        return Convolution.of(
            plan, machine, site.buffers, source, target, first, last, spread, words
        )

    ranges = [(0, plan.output_shape[3])]
    if plan.groups == 1:  # else a range of outputs would not see a range of inputs
        unit = machine.array.group // plan.depth_multiplier * plan.depth_multiplier
        ranges = channel_ranges(
            layer,
            plan.output_shape[3],
            max(unit, plan.depth_multiplier),
            lambda first, last: part(first, last).cutter,
        )
    parts = [part(first, last) for first, last in ranges]
    for each in parts:
        each.cutter.check(layer)
    return parts


def cut_runs(runs: list[Run], cut: Cut | None) -> list[Run]:
    """The runs, the only one before and behind a cut between its groups."""
    if cut is None or not cut.of_groups:
        return runs
    (run,) = runs
    return [run.part(*part) for part in _ranges(cut.at, 0, len(run.groups))]


def _ranges(at: tuple[int, ...], first: int, last: int) -> list[tuple[int, int]]:
    """What is before, between and behind some places of a range; nothing that is empty."""
    edges = itertools.pairwise((first, *at, last))
    return [(start, end) for start, end in edges if start < end]


def _channels(plan: ConvPlan, first: int, last: int) -> ConvPlan:
    """The plan of some neighbouring output channels."""
    if last - first == plan.output_shape[3]:
        return plan
    depthwise = plan.kind == "depthwise"
    inputs = (last - first) // plan.depth_multiplier if depthwise else plan.input_shape[3]
    return replace(
        plan,
        input_shape=(*plan.input_shape[:3], inputs),
        output_shape=(*plan.output_shape[:3], last - first),
        weights=plan.weights[..., first:last] if depthwise else plan.weights[first:last],
        bias=plan.bias[first:last],
        multiplier=plan.multiplier[first:last],
        shift=plan.shift[first:last],
        scale=plan.scale[first:last],
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """One compute command of a parameter set: column groups, and the part of their reduction.

    Its words begin `first_byte` bytes behind the set's first.
    """

    run: Run
    piece: Piece
    keep: Keep
    first_byte: int
    first_entry: int


@dataclass(frozen=True, eq=False)
class _Set:
    """Parameters that are loaded together, and what is computed from them."""

    content: ParameterSet
    jobs: tuple[_Job, ...]


@dataclass(frozen=True, eq=False)
class Convolution:
    """A layer, or some of its output channels, on one machine.

    Its parameters are its plan's weights, unless `words` says where in memory they will be, one
    group's words after another's.
    """

    plan: ConvPlan
    machine: Machine
    y: Axis
    x: Axis
    batch: int
    inputs: Image  # of the whole batch, one below the other
    outputs: Image
    cutter: Cutter
    words: int | None = None
    cut: Cut | None = None

    @classmethod
    def of(
        cls,
        plan: ConvPlan,
        machine: Machine,
        buffers: BufferPlan,
        source: Home,
        target: Home,
        first: int,
        last: int,
        spread: tuple[int, int] | None = None,
        words: int | None = None,
    ) -> Convolution:
        """Output channels `first` to `last` - 1 of a plan.

        Parameters: `spread` is the bytes from one output pixel to the next and from row to row,
        where others lie between them; `words` is the address of the words of all channels, where
        these are computed.
        """
        input_bytes, output_bytes = plan.input_shape[3], plan.output_shape[3]
        line_bytes = 0
        if spread is not None:
            output_bytes, line_bytes = spread
        if plan.kind == "depthwise":
            source = replace(source, address=source.address + first // plan.depth_multiplier)
        target = replace(target, address=target.address + first)
        if words is not None:
            words += first * plan.weights[0].size
        if spread is None and words is None and last - first == plan.output_shape[3]:
            plan = quicker_plan(plan, machine)
            input_bytes, output_bytes = plan.input_shape[3], plan.output_shape[3]
        else:
            plan = _channels(plan, first, last)
        batch, height, width, channels = plan.input_shape
        _, out_height, out_width, out_channels = plan.output_shape
        y = Axis(height, out_height, plan.kernel_h, plan.stride_h, plan.dilation_h, plan.pad_top)
        x = Axis(width, out_width, plan.kernel_w, plan.stride_w, plan.dilation_w, plan.pad_left)
        one_tap = plan.kernel_h == plan.kernel_w == 1
        if plan.input_shape[:3] == plan.output_shape[:3] and one_tap and spread is None:
            # Pixels don't see their neighbours: all of them form one row. (A stride may be there,
            # where a side has one pixel.)
            plan = replace(plan, stride_h=1, stride_w=1)
            pixels = batch * height * width
            batch, y, x = 1, Axis(1, 1), Axis(pixels, pixels)
        inputs = Image(source, batch * y.inputs, x.inputs, channels, input_bytes)
        rows = batch * y.outputs
        outputs = Image(target, rows, x.outputs, out_channels, output_bytes, line_bytes)
        cutter = Cutter(machine, buffers, y, x, inputs, outputs)
        return cls(plan, machine, y, x, batch, inputs, outputs, cutter, words)

    @cached_property
    def factors(self) -> Requantisation:
        """Multipliers and shifts."""
        factors = requantisation(self.plan, any_weights=self.words is not None)
        assert factors is not None, "such a layer is not given to the accelerator"
        return factors

    def runs(self, mapping: LayerMapping) -> list[Run]:
        """The outputs on the columns."""
        return column_runs(self.plan, mapping, self.machine)

    @property
    def dense(self) -> bool:
        """Whether the pixels of a row lie side by side in the activation buffer."""
        return all(
            image.channels == image.pixel_pitch(self.machine.beat_bytes)
            for image in (self.inputs, self.outputs)
        )

    @cached_property
    def best_mapping(self) -> LayerMapping:
        """The one with the fewest cycles."""
        return self._mapping(several=self.words is None)

    def _mapping(self, *, several: bool) -> LayerMapping:
        return choose_mapping(
            self.plan,
            self.machine,
            self.y.outputs,
            self.x.outputs,
            dense=self.dense,
            several=several,
        )

    def demand(self, operator: int, *, can_stay: bool) -> Demand:
        """What its parameters need; `can_stay` is whether it is a whole layer."""
        mapping = self.best_mapping
        words = [
            self._words(mapping, run) for run in self.runs(mapping) for _ in range(len(run.groups))
        ]
        word_bytes = self.machine.group_channels(mapping.mode)
        can_stay = can_stay and self.words is None
        most = max(words) * word_bytes + self._most_skew
        return Demand(operator, sum(words) * word_bytes, len(words), most, can_stay)

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """Blocks, whose parameters are placed in `memory`.

        Parameters
        ----------
        memory : MemoryMap
            Takes the parameter image.
        layer, operator : str, int
            What errors call it, and its number in `room`.
        room : ParameterPlan
            Where parameters go on chip.
        """
        mapping = self.best_mapping
        resident = room.resident.get(operator)
        slot_bytes = room.slot_bytes - self._most_skew
        capacity = slot_bytes // self.machine.group_channels(mapping.mode)
        split = False
        if resident is None and self._most_words(mapping) > capacity:
            mapping = self._mapping(several=False)
            capacity = slot_bytes // self.machine.group_channels(mapping.mode)
            split = self._most_words(mapping) > capacity
        if resident is not None:
            runs = cut_runs(self.runs(mapping), self.cut)
            sets = [self._set(mapping, runs, memory, resident)]
        elif split:
            sets = list(self._split_sets(mapping, capacity, memory))
        else:
            most = min(capacity // self._most_words(mapping), room.slot_entries)
            sets = list(self._sets(mapping, most, memory))
        blocks: list[Block] = []
        rectangles = self.rectangles(layer, mapping, len(sets), split)
        for number in range(self.batch):
            for rectangle in rectangles:
                # Every other block takes the sets backwards: one of them is then still there.
                backwards = len(blocks) % 2 == 1 and not split
                blocks.append(
                    self._block(mapping, number, rectangle, sets[::-1] if backwards else sets)
                )
        return blocks

    def rectangles(
        self, layer: str, mapping: LayerMapping, sets: int, split: bool
    ) -> list[Rectangle]:
        """The blocks of an image's outputs."""
        rectangles = list(
            self.cutter.rectangles(
                layer,
                overlap=sets == 1,
                # Sums that are kept from piece to piece stay in the array.
                most_pixels=self.kept_packs if split else None,
                pixels=mapping.pixels if mapping.mode.is_tiled else 0,
            )
        )
        if len(rectangles) == 1 and sets == 1:
            return self.cut_rectangle(rectangles[0], self.cut)
        return rectangles

    def cut_rectangle(self, rectangle: Rectangle, cut: Cut | None) -> list[Rectangle]:
        """The parts of a block of all outputs: above and below the cut, or left and right of it."""
        if cut is None or cut.of_groups:
            return [rectangle]
        if self.y.outputs > 1:
            return [Rectangle(rows, rectangle.columns) for rows in _ranges(cut.at, *rectangle.rows)]
        return [
            Rectangle(rectangle.rows, columns) for columns in _ranges(cut.at, *rectangle.columns)
        ]

    @property
    def kept_packs(self) -> int:
        """Packs whose sums the array can keep."""
        return self.machine.array.tile * self.machine.array.kept_tiles

    def spans(
        self, mapping: LayerMapping, run: Run, piece: Piece, source: Region, target: Region
    ) -> tuple[Span | None, Span | None]:
        """What commands of some column groups read and write of two regions."""
        if mapping.pixels > 1:
            return source.span, target.span
        first, last = run.groups[0], run.groups[-1]
        start, end = first.first_input, last.first_input + last.segment
        if self.plan.kernel_h == self.plan.kernel_w == 1 and len(run.groups) == 1:
            start, end = start + piece.byte, start + piece.byte + piece.nbytes
        return (
            self.inputs.channels_of(source.span, start, end),
            self.outputs.channels_of(
                target.span, first.first_output, last.first_output + last.outputs
            ),
        )

    def pieces_of(
        self, mapping: LayerMapping, run: Run, cut: Cut | None
    ) -> list[tuple[Piece, Keep]]:
        """The pieces of a run's reduction: all of it, or what is before and behind a cut."""
        piece = self._whole(mapping, run)
        if cut is None or not cut.reduced or run.groups[0].first_output:
            return [(piece, Keep(0))]
        at, rest = cut.reduced, piece.nbytes - cut.reduced
        return [
            (replace(piece, nbytes=at, words=at), Keep.UNDRAINED),
            (replace(piece, byte=at, nbytes=rest, first_word=at, words=rest), Keep.CONTINUE),
        ]

    def _whole(self, mapping: LayerMapping, run: Run) -> Piece:
        return whole(self.plan, mapping, run, self._dense_inputs)

    @property
    def _dense_inputs(self) -> bool:
        return self.inputs.channels == self.inputs.pixel_pitch(self.machine.beat_bytes)

    def _words(self, mapping: LayerMapping, run: Run) -> int:
        """Parameter words of a column group."""
        return self._whole(mapping, run).words

    def _most_words(self, mapping: LayerMapping) -> int:
        return max(self._words(mapping, run) for run in self.runs(mapping))

    def _sets(self, mapping: LayerMapping, most: int, memory: MemoryMap) -> Iterator[_Set]:
        """Sets of at most so many column groups."""
        runs = cut_runs(self.runs(mapping), self.cut)
        count = sum(len(run.groups) for run in runs)
        most = min(count, most)
        most = -(-count // -(-count // most))  # sets of about the same size
        parts: list[Run] = []
        room = most
        for run in runs:
            first = 0
            while first < len(run.groups):
                part = run.part(first, min(first + room, len(run.groups)))
                parts.append(part)
                first += len(part.groups)
                room -= len(part.groups)
                if not room:
                    yield self._set(mapping, parts, memory)
                    parts, room = [], most
        if parts:
            yield self._set(mapping, parts, memory)

    def _set(
        self,
        mapping: LayerMapping,
        parts: list[Run],
        memory: MemoryMap,
        resident: tuple[int, int] | None = None,
    ) -> _Set:
        jobs = []
        at = parts[0].groups[0].first_output * self._words(mapping, parts[0])
        byte, entry = self._skew(at), 0
        for run in parts:
            word_bytes = self.machine.group_channels(mapping.mode)
            jobs += [
                _Job(run, piece, keep, byte + piece.first_word * word_bytes, entry)
                for piece, keep in self.pieces_of(mapping, run, self.cut)
            ]
            byte += len(run.groups) * self._words(mapping, run) * word_bytes
            entry += len(run.groups)
        groups = [group for run in parts for group in run.groups]

        def words() -> npt.NDArray[np.int8]:
            return np.concatenate(
                [parameter_words(self.plan, mapping, group, self.machine) for group in groups]
            )

        nbytes = byte - self._skew(at)
        return _Set(self._put(memory, nbytes, words, at, groups, resident), tuple(jobs))

    def _split_sets(
        self, mapping: LayerMapping, capacity: int, memory: MemoryMap
    ) -> Iterator[_Set]:
        """One set for every piece of every column group's reduction."""
        word_bytes = self.machine.group_channels(mapping.mode)
        for run in self.runs(mapping):
            for number, group in enumerate(run.groups):
                part = run.part(number, number + 1)
                count, segment, words = taps(self.plan, mapping, part, self._dense_inputs)
                cut = list(
                    pieces(
                        self.plan.kernel_h,
                        count,
                        segment,
                        words,
                        capacity,
                        self.machine.array.chunk,
                    )
                )
                content = cache(partial(parameter_words, self.plan, mapping, group, self.machine))
                for piece in cut:
                    final = piece is cut[-1]
                    keep = Keep(0) if piece is cut[0] else Keep.CONTINUE
                    if not final:
                        keep |= Keep.UNDRAINED

                    def own(content: Any = content, piece: Piece = piece) -> Any:
                        return content()[piece.first_word : piece.first_word + piece.words]

                    at = group.first_output * self._words(mapping, part)
                    at += piece.first_word * word_bytes
                    nbytes = piece.words * word_bytes
                    placed = self._put(memory, nbytes, own, at, [group] if final else [])
                    yield _Set(placed, (_Job(part, piece, keep, self._skew(at), 0),))

    def _put(
        self,
        memory: MemoryMap,
        nbytes: int,
        words: Callable[[], npt.NDArray[np.int8]],
        at: int,
        groups: list[ColumnGroup],
        resident: tuple[int, int] | None = None,
    ) -> ParameterSet:
        """Words, and the constants of groups; computed words are `at` bytes behind the first.

        From the beat on that they begin in, as a load moves no byte within a beat.
        """
        skew = self._skew(at)
        return ParameterSet(
            memory.put_made(nbytes, words) if self.words is None else self.words + at - skew,
            skew + nbytes,
            *put_constants(memory, self.plan, lambda: self.factors, groups, self.machine),
            resident,
            computed=self.words is not None,
        )

    def _skew(self, at: int) -> int:
        """Bytes of a beat before computed words that are `at` bytes behind the first."""
        return 0 if self.words is None else (self.words + at) % self.machine.beat_bytes

    @property
    def _most_skew(self) -> int:
        """The most that this can be."""
        return 0 if self.words is None else self.machine.beat_bytes - 1

    def _block(
        self, mapping: LayerMapping, number: int, rectangle: Rectangle, sets: list[_Set]
    ) -> Block:
        """Rectangle `rectangle` of the outputs of image `number`."""
        rows, columns = self.y.seen(*rectangle.rows), self.x.seen(*rectangle.columns)
        source, target = self.regions(number, rectangle)
        top = self.y.start(rectangle.rows[0]) - rows[0]
        phases = tuple(
            Phase(
                tuple(
                    Compute(
                        self._registers(
                            mapping,
                            job,
                            Rectangle(rectangle.rows, strip),
                            (top, self.x.start(strip[0]) - columns[0]),
                            source,
                            target.offset + (strip[0] - rectangle.columns[0]) * target.pixel_pitch,
                            target,
                        ),
                        source.streamed,
                        () if reads is None else (reads,),
                        writes,
                    )
                    for job in one.jobs
                    for reads, writes in [self.spans(mapping, job.run, job.piece, source, target)]
                    for strip in self.strips(mapping, job.run, rectangle, source)
                    if self._has_outputs(mapping, job, rectangle)
                ),
                one.content,
            )
            for one in sets
        )
        return Block(
            source.copies, tuple(phase for phase in phases if phase.commands), target.copies
        )

    def regions(self, number: int, rectangle: Rectangle) -> tuple[Region, Region]:
        """What a rectangle of the outputs of image `number` sees, and where it goes."""
        beat = self.machine.beat_bytes
        rows, columns = self.y.seen(*rectangle.rows), self.x.seen(*rectangle.columns)
        above = number * self.y.inputs
        source = self.inputs.region((above + rows[0], above + rows[1]), columns, beat)
        above = number * self.y.outputs
        target = self.outputs.region(
            (above + rectangle.rows[0], above + rectangle.rows[1]), rectangle.columns, beat
        )
        return source, target

    def _has_outputs(self, mapping: LayerMapping, job: _Job, rectangle: Rectangle) -> bool:
        """Whether the job's columns are in use: of a narrow block's packs some are not."""
        rectangle_bytes = rectangle.width * self.plan.output_shape[3]
        return mapping.pixels == 1 or job.run.groups[0].first_output < rectangle_bytes

    def strips(
        self, mapping: LayerMapping, run: Run, rectangle: Rectangle, source: Region
    ) -> list[tuple[int, int]]:
        """Ranges of output columns that one command computes."""
        left, right = rectangle.columns
        if mapping.mode not in self.machine.array.own_modes:
            return [(left, right)]
        found = strips_of(
            self.plan,
            mapping,
            run,
            self.machine,
            rectangle.rows[1] - rectangle.rows[0],
            rectangle.width,
            source.pixel_pitch,
        )
        assert found is not None, "one that fits a layer fits a part of it"
        strips = []
        for packs in found[0]:
            strips.append((left, min(left + packs * mapping.pixels, right)))
            left += packs * mapping.pixels
        return strips

    def _registers(
        self,
        mapping: LayerMapping,
        job: _Job,
        rectangle: Rectangle,
        window: tuple[int, int],
        source: Region,
        out: int,
        target: Region,
    ) -> dict[str, int]:
        """Registers of one compute command; `window` is where the first one starts, in pixels."""
        plan, run, piece = self.plan, job.run, job.piece
        first = run.groups[0]
        pixel = source.pixel_pitch
        tap_step = plan.dilation_w * pixel
        x_start = window[1] * pixel + first.first_input + piece.tap * tap_step + piece.byte
        y_start = window[0] + piece.tap_row * plan.dilation_h
        rows = rectangle.rows[1] - rectangle.rows[0]
        registers = loops(
            plan, mapping, run, piece, rows, rectangle.width, pixel
        ) | compute_registers(
            KEEP=job.keep,
            ACT_ADDRESS=source.offset + y_start * source.pitch + x_start,
            X_START=x_start,
            Y_START=y_start,
            INPUT_ROW_BYTES=source.row_bytes,
            INPUT_ROWS=source.height,
            PIXEL_Y_ADDRESS_STEP=plan.stride_h * source.pitch,
            TAP_Y_ADDRESS_STEP=plan.dilation_h * source.pitch,
            PARAMETER_ADDRESS=job.first_byte,
            CONSTANT_ENTRY=job.first_entry,
            ACT_ZERO_POINT=plan.input_zero_point,
            PARAMETER_ZERO_POINT=plan.weight_zero_point,
            UNIFORM=0,
            ROUNDING=self.factors.rounding,
            OUT_ZERO_POINT=plan.output_zero_point,
            CLAMP_MIN=plan.clamp_min,
            CLAMP_MAX=plan.clamp_max,
            OUT_ADDRESS=out + first.first_output,
            OUT_X_STEP=mapping.pixels * target.pixel_pitch,
            OUT_Y_STEP=target.pitch,
        )
        if mapping.mode in self.machine.array.own_modes:
            registers |= mapper(self.machine).own_registers(registers, source.pitch)
        return registers
