"""SOFTMAX of int16 tensors: exponential and reciprocal from tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import quantize_multiplier, requantize_double, wrap32
from mensa.golden.arithmetic.interpolation import interpolate, interpolation_table
from mensa.golden.node import INT16, Node
from mensa.golden.operators.floats import expf
from mensa.golden.options import SoftmaxOptions
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import kernel, planner

Int16Array = npt.NDArray[np.int16]
Int64Array = npt.NDArray[np.int64]

_HIGHEST = (1 << 15) - 1
_RANGE = (1 << 16) - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Int16SoftmaxPlan(Plan):
    """SOFTMAX over the last dimension of int16 values, with output scale 1/32768.

    An exponential is entry ``requantize_double(input - row's maximum, multiplier, shift) + 32767``
    of `exp`, and a sum's reciprocal, the sum scaled to be from 1 to 2, an entry of `reciprocal`.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    multiplier, shift : int
        ``beta * input scale`` in units of ``10 / 65535``.
    exp, reciprocal : int64 arrays ``[513]``
        Tables of `interpolate`: exp(x) from -10 to 0, and 1 / (1 + x) from 0 to 1, in Q0.15.
    """

    shape: Shape
    multiplier: int
    shift: int
    exp: Int64Array
    reciprocal: Int64Array


@lru_cache(maxsize=2)
def _exp_and_reciprocal(rounding: Rounding) -> tuple[Int64Array, Int64Array]:
    """Exponential and reciprocal: TFLM makes them in single precision, LiteRT in double."""
    kind = np.float32 if rounding == "tflm" else np.float64
    unit, full = kind(2) / kind(_RANGE), kind(_RANGE)
    exp = interpolation_table(
        expf if rounding == "tflm" else np.exp, kind(10) / full, unit, _HIGHEST
    )
    return exp, interpolation_table(lambda x: 1 / (1 + x), kind(1) / full, unit, -_HIGHEST - 1)


@planner("SOFTMAX", types=("int16",))
def _softmax(node: Node, rounding: Rounding) -> Plan:
    options = node.options(SoftmaxOptions)
    data, output = node.input(0), node.output()
    node.quantized(data, INT16)
    node.quantized(output, INT16)
    node.shape(output, data.shape)
    node.require(len(data.shape) >= 1, "softmax needs at least one dimension", data)
    node.require(data.shape[-1] < 1 << 16, f"{data.shape[-1]} elements are too many", data)
    node.require(
        abs(float(output.scale[0]) - 1 / 32768) <= 0.001 / 32768,
        "a softmax of int16 gives scale 1/32768",
        output,
    )
    beta, scale = np.float32(options.beta), data.scale[0]
    product = float(beta) * float(scale) if rounding == "tflm" else float(beta * scale)
    real = product / (10.0 / _RANGE)
    node.require(math.isfinite(real) and real >= 0, "beta and this scale do not fit", data)
    multiplier, shift = quantize_multiplier(real)
    exp, reciprocal = _exp_and_reciprocal(rounding)
    return Int16SoftmaxPlan(
        shape=data.shape, multiplier=multiplier, shift=shift, exp=exp, reciprocal=reciprocal
    )


@kernel(Int16SoftmaxPlan)
def softmax(plan: Int16SoftmaxPlan, x: Int16Array) -> Int16Array:
    """Softmax of each row. Parameters: int16 ``plan.shape``. Returns: the same."""
    value = x.astype(np.int64)
    difference = value - value.max(axis=-1, keepdims=True)
    scaled = wrap32(requantize_double(difference, plan.multiplier, plan.shift) + _HIGHEST)
    power = interpolate(plan.exp, np.clip(scaled, -_HIGHEST - 1, _HIGHEST))
    total = power.sum(axis=-1, keepdims=True)
    # Bits of the sum, which is positive: the maximum itself gives one.
    bits = np.frexp(total.astype(np.float64))[1].astype(np.int64)
    # The sum as 1 + x with x in Q0.16, from which the table's range begins at the lowest.
    fraction = ((total << (31 - bits)) + (1 << 13)) >> 14
    argument = np.clip(fraction - (1 << 15) - (1 << 16), -_HIGHEST - 1, _HIGHEST)
    reciprocal = interpolate(plan.reciprocal, argument)
    right = bits - 1
    product = power * reciprocal + ((np.int64(1) << right) >> 1)
    result: Int16Array = np.clip(product >> right, 0, _HIGHEST).astype(np.int16)
    return result
