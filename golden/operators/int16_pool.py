"""AVERAGE_POOL_2D and MAX_POOL_2D of int16 tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import wrap32
from mensa.golden.node import INT16, Node
from mensa.golden.operators.filters import check_padded, window_outputs
from mensa.golden.options import Pool2DOptions
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import kernel, planner

Int16Array = npt.NDArray[np.int16]


@dataclass(frozen=True, kw_only=True, eq=False)
class Int16PoolPlan(Plan):
    """A pool of int16 values; taps outside the input are left out and not counted.

    An average over n taps with sum S is rounded half away from zero.

    Parameters
    ----------
    kind, input_shape, output_shape, filter_h, filter_w, stride_h, stride_w, pad_top, pad_left,
    clamp_min, clamp_max
        As in `PoolPlan`.
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
    clamp_min: int
    clamp_max: int


@planner("AVERAGE_POOL_2D", "MAX_POOL_2D", types=("int16",))
def _pool(node: Node, rounding: Rounding) -> Plan:
    options = node.options(Pool2DOptions)
    data, output = node.input(0), node.output()
    node.quantized(data, INT16)
    node.quantized(output, INT16)
    n, h, w, c = node.images(data)
    oh, pad_top = window_outputs(node, options.padding, h, options.filter_h, options.stride_h, 1)
    ow, pad_left = window_outputs(node, options.padding, w, options.filter_w, options.stride_w, 1)
    node.shape(output, (n, oh, ow, c))
    check_padded(node, (oh, ow), (options.filter_h, options.filter_w), options, c)
    clamp_min, clamp_max = node.clamp(options.activation, output)
    return Int16PoolPlan(
        kind="average" if node.operator.op == "AVERAGE_POOL_2D" else "max",
        input_shape=data.shape,
        output_shape=output.shape,
        filter_h=options.filter_h,
        filter_w=options.filter_w,
        stride_h=options.stride_h,
        stride_w=options.stride_w,
        pad_top=pad_top,
        pad_left=pad_left,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


def _edges(size: int, outputs: int, stride: int, window: int, pad: int) -> npt.NDArray[np.int64]:
    """First pixel and last plus one that each window sees along one dimension ``[outputs, 2]``."""
    start = np.arange(outputs, dtype=np.int64) * stride - pad
    return np.stack([np.maximum(start, 0), np.minimum(start + window, size)], axis=1)


def _reduce(
    combine: np.ufunc, x: npt.NDArray[np.int64], axis: int, edges: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Each window's sum or maximum along one dimension."""
    # An end must be a place too. What lies between an end and the next start is left out again.
    longer = np.concatenate([x, x.take([0], axis)], axis)
    result: npt.NDArray[np.int64] = combine.reduceat(longer, edges.ravel(), axis)
    return result.take(np.arange(len(edges)) * 2, axis)


@kernel(Int16PoolPlan)
def pool(plan: Int16PoolPlan, x: Int16Array) -> Int16Array:
    """Average or maximum over windows.

    Parameters: int16 ``plan.input_shape``. Returns: int16 ``plan.output_shape``.
    """
    _, h, w, _ = plan.input_shape
    _, oh, ow, _ = plan.output_shape
    rows = _edges(h, oh, plan.stride_h, plan.filter_h, plan.pad_top)
    columns = _edges(w, ow, plan.stride_w, plan.filter_w, plan.pad_left)
    combine = np.maximum if plan.kind == "max" else np.add
    counts = (rows[:, 1] - rows[:, 0])[:, None, None] * (columns[:, 1] - columns[:, 0])[:, None]
    out = np.empty(plan.output_shape, np.int16)
    for image, result in zip(x.reshape(plan.input_shape), out, strict=True):
        value = _reduce(combine, _reduce(combine, image.astype(np.int64), 0, rows), 1, columns)
        if plan.kind == "average":
            # TFLite adds up in int32.
            total = wrap32(value)
            value = np.sign(total) * ((np.abs(total) + counts // 2) // counts)
        result[:] = np.clip(value, plan.clamp_min, plan.clamp_max)
    return out
