"""Operators on float32, as the tails of networks have them: SQRT, RSQRT, EXP, DIV, FLOOR_DIV.

DIV and FLOOR_DIV also take integers that are not quantised, and FLOOR_DIV the stored values of
quantised ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .options import DivOptions
from .place import Place
from .plan import Plan, Rounding, Shape
from .registry import Array, kernel, planner, shapes

Float32Array = npt.NDArray[np.float32]

_FLOAT_CLAMPS: dict[str, tuple[float, float]] = {
    "NONE": (-np.inf, np.inf),
    "RELU": (0.0, np.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatPlan(Plan):
    """A function of each float32 element.

    Parameters
    ----------
    function : "SQRT", "RSQRT" or "EXP"
        Which; RSQRT is 1 divided by the rounded root.
    shape : tuple of int
        Of input and output.
    """

    raw = True

    function: Literal["SQRT", "RSQRT", "EXP"]
    shape: Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class QuotientPlan(Plan):
    """DIV or FLOOR_DIV of two tensors that broadcast.

    Parameters
    ----------
    floor : bool
        FLOOR_DIV: the largest whole number that is not above the double quotient. DIV is the
        float32 quotient, or of integers that toward zero.
    output_shape : tuple of int
        Of the quotients.
    clamp_min, clamp_max : float
        The fused activation's range, infinite where it has none.
    """

    raw = True

    floor: bool
    output_shape: Shape
    clamp_min: float = -np.inf
    clamp_max: float = np.inf

    @property
    def operands(self) -> tuple[int, ...]:
        """Dividend and divisor."""
        return (0, 1)


@shapes("SQRT", "RSQRT", "EXP")
def _same_shape(place: Place) -> tuple[Shape, ...]:
    return (place.input(0).shape,)


@shapes("DIV", "FLOOR_DIV")
def _broadcast(place: Place) -> tuple[Shape, ...]:
    first, second = place.input(0), place.input(1)
    try:
        return (np.broadcast_shapes(first.shape, second.shape),)
    except ValueError:
        raise place.error(
            f"shapes {list(first.shape)} and {list(second.shape)} do not broadcast", second
        ) from None


def _float_function(place: Place, function: Literal["SQRT", "RSQRT", "EXP"]) -> Plan:
    data, output = place.input(0), place.output()
    place.require(data.dtype == np.float32, f"must be float32, not {data.type_name}", data)
    place.same_type(data, output)
    place.shape(output, data.shape)
    return FloatPlan(function=function, shape=data.shape)


@planner("SQRT")
def _sqrt(place: Place, rounding: Rounding) -> Plan:
    return _float_function(place, "SQRT")


@planner("RSQRT")
def _rsqrt(place: Place, rounding: Rounding) -> Plan:
    return _float_function(place, "RSQRT")


@planner("EXP")
def _exp(place: Place, rounding: Rounding) -> Plan:
    return _float_function(place, "EXP")


@planner("DIV", "FLOOR_DIV")
def _quotient(place: Place, rounding: Rounding) -> Plan:
    floor = place.operator.op == "FLOOR_DIV"
    first, second, output = place.input(0), place.input(1), place.output()
    known = {"float32"} if rounding == "tflm" else {"float32", "int32"}
    if floor and rounding == "litert":
        known |= {"int8", "int16"}
    place.require(first.dtype.name in known, f"can't divide {first.type_name}", first)
    place.same_type(first, second)
    place.same_type(first, output)
    place.shape(output, _broadcast(place)[0])
    if floor:
        return QuotientPlan(floor=True, output_shape=output.shape)
    activation = place.options(DivOptions).activation
    place.require(activation in _FLOAT_CLAMPS, f"activation {activation} is not supported")
    low, high = _FLOAT_CLAMPS[activation]
    return QuotientPlan(floor=False, output_shape=output.shape, clamp_min=low, clamp_max=high)


# The exponential of the C library in use (glibc's expf, from ARM's optimised routines): with N
# = 32, x = (k / N + r) ln 2 and 2**r from a cubic polynomial in double precision.
_EXP_N = 32
_EXP_CUBIC = (
    float.fromhex("0x1.c6af84b912394p-5") / _EXP_N**3,
    float.fromhex("0x1.ebfce50fac4f3p-3") / _EXP_N**2,
    float.fromhex("0x1.62e42ff0c52d6p-1") / _EXP_N,
)


def expf(x: Float32Array) -> Float32Array:
    """exp(x) in float32 with the last bit that the C library gives it."""
    # Beyond these bounds the result is infinite or zero anyway.
    wide = np.clip(x.astype(np.float64), -200.0, 200.0)
    scaled = wide * (_EXP_N / np.log(2.0))
    k = np.rint(scaled)
    r = scaled - k
    cubic, square, linear = _EXP_CUBIC
    power = (cubic * r + square) * (r * r) + (linear * r + 1.0)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        result: Float32Array = (power * np.exp2(k / _EXP_N)).astype(np.float32)
    return result


@kernel(FloatPlan)
def float_function(plan: FloatPlan, x: Float32Array) -> Float32Array:
    """The function of each element of `x`, float32 ``plan.shape``."""
    if plan.function == "EXP":
        return expf(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        root: Float32Array = np.sqrt(x)
        if plan.function == "RSQRT":
            root = np.float32(1) / root
    return root


@kernel(QuotientPlan)
def quotient(plan: QuotientPlan, first: Array, second: Array) -> Array:
    """Quotients of ``plan.output_shape``. Raises: ValueError for an integer divided by 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        if plan.floor:
            if np.any(second == 0):
                raise ValueError("division by 0")
            down = np.floor(first.astype(np.float64) / second.astype(np.float64))
            if first.dtype.kind == "f":
                return down.astype(first.dtype)
            limits = np.iinfo(first.dtype)
            return np.clip(down, limits.min, limits.max).astype(first.dtype)
        if first.dtype.kind == "f":
            result = first / second
            # As the kernels' min and max treat it: a NaN stays where there is no clamp.
            clamped: Array = np.clip(result, np.float32(plan.clamp_min), np.float32(plan.clamp_max))
            return clamped
    if np.any(second == 0):
        raise ValueError("division by 0")
    a, b = first.astype(np.int64), second.astype(np.int64)
    whole = np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))
    bounded: Array = np.clip(whole, plan.clamp_min, plan.clamp_max)
    return bounded.astype(np.int64).astype(first.dtype)
