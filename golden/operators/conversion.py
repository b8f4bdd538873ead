"""DEQUANTIZE, CAST, and QUANTIZE from or to int16 or int32: one type of elements to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    quantize_multiplier,
    quantized,
    requantize_double,
    wrap32,
)
from mensa.golden.node import QUANTIZED, Node, limits
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

# Types that the oracles cast between.
_TFLM_FROM = ("int8", "int16", "int32", "uint32", "float32", "bool")
_TFLM_TO = ("int8", "int16", "int32", "uint32", "float32")
_LITERT = (
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float16", "float32",
    "float64", "bool",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class DequantizePlan(Plan):
    """DEQUANTIZE: ``output = scale * (input - zero_point)``, as a double, rounded to float32.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    scale, zero_point : arrays, float64 or float32 and int64
        That broadcast to `shape`: one element, or one per index along a dimension, and then
        products are in float32. Scale 1 and zero point 0 for a float16 input.
    """

    raw = True

    shape: Shape
    scale: npt.NDArray[Any]
    zero_point: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class CastPlan(Plan):
    """CAST: each element as another type.

    From a float to an integer it is rounded toward zero, and beyond the integer's range it
    becomes the nearest there is.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    dtype : numpy.dtype
        Of the output.
    nan_is_largest : bool
        Whether NaN becomes the largest integer (LiteRT) or 0 (TFLM).
    """

    raw = True

    shape: Shape
    dtype: np.dtype[Any]
    nan_is_largest: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class RescalePlan(Plan):
    """QUANTIZE from or to int16 or int32.

    ``output = clamp(requantize_double(input - input_zero_point, multiplier, shift) +
    output_zero_point)``, all in wrapping int32; from float32,
    ``clamp(round(input / output_scale) + output_zero_point)``, half away from zero.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    dtype : numpy.dtype
        Of the output; int8 where the file has uint8.
    input_zero_point, output_zero_point, multiplier, shift : int
        As in `RequantPlan`.
    output_scale : float
        Of the output tensor.
    """

    shape: Shape
    dtype: np.dtype[Any]
    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int
    output_scale: float


@shapes("DEQUANTIZE", "CAST")
def _same_shape(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


@planner("DEQUANTIZE")
def _dequantize(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    node.require(output.dtype == np.float32, f"must be float32, not {output.type_name}", output)
    node.shape(output, data.shape)
    known = ["int8", "uint8", "int16"] + (["float16"] if rounding == "litert" else [])
    node.require(data.dtype.name in known, f"can't dequantise {data.type_name}", data)
    if data.dtype == np.float16:
        one, none = np.ones(1, np.float64), np.zeros(1, np.int64)
        return DequantizePlan(shape=data.shape, scale=one, zero_point=none)
    node.require(data.scale.size > 0, "has no scale", data)
    if data.scale.size == 1:
        scale: npt.NDArray[Any] = data.scale.astype(np.float64)
        return DequantizePlan(shape=data.shape, scale=scale, zero_point=data.zero_point)
    node.require(rounding == "litert" and data.dtype.itemsize == 1, "must have one scale", data)
    along = [1] * len(data.shape)
    along[data.quantized_dimension] = -1
    return DequantizePlan(
        shape=data.shape,
        scale=data.scale.reshape(along),
        zero_point=data.zero_point.reshape(along),
    )


# Pairs of types, input and output, of which the oracles have kernels, beside those of 8 bits.
_RESCALED = {
    ("float32", "int16"), ("int8", "int16"), ("int16", "int8"), ("int16", "int16"),
    ("int16", "int32"), ("int32", "int8"), ("int32", "int16"),
}  # fmt: skip
_RESCALED_BY = {
    "tflm": _RESCALED | {("int8", "int32")},
    "litert": _RESCALED | {("uint8", "int16")},
}


@planner("QUANTIZE", types=("int16", "int32"))
def _rescale(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    node.require(
        (data.dtype.name, output.dtype.name) in _RESCALED_BY[rounding],
        f"can't quantise {data.type_name} to {output.type_name}",
        output,
    )
    node.shape(output, data.shape)
    types = (*QUANTIZED, np.dtype(np.int32))
    node.quantized(output, types)
    input_zero_point = multiplier = shift = 0
    if data.dtype != np.float32:
        node.quantized(data, types)
        input_zero_point = node.zero_point(data)
        multiplier, shift = quantize_multiplier(float(data.scale[0]) / float(output.scale[0]))
    return RescalePlan(
        shape=data.shape,
        dtype=output.dtype,
        input_zero_point=input_zero_point,
        output_zero_point=node.zero_point(output),
        multiplier=multiplier,
        shift=shift,
        output_scale=float(output.scale[0]),
    )


@kernel(RescalePlan)
def rescale(plan: RescalePlan, x: Array) -> Array:
    """`x` at the output's scale. Parameters: of ``plan.shape``. Returns: ``plan.dtype``."""
    if x.dtype == np.float32:
        value = quantized(x, plan.output_scale)
    else:
        difference = wrap32(x.astype(np.int64) - plan.input_zero_point)
        value = requantize_double(difference, plan.multiplier, plan.shift)
    value = wrap32(value + plan.output_zero_point)
    return np.clip(value, *limits(plan.dtype)).astype(plan.dtype)


@planner("CAST")
def _cast(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    node.shape(output, data.shape)
    sources, targets = (_TFLM_FROM, _TFLM_TO) if rounding == "tflm" else (_LITERT, _LITERT)
    node.require(data.dtype.name in sources, f"can't cast {data.type_name}", data)
    node.require(output.dtype.name in targets, f"can't cast to {output.type_name}", output)
    return CastPlan(shape=data.shape, dtype=output.dtype, nan_is_largest=rounding == "litert")


@kernel(DequantizePlan)
def dequantize(plan: DequantizePlan, x: Array) -> npt.NDArray[np.float32]:
    """The real numbers that `x` stands for. Parameters: of ``plan.shape``. Returns: float32."""
    if x.dtype == np.float16:
        return x.astype(np.float32)
    # int16 values and any zero point of int32 are exact in a double.
    with np.errstate(over="ignore"):
        difference = (x.astype(np.int64) - plan.zero_point).astype(plan.scale.dtype)
        result: npt.NDArray[np.float32] = (plan.scale * difference).astype(np.float32)
    return result


@kernel(CastPlan)
def cast(plan: CastPlan, x: Array) -> Array:
    """`x` as ``plan.dtype``. Parameters: of ``plan.shape``."""
    if plan.dtype == np.bool_:
        return np.not_equal(x, 0)
    if plan.dtype.kind == "f":
        with np.errstate(over="ignore"):
            if plan.dtype == np.float16:
                return x.astype(np.float32).astype(np.float16)
            return x.astype(plan.dtype)
    if x.dtype.kind != "f":
        return x.astype(plan.dtype)
    limits = np.iinfo(plan.dtype)
    whole = np.trunc(x.astype(np.float64))
    missing = np.isnan(whole)
    # The largest int64 is no double: what reaches it is set apart.
    above = (whole >= float(limits.max)) | (missing & plan.nan_is_largest)
    below = whole <= float(limits.min)
    result: Array = np.where(above | below | missing, 0.0, whole).astype(plan.dtype)
    result[below] = limits.min
    result[above] = limits.max
    return result
