"""What operators that compute nothing move: bytes, in nested loops of even steps.

CONCATENATION, PACK, SPLIT, SPLIT_V, UNPACK, PAD, PADV2, MIRROR_PAD, SLICE, STRIDED_SLICE,
TRANSPOSE, SPACE_TO_DEPTH, DEPTH_TO_SPACE, TILE, RESIZE_NEAREST_NEIGHBOR, SPACE_TO_BATCH_ND and
BATCH_TO_SPACE_ND all are such moves; `move_blocks.py` makes commands of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mensa.golden import Plan, Tensor
from mensa.golden.operators.resize import NearestPlan
from mensa.golden.operators.shape_ops import (
    ConcatPlan,
    PadPlan,
    RearrangePlan,
    SlicePlan,
    SplitPlan,
    TilePlan,
)
from mensa.golden.operators.space_batch import BatchToSpacePlan, SpaceToBatchPlan
from mensa.sched.lower.memory_map import tensor_to_memory

__all__ = ["Loop", "Move", "fill_bytes", "is_move", "moves", "words"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Loop:
    """One loop of a move: `count` turns, and the bytes from turn to turn at both ends.

    The source's step may be 0 or negative; the target's is positive.
    """

    count: int
    source_step: int
    target_step: int


@dataclass(frozen=True)
class Move:
    """Bytes of an operand that become bytes of a result, which nothing else writes.

    Attributes
    ----------
    source, target : int
        Positions of the operand among the plan's, and of the result among the operator's.
    source_start, target_start : int
        Bytes from the tensor's start to the first one that is read, and written.
    run : int
        Neighbouring bytes that stay together.
    loops : tuple of Loop
        How often they are moved, innermost first: a target's step is at least all that the loops
        inside write.
    value : int or None
        The byte, as int8, that is written; then nothing is read. None for a copy.
    table : bytes or None
        What becomes of each byte v, entry v + 128 for v as int8; None if it stays as it is.
    """

    source: int
    target: int
    source_start: int
    target_start: int
    run: int
    loops: tuple[Loop, ...]
    value: int | None = None
    table: bytes | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that are written."""
        return self.run * math.prod(loop.count for loop in self.loops)

    @property
    def is_fill(self) -> bool:
        """Whether nothing is read."""
        return self.value is not None


@dataclass(frozen=True)
class _Piece:
    """Elements along a dimension of a result that come from even steps along the source's.

    Attributes
    ----------
    source, target : int
        The first of them, there and here.
    loops : tuple of Loop
        In elements along the dimension, innermost first.
    """

    source: int
    target: int
    loops: tuple[Loop, ...]


def is_move(plan: Plan) -> bool:
    """Whether a plan computes nothing, so that it is moves."""
    return type(plan) in _MOVES


def moves(plan: Plan, operands: Sequence[Tensor]) -> Iterator[Move]:
    """The moves of a plan, which together write each byte of its results once.

    Parameters
    ----------
    plan : Plan
        One of which `is_move` holds, that keeps to the restrictions of `supported.py`.
    operands : sequence of Tensor
        What it takes.
    """
    return _MOVES[type(plan)](plan, operands)


def words(
    matrices: int, inputs: int, outputs: int, columns: int, *, inputs_last: bool
) -> Iterator[Move]:
    """The moves that make parameter words of matrices of bytes.

    Parameters
    ----------
    matrices, inputs, outputs : int
        How many there are, and what each has to a side.
    columns : int
        Bytes of a word: outputs of a group, whose inputs have a word each, one after another. The
        last group may have fewer outputs, but words as long.
    inputs_last : bool
        Whether the inputs of an output lie side by side, not the outputs of an input.
    """
    output_step, input_step = (inputs, 1) if inputs_last else (1, outputs)
    groups, rest = divmod(outputs, columns)
    group = columns * inputs
    of_all = Loop(matrices, inputs * outputs, -(-outputs // columns) * group)
    for first, count, width in ((0, groups, columns), (groups, 1, rest)):
        loops = [
            Loop(width, output_step, 1),
            Loop(inputs, input_step, columns),
            Loop(count, columns * output_step, group),
            of_all,
        ]
        yield from _move(1, (first * columns * output_step, first * group), loops)


def fill_bytes(plan: Plan, operand: Tensor) -> set[int]:
    """The bytes, as they are in memory, of the value that a plan fills with; none if it doesn't."""
    if not isinstance(plan, PadPlan | SpaceToBatchPlan) or (
        isinstance(plan, PadPlan) and plan.mode != "constant"
    ):
        return set()
    content = tensor_to_memory(operand, np.array([plan.value]))
    return {int(byte) for byte in content.view(np.int8)}


def _steps(shape: Shape) -> Shape:
    """Elements from one to the next along each dimension of a dense tensor."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _move(
    element_bytes: int,
    starts: tuple[int, int],
    loops: Sequence[Loop],
    *,
    source: int = 0,
    target: int = 0,
    value: int | None = None,
    table: bytes | None = None,
) -> Iterator[Move]:
    """A move by loops over elements, with as few loops as possible; none if it moves nothing."""
    if any(loop.count == 0 for loop in loops):
        return
    run = element_bytes
    kept: list[Loop] = []
    for loop in sorted(loops, key=lambda each: each.target_step):
        if loop.count == 1:
            continue
        here = loop.source_step * element_bytes, loop.target_step * element_bytes
        if not kept and here == (run, run):
            run *= loop.count
            continue
        if kept:
            inner = kept[-1]
            follows = inner.count * inner.source_step, inner.count * inner.target_step
            if here == follows:
                kept[-1] = Loop(inner.count * loop.count, inner.source_step, inner.target_step)
                continue
        kept.append(Loop(loop.count, *here))
    yield Move(
        source=source,
        target=target,
        source_start=starts[0] * element_bytes,
        target_start=starts[1] * element_bytes,
        run=run,
        loops=tuple(kept),
        value=value,
        table=table,
    )


def _concatenation(plan: ConcatPlan, operands: Sequence[Tensor]) -> Iterator[Move]:
    steps = _steps(plan.output_shape)
    before = 0
    for position, (shape, operand) in enumerate(zip(plan.input_shapes, operands, strict=True)):
        loops = [Loop(*each) for each in zip(shape, _steps(shape), steps, strict=True)]
        starts = 0, before * steps[plan.axis]
        rescaled = plan.rescaled[position]
        table = None if rescaled is None else rescaled.tobytes()
        yield from _move(operand.dtype.itemsize, starts, loops, source=position, table=table)
        before += shape[plan.axis]


def _split(plan: SplitPlan, operands: Sequence[Tensor]) -> Iterator[Move]:
    (operand,) = operands
    steps = _steps(operand.shape)
    before = 0
    for position, size in enumerate(plan.sizes):
        shape = (*operand.shape[: plan.axis], size, *operand.shape[plan.axis + 1 :])
        loops = [Loop(*each) for each in zip(shape, steps, _steps(shape), strict=True)]
        starts = before * steps[plan.axis], 0
        yield from _move(operand.dtype.itemsize, starts, loops, target=position)
        before += size


def _rearrangement(plan: RearrangePlan, operands: Sequence[Tensor]) -> Iterator[Move]:
    steps = _steps(plan.split_shape)
    shape = tuple(plan.split_shape[axis] for axis in plan.permutation)
    sources = (steps[axis] for axis in plan.permutation)
    loops = [Loop(*each) for each in zip(shape, sources, _steps(shape), strict=True)]
    yield from _move(operands[0].dtype.itemsize, (0, 0), loops)


def _slice(plan: SlicePlan, operands: Sequence[Tensor]) -> Iterator[Move]:
    steps = _steps(operands[0].shape)
    start = sum(first * step for first, step in zip(plan.starts, steps, strict=True))
    loops = [
        Loop(count, stride * step, out)
        for count, stride, step, out in zip(
            plan.counts, plan.strides, steps, _steps(plan.counts), strict=True
        )
    ]
    yield from _move(operands[0].dtype.itemsize, (start, 0), loops)


def _pad(plan: PadPlan, operands: Sequence[Tensor]) -> Iterator[Move]:
    (operand,) = operands
    if plan.mode != "constant":
        mirrored = [
            np.pad(np.arange(size), pair, mode=plan.mode).tolist()
            for size, pair in zip(operand.shape, plan.padding, strict=True)
        ]
        yield from _picked(mirrored, operand)
        return
    (value,) = fill_bytes(plan, operand)
    inside = [
        (before, before + size)
        for size, (before, _) in zip(operand.shape, plan.padding, strict=True)
    ]
    yield from _surroundings(operand.dtype.itemsize, 0, plan.output_shape, inside, value)
    steps = _steps(plan.output_shape)
    start = sum(low * step for (low, _), step in zip(inside, steps, strict=True))
    loops = [Loop(*each) for each in zip(operand.shape, _steps(operand.shape), steps, strict=True)]
    yield from _move(operand.dtype.itemsize, (0, start), loops)


def _surroundings(
    element_bytes: int, start: int, shape: Shape, inside: Sequence[tuple[int, int]], value: int
) -> Iterator[Move]:
    """What fills a box of a result, from element `start` on, but for ranges inside of it."""
    steps = _steps(shape)
    for axis, (low, high) in enumerate(inside):
        ranges = list(inside[:axis]) + [(0, size) for size in shape[axis:]]
        for part in ((0, low), (high, shape[axis])):
            ranges[axis] = part
            loops = [
                Loop(last - first, step, step)
                for (first, last), step in zip(ranges, steps, strict=True)
            ]
            first = sum(each[0] * step for each, step in zip(ranges, steps, strict=True))
            yield from _move(element_bytes, (0, start + first), loops, value=value)


def _tile(plan: TilePlan, operands: Sequence[Tensor]) -> Iterator[Move]:
    (operand,) = operands
    outs = _steps(plan.output_shape)
    loops = [
        loop
        for size, times, step, out in zip(
            operand.shape, plan.multiples, _steps(operand.shape), outs, strict=True
        )
        for loop in (Loop(size, step, out), Loop(times, 0, size * out))
    ]
    yield from _move(operand.dtype.itemsize, (0, 0), loops)


def _nearest(plan: NearestPlan, operands: Sequence[Tensor]) -> Iterator[Move]:
    batch, _, _, channels = plan.input_shape
    rows, columns = plan.rows.tolist(), plan.columns.tolist()
    yield from _picked([range(batch), rows, columns, range(channels)], operands[0])


def _picked(chosen: Sequence[Sequence[int]], operand: Tensor) -> Iterator[Move]:
    """What gives a result whose elements are those chosen along each dimension of an operand."""
    steps = _steps(operand.shape)
    outs = _steps(tuple(len(each) for each in chosen))
    for pieces in itertools.product(*(_pieces(each) for each in chosen)):
        starts = (
            sum(piece.source * step for piece, step in zip(pieces, steps, strict=True)),
            sum(piece.target * out for piece, out in zip(pieces, outs, strict=True)),
        )
        loops = [
            Loop(loop.count, loop.source_step * step, loop.target_step * out)
            for piece, step, out in zip(pieces, steps, outs, strict=True)
            for loop in piece.loops
        ]
        yield from _move(operand.dtype.itemsize, starts, loops)


def _pieces(chosen: Sequence[int]) -> list[_Piece]:
    """Places along a dimension as even steps: in one piece, of one or two loops, if possible."""
    places = np.array(chosen, np.int64)
    size = len(places)
    for inner in range(1, size + 1):
        if size % inner:
            continue
        table = places.reshape(-1, inner)
        down = int(table[1, 0] - table[0, 0]) if len(table) > 1 else 0
        along = int(table[0, 1] - table[0, 0]) if inner > 1 else 0
        even = table[0, 0] + down * np.arange(len(table))[:, None] + along * np.arange(inner)
        if np.array_equal(table, even):
            loops = Loop(inner, along, 1), Loop(len(table), down, inner)
            return [_Piece(int(places[0]), 0, loops)]
    found = []
    first = 0
    while first < size:
        last = first + 1
        step = int(places[last] - places[first]) if last < size else 0
        while last < size and places[last] - places[last - 1] == step:
            last += 1
        found.append(_Piece(int(places[first]), first, (Loop(last - first, step, 1),)))
        first = last
    return found


def _space_to_batch(plan: SpaceToBatchPlan, operands: Sequence[Tensor]) -> Iterator[Move]:
    (operand,) = operands
    element_bytes = operand.dtype.itemsize
    (value,) = fill_bytes(plan, operand)
    batch, *sizes, channels = plan.input_shape
    box = (batch, *plan.output_shape[1:])
    steps, outs = _steps(plan.input_shape), _steps(box)
    for number, place in enumerate(itertools.product(*(range(of) for of in plan.block))):
        start = number * math.prod(box)
        inside = [
            _blocks_within(size, of, at - before, count)
            for size, of, at, (before, _), count in zip(
                sizes, plan.block, place, plan.padding, box[1:-1], strict=True
            )
        ]
        if any(low >= high for low, high in inside):
            inside = [(0, 0)] * len(inside)  # all of it is padding
        ranges = [(0, batch), *inside, (0, channels)]
        yield from _surroundings(element_bytes, start, box, ranges, value)
        strides = (1, *plan.block, 1)
        firsts = [
            low * of + at - before
            for (low, _), of, at, (before, _) in zip(
                inside, plan.block, place, plan.padding, strict=True
            )
        ]
        loops = [
            Loop(high - low, stride * step, out)
            for (low, high), stride, step, out in zip(ranges, strides, steps, outs, strict=True)
        ]
        starts = (
            sum(first * step for first, step in zip(firsts, steps[1:-1], strict=True)),
            start + sum(low * out for (low, _), out in zip(ranges, outs, strict=True)),
        )
        yield from _move(element_bytes, starts, loops)


def _batch_to_space(plan: BatchToSpacePlan, operands: Sequence[Tensor]) -> Iterator[Move]:
    (operand,) = operands
    _, *sizes, channels = plan.input_shape
    batch, *pixels, _ = plan.output_shape
    box = (batch, *sizes, channels)
    steps, outs = _steps(box), _steps(plan.output_shape)
    for number, place in enumerate(itertools.product(*(range(of) for of in plan.block))):
        inside = [
            _blocks_within(count, of, at - before, size)
            for count, of, at, (before, _), size in zip(
                pixels, plan.block, place, plan.crops, sizes, strict=True
            )
        ]
        ranges = [(0, batch), *inside, (0, channels)]
        strides = (1, *plan.block, 1)
        firsts = [
            low * of + at - before
            for (low, _), of, at, (before, _) in zip(
                inside, plan.block, place, plan.crops, strict=True
            )
        ]
        loops = [
            Loop(max(0, high - low), step, stride * out)
            for (low, high), stride, step, out in zip(ranges, strides, steps, outs, strict=True)
        ]
        starts = (
            number * math.prod(box)
            + sum(low * step for (low, _), step in zip(ranges, steps, strict=True)),
            sum(first * out for first, out in zip(firsts, outs[1:-1], strict=True)),
        )
        yield from _move(operand.dtype.itemsize, starts, loops)


def _blocks_within(size: int, of: int, first: int, count: int) -> tuple[int, int]:
    """Range of the `count` pixels `first`, `first` + `of`, ... that are from 0 to `size` - 1."""
    low, high = (min(max(0, -(-(end - first) // of)), count) for end in (0, size))
    return low, high


_MOVES: Mapping[type[Plan], Callable[[Any, Sequence[Tensor]], Iterator[Move]]] = {
    BatchToSpacePlan: _batch_to_space,
    ConcatPlan: _concatenation,
    NearestPlan: _nearest,
    PadPlan: _pad,
    RearrangePlan: _rearrangement,
    SlicePlan: _slice,
    SpaceToBatchPlan: _space_to_batch,
    SplitPlan: _split,
    TilePlan: _tile,
}
"""By the type of the plan."""
