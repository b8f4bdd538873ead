"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.graph import Tensor
from mensa.golden.node import Node
from mensa.golden.options import ResizeBilinearOptions, ResizeNearestNeighborOptions
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

Int64Array = npt.NDArray[np.int64]

#: Fraction bits of an integer position.
POSITION_BITS = 10
# Elements of the output that are worked on at a time.
_BLOCK = 1 << 18
# The scaled positions of larger images would not fit 32 bits in the kernels.
_MAX_SIZE = 1 << 15


@dataclass(frozen=True, kw_only=True, eq=False)
class Positions:
    """Where the outputs along one dimension lie between the inputs.

    Parameters
    ----------
    lower, upper : int arrays ``[outputs]``
        The two inputs of each output.
    weight : int64 or float32 array ``[outputs]``
        Weight of the upper one, integers in units of ``2**-10``; the lower one's is one less it.
        Below zero, or above one, where both are the same input.
    """

    lower: Int64Array
    upper: Int64Array
    weight: npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class BilinearPlan(Plan):
    """RESIZE_BILINEAR: a weighted mean of four pixels.

    The weights are products of those in `rows` and `columns`. Integer weights: the sum, in
    units of ``2**-20``, is rounded half away from zero. float32 weights (uint8 files): the four
    products are added in float32 to unsigned values and 0.5, then truncated.

    Parameters
    ----------
    input_shape, output_shape : tuples of int
        ``[batch, height, width, channels]``.
    rows, columns : Positions
        Along the height and along the width.
    """

    input_shape: Shape
    output_shape: Shape
    rows: Positions
    columns: Positions


@dataclass(frozen=True, kw_only=True, eq=False)
class NearestPlan(Plan):
    """RESIZE_NEAREST_NEIGHBOR: ``output[n, y, x] = input[n, rows[y], columns[x]]``.

    Parameters
    ----------
    input_shape, output_shape : tuples of int
        ``[batch, height, width, channels]``.
    rows, columns : int64 arrays
        The input's row of each output row, and the column of each column.
    """

    raw = True

    input_shape: Shape
    output_shape: Shape
    rows: Int64Array
    columns: Int64Array


@shapes("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _sizes(node: Node) -> tuple[Shape, ...]:
    n, _, _, c = node.images(node.input(0))
    size = node.constant(1, np.int32)
    node.require(size.shape == (2,), "must have two elements: height and width", node.input(1))
    height, width = (int(value) for value in size)
    node.require(
        0 < height <= _MAX_SIZE and 0 < width <= _MAX_SIZE,
        f"{height} x {width} is not a possible size",
        node.input(1),
    )
    return ((n, height, width, c),)


def _tensors(node: Node) -> tuple[Tensor, Tensor]:
    data, output = node.input(0), node.output()
    node.same_type(data, output)
    node.shape(output, _sizes(node)[0])
    node.require(
        all(size > 0 for size in data.shape) and max(data.shape[1:3]) <= _MAX_SIZE,
        f"{list(data.shape)} is not a possible size",
        data,
    )
    return data, output


def _positions(
    node: Node, size: int, outputs: int, options: ResizeBilinearOptions, single: bool
) -> Positions:
    """Along one dimension; with `single` in single precision, else in integers."""
    corners = options.align_corners and outputs > 1
    steps, span = (outputs - 1, size - 1) if corners else (outputs, size)
    place_of = np.arange(outputs, dtype=np.int64)
    if single:
        scale = np.float32(span) / np.float32(steps)
        position = place_of.astype(np.float32)
        if options.half_pixel_centers:
            position = (position + np.float32(0.5)) * scale - np.float32(0.5)
        else:
            position = position * scale
        lower = np.maximum(np.floor(position).astype(np.int64), 0)
        upper = np.minimum(np.ceil(position).astype(np.int64), size - 1)
        weight: npt.NDArray[Any] = position - lower.astype(np.float32)
    else:
        one = 1 << POSITION_BITS
        step = (one * span + steps // 2) // steps
        at = place_of * step
        if options.half_pixel_centers:
            at += step // 2 - one // 2
        # Division truncates; below zero the position is at most half a pixel out.
        lower = np.maximum(at // one, 0)
        upper = np.minimum((at + one - 1) // one, size - 1)
        weight = at - one * lower
    node.require(
        int(lower.max()) < size and int(upper.min()) >= 0,
        f"resizing {size} to {outputs} pixels reads beyond the input",
    )
    return Positions(lower=lower, upper=upper, weight=weight)


@planner("RESIZE_BILINEAR")
def _bilinear(node: Node, rounding: Rounding) -> Plan:
    options = node.options(ResizeBilinearOptions)
    data, output = _tensors(node)
    types = {"tflm": (np.int8,), "litert": (np.int8, np.uint8, np.int16)}[rounding]
    node.quantized(data, tuple(np.dtype(kind) for kind in types))
    node.require(
        not (options.align_corners and options.half_pixel_centers),
        "align_corners and half_pixel_centers exclude each other",
    )
    single = data.dtype == np.uint8
    rows, columns = (
        _positions(node, data.shape[axis], output.shape[axis], options, single) for axis in (1, 2)
    )
    return BilinearPlan(
        input_shape=data.shape, output_shape=output.shape, rows=rows, columns=columns
    )


@planner("RESIZE_NEAREST_NEIGHBOR")
def _nearest(node: Node, rounding: Rounding) -> Plan:
    options = node.options(ResizeNearestNeighborOptions)
    data, output = _tensors(node)

    def positions(size: int, outputs: int) -> Int64Array:
        corners = options.align_corners and outputs > 1
        scale = np.float32(size - 1 if corners else size) / np.float32(
            outputs - 1 if corners else outputs
        )
        offset = np.float32(0.5 if options.half_pixel_centers else 0.0)
        at = (np.arange(outputs).astype(np.float32) + offset) * scale
        # No position is negative, so this is rounding half away from zero.
        whole = np.floor(at) + (at - np.floor(at) >= 0.5) if options.align_corners else np.floor(at)
        result: Int64Array = np.minimum(whole.astype(np.int64), size - 1)
        return result

    return NearestPlan(
        input_shape=data.shape,
        output_shape=output.shape,
        rows=positions(data.shape[1], output.shape[1]),
        columns=positions(data.shape[2], output.shape[2]),
    )


def _in_integers(image: Array, rows: Positions, columns: Positions) -> Array:
    """Rows of one image between pixels. Parameters: ``[h, w, c]``. Returns: the same."""
    sum_type: npt.DTypeLike = np.int32 if image.dtype == np.int8 else np.int64
    one = 1 << POSITION_BITS
    down: Array = rows.weight.astype(sum_type)[:, None, None]
    right: Array = columns.weight.astype(sum_type)[None, :, None]
    above: Array = image[rows.lower].astype(sum_type)
    below: Array = image[rows.upper].astype(sum_type)
    column: Array = above * (one - down) + below * down
    total: Array = column[:, columns.lower] * (one - right) + column[:, columns.upper] * right
    # Rounded half away from zero.
    total += (1 << (2 * POSITION_BITS - 1)) - (total < 0)
    total >>= 2 * POSITION_BITS
    return total.astype(image.dtype)


def _in_single_precision(image: Array, rows: Positions, columns: Positions) -> Array:
    """As `_in_integers`, for uint8 files."""
    unsigned = (image.view(np.uint8) ^ np.uint8(0x80)).astype(np.float32)
    one = np.float32(1)
    down, right = rows.weight[:, None, None], columns.weight[None, :, None]
    above, below = unsigned[rows.lower], unsigned[rows.upper]
    total: Array = above[:, columns.lower] * (one - down) * (one - right)
    total += below[:, columns.lower] * down * (one - right)
    total += above[:, columns.upper] * (one - down) * right
    total += below[:, columns.upper] * down * right
    total += np.float32(0.5)
    return (total.astype(np.uint8) ^ np.uint8(0x80)).view(np.int8)


@kernel(BilinearPlan)
def bilinear(plan: BilinearPlan, x: Array) -> Array:
    """`x` resized. Parameters: ``plan.input_shape``. Returns: ``plan.output_shape``."""
    _, height, width, channels = plan.output_shape
    resize = _in_integers if plan.rows.weight.dtype == np.int64 else _in_single_precision
    out = np.empty(plan.output_shape, x.dtype)
    block = max(1, _BLOCK // (width * channels))
    for image, result in zip(x, out, strict=True):
        for top in range(0, height, block):
            part = slice(top, top + block)
            rows = Positions(
                lower=plan.rows.lower[part],
                upper=plan.rows.upper[part],
                weight=plan.rows.weight[part],
            )
            result[part] = resize(image, rows, plan.columns)
    return out


@kernel(NearestPlan)
def nearest(plan: NearestPlan, x: Array) -> Array:
    """`x` resized. Parameters: ``plan.input_shape``. Returns: ``plan.output_shape``."""
    result: Array = x[:, plan.rows][:, :, plan.columns]
    return result
