"""Operators over whole dimensions: MEAN, SUM, L2_NORMALIZATION."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .fixed_point import quantize_multiplier, requantize_double, wrap32
from .options import ReducerOptions
from .place import Place, limits
from .plan import Plan, Rounding, Shape
from .registry import Array, kernel, planner, shapes


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


def _axes(place: Place) -> tuple[int, ...]:
    rank = len(place.input(0).shape)
    axes = [int(axis) for axis in place.constant(1, np.int32).ravel()]
    place.require(
        all(-rank <= axis < rank for axis in axes),
        f"dimensions {axes} are not all of a tensor with {rank}",
        place.input(1),
    )
    return tuple(sorted({axis % rank for axis in axes}))


@shapes("MEAN", "SUM")
def _reduced(place: Place) -> tuple[Shape, ...]:
    axes = _axes(place)
    keep = place.options(ReducerOptions).keep_dims
    return (
        tuple(
            1 if axis in axes else size
            for axis, size in enumerate(place.input(0).shape)
            if keep or axis not in axes
        ),
    )


@planner("MEAN", "SUM")
def _reduce(place: Place, rounding: Rounding) -> Plan:
    data, output = place.input(0), place.output()
    mean = place.operator.op == "MEAN"
    for tensor in (data, output):
        place.quantized(tensor)
        place.require(
            rounding == "litert" or tensor.dtype != np.uint8, "TFLM has no uint8 kernel", tensor
        )
    place.require(
        mean or rounding == "tflm" or data.dtype != np.int16,
        "LiteRT's SUM takes int16 tensors for bytes",
        data,
    )
    place.same_type(data, output)
    place.shape(output, _reduced(place)[0])
    axes = _axes(place)
    count = math.prod(data.shape[axis] for axis in axes)
    multiplier, shift = quantize_multiplier(float(data.scale[0]) / float(output.scale[0]))
    if mean:
        # The count goes into the multiplier, as far as the shift leaves room.
        bits = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier, shift = (multiplier << bits) // count, shift - bits
    place.require(-31 <= shift <= 30, "its scale does not fit the input's", output)
    return ReducePlan(
        kind="mean" if mean else "sum",
        input_shape=data.shape,
        output_shape=output.shape,
        axes=axes,
        count=count,
        input_zero_point=place.zero_point(data),
        output_zero_point=place.zero_point(output),
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
