"""Sigmoid and tanh of int16 fixed-point numbers, as the gates of an LSTM take them.

Both oracles map every int16 value to an int16 value in Q0.15, so each function is a table of
65536 results here, made when it is first asked for. TensorFlow Lite Micro interpolates a table of
sigmoid; LiteRT computes in 16-bit fixed point as gemmlowp does.

A value in Qm.n is an integer in units of ``2**-n``; int64 arrays hold the int16 values.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import Int64Array, rounding_divide_by_pot

Int16Array = npt.NDArray[np.int16]

_MAX = (1 << 15) - 1
_MIN = -(1 << 15)

#: TFLM's table holds ``65536 * sigmoid(i / 24)`` for i from 0 to 255, rounded to nearest but for
#: these entries, which are one larger.
_ROUNDED_UP = (
    4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40, 41,
    43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255,
)  # fmt: skip

#: Integer bits of the input of `fixed_point_tanh`, at most.
MAX_INTEGER_BITS = 6


def look_up(table: Int16Array, x: npt.NDArray[np.int64]) -> Int64Array:
    """Result for each int16 value of `x` out of one of this module's tables."""
    return table[x + (1 << 15)].astype(np.int64)


def _every_value() -> Int64Array:
    return np.arange(_MIN, _MAX + 1, dtype=np.int64)


def _frozen(values: Int64Array) -> Int16Array:
    table = values.astype(np.int16)
    table.flags.writeable = False
    return table


# --- Interpolated, as TFLM does it ---


@lru_cache(maxsize=1)
def sigmoid_entries() -> Int64Array:
    """TFLM's table: sigmoid at every 1 / 24 from 0 on, int64 ``[256]`` in units of ``2**-16``."""
    entries = np.floor(65536 / (1 + np.exp(-np.arange(256) / 24)) + 0.5).astype(np.int64)
    entries[list(_ROUNDED_UP)] += 1
    return entries


def _interpolate(x: Int64Array, fraction_bits: int, saturated: int) -> Int64Array:
    """The table at ``x * 2**-fraction_bits``, x not negative, in units of ``2**-fraction_bits``."""
    entries = sigmoid_entries()
    entry = x >> fraction_bits
    inside = np.minimum(entry, 254)
    low, high = entries[inside], entries[inside + 1]
    part = x & ((1 << fraction_bits) - 1)
    return np.where(entry >= 255, saturated, (low << fraction_bits) + part * (high - low))


def interpolate_sigmoid(scaled: Int64Array) -> Int64Array:
    """Sigmoid in Q0.15 of int32 values in units of 1 / 12288."""
    # sigmoid(x / 12288) is entry x / 512.
    result = _interpolate(np.abs(scaled), 9, _MAX << 10)
    mirrored = (1 << 25) - result + (1 << 9) - 1
    return np.where(scaled >= 0, result + (1 << 9), mirrored) >> 10


def interpolate_tanh(scaled: Int64Array) -> Int64Array:
    """Hyperbolic tangent in Q0.15 of int32 values in units of 1 / 12288."""
    # tanh(x) = 2 sigmoid(2 x) - 1: the same table, in steps half as wide.
    result = _interpolate(np.abs(scaled), 8, 0xFFFF << 8)
    half, nudge = 1 << 23, 1 << 7
    signed = np.where(scaled >= 0, result - half + nudge, half - result + nudge - 1)
    return signed >> 8


@lru_cache(maxsize=1)
def interpolated_sigmoid() -> Int16Array:
    """TFLM's sigmoid of Q3.12 in Q0.15, of every int16 value from the lowest on."""
    return _frozen(interpolate_sigmoid(_every_value() * 3))


@lru_cache(maxsize=64)
def interpolated_tanh(scale_power: int) -> Int16Array:
    """TFLM's tanh of values in units of ``2**scale_power``, in Q0.15.

    Finer scales than ``2**-12`` lose the bits that the table does not see. Returns: the result
    of every int16 value from the lowest on. `scale_power` is from -30 to 2.
    """
    left = scale_power + 12
    scaled = _every_value() * 3
    if left < 0:
        scaled = (scaled + (1 << (-left - 1))) >> -left
    return _frozen(interpolate_tanh(scaled << max(left, 0)))


# --- 16-bit fixed point, as gemmlowp does it ---


def _wrap(x: Int64Array) -> Int64Array:
    return x.astype(np.int16).astype(np.int64)


def _mul(a: Int64Array | int, b: Int64Array | int) -> Int64Array:
    """High half of ``2 * a * b`` rounded half up; -1 times -1 saturates."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    result: Int64Array = np.minimum((product + (1 << 14)) >> 15, _MAX)
    return result


def _shift_left(x: Int64Array, bits: int) -> Int64Array:
    """``x << bits``, saturated; the lowest value that would fit gives the lowest of all too."""
    if bits == 0:
        return x
    limit = (1 << (15 - bits)) - 1
    result = _wrap(x << bits)
    return np.where(x > limit, _MAX, np.where(x < -limit, _MIN, result))


def q15(real: float, integer_bits: int = 0) -> int:
    """`real` with so many integer bits in 16, by way of 32 bits as gemmlowp's constants are."""
    return int(rounding_divide_by_pot(math.floor(real * 2.0 ** (31 - integer_bits) + 0.5), 16))


def _exp_last_quarter(a: Int64Array) -> Int64Array:
    """exp(a) for a in Q0.15 from -1/4 to 0: a Taylor polynomial around -1/8."""
    exp_minus_eighth = q15(math.exp(-1 / 8))
    x = _wrap(a + (1 << 12))
    x2 = _mul(x, x)
    x3 = _mul(x2, x)
    quartic = rounding_divide_by_pot(_mul(x2, x2), 2)
    rest = rounding_divide_by_pot(_wrap(_mul(_wrap(quartic + x3), q15(1 / 3)) + x2), 1)
    total = exp_minus_eighth + _mul(exp_minus_eighth, _wrap(x + rest))
    return np.clip(total, _MIN, _MAX)


def _exp_on_negative_values(a: Int64Array, integer_bits: int) -> Int64Array:
    """exp(a) for a with so many integer bits and not positive, in Q0.15."""
    fraction_bits = 15 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    last = _wrap((a & (quarter - 1)) - quarter)
    result = _exp_last_quarter(_shift_left(last, integer_bits))
    remainder = _wrap(last - a)
    for exponent in range(-2, min(integer_bits, 5)):
        chosen = (remainder >> (fraction_bits + exponent)) & 1
        result = np.where(chosen == 1, _mul(result, q15(math.exp(-(2.0**exponent)))), result)
    if integer_bits > 5:
        result = np.where(a < -(32 << fraction_bits), 0, result)
    return np.where(a == 0, _MAX, result)


def _reciprocal(a: Int64Array) -> Int64Array:
    """``2 / (1 + a)`` for a in Q0.15 from 0 to 1, in Q2.13: three Newton-Raphson steps."""
    total = a + _MAX
    half_denominator = (total + 1) >> 1
    x = _wrap(q15(48 / 17, 2) + _mul(half_denominator, q15(-32 / 17, 2)))
    for _ in range(3):
        error = _wrap((1 << 13) - _mul(half_denominator, x))
        x = _wrap(x + _shift_left(_mul(x, error), 2))
    return x


@lru_cache(maxsize=1)
def fixed_point_sigmoid() -> Int16Array:
    """LiteRT's sigmoid of Q3.12 in Q0.15, of every int16 value from the lowest on."""
    x = _every_value()
    exponential = _exp_on_negative_values(np.where(x > 0, -x, x), 3)
    positive = _shift_left(_reciprocal(exponential), 1)
    result = np.where(x > 0, positive, _wrap(_MAX - positive))
    return _frozen(np.where(x == 0, 1 << 14, result))


@lru_cache(maxsize=MAX_INTEGER_BITS + 1)
def fixed_point_tanh(integer_bits: int) -> Int16Array:
    """LiteRT's tanh of values with so many integer bits, in Q0.15.

    Returns: the result of every int16 value from the lowest on. `integer_bits` is from 0 to 6.
    """
    x = _every_value()
    # exp(2 x): the same bits with one more of them before the point.
    exponential = _exp_on_negative_values(np.where(x < 0, x, -x), integer_bits + 1)
    size = _shift_left(_wrap(_reciprocal(exponential) - (1 << 13)), 2)
    return _frozen(np.where(x == 0, 0, np.where(x < 0, _wrap(-size), size)))
