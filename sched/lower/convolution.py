"""Lowering convolution, depthwise convolution and fully connected layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden import ConvPlan
from mensa.rtl.commands import Mode
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
from mensa.sched.lower.tiling import Axis, Image, Rectangle, Region, Tiler
from mensa.sched.lower.work import LayerWork, ParameterSet, Registers, Step, Tile

KEEP_CONTINUE = 1  # bits of the register KEEP
KEEP_UNDRAINED = 2


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
    return _Convolution.of(plan, machine, input_address, output_address).lower(
        memory, operator, layer
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """One compute command of a parameter set: column groups, and the part of their reduction."""

    run: Run
    piece: Piece
    keep: int
    first_word: int
    first_entry: int


@dataclass(frozen=True, eq=False)
class _Set:
    """Parameters that are loaded together, and what is computed from them."""

    content: ParameterSet
    jobs: tuple[_Job, ...]


@dataclass(frozen=True, eq=False)
class _Convolution:
    """One layer on one machine."""

    plan: ConvPlan
    machine: Machine
    factors: Requantisation
    y: Axis
    x: Axis
    batch: int
    inputs: Image  # of the whole batch, one below the other
    outputs: Image

    @classmethod
    def of(
        cls, plan: ConvPlan, machine: Machine, input_address: int, output_address: int
    ) -> _Convolution:
        factors = requantisation(plan)
        assert factors is not None, "such a layer is not given to the accelerator"
        batch, height, width, channels = plan.input_shape
        _, out_height, out_width, out_channels = plan.output_shape
        y = Axis(height, out_height, plan.kernel_h, plan.stride_h, plan.dilation_h, plan.pad_top)
        x = Axis(width, out_width, plan.kernel_w, plan.stride_w, plan.dilation_w, plan.pad_left)
        if plan.input_shape[:3] == plan.output_shape[:3] and plan.kernel_h == plan.kernel_w == 1:
            # Pixels don't see their neighbours: all of them form one row.
            pixels = batch * height * width
            batch, y, x = 1, Axis(1, 1), Axis(pixels, pixels)
        return cls(
            plan=plan,
            machine=machine,
            factors=factors,
            y=y,
            x=x,
            batch=batch,
            inputs=Image(input_address, batch * y.inputs, x.inputs, channels),
            outputs=Image(output_address, batch * y.outputs, x.outputs, out_channels),
        )

    def lower(self, memory: MemoryMap, operator: int, layer: str) -> LayerWork:
        """The layer's tiles."""
        runs = column_runs(self.plan, self.machine.cols)
        capacity = self.machine.parameter_buffer_bytes // 2 // self.machine.cols
        words = max(self._words(run) for run in runs)
        tiler = Tiler(self.machine, self.y, self.x, self.inputs.channels, self.outputs.channels)
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
        return LayerWork(operator, tuple(tiles))

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
            jobs.append(_Job(run, whole, 0, entry * words, entry))
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
                    keep = (0 if piece is cut[0] else KEEP_CONTINUE) | (
                        0 if final else KEEP_UNDRAINED
                    )
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
        return Tile((source.copy,), steps, (target.copy,))

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
        channels = self.inputs.channels
        tap_step = plan.dilation_w * channels
        x_start = window[1] * channels + first.first_input + piece.tap * tap_step + piece.byte
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
            "PIXEL_X_STEP": plan.stride_w * channels,
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
            "OUT_X_STEP": self.outputs.channels,
            "OUT_Y_STEP": target.pitch,
        }
