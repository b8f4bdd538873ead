"""TRANSPOSE_CONV: every pixel of the input is spread over a window of the output."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import requantize_double, wrap32
from mensa.golden.node import Node
from mensa.golden.operators.filters import (
    channel_multipliers,
    constant_bias,
    constant_weights,
    transposed_windows,
    weight_zero_point,
)
from mensa.golden.options import TransposeConvOptions
from mensa.golden.plan import Int8Array, Int32Array, Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, macs, planner, shapes


@dataclass(frozen=True, kw_only=True, eq=False)
class TransposeConvPlan(Plan):
    """TRANSPOSE_CONV.

    ``accumulator[n, y * stride_h - pad_top + v, x * stride_w - pad_left + u, o]`` is the sum of
    ``(input[n, y, x, i] - input_zero_point) * (weight[o, v, u, i] - weight_zero_point)`` over all
    that fall on it, and of ``bias[o]``, in wrapping int32; ``output = clamp(requantize_double(
    accumulator) + output_zero_point)``.

    Parameters
    ----------
    input_shape, output_shape : tuples of int
        ``[batch, height, width, channels]``.
    weights : int8 array ``[output channels, kernel height, kernel width, input channels]``
        What is added to the output.
    bias : int32 array ``[output channels]``
        Zeros where the file has none.
    input_zero_point, weight_zero_point, output_zero_point, multiplier, shift, clamp_min, clamp_max
        As in `ConvPlan`.
    stride_h, stride_w : int
        In pixels of the output, at least 1.
    pad_top, pad_left : int
        Rows and columns by which the first window reaches out of the output.
    """

    input_shape: Shape
    output_shape: Shape
    weights: Int8Array
    bias: Int32Array
    input_zero_point: int
    weight_zero_point: int
    output_zero_point: int
    multiplier: Int32Array
    shift: Int32Array
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    clamp_min: int
    clamp_max: int

    @property
    def operands(self) -> tuple[int, ...]:
        """The input comes after the output's shape and the weights."""
        return (2,)


@shapes("TRANSPOSE_CONV")
def _shape(node: Node) -> tuple[Shape, ...]:
    wanted = node.constant(0, np.int32)
    node.require(wanted.shape == (4,), "must have four elements", node.input(0))
    return (tuple(int(size) for size in wanted),)


@macs("TRANSPOSE_CONV")
def _spread(node: Node) -> int:
    weights, data = node.optional(1), node.optional(2)
    if weights is None or data is None or node.first_output() is None:
        return 0
    return data.size * math.prod(weights.shape[:3])


@planner("TRANSPOSE_CONV")
def _transpose_conv(node: Node, rounding: Rounding) -> Plan:
    options = node.options(TransposeConvOptions)
    data, output = node.input(2), node.output()
    node.eight_bit(data)
    node.eight_bit(output)
    node.same_type(data, output)
    node.shape(output, _shape(node)[0])
    values, filters = constant_weights(node, data, 0)
    oc, pad_top, pad_left = transposed_windows(node, data, filters, output, options)
    multiplier, shift, _ = channel_multipliers(
        node, data, filters, output, oc, fused=data.dtype == np.uint8
    )
    clamp_min, clamp_max = node.clamp(options.activation, output)
    return TransposeConvPlan(
        input_shape=data.shape,
        output_shape=output.shape,
        weights=values,
        bias=constant_bias(node, oc, 3),
        input_zero_point=node.zero_point(data),
        weight_zero_point=weight_zero_point(node, filters),
        output_zero_point=node.zero_point(output),
        multiplier=multiplier,
        shift=shift,
        stride_h=options.stride_h,
        stride_w=options.stride_w,
        pad_top=pad_top,
        pad_left=pad_left,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


@kernel(TransposeConvPlan)
def transpose_convolve(plan: TransposeConvPlan, x: Array) -> Array:
    """`x` spread out. Parameters: int8 ``plan.input_shape``. Returns: ``plan.output_shape``."""
    _, oh, ow, oc = plan.output_shape
    _, h, w, c = plan.input_shape
    _, kh, kw, _ = plan.weights.shape
    rows = max((h - 1) * plan.stride_h + kh, oh + plan.pad_top)
    columns = max((w - 1) * plan.stride_w + kw, ow + plan.pad_left)
    # A product is at most 255 * 255: float64 holds any sum over the channels.
    filters = plan.weights.astype(np.float64) - plan.weight_zero_point
    out = np.empty(plan.output_shape, np.int8)
    for image, result in zip(x.reshape(plan.input_shape), out, strict=True):
        pixels = image.reshape(h * w, c).astype(np.float64) - plan.input_zero_point
        total = np.zeros((rows, columns, oc), np.int64)
        for v in range(kh):
            for u in range(kw):
                part: npt.NDArray[np.float64] = pixels @ filters[:, v, u].T
                total[
                    v : v + (h - 1) * plan.stride_h + 1 : plan.stride_h,
                    u : u + (w - 1) * plan.stride_w + 1 : plan.stride_w,
                ] += part.astype(np.int64).reshape(h, w, oc)
        inside = total[plan.pad_top : plan.pad_top + oh, plan.pad_left : plan.pad_left + ow]
        scaled = requantize_double(wrap32(inside + plan.bias), plan.multiplier, plan.shift)
        # TFLite adds the zero point in int32, where a very large result wraps.
        wrapped = wrap32(scaled + plan.output_zero_point)
        result[:] = np.clip(wrapped, plan.clamp_min, plan.clamp_max)
    return out
