"""Operators over whole dimensions: MEAN, SUM, L2_NORMALIZATION."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mensa.golden.arithmetic.fixed_point import quantize_multiplier, requantize_double, wrap32
from mensa.golden.arithmetic.fixed_point_functions import inverse_square_root
from mensa.golden.node import EIGHT_BIT, Node, limits
from mensa.golden.options import L2NormOptions, ReducerOptions
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes


@dataclass(frozen=True, kw_only=True, eq=False)
class ReducePlan(Plan):
    """MEAN or SUM over some dimensions.

    ``output = clamp(requantize_double(sum - count * input_zero_point, multiplier, shift) +
    output_zero_point)``; a mean has the count in its multiplier.

    Parameters
    ----------
    kind : "mean" or "sum"
        Which operator it was.
    input_shape, output_shape : tuples of int
        As in the file.
    axes : tuple of int
        The dimensions that are added up.
    count : int
        How many elements each sum has.
    input_zero_point, output_zero_point, multiplier, shift : int
        As in `ConvPlan`, one for the whole tensor.
    as_unsigned : bool
        Whether the bytes of int8 tensors are taken for unsigned numbers: LiteRT's reference
        kernel of SUM does so, which makes its results useless but for equality.
    """

    kind: Literal["mean", "sum"]
    input_shape: Shape
    output_shape: Shape
    axes: tuple[int, ...]
    count: int
    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int
    as_unsigned: bool = False


def reduced_axes(node: Node) -> tuple[int, ...]:
    """Dimensions that a reduction's second input names, each once, in order."""
    rank = len(node.input(0).shape)
    axes = [int(axis) for axis in node.constant(1, np.int32).ravel()]
    node.require(
        all(-rank <= axis < rank for axis in axes),
        f"dimensions {axes} are not all of a tensor with {rank}",
        node.input(1),
    )
    return tuple(sorted({axis % rank for axis in axes}))


@shapes("MEAN", "SUM")
def reduced_shape(node: Node) -> tuple[Shape, ...]:
    """The output's shape, for `shapes`."""
    axes = reduced_axes(node)
    keep = node.options(ReducerOptions).keep_dims
    return (
        tuple(
            1 if axis in axes else size
            for axis, size in enumerate(node.input(0).shape)
            if keep or axis not in axes
        ),
    )


@planner("MEAN", "SUM")
def _reduce(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    mean = node.operator.op == "MEAN"
    for tensor in (data, output):
        node.quantized(tensor)
        node.require(
            rounding == "litert" or tensor.dtype != np.uint8, "TFLM has no uint8 kernel", tensor
        )
    node.require(
        mean or rounding == "tflm" or data.dtype != np.int16,
        "LiteRT's SUM takes int16 tensors for bytes",
        data,
    )
    node.same_type(data, output)
    node.shape(output, reduced_shape(node)[0])
    axes = reduced_axes(node)
    count = math.prod(data.shape[axis] for axis in axes)
    multiplier, shift = quantize_multiplier(float(data.scale[0]) / float(output.scale[0]))
    if mean:
        # The count goes into the multiplier, as far as the shift leaves room.
        bits = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier, shift = (multiplier << bits) // count, shift - bits
    return ReducePlan(
        kind="mean" if mean else "sum",
        input_shape=data.shape,
        output_shape=output.shape,
        axes=axes,
        count=count,
        input_zero_point=node.zero_point(data),
        output_zero_point=node.zero_point(output),
        multiplier=multiplier,
        shift=shift,
        as_unsigned=not mean and rounding == "litert" and data.dtype == np.int8,
    )


@kernel(ReducePlan)
def reduce(plan: ReducePlan, x: Array) -> Array:
    """Mean or sum. Parameters: ``plan.input_shape``. Returns: ``plan.output_shape``."""
    low, high = limits(x.dtype)
    if plan.as_unsigned:
        x, low, high = x.view(np.uint8), 0, 255
    total = x.sum(axis=plan.axes, dtype=np.int64) - plan.count * plan.input_zero_point
    value = requantize_double(wrap32(total), plan.multiplier, plan.shift) + plan.output_zero_point
    clamped = np.clip(value, low, high)
    kind = np.int16 if x.dtype == np.int16 else np.int8
    return clamped.astype(np.uint8).view(np.int8) if plan.as_unsigned else clamped.astype(kind)


@dataclass(frozen=True, kw_only=True, eq=False)
class L2NormPlan(Plan):
    """L2_NORMALIZATION over the last dimension, with output scale 1/128.

    ``output = clamp(requantise(128 * (input - input_zero_point)))`` by the inverse square root of
    the sum of the squares of ``input - input_zero_point``.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    input_zero_point : int
        Of the input; the output's is 0.
    factor_first : bool
        Whether the factor 128 goes into the input (uint8 files) or into the shift: they round
        differently.
    """

    shape: Shape
    input_zero_point: int
    factor_first: bool


@shapes("L2_NORMALIZATION")
def _same(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


@planner("L2_NORMALIZATION")
def _l2_norm(node: Node, rounding: Rounding) -> Plan:
    options = node.options(L2NormOptions)
    node.require(
        options.activation == "NONE", f"fused activation {options.activation} is not supported"
    )
    data, output = node.input(0), node.output()
    node.quantized(data, EIGHT_BIT)
    node.quantized(output, EIGHT_BIT)
    node.same_type(data, output)
    node.shape(output, data.shape)
    node.require(len(data.shape) >= 1, "needs at least one dimension", data)
    # 255 squared so often must fit int32.
    node.require(data.shape[-1] < 1 << 15, f"{data.shape[-1]} elements are too many", data)
    node.require(
        node.zero_point(output) == 0 and float(output.scale[0]) == 1 / 128,
        "this operator gives scale 1/128 and zero point 0, or 128 of uint8",
        output,
    )
    return L2NormPlan(
        shape=data.shape,
        input_zero_point=node.zero_point(data),
        factor_first=data.dtype == np.uint8,
    )


@kernel(L2NormPlan)
def l2_norm(plan: L2NormPlan, x: Array) -> Array:
    """`x`, every row along the last dimension of length one. Returns: the same shape."""
    value = x.astype(np.int64) - plan.input_zero_point
    multiplier, shift = inverse_square_root((value * value).sum(axis=-1, keepdims=True))
    if plan.factor_first:
        value = requantize_double(value << 7, multiplier, shift)
    else:
        value = requantize_double(value, multiplier, shift + 7)
    return np.clip(value, *limits(x.dtype)).astype(np.int8)
