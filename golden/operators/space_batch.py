"""Operators between pixels and batches: SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND.

Around a convolution they make it a dilated one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mensa.golden.graph import Tensor
from mensa.golden.node import QUANTIZED, Node
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

_TFLM_TYPES = ("int8", "float32")
_TYPES = (*_TFLM_TYPES, "uint8", "int16", "int32", "uint32", "int64", "bool", "float16")


@dataclass(frozen=True, kw_only=True, eq=False)
class SpaceToBatchPlan(Plan):
    """SPACE_TO_BATCH_ND: the pixels of each place in a block become a batch of their own.

    Parameters
    ----------
    input_shape, output_shape : tuples of int
        ``[batch, ..., channels]``, one or two dimensions of pixels.
    block : tuple of int
        Pixels of a block along each of them.
    padding : tuple of pairs of int
        How many pixels are added before and after; below zero, how many are left out.
    value : int
        Of the added pixels, in the file's own type.
    """

    raw = True

    input_shape: Shape
    output_shape: Shape
    block: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    value: int


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchToSpacePlan(Plan):
    """BATCH_TO_SPACE_ND: batches become the pixels of each place in a block.

    Parameters
    ----------
    input_shape, output_shape : tuples of int
        ``[batch, ..., channels]``, one or two dimensions of pixels.
    block : tuple of int
        Pixels of a block along each of them.
    crops : tuple of pairs of int
        How many pixels are then left out before and after.
    """

    raw = True

    input_shape: Shape
    output_shape: Shape
    block: tuple[int, ...]
    crops: tuple[tuple[int, int], ...]


def _block(node: Node) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """The block, and what is added to or taken from each dimension of pixels at its ends."""
    data, block, ends = node.input(0), node.input(1), node.input(2)
    node.require(
        len(data.shape) in (3, 4),
        f"must have one or two dimensions between batch and channels, not {list(data.shape)}",
        data,
    )
    node.require(data.size > 0, "is empty", data)
    dimensions = len(data.shape) - 2
    sizes = node.constant(1, np.int32)
    values = node.constant(2, np.int32)
    node.shape(block, (dimensions,))
    node.shape(ends, (dimensions, 2))
    node.require(int(sizes.min()) >= 1, f"block {sizes.tolist()} has no pixels", block)
    return tuple(sizes.tolist()), tuple((first, last) for first, last in values.tolist())


@shapes("SPACE_TO_BATCH_ND")
def _space_to_batch_shape(node: Node) -> tuple[Shape, ...]:
    data = node.input(0)
    block, padding = _block(node)
    padded = [size + sum(pair) for size, pair in zip(data.shape[1:-1], padding, strict=True)]
    node.require(
        all(size >= 0 and size % of == 0 for size, of in zip(padded, block, strict=True)),
        f"{' x '.join(str(size) for size in padded)} pixels are not blocks of {list(block)}",
        data,
    )
    pixels = (size // of for size, of in zip(padded, block, strict=True))
    return ((data.shape[0] * math.prod(block), *pixels, data.shape[-1]),)


@shapes("BATCH_TO_SPACE_ND")
def _batch_to_space_shape(node: Node) -> tuple[Shape, ...]:
    data = node.input(0)
    block, crops = _block(node)
    node.require(
        data.shape[0] % math.prod(block) == 0,
        f"{data.shape[0]} batches are not the pixels of blocks of {list(block)}",
        data,
    )
    pixels = tuple(
        size * of - sum(pair) for size, of, pair in zip(data.shape[1:-1], block, crops, strict=True)
    )
    node.require(
        min(min(pair) for pair in crops) >= 0 and min(pixels) >= 0,
        f"{[list(pair) for pair in crops]} can't be left out",
        node.input(2),
    )
    return ((data.shape[0] // math.prod(block), *pixels, data.shape[-1]),)


def _data_and_output(node: Node, rounding: Rounding) -> tuple[Tensor, Tensor]:
    data, output = node.input(0), node.output()
    require_kernel(node, data, rounding, tflm=_TFLM_TYPES, litert=_TYPES)
    node.same_type(data, output)
    if rounding == "litert" and data.dtype in QUANTIZED:
        node.same_quantization(data, output)
    return data, output


def _pad_value(node: Node, output: Tensor, rounding: Rounding) -> int:
    """What the added pixels are, a zero point where the kernel takes one."""
    # TFLM's kernel never sets what it pads with: it is the zero that fresh memory holds.
    if rounding == "tflm" or not output.zero_point.size or output.dtype.itemsize > 2:
        return 0
    value = int(output.zero_point[0])
    # Of two bytes the kernel sets each.
    low, high = {"int8": (-128, 127), "uint8": (0, 255)}.get(output.dtype.name, (0, 0))
    node.require(low <= value <= high, f"zero point {value} does not fit {output.dtype}", output)
    return value


@planner("SPACE_TO_BATCH_ND")
def _space_to_batch(node: Node, rounding: Rounding) -> Plan:
    data, output = _data_and_output(node, rounding)
    node.shape(output, _space_to_batch_shape(node)[0])
    block, padding = _block(node)
    return SpaceToBatchPlan(
        input_shape=data.shape,
        output_shape=output.shape,
        block=block,
        padding=padding,
        value=_pad_value(node, output, rounding),
    )


@planner("BATCH_TO_SPACE_ND")
def _batch_to_space(node: Node, rounding: Rounding) -> Plan:
    data, output = _data_and_output(node, rounding)
    node.shape(output, _batch_to_space_shape(node)[0])
    block, crops = _block(node)
    return BatchToSpacePlan(
        input_shape=data.shape, output_shape=output.shape, block=block, crops=crops
    )


@kernel(SpaceToBatchPlan)
def space_to_batch(plan: SpaceToBatchPlan, x: Array) -> Array:
    """`x` with its pixels in batches. Returns: ``plan.output_shape``."""
    batch, *sizes, channels = plan.input_shape
    pixels = plan.output_shape[1:-1]
    padded = [size * of for size, of in zip(pixels, plan.block, strict=True)]
    out = np.full((batch, *padded, channels), plan.value, x.dtype)
    inside, source = [slice(None)], [slice(None)]
    for size, whole, (before, _) in zip(sizes, padded, plan.padding, strict=True):
        first = max(0, -before)
        last = max(first, min(size, whole - before))
        source.append(slice(first, last))
        inside.append(slice(first + before, last + before))
    out[tuple(inside)] = x.reshape(plan.input_shape)[tuple(source)]
    split = [part for pair in zip(pixels, plan.block, strict=True) for part in pair]
    count = len(sizes)
    # [batch, pixels, block, ..., channels] to [block, ..., batch, pixels, ..., channels]
    order = (*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count + 1, 2), 2 * count + 1)
    moved = out.reshape((batch, *split, channels)).transpose(order)
    return np.ascontiguousarray(moved.reshape(plan.output_shape))


@kernel(BatchToSpacePlan)
def batch_to_space(plan: BatchToSpacePlan, x: Array) -> Array:
    """`x` with its batches as pixels. Returns: ``plan.output_shape``."""
    _, *sizes, channels = plan.input_shape
    batch, *pixels, _ = plan.output_shape
    count = len(sizes)
    # [block, ..., batch, pixels, ..., channels] to [batch, pixels, block, ..., channels]
    pairs = (axis for k in range(count) for axis in (count + 1 + k, k))
    moved = x.reshape((*plan.block, batch, *sizes, channels)).transpose(
        (count, *pairs, 2 * count + 1)
    )
    whole = [size * of for size, of in zip(sizes, plan.block, strict=True)]
    kept = (
        slice(before, before + size) for (before, _), size in zip(plan.crops, pixels, strict=True)
    )
    return np.ascontiguousarray(moved.reshape((batch, *whole, channels))[:, *kept])
