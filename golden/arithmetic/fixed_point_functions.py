"""Exponential, logarithm, logistic, tanh and inverse square root in fixed point.

As gemmlowp and TFLite have them.

A value in Qm.n is an integer in units of ``2**-n``; all are kept in int64 arrays of int32 values.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    wrap32,
)

Int64Array = npt.NDArray[np.int64]

_ONE = INT32_MAX  # one in Q0.31, as near as it gets

_mul = saturating_rounding_doubling_high_mul


def _shift_left_saturating(x: Int64Array, bits: int | Int64Array) -> Int64Array:
    result: Int64Array = np.clip(x << bits, INT32_MIN, INT32_MAX)
    return result


def _exp_last_quarter(a: Int64Array) -> Int64Array:
    """exp(a) for a in Q0.31 from -1/4 to 0, in Q0.31: a Taylor polynomial around -1/8."""
    exp_minus_eighth = 1895147668  # round(exp(-1/8) * 2**31)
    third = 715827883  # round(2**31 / 3)
    x = a + (1 << 28)
    x2 = _mul(x, x)
    x3 = _mul(x2, x)
    x4 = _mul(x2, x2)
    quartic = rounding_divide_by_pot(x4, 2)
    rest = rounding_divide_by_pot(_mul(quartic + x3, third) + x2, 1)
    return exp_minus_eighth + _mul(exp_minus_eighth, x + rest)


def exp_on_negative_values(a: npt.ArrayLike, integer_bits: int = 5) -> Int64Array:
    """exp(a) for a not positive, of so many integer bits, at most 5; in Q0.31."""
    value = np.asarray(a, dtype=np.int64)
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    last = (value & (quarter - 1)) - quarter
    result = _exp_last_quarter(_shift_left_saturating(last, integer_bits))
    remainder = last - value
    for exponent in range(-2, integer_bits):
        # exp(-2**exponent) in Q0.31; all of them agree with gemmlowp's constants.
        factor = int(np.floor(np.exp(-(2.0**exponent)) * 2.0**31 + 0.5))
        chosen = (remainder >> (fraction_bits + exponent)) & 1
        result = np.where(chosen == 1, _mul(result, factor), result)
    return np.where(value == 0, _ONE, result)


def _reciprocal_of_half(a: Int64Array) -> Int64Array:
    """2 / (1 + a) for a in Q0.31 from 0 to 1, in Q2.29: three Newton-Raphson steps."""
    total = a + _ONE
    # The mean of a and one, rounded half away from zero; the sum is never negative here.
    half_denominator = (total + 1) >> 1
    x = 1515870810 + _mul(half_denominator, -1010580540)  # 48/17 and -32/17 in Q2.29
    for _ in range(3):
        error = (1 << 29) - _mul(half_denominator, x)
        x = x + _shift_left_saturating(_mul(x, error), 2)
    return x


def one_over_one_plus(a: Int64Array) -> Int64Array:
    """1 / (1 + a) for a in Q0.31 from 0 to 1, in Q0.31."""
    return _shift_left_saturating(_reciprocal_of_half(a), 1)


def _one_minus_over_one_plus(a: Int64Array) -> Int64Array:
    """(1 - a) / (1 + a) for a in Q0.31 from 0 to 1, in Q0.31."""
    return _shift_left_saturating(_reciprocal_of_half(a) - (1 << 29), 2)


def logistic(a: npt.ArrayLike, integer_bits: int) -> Int64Array:
    """1 / (1 + exp(-a)) for a of so many integer bits, at most 5; in Q0.31."""
    value = np.asarray(a, dtype=np.int64)
    above = one_over_one_plus(exp_on_negative_values(-np.abs(value), integer_bits))
    result = np.where(value > 0, above, _ONE - above)
    return np.where(value == 0, 1 << 30, result)


def tanh(a: npt.ArrayLike, integer_bits: int) -> Int64Array:
    """Hyperbolic tangent of a, of so many integer bits, at most 4; in Q0.31."""
    value = np.asarray(a, dtype=np.int64)
    # One integer bit more and the same bits are twice the value.
    power = exp_on_negative_values(-np.abs(value), integer_bits + 1)
    result = np.sign(value) * _one_minus_over_one_plus(power)
    return result


def leading_zeros(x: Int64Array) -> Int64Array:
    """Of 32-bit numbers above 0, from the exponent of the same number as a double."""
    return 32 - np.frexp(x.astype(np.float64))[1].astype(np.int64)


def log_from_one(a: npt.ArrayLike, integer_bits: int, output_bits: int) -> Int64Array:
    """Natural logarithm of a, not below 1 and of so many integer bits; of `output_bits` bits.

    ``log_x_for_x_greater_than_or_equal_to_1`` of TFLite. The power of two that is taken out is the
    one that leaves the rest r nearest to ``2**-0.25``, in Q0.31, to whose logarithm a fraction of
    two polynomials of ``q = 2 * (r - 2**-0.25)`` is near.
    """
    value = np.asarray(a, dtype=np.int64)
    root_half, fourth_root_half = 1518500250, 1805811301  # 2**-0.5 and 2**-0.25 in Q0.31
    log_2 = 1488522236
    # 11 / 240 * 2**0.25, 2**0.25 / 20, 2**0.75 - 2**0.25 and 2**0.25 / 4 in Q0.31.
    alpha_n, alpha_d, alpha_i, alpha_f = 117049297, 127690142, 1057819769, 638450708
    # One integer bit more, for the sum of two terms.
    fraction_bits = 31 - (output_bits + 1)
    quarter = 1 << (fraction_bits - 2)

    zeros = leading_zeros(value)
    normal = _mul(_shift_left_saturating(value, zeros - 1), root_half)
    rest_a = _shift_left_saturating(normal, 1)
    power_a = _shift_left_saturating(integer_bits - zeros, fraction_bits) + quarter
    zeros = leading_zeros(_mul(value, root_half)) - 1
    rest_b = _shift_left_saturating(value, zeros)
    power_b = _shift_left_saturating(integer_bits - zeros, fraction_bits) - quarter
    rest = np.minimum(rest_a, rest_b)
    power = np.minimum(np.maximum(power_a, power_b), INT32_MAX)

    mean = (rest + fourth_root_half + 1) >> 1
    q = 2 * (rest - fourth_root_half)
    square = _mul(q, q)
    numerator = _mul(q, rest) + _mul(_mul(q, square), alpha_n)
    denominator = _mul(mean, alpha_i + q + _mul(alpha_d, square)) + _mul(alpha_f, q)
    scaled = rounding_divide_by_pot(numerator, output_bits + 1)
    total = _mul(power, log_2) + _mul(scaled, one_over_one_plus(denominator))
    return _shift_left_saturating(total, 1)


def inverse_square_root(x: npt.ArrayLike) -> tuple[Int64Array, Int64Array]:
    """1 / sqrt(x) of int32 numbers not negative, as (multiplier, shift) of `requantize_double`.

    ``GetInvSqrtQuantizedMultiplierExp`` of TFLite: five Newton-Raphson steps in Q3.28. 0 is taken
    for 1.
    """
    value = np.asarray(x, dtype=np.int64)
    small = value <= 1
    value = np.where(small, 2, value)
    right = np.full(value.shape, 11, np.int64)
    while np.any(value >= 1 << 29):
        large = value >= 1 << 29
        value = np.where(large, value >> 2, value)
        right += large
    pairs = (leading_zeros(value) - 1) // 2 - 1
    right -= pairs
    argument = (value << 2 * pairs) >> 1
    # Half of it, rounded half away from zero.
    half = (argument + 1) >> 1
    root = np.full(value.shape, 1 << 28, np.int64)
    for _ in range(5):
        cube = _shift_left_saturating(_mul(_mul(root, root), root), 6)
        three_halves = (1 << 28) + (1 << 27)
        root = _shift_left_saturating(_mul(three_halves, root) - _mul(half, cube), 3)
    multiplier = _mul(root, 1518500250)  # sqrt(1/2) in Q0.31
    # A shift to the left is made at once.
    multiplier = wrap32(multiplier << np.maximum(-right, 0))
    shift = -np.maximum(right, 0)
    return np.where(small, INT32_MAX, multiplier), np.where(small, 0, shift)
