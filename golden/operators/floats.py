"""Operators on float32, as the tails of networks have them.

SQRT, RSQRT, EXP, LOGISTIC, SOFTMAX, LOG_SOFTMAX, HARD_SWISH, LEAKY_RELU, ELU, RELU and its kin,
DIV, FLOOR_DIV.

DIV and FLOOR_DIV also take integers that are not quantised, and FLOOR_DIV the stored values of
quantised ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.c_library import c_function
from mensa.golden.node import Node
from mensa.golden.options import DivOptions, LeakyReluOptions, SoftmaxOptions
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

Float32Array = npt.NDArray[np.float32]

# Without a fused activation, the kernels still clamp an infinity to it.
_LARGEST = float(np.finfo(np.float32).max)
_FLOAT_CLAMPS: dict[str, tuple[float, float]] = {
    "NONE": (-_LARGEST, _LARGEST),
    "RELU": (0.0, _LARGEST),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatPlan(Plan):
    """A function of each float32 element.

    Parameters
    ----------
    function : str
        The operator's name; RSQRT is 1 divided by the rounded root.
    parameter : float
        Slope below zero of LEAKY_RELU, factor before the exponent of SOFTMAX; else 0.
    shape : tuple of int
        Of input and output.
    """

    raw = True

    function: str
    shape: Shape
    parameter: float = 0.0


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
        The fused activation's range, of DIV; its ends are float32 numbers, never infinite.
    """

    raw = True

    floor: bool
    output_shape: Shape
    clamp_min: float = -_LARGEST
    clamp_max: float = _LARGEST

    @property
    def operands(self) -> tuple[int, ...]:
        """Dividend and divisor."""
        return (0, 1)


@shapes("SQRT", "RSQRT", "EXP", "SOFTMAX")
def _same_shape(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


@shapes("DIV", "FLOOR_DIV")
def _broadcast(node: Node) -> tuple[Shape, ...]:
    first, second = node.input(0), node.input(1)
    try:
        return (np.broadcast_shapes(first.shape, second.shape),)
    except ValueError:
        raise node.error(
            f"shapes {list(first.shape)} and {list(second.shape)} do not broadcast", second
        ) from None


@planner("SQRT", "RSQRT", "EXP")
@planner("HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "RELU", "RELU6", types=("float32",))
@planner("RELU_N1_TO_1", "RELU_0_TO_1", "ELU", "SOFTMAX", "LOG_SOFTMAX", types=("float32",))
def _float_function(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    node.require(data.dtype == np.float32, f"must be float32, not {data.type_name}", data)
    node.same_type(data, output)
    node.shape(output, data.shape)
    op, options = node.operator.op, node.operator.options
    node.require(data.size > 0 or "SOFTMAX" not in op, "is empty", data)
    if op in ("RELU_N1_TO_1", "RELU_0_TO_1"):
        require_kernel(node, data, rounding, tflm=(), litert=("float32",))
    elif op == "ELU":
        require_kernel(node, data, rounding, tflm=("float32",), litert=())
    parameter = 0.0
    if isinstance(options, LeakyReluOptions):
        parameter = options.alpha
    elif isinstance(options, SoftmaxOptions):
        parameter = options.beta
    return FloatPlan(function=op, shape=data.shape, parameter=parameter)


@planner("DIV", "FLOOR_DIV")
def _quotient(node: Node, rounding: Rounding) -> Plan:
    floor = node.operator.op == "FLOOR_DIV"
    first, second, output = node.input(0), node.input(1), node.output()
    known = {"float32"} if rounding == "tflm" else {"float32", "int32"}
    if floor and rounding == "litert":
        known |= {"int8", "int16"}
    node.require(first.dtype.name in known, f"can't divide {first.type_name}", first)
    node.same_type(first, second)
    node.same_type(first, output)
    node.shape(output, _broadcast(node)[0])
    if floor:
        return QuotientPlan(floor=True, output_shape=output.shape)
    activation = node.options(DivOptions).activation
    node.require(activation in _FLOAT_CLAMPS, f"activation {activation} is not supported")
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
    bounded = np.clip(x.astype(np.float64), -200.0, 200.0)
    scaled = bounded * (_EXP_N / np.log(2.0))
    k = np.rint(scaled)
    r = scaled - k
    cubic, square, linear = _EXP_CUBIC
    power = (cubic * r + square) * (r * r) + (linear * r + 1.0)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        result: Float32Array = (power * np.exp2(k / _EXP_N)).astype(np.float32)
    return result


def _root(x: Float32Array) -> Float32Array:
    with np.errstate(invalid="ignore"):
        result: Float32Array = np.sqrt(x)
    return result


def _inverse_root(x: Float32Array) -> Float32Array:
    with np.errstate(divide="ignore"):
        result: Float32Array = np.float32(1) / _root(x)
    return result


def _logistic(x: Float32Array) -> Float32Array:
    """As the kernels have it, which is exp(x) far below zero and 1 far above."""
    far_below, far_above = np.float32(-9), np.float32(16.619047164916992)
    with np.errstate(over="ignore"):
        between = np.float32(1) / (np.float32(1) + expf(-x))
    result: Float32Array = np.where(x < far_below, expf(x), between)
    result[x > far_above] = 1
    return result


def _sums(power: Float32Array) -> Float32Array:
    """Of each row, one element after the other, as the kernels add."""
    sums: Float32Array = np.cumsum(power, axis=-1, dtype=np.float32)
    return sums[..., -1:]


def _softmax(x: Float32Array, beta: np.float32) -> Float32Array:
    with np.errstate(invalid="ignore", over="ignore"):
        power = expf((x - x.max(axis=-1, keepdims=True)) * beta)
        result: Float32Array = power / _sums(power)
    return result


def _log_softmax(x: Float32Array) -> Float32Array:
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        difference = x - x.max(axis=-1, keepdims=True)
        result: Float32Array = difference - c_function("log", _sums(expf(difference)))
    return result


def _elu(x: Float32Array) -> Float32Array:
    return np.where(x < 0, c_function("expm1", np.minimum(x, np.float32(0))), x)


def clamp(x: Array, low: Any, high: Any) -> Array:
    """`x` from `low` to `high`; as in the kernels, a NaN stays, and -0.0 where `low` is 0."""
    with np.errstate(invalid="ignore"):
        result: Array = np.where(x < low, low, np.where(x > high, high, x))
    return result


def _clamped(low: float, high: float) -> Callable[[Float32Array], Float32Array]:
    return lambda x: clamp(x, np.float32(low), np.float32(high))


def _hard_swish(x: Float32Array) -> Float32Array:
    with np.errstate(over="ignore", invalid="ignore"):
        result: Float32Array = x * _clamped(0, 6)(x + np.float32(3)) / np.float32(6)
    return result


_FUNCTIONS: dict[str, Callable[[Float32Array], Float32Array]] = {
    "EXP": expf,
    "SQRT": _root,
    "RSQRT": _inverse_root,
    "LOGISTIC": _logistic,
    "HARD_SWISH": _hard_swish,
    "ELU": _elu,
    "RELU": _clamped(0, np.inf),
    "RELU6": _clamped(0, 6),
    "RELU_N1_TO_1": _clamped(-1, 1),
    "RELU_0_TO_1": _clamped(0, 1),
}


@kernel(FloatPlan)
def float_function(plan: FloatPlan, x: Float32Array) -> Float32Array:
    """The function of each element of `x`, float32 ``plan.shape``, or of each row."""
    parameter = np.float32(plan.parameter)
    if plan.function == "SOFTMAX":
        return _softmax(x.reshape(plan.shape), parameter)
    if plan.function == "LOG_SOFTMAX":
        return _log_softmax(x.reshape(plan.shape))
    if plan.function == "LEAKY_RELU":
        with np.errstate(invalid="ignore", over="ignore"):
            return np.where(x > 0, x, x * parameter)
    return _FUNCTIONS[plan.function](x)


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
            # The one quotient that does not fit, of the lowest number by -1, wraps; in C++ it
            # is undefined.
            return down.astype(np.int64).astype(first.dtype)
        if first.dtype.kind == "f":
            return clamp(first / second, np.float32(plan.clamp_min), np.float32(plan.clamp_max))
    if np.any(second == 0):
        raise ValueError("division by 0")
    a, b = first.astype(np.int64), second.astype(np.int64)
    whole = np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))
    bounded: Array = np.clip(whole, plan.clamp_min, plan.clamp_max)
    return bounded.astype(np.int64).astype(first.dtype)
