"""AVERAGE_POOL_2D and MAX_POOL_2D of 8-bit values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import clamped
from mensa.golden.node import Node
from mensa.golden.operators.filters import (
    check_padded,
    window_outputs,
)
from mensa.golden.options import (
    Pool2DOptions,
)
from mensa.golden.plan import (
    Int8Array,
    Plan,
    Rounding,
    Shape,
)
from mensa.golden.registry import kernel, planner, shapes

# Taps along one dimension of a pool's window.
_MAX_POOL_WINDOW = 1 << 16


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolPlan(Plan):
    """AVERAGE_POOL_2D or MAX_POOL_2D; taps outside the input are left out and not counted.

    Parameters
    ----------
    kind : "average" or "max"
        What is taken of each window.
    input_shape, output_shape : tuples of int
        ``[batch, height, width, channels]``.
    filter_h, filter_w, stride_h, stride_w : int
        Of the window, in pixels, at least 1.
    pad_top, pad_left : int
        Rows and columns by which the first window reaches out of the input.
    round_half_up : bool
        How an average over n taps with sum S rounds. False (int8 files): half away from zero,
        ``sign(S) * ((|S| + n // 2) // n)``. True (uint8 files, whose kernel averages unsigned
        values): ``(S + 128 * n + n // 2) // n - 128``.
    clamp_min, clamp_max : int
        The fused activation's range.
    """

    kind: Literal["average", "max"]
    input_shape: Shape
    output_shape: Shape
    filter_h: int
    filter_w: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    round_half_up: bool
    clamp_min: int
    clamp_max: int


@shapes("AVERAGE_POOL_2D", "MAX_POOL_2D")
def _pooled(node: Node) -> tuple[Shape, ...]:
    options = node.options(Pool2DOptions)
    n, h, w, c = node.images(node.input(0))
    oh, _ = window_outputs(node, options.padding, h, options.filter_h, options.stride_h, 1)
    ow, _ = window_outputs(node, options.padding, w, options.filter_w, options.stride_w, 1)
    return ((n, oh, ow, c),)


@planner("AVERAGE_POOL_2D", "MAX_POOL_2D")
def _pool(node: Node, rounding: Rounding) -> Plan:
    options = node.options(Pool2DOptions)
    data, output = node.input(0), node.output()
    node.eight_bit(data)
    node.eight_bit(output)
    node.same_type(data, output)
    n, h, w, c = node.images(data)
    oh, pad_top = window_outputs(node, options.padding, h, options.filter_h, options.stride_h, 1)
    ow, pad_left = window_outputs(node, options.padding, w, options.filter_w, options.stride_w, 1)
    node.shape(output, (n, oh, ow, c))
    node.require(
        max(options.filter_h, options.filter_w) <= _MAX_POOL_WINDOW,
        f"a window of {options.filter_h} x {options.filter_w} is too large",
    )
    check_padded(node, (oh, ow), (options.filter_h, options.filter_w), options, c)
    clamp_min, clamp_max = node.clamp(options.activation, output)
    return PoolPlan(
        kind="average" if node.operator.op == "AVERAGE_POOL_2D" else "max",
        input_shape=data.shape,
        output_shape=output.shape,
        filter_h=options.filter_h,
        filter_w=options.filter_w,
        stride_h=options.stride_h,
        stride_w=options.stride_w,
        pad_top=pad_top,
        pad_left=pad_left,
        round_half_up=data.dtype == np.uint8,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


def _inside(size: int, outputs: int, stride: int, window: int, pad: int) -> npt.NDArray[np.int64]:
    """How many taps of each window along one dimension are inside the input."""
    start = np.arange(outputs) * stride - pad
    return np.minimum(start + window, size) - np.maximum(start, 0)


@kernel(PoolPlan)
def pool(plan: PoolPlan, x: Int8Array) -> Int8Array:
    """Average or maximum over windows.

    Parameters: int8 ``plan.input_shape``. Returns: int8 ``plan.output_shape``.
    """
    _, h, w, c = plan.input_shape
    _, oh, ow, _ = plan.output_shape
    average = plan.kind == "average"
    # Both reductions are separable: first down the columns, then along the rows.
    combine = np.add if average else np.maximum
    row_counts = _inside(h, oh, plan.stride_h, plan.filter_h, plan.pad_top)
    column_counts = _inside(w, ow, plan.stride_w, plan.filter_w, plan.pad_left)
    out = np.empty(plan.output_shape, np.int8)
    reach = (ow - 1) * plan.stride_w + 1
    width = max(reach - 1 + plan.filter_w, w + plan.pad_left)
    columns = np.full((width, c), 0 if average else -128, np.int32 if average else np.int8)
    inside = columns[plan.pad_left : plan.pad_left + w]
    for image, result in zip(x.reshape(plan.input_shape), out, strict=True):
        for y in range(oh):
            top = y * plan.stride_h - plan.pad_top
            seen = image[max(top, 0) : top + plan.filter_h]
            combine.reduce(seen, axis=0, dtype=columns.dtype, out=inside)
            total = columns[: reach : plan.stride_w].copy()
            for tap in range(1, plan.filter_w):
                combine(total, columns[tap : tap + reach : plan.stride_w], out=total)
            value: npt.NDArray[np.int64] = total.astype(np.int64)
            counts = (row_counts[y] * column_counts)[:, None]
            if average and plan.round_half_up:
                value = (value + 128 * counts + counts // 2) // counts - 128
            elif average:
                value = np.sign(value) * ((np.abs(value) + counts // 2) // counts)
            result[y] = clamped(value, 0, plan.clamp_min, plan.clamp_max)
    return out
