"""Lowering convolution, depthwise convolution and fully connected layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mensa.golden import ConvPlan
from mensa.rtl.commands import Keep, Mode
from mensa.rtl.machine import Machine
from mensa.sched.lower.columns import (
    ColumnGroup,
    Piece,
    Run,
    column_runs,
    constant_entry,
    parameter_words,
    pieces,
)
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.requantisation import Requantisation, requantisation
from mensa.sched.lower.tiling import Axis, Image, Rectangle, Region, Tiler, channel_ranges
from mensa.sched.lower.work import LayerWork, ParameterSet, Registers, Step, Tile


def lower_convolution(
    plan: ConvPlan,
    machine: Machine,
    memory: MemoryMap,
    operator: int,
    layer: str,
    input_address: int,
    output_address: int,
) -> LayerWork:
    """The tiles of one layer; its parameters are placed in `memory`.

    Parameters
    ----------
    plan : ConvPlan
        What to compute.
    machine : Machine
        On what.
    memory : MemoryMap
        Takes the parameter image.
    operator, layer : int, str
        The operator's index, and what errors call it.
    input_address, output_address : int
        Of the activations in memory.

    Raises
    ------
    LoweringError
        If not even one output pixel fits the buffers.
    """
    if plan.groups > 1:  # a range of outputs would not see a range of inputs
        ranges = [(0, plan.output_shape[3])]
    else:
        unit = machine.cols // plan.depth_multiplier * plan.depth_multiplier
        ranges = channel_ranges(
            layer,
            plan.output_shape[3],
            max(unit, plan.depth_multiplier),
            lambda first, last: (
                _Convolution.of(plan, machine, input_address, output_address, first, last).tiler
            ),
        )
    tiles: list[Tile] = []
    for first, last in ranges:
        part = _Convolution.of(plan, machine, input_address, output_address, first, last)
        tiles += part.tiles(memory, layer)
    return LayerWork(operator, tuple(tiles))


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
    """One compute command of a parameter set: column groups, and the part of their reduction."""

    run: Run
    piece: Piece
    keep: Keep
    first_word: int
    first_entry: int


@dataclass(frozen=True, eq=False)
class _Set:
    """Parameters that are loaded together, and what is computed from them."""

    content: ParameterSet
    jobs: tuple[_Job, ...]


@dataclass(frozen=True, eq=False)
class _Convolution:
    """A layer, or some of its output channels, on one machine."""

    plan: ConvPlan
    machine: Machine
    y: Axis
    x: Axis
    batch: int
    inputs: Image  # of the whole batch, one below the other
    outputs: Image

    @classmethod
    def of(
        cls,
        plan: ConvPlan,
        machine: Machine,
        input_address: int,
        output_address: int,
        first: int,
        last: int,
    ) -> _Convolution:
        """Output channels `first` to `last` - 1 of a plan."""
        input_bytes, output_bytes = plan.input_shape[3], plan.output_shape[3]
        if plan.kind == "depthwise":
            input_address += first // plan.depth_multiplier
        output_address += first
        plan = _channels(plan, first, last)
        batch, height, width, channels = plan.input_shape
        _, out_height, out_width, out_channels = plan.output_shape
        y = Axis(height, out_height, plan.kernel_h, plan.stride_h, plan.dilation_h, plan.pad_top)
        x = Axis(width, out_width, plan.kernel_w, plan.stride_w, plan.dilation_w, plan.pad_left)
        if plan.input_shape[:3] == plan.output_shape[:3] and plan.kernel_h == plan.kernel_w == 1:
            # Pixels don't see their neighbours: all of them form one row.
            pixels = batch * height * width
            batch, y, x = 1, Axis(1, 1), Axis(pixels, pixels)
        inputs = Image(input_address, batch * y.inputs, x.inputs, channels, input_bytes)
        outputs = Image(output_address, batch * y.outputs, x.outputs, out_channels, output_bytes)
        return cls(
            plan=plan,
            machine=machine,
            y=y,
            x=x,
            batch=batch,
            inputs=inputs,
            outputs=outputs,
        )

    @property
    def tiler(self) -> Tiler:
        """Cuts the outputs."""
        return Tiler(self.machine, self.y, self.x, self.inputs, self.outputs)

    @cached_property
    def factors(self) -> Requantisation:
        """Multipliers and shifts."""
        factors = requantisation(self.plan)
        assert factors is not None, "such a layer is not given to the accelerator"
        return factors

    def tiles(self, memory: MemoryMap, layer: str) -> list[Tile]:
        """Tiles, whose parameters are placed in `memory`."""
        tiler = self.tiler
        tiler.check(layer)
        runs = column_runs(self.plan, self.machine.cols)
        capacity = self.machine.parameter_buffer_bytes // 2 // self.machine.cols
        words = max(self._words(run) for run in runs)
        # Sums that are kept from piece to piece stay in the array: one pixel a row.
        split = words > capacity
        most_pixels = self.machine.rows if split else None
        if split:
            sets = list(self._split_sets(runs, capacity, memory))
        else:
            sets = list(self._sets(runs, capacity // words, memory))
        overlap = len(sets) == 1
        tiles: list[Tile] = []
        rectangles = list(tiler.rectangles(layer, overlap=overlap, most_pixels=most_pixels))
        for number in range(self.batch):
            for rectangle in rectangles:
                # Every other tile takes the sets backwards: one of them is then still there.
                backwards = len(tiles) % 2 == 1 and not split
                tiles.append(self._tile(number, rectangle, sets[::-1] if backwards else sets))
        return tiles

    def _taps(self, run: Run) -> tuple[int, int, int]:
        """Taps of a row, bytes of a tap's segment and parameter words of a tap.

        Where taps of a row lie side by side in memory they are taken as a single one.
        """
        segment = run.groups[0].segment
        if run.diagonal:
            return self.plan.kernel_w, segment, 1
        if segment == self.inputs.channels and self.plan.dilation_w == 1:
            whole = self.plan.kernel_w * segment
            return 1, whole, whole
        return self.plan.kernel_w, segment, segment

    def _words(self, run: Run) -> int:
        """Parameter words of a column group."""
        taps, _, words = self._taps(run)
        return self.plan.kernel_h * taps * words

    def _sets(self, runs: list[Run], capacity: int, memory: MemoryMap) -> Iterator[_Set]:
        """Sets of as many column groups as fit."""
        count = sum(len(run.groups) for run in runs)
        most = min(count, capacity, self.machine.constant_entries // 2)
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
                    yield self._set(parts, memory)
                    parts, room = [], most
        if parts:
            yield self._set(parts, memory)

    def _set(self, parts: list[Run], memory: MemoryMap) -> _Set:
        jobs = []
        entry = 0
        for run in parts:
            taps, segment, _ = self._taps(run)
            words = self._words(run)
            whole = Piece(0, self.plan.kernel_h, 0, taps, 0, segment, 0, words)
            jobs.append(_Job(run, whole, Keep(0), entry * words, entry))
            entry += len(run.groups)
        groups = [group for run in parts for group in run.groups]
        cols = self.machine.cols
        parameters = np.concatenate([parameter_words(self.plan, g, cols) for g in groups])
        return _Set(self._place(memory, parameters, groups), tuple(jobs))

    def _split_sets(self, runs: list[Run], capacity: int, memory: MemoryMap) -> Iterator[_Set]:
        """One set for every piece of every column group's reduction."""
        for run in runs:
            for number, group in enumerate(run.groups):
                part = run.part(number, number + 1)
                taps, segment, words = self._taps(part)
                cut = list(
                    pieces(self.plan.kernel_h, taps, segment, words, capacity, self.machine.rows)
                )
                content = parameter_words(self.plan, group, self.machine.cols)
                for piece in cut:
                    final = piece is cut[-1]
                    keep = Keep(0) if piece is cut[0] else Keep.CONTINUE
                    if not final:
                        keep |= Keep.UNDRAINED
                    own = content[piece.first_word : piece.first_word + piece.words]
                    placed = self._place(memory, own, [group] if final else [])
                    yield _Set(placed, (_Job(part, piece, keep, 0, 0),))

    def _place(
        self, memory: MemoryMap, words: npt.NDArray[np.int8], groups: list[ColumnGroup]
    ) -> ParameterSet:
        entries = [constant_entry(self.plan, self.factors, g, self.machine) for g in groups]
        constants = np.concatenate(entries) if entries else np.zeros(0, np.uint8)
        return ParameterSet(
            memory.place(words),
            words.size,
            memory.place(constants) if entries else 0,
            constants.size,
        )

    def _tile(self, number: int, rectangle: Rectangle, sets: list[_Set]) -> Tile:
        """Rectangle `rectangle` of the outputs of image `number`."""
        beat = self.machine.beat_bytes
        rows, columns = self.y.seen(*rectangle.rows), self.x.seen(*rectangle.columns)
        above = number * self.y.inputs
        source = self.inputs.region((above + rows[0], above + rows[1]), columns, beat)
        above = number * self.y.outputs
        target = self.outputs.region(
            (above + rectangle.rows[0], above + rectangle.rows[1]), rectangle.columns, beat
        )
        window = (
            self.y.start(rectangle.rows[0]) - rows[0],
            self.x.start(rectangle.columns[0]) - columns[0],
        )
        steps = tuple(
            Step(
                tuple(self._command(job, rectangle, window, source, target) for job in one.jobs),
                one.content,
            )
            for one in sets
        )
        return Tile(source.copies, steps, target.copies)

    def _command(
        self,
        job: _Job,
        rectangle: Rectangle,
        window: tuple[int, int],
        source: Region,
        target: Region,
    ) -> Registers:
        """Registers of one compute command; `window` is where the first one starts, in pixels."""
        plan, run, piece = self.plan, job.run, job.piece
        first, last = run.groups[0], run.groups[-1]
        pixel = source.pixel_pitch
        tap_step = plan.dilation_w * pixel
        x_start = window[1] * pixel + first.first_input + piece.tap * tap_step + piece.byte
        y_start = window[0] + piece.tap_row * plan.dilation_h
        return {
            "MODE": Mode.DEPTHWISE if run.diagonal else Mode.CONV,
            "KEEP": job.keep,
            "ACT_ADDRESS": source.offset + y_start * source.pitch + x_start,
            "X_START": x_start,
            "Y_START": y_start,
            "INPUT_ROW_BYTES": source.row_bytes,
            "INPUT_ROWS": source.height,
            "PIXELS": rectangle.pixels,
            "OUT_WIDTH": rectangle.width,
            "PIXEL_X_STEP": plan.stride_w * pixel,
            "PIXEL_Y_STEP": plan.stride_h,
            "PIXEL_Y_ADDRESS_STEP": plan.stride_h * source.pitch,
            "KERNEL_H": piece.tap_rows,
            "KERNEL_W": piece.taps,
            "TAP_X_STEP": tap_step,
            "TAP_Y_STEP": plan.dilation_h,
            "TAP_Y_ADDRESS_STEP": plan.dilation_h * source.pitch,
            "SEGMENT": piece.nbytes,
            "LAST_SEGMENT": last.segment if run.diagonal else piece.nbytes,
            "GROUPS": len(run.groups),
            "GROUP_ACT_STEP": run.input_step,
            "GROUP_CHANNELS": first.outputs,
            "LAST_GROUP_CHANNELS": last.outputs,
            "DEPTH_MULTIPLIER": plan.depth_multiplier if run.diagonal else 1,
            "PARAMETER_ADDRESS": job.first_word * self.machine.cols,
            "CONSTANT_ENTRY": job.first_entry,
            "ACT_ZERO_POINT": plan.input_zero_point,
            "PARAMETER_ZERO_POINT": plan.weight_zero_point,
            "UNIFORM": 0,
            "ROUNDING": self.factors.rounding,
            "OUT_ZERO_POINT": plan.output_zero_point,
            "CLAMP_MIN": plan.clamp_min,
            "CLAMP_MAX": plan.clamp_max,
            "OUT_ADDRESS": target.offset + first.first_output,
            "OUT_X_STEP": target.pixel_pitch,
            "OUT_Y_STEP": target.pitch,
        }
