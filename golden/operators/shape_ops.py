"""Operators that move elements and compute nothing, but for the rescaling of CONCATENATION.

CONCATENATION, PACK, SPLIT, SPLIT_V, UNPACK, PAD, PADV2, MIRROR_PAD, SLICE, STRIDED_SLICE,
TRANSPOSE, SPACE_TO_DEPTH, DEPTH_TO_SPACE, TILE, SQUEEZE, EXPAND_DIMS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mensa.golden.arithmetic.fixed_point import round_half_away, to_int32, wrap32
from mensa.golden.graph import Tensor
from mensa.golden.node import Node
from mensa.golden.operators.reshape import ReshapePlan
from mensa.golden.options import (
    ConcatenationOptions,
    DepthToSpaceOptions,
    MirrorPadOptions,
    PackOptions,
    SpaceToDepthOptions,
    SplitOptions,
    SplitVOptions,
    SqueezeOptions,
    StridedSliceOptions,
    UnpackOptions,
)
from mensa.golden.plan import Int8Array, Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes


@dataclass(frozen=True, kw_only=True, eq=False)
class ConcatPlan(Plan):
    """CONCATENATION or PACK: all inputs one behind the other along a dimension.

    Parameters
    ----------
    input_shapes : tuple of tuples of int
        Of the inputs; those of PACK have a dimension of size 1 more than in the file.
    output_shape : tuple of int
        Of the output.
    axis : int
        The dimension along which they are joined.
    rescaled : tuple of int8 arrays ``[256]`` or None
        For each input what becomes of its values, ``table[v + 128]``; None where they stay.
    """

    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    axis: int
    rescaled: tuple[Int8Array | None, ...]

    @property
    def operands(self) -> tuple[int, ...]:
        """All inputs."""
        return tuple(range(len(self.input_shapes)))


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitPlan(Plan):
    """SPLIT, SPLIT_V or UNPACK: parts of a tensor along a dimension.

    Parameters
    ----------
    operand : int
        Which of the operator's inputs is cut.
    axis : int
        The dimension that is cut.
    sizes : tuple of int
        Of the parts along it.
    output_shapes : tuple of tuples of int
        Of the outputs; those of UNPACK do not have that dimension.
    """

    raw = True

    operand: int
    axis: int
    sizes: tuple[int, ...]
    output_shapes: tuple[Shape, ...]

    @property
    def operands(self) -> tuple[int, ...]:
        """The tensor that is cut."""
        return (self.operand,)


@dataclass(frozen=True, kw_only=True, eq=False)
class PadPlan(Plan):
    """PAD, PADV2 or MIRROR_PAD.

    Parameters
    ----------
    mode : "constant", "reflect" or "symmetric"
        What is added: a value, or the tensor mirrored without or with its border.
    output_shape : tuple of int
        Of the output.
    padding : tuple of pairs of int
        How many elements are added before and after, for each dimension.
    value : int or float
        The value of "constant", in the file's own type.
    """

    raw = True

    mode: Literal["constant", "reflect", "symmetric"]
    output_shape: Shape
    padding: tuple[tuple[int, int], ...]
    value: int | float = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class SlicePlan(Plan):
    """SLICE or STRIDED_SLICE: evenly spaced elements of each dimension.

    Parameters
    ----------
    starts, counts, strides : tuples of int
        Of each dimension of the input; a stride may be negative.
    output_shape : tuple of int
        The counts, without and with further dimensions of size 1.
    """

    raw = True

    starts: tuple[int, ...]
    counts: tuple[int, ...]
    strides: tuple[int, ...]
    output_shape: Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class RearrangePlan(Plan):
    """TRANSPOSE, SPACE_TO_DEPTH or DEPTH_TO_SPACE.

    Parameters
    ----------
    split_shape : tuple of int
        The input's shape, some of its dimensions taken for two.
    permutation : tuple of int
        Which of these each dimension of the result is.
    output_shape : tuple of int
        The result's shape, some pairs of its dimensions taken for one.
    """

    raw = True

    split_shape: Shape
    permutation: tuple[int, ...]
    output_shape: Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class TilePlan(Plan):
    """TILE: the tensor so many times along each dimension.

    Parameters
    ----------
    multiples : tuple of int
        How many times, for each dimension.
    output_shape : tuple of int
        Of the output.
    """

    raw = True

    multiples: tuple[int, ...]
    output_shape: Shape


def _data_and_output(node: Node) -> tuple[Tensor, Tensor]:
    """The first input and the only output, of one type and with elements golden knows."""
    data, output = node.input(0), node.output()
    node.same_type(data, output)
    node.require(data.dtype.kind in "iufb", f"{data.type_name} is not supported", data)
    return data, output


# CONCATENATION and PACK


def _inputs(node: Node) -> tuple[Tensor, ...]:
    count = len(node.operator.inputs)
    node.require(count > 0, "has no inputs")
    return tuple(node.input(position) for position in range(count))


@shapes("CONCATENATION")
def _concatenated(node: Node) -> tuple[Shape, ...]:
    inputs = _inputs(node)
    first = inputs[0].shape
    axis = node.axis(node.options(ConcatenationOptions).axis, len(first))
    for tensor in inputs:
        node.require(
            len(tensor.shape) == len(first)
            and all(
                theirs == ours
                for i, (theirs, ours) in enumerate(zip(tensor.shape, first, strict=True))
                if i != axis
            ),
            f"shape {list(tensor.shape)} does not fit {list(first)} along dimension {axis}",
            tensor,
        )
    total = sum(tensor.shape[axis] for tensor in inputs)
    return ((*first[:axis], total, *first[axis + 1 :]),)


def _rescaling(node: Node, data: Tensor, output: Tensor) -> Int8Array | None:
    """What becomes of the values of a uint8 input (``ConcatenationWithScaling``)."""
    node.eight_bit(data)
    if data.scale[0] == output.scale[0] and data.zero_point[0] == output.zero_point[0]:
        return None
    scale = data.scale[0] * (np.float32(1) / output.scale[0])
    bias = np.float32(-int(data.zero_point[0])) * scale
    real = np.arange(256, dtype=np.float32) * scale + bias
    value = wrap32(to_int32(round_half_away(real)) + int(output.zero_point[0]))
    table: Int8Array = (np.clip(value, 0, 255) - 128).astype(np.int8)
    return table


@planner("CONCATENATION")
def _concatenation(node: Node, rounding: Rounding) -> Plan:
    options = node.options(ConcatenationOptions)
    node.require(
        options.activation == "NONE", f"fused activation {options.activation} is not supported"
    )
    _, output = _data_and_output(node)
    inputs = _inputs(node)
    for tensor in inputs:
        node.same_type(tensor, output)
        if tensor.dtype == np.int8 and tensor.scale.size:
            node.same_quantization(tensor, output)
    node.shape(output, _concatenated(node)[0])
    rescaled: tuple[Int8Array | None, ...] = (None,) * len(inputs)
    if output.dtype == np.uint8 and output.scale.size:
        node.eight_bit(output)
        # An input without elements needs no scale.
        rescaled = tuple(
            _rescaling(node, tensor, output) if tensor.size else None for tensor in inputs
        )
    return ConcatPlan(
        input_shapes=tuple(tensor.shape for tensor in inputs),
        output_shape=output.shape,
        axis=node.axis(options.axis, len(output.shape)),
        rescaled=rescaled,
    )


@shapes("PACK")
def _packed(node: Node) -> tuple[Shape, ...]:
    inputs = _inputs(node)
    first = inputs[0].shape
    axis = node.axis(node.options(PackOptions).axis, len(first) + 1)
    for tensor in inputs:
        node.shape(tensor, first)
    return ((*first[:axis], len(inputs), *first[axis:]),)


@planner("PACK")
def _pack(node: Node, rounding: Rounding) -> Plan:
    options = node.options(PackOptions)
    _, output = _data_and_output(node)
    inputs = _inputs(node)
    node.require(
        options.values_count == len(inputs),
        f"has {len(inputs)} inputs, its option says {options.values_count}",
    )
    for tensor in inputs:
        node.same_type(tensor, output)
    node.shape(output, _packed(node)[0])
    axis = node.axis(options.axis, len(output.shape))
    one = (*output.shape[:axis], 1, *output.shape[axis + 1 :])
    return ConcatPlan(
        input_shapes=(one,) * len(inputs),
        output_shape=output.shape,
        axis=axis,
        rescaled=(None,) * len(inputs),
    )


@kernel(ConcatPlan)
def concatenate(plan: ConcatPlan, *inputs: Array) -> Array:
    """All inputs, one behind the other. Returns: ``plan.output_shape``."""
    parts = []
    for x, shape, table in zip(inputs, plan.input_shapes, plan.rescaled, strict=True):
        value = x if table is None else table[x.view(np.uint8) ^ np.uint8(0x80)]
        parts.append(value.reshape(shape))
    return np.concatenate(parts, axis=plan.axis)


# SPLIT, SPLIT_V and UNPACK


def _parts(shape: Shape, axis: int, sizes: tuple[int, ...]) -> tuple[Shape, ...]:
    return tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in sizes)


def _one(node: Node, position: int) -> int:
    values = node.integers(position)
    node.require(len(values) == 1, "must be one number", node.input(position))
    return values[0]


def _split_sizes(node: Node) -> tuple[int, int, tuple[int, ...]]:
    """Position of the data, the dimension, and the sizes of the parts."""
    if node.operator.op == "SPLIT":
        count = node.options(SplitOptions).num_splits
        data = node.input(1)
        axis = node.axis(_one(node, 0), len(data.shape))
        size = data.shape[axis]
        node.require(
            0 < count <= size and size % count == 0,
            f"{size} can't be split in {count} equal parts",
            data,
        )
        return 1, axis, (size // count,) * count
    data = node.input(0)
    axis = node.axis(_one(node, 2), len(data.shape))
    sizes = node.integers(1)
    given = [size for size in sizes if size != -1]
    node.require(
        len(sizes) == node.options(SplitVOptions).num_splits
        and len(sizes) - len(given) <= 1
        and min(given, default=0) >= 0,
        f"{list(sizes)} are not the sizes of {node.options(SplitVOptions).num_splits} parts",
        node.input(1),
    )
    rest = data.shape[axis] - sum(given)
    node.require(
        rest >= 0 and (rest == 0 or len(given) < len(sizes)),
        f"{data.shape[axis]} can't be split in {list(sizes)}",
        data,
    )
    return 0, axis, tuple(rest if size == -1 else size for size in sizes)


@shapes("SPLIT", "SPLIT_V")
def _split_shapes(node: Node) -> tuple[Shape, ...]:
    position, axis, sizes = _split_sizes(node)
    return _parts(node.input(position).shape, axis, sizes)


@shapes("UNPACK")
def _unpacked(node: Node) -> tuple[Shape, ...]:
    shape = node.input(0).shape
    options = node.options(UnpackOptions)
    axis = node.axis(options.axis, len(shape))
    node.require(
        options.num == shape[axis],
        f"has {shape[axis]} parts, the operator's option says {options.num}",
        node.input(0),
    )
    return ((*shape[:axis], *shape[axis + 1 :]),) * options.num


def _split_plan(
    node: Node, position: int, axis: int, sizes: tuple[int, ...], wanted: tuple[Shape, ...]
) -> SplitPlan:
    data = node.input(position)
    node.require(data.dtype.kind in "iufb", f"{data.type_name} is not supported", data)
    outputs = node.outputs(len(sizes))
    for output, shape in zip(outputs, wanted, strict=True):
        node.same_type(data, output)
        node.shape(output, shape)
    return SplitPlan(operand=position, axis=axis, sizes=sizes, output_shapes=wanted)


@planner("SPLIT", "SPLIT_V")
def _split(node: Node, rounding: Rounding) -> Plan:
    return _split_plan(node, *_split_sizes(node), _split_shapes(node))


@planner("UNPACK")
def _unpack(node: Node, rounding: Rounding) -> Plan:
    options = node.options(UnpackOptions)
    wanted = _unpacked(node)
    axis = node.axis(options.axis, len(node.input(0).shape))
    return _split_plan(node, 0, axis, (1,) * options.num, wanted)


@kernel(SplitPlan)
def split(plan: SplitPlan, x: Array) -> tuple[Array, ...]:
    """The parts of `x`, each of its shape in ``plan.output_shapes``."""
    parts = np.split(x, np.cumsum(plan.sizes)[:-1], axis=plan.axis)
    return tuple(
        np.ascontiguousarray(part.reshape(shape))
        for part, shape in zip(parts, plan.output_shapes, strict=True)
    )


# PAD, PADV2 and MIRROR_PAD


def _padding(node: Node) -> tuple[tuple[int, int], ...]:
    data = node.input(0)
    values = node.integers(1)
    node.require(
        len(values) == 2 * len(data.shape) and min(values, default=0) >= 0,
        f"{list(values)} are not two sizes for each of {len(data.shape)} dimensions",
        node.input(1),
    )
    return tuple(zip(values[::2], values[1::2], strict=True))


@shapes("PAD", "PADV2", "MIRROR_PAD")
def _padded(node: Node) -> tuple[Shape, ...]:
    sizes = zip(node.input(0).shape, _padding(node), strict=True)
    return (tuple(size + before + after for size, (before, after) in sizes),)


@planner("PAD", "PADV2")
def _pad(node: Node, rounding: Rounding) -> Plan:
    data, output = _data_and_output(node)
    node.shape(output, _padded(node)[0])
    value: int | float = int(output.zero_point[0]) if output.zero_point.size else 0
    if node.optional(2) is not None:
        given = node.input(2)
        values = node.constant(2, data.dtype.type)
        node.require(values.size == 1, "must be one number", given)
        if data.scale.size and data.dtype.itemsize == 1:
            node.same_quantization(output, given)
        value = values.ravel()[0].item()
    if data.dtype.kind in "iu":
        info = np.iinfo(data.dtype)
        node.require(info.min <= value <= info.max, "its zero point does not fit", output)
    return PadPlan(mode="constant", output_shape=output.shape, padding=_padding(node), value=value)


@planner("MIRROR_PAD")
def _mirror_pad(node: Node, rounding: Rounding) -> Plan:
    data, output = _data_and_output(node)
    node.shape(output, _padded(node)[0])
    reflect = node.options(MirrorPadOptions).mode == "REFLECT"
    padding = _padding(node)
    node.require(
        all(max(pair) <= size - reflect for size, pair in zip(data.shape, padding, strict=True)),
        f"{[list(pair) for pair in padding]} is more than there is to mirror",
        data,
    )
    return PadPlan(
        mode="reflect" if reflect else "symmetric", output_shape=output.shape, padding=padding
    )


@kernel(PadPlan)
def pad(plan: PadPlan, x: Array) -> Array:
    """`x` with its surroundings. Returns: ``plan.output_shape``."""
    if plan.mode != "constant":
        return np.pad(x, plan.padding, mode=plan.mode)
    out = np.full(plan.output_shape, plan.value, x.dtype)
    inside = (
        slice(pair[0], pair[0] + size) for pair, size in zip(plan.padding, x.shape, strict=True)
    )
    out[tuple(inside)] = x
    return out


# SLICE and STRIDED_SLICE


def _slice_plan(node: Node) -> SlicePlan:
    shape = node.input(0).shape
    starts, sizes = node.integers(1), node.integers(2)
    node.require(
        len(starts) == len(sizes) == len(shape),
        f"starts {list(starts)} and sizes {list(sizes)} are not of {len(shape)} dimensions",
    )
    counts = tuple(
        whole - start if size == -1 else size
        for start, size, whole in zip(starts, sizes, shape, strict=True)
    )
    node.require(
        all(
            start >= 0 and count >= 0 and start + count <= whole
            for start, count, whole in zip(starts, counts, shape, strict=True)
        ),
        f"starts {list(starts)} and sizes {list(sizes)} do not fit {list(shape)}",
        node.input(0),
    )
    return SlicePlan(starts=starts, counts=counts, strides=(1,) * len(shape), output_shape=counts)


def _strided_slice_plan(node: Node) -> SlicePlan:
    shape = node.input(0).shape
    options = node.options(StridedSliceOptions)
    begins, ends, steps = (node.integers(position) for position in (1, 2, 3))
    node.require(
        len(begins) == len(ends) == len(steps) and 0 not in steps,
        f"begins {list(begins)}, ends {list(ends)} and strides {list(steps)} do not fit",
    )
    ellipses = [i for i in range(len(begins)) if options.ellipsis_mask >> i & 1]
    news = [i for i in range(len(begins)) if options.new_axis_mask >> i & 1 and i not in ellipses]
    node.require(len(ellipses) <= 1, "has more than one ellipsis")
    named = len(begins) - len(ellipses) - len(news)
    node.require(named <= len(shape), f"slices {named} dimensions of {len(shape)}")
    starts: list[int] = []
    counts: list[int] = []
    strides: list[int] = []
    output: list[int] = []

    def whole(dimensions: int) -> None:
        for size in shape[len(starts) : len(starts) + dimensions]:
            starts.append(0)
            counts.append(size)
            strides.append(1)
            output.append(size)

    for i, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        if i in ellipses:
            whole(len(shape) - named)
            continue
        if i in news:
            output.append(1)
            continue
        size = shape[len(starts)]
        if options.offset:
            end += begin
        if options.shrink_axis_mask >> i & 1:
            at = 0 if options.begin_mask >> i & 1 else begin
            node.require(step > 0, f"stride {step} of a dimension that is left out")
            node.require(-size <= at < size, f"index {at} is not one of {size}", node.input(0))
            starts.append(at % size)
            counts.append(1)
            strides.append(1)
            continue
        span = slice(
            None if options.begin_mask >> i & 1 else begin,
            None if options.end_mask >> i & 1 else end,
            step,
        )
        chosen = range(*span.indices(size))
        starts.append(chosen.start)
        counts.append(len(chosen))
        strides.append(step)
        output.append(len(chosen))
    whole(len(shape) - len(starts))
    return SlicePlan(
        starts=tuple(starts),
        counts=tuple(counts),
        strides=tuple(strides),
        output_shape=tuple(output),
    )


@shapes("SLICE", "STRIDED_SLICE")
def _sliced(node: Node) -> tuple[Shape, ...]:
    make = _slice_plan if node.operator.op == "SLICE" else _strided_slice_plan
    return (make(node).output_shape,)


@planner("SLICE", "STRIDED_SLICE")
def _slice(node: Node, rounding: Rounding) -> Plan:
    _, output = _data_and_output(node)
    if node.operator.op == "SLICE":
        plan = _slice_plan(node)
    else:
        plan = _strided_slice_plan(node)
        options = node.options(StridedSliceOptions)
        node.require(
            rounding == "litert" or not (options.ellipsis_mask or options.new_axis_mask),
            "TFLM knows no ellipsis and no new dimensions",
        )
    node.shape(output, plan.output_shape)
    return plan


@kernel(SlicePlan)
def take_slice(plan: SlicePlan, x: Array) -> Array:
    """The chosen elements of `x`. Returns: ``plan.output_shape``."""
    chosen = []
    for start, count, stride in zip(plan.starts, plan.counts, plan.strides, strict=True):
        stop = start + count * stride
        chosen.append(slice(start, None if stop < 0 else stop, stride) if count else slice(0, 0))
    return np.ascontiguousarray(x[tuple(chosen)].reshape(plan.output_shape))


# TRANSPOSE, SPACE_TO_DEPTH and DEPTH_TO_SPACE


def _rearrange_plan(node: Node) -> RearrangePlan:
    op = node.operator.op
    data = node.input(0)
    if op == "TRANSPOSE":
        rank = len(data.shape)
        given = node.integers(1)
        order = tuple(axis % rank for axis in given if -rank <= axis < rank)
        node.require(
            len(order) == len(given) and sorted(order) == list(range(rank)),
            f"{list(given)} is not an order of {rank} dimensions",
            node.input(1),
        )
        return RearrangePlan(
            split_shape=data.shape,
            permutation=order,
            output_shape=tuple(data.shape[axis] for axis in order),
        )
    n, h, w, c = node.images(data)
    if op == "SPACE_TO_DEPTH":
        block = node.options(SpaceToDepthOptions).block_size
        node.require(
            block > 0 and h % block == 0 and w % block == 0,
            f"{h} x {w} pixels are not blocks of {block}",
            data,
        )
        return RearrangePlan(
            split_shape=(n, h // block, block, w // block, block, c),
            permutation=(0, 1, 3, 2, 4, 5),
            output_shape=(n, h // block, w // block, block * block * c),
        )
    block = node.options(DepthToSpaceOptions).block_size
    node.require(
        block > 0 and c % (block * block) == 0, f"{c} channels are not blocks of {block}", data
    )
    depth = c // (block * block)
    return RearrangePlan(
        split_shape=(n, h, w, block, block, depth),
        permutation=(0, 1, 3, 2, 4, 5),
        output_shape=(n, h * block, w * block, depth),
    )


@shapes("TRANSPOSE", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def _rearranged(node: Node) -> tuple[Shape, ...]:
    return (_rearrange_plan(node).output_shape,)


@planner("TRANSPOSE", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def _rearrange(node: Node, rounding: Rounding) -> Plan:
    _, output = _data_and_output(node)
    plan = _rearrange_plan(node)
    node.shape(output, plan.output_shape)
    return plan


@kernel(RearrangePlan)
def rearrange(plan: RearrangePlan, x: Array) -> Array:
    """The elements of `x` in their new order. Returns: ``plan.output_shape``."""
    moved = x.reshape(plan.split_shape).transpose(plan.permutation)
    return np.ascontiguousarray(moved.reshape(plan.output_shape))


# TILE, SQUEEZE and EXPAND_DIMS


@shapes("TILE")
def _tiled(node: Node) -> tuple[Shape, ...]:
    shape, multiples = node.input(0).shape, node.integers(1)
    node.require(
        len(multiples) == len(shape) and min(multiples, default=0) >= 0,
        f"{list(multiples)} are not {len(shape)} numbers of copies",
        node.input(1),
    )
    return (tuple(size * times for size, times in zip(shape, multiples, strict=True)),)


@planner("TILE")
def _tile(node: Node, rounding: Rounding) -> Plan:
    _, output = _data_and_output(node)
    node.shape(output, _tiled(node)[0])
    return TilePlan(multiples=node.integers(1), output_shape=output.shape)


@kernel(TilePlan)
def tile(plan: TilePlan, x: Array) -> Array:
    """`x`, many times. Returns: ``plan.output_shape``."""
    return np.tile(x, plan.multiples)


@shapes("SQUEEZE", "EXPAND_DIMS")
def _squeezed(node: Node) -> tuple[Shape, ...]:
    shape = node.input(0).shape
    if node.operator.op == "EXPAND_DIMS":
        axis = node.axis(_one(node, 1), len(shape) + 1)
        return ((*shape[:axis], 1, *shape[axis:]),)
    given = node.options(SqueezeOptions).squeeze_dims
    axes = {node.axis(axis, len(shape)) for axis in given}
    node.require(
        all(shape[axis] == 1 for axis in axes),
        f"dimensions {list(given)} of {list(shape)} are not all of size 1",
        node.input(0),
    )
    if not given:
        axes = {axis for axis, size in enumerate(shape) if size == 1}
    return (tuple(size for axis, size in enumerate(shape) if axis not in axes),)


@planner("SQUEEZE", "EXPAND_DIMS")
def _squeeze(node: Node, rounding: Rounding) -> Plan:
    data, output = _data_and_output(node)
    node.shape(output, _squeezed(node)[0])
    node.require(math.prod(data.shape) == math.prod(output.shape), "changes its size", output)
    return ReshapePlan(input_shape=data.shape, output_shape=output.shape)
