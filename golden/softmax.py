"""SOFTMAX in fixed point, as TFLite's reference kernel and TFLM compute it (softmax.h).

A value in Qm.n is an integer in units of ``2**-n``; all are kept in int64 arrays of int32 values.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .fixed_point import (
    INT32_MAX,
    INT32_MIN,
    requantize_double,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from .plan import SoftmaxPlan
from .registry import kernel

Int64Array = npt.NDArray[np.int64]

#: Integer bits of the scaled differences: they are Q5.26.
DIFFERENCE_BITS = 5
#: Integer bits of the sum of exponentials: it is Q12.19.
SUM_BITS = 12

_ONE = INT32_MAX  # one in Q0.31, as near as it gets

_mul = saturating_rounding_doubling_high_mul


def _shift_left_saturating(x: Int64Array, bits: int) -> Int64Array:
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


def exp_on_negative_values(a: npt.ArrayLike) -> Int64Array:
    """exp(a) for a in Q5.26 and not positive, in Q0.31 (gemmlowp's fixedpoint.h)."""
    value = np.asarray(a, dtype=np.int64)
    fraction_bits = 31 - DIFFERENCE_BITS
    quarter = 1 << (fraction_bits - 2)
    last = (value & (quarter - 1)) - quarter
    result = _exp_last_quarter(_shift_left_saturating(last, DIFFERENCE_BITS))
    remainder = last - value
    for exponent in range(-2, DIFFERENCE_BITS):
        # exp(-2**exponent) in Q0.31; all of them agree with gemmlowp's constants.
        factor = int(np.floor(np.exp(-(2.0**exponent)) * 2.0**31 + 0.5))
        chosen = (remainder >> (fraction_bits + exponent)) & 1
        result = np.where(chosen == 1, _mul(result, factor), result)
    return np.where(value == 0, _ONE, result)


def _one_over_one_plus(a: Int64Array) -> Int64Array:
    """1 / (1 + a) for a in Q0.31 from 0 to 1, in Q0.31: three Newton-Raphson steps."""
    total = a + _ONE
    # The mean of a and one, rounded half away from zero; the sum is never negative here.
    half_denominator = (total + 1) >> 1
    x = 1515870810 + _mul(half_denominator, -1010580540)  # 48/17 and -32/17 in Q2.29
    for _ in range(3):
        error = (1 << 29) - _mul(half_denominator, x)
        x = x + _shift_left_saturating(_mul(x, error), 2)
    return _shift_left_saturating(x, 1)


def exp_table(multiplier: int, left_shift: int, diff_min: int) -> npt.NDArray[np.int32]:
    """Exponential of each difference 0 to -255, in Q0.31; 0 below `diff_min`. Shape [256]."""
    difference = -np.arange(256, dtype=np.int64)
    scaled = requantize_double(difference, multiplier, left_shift)
    # Differences below diff_min would wrap; they are never used.
    scaled = np.where(difference >= diff_min, scaled, 0)
    table = np.where(difference >= diff_min, exp_on_negative_values(scaled), 0)
    return table.astype(np.int32)


@kernel(SoftmaxPlan)
def softmax(plan: SoftmaxPlan, x: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Softmax of `x` over its last dimension. Parameters: int8 ``plan.shape``. Returns: the same.

    Raises: ValueError when a row's sum of exponentials does not fit its fixed-point format.
    """
    wide = x.reshape(plan.shape).astype(np.int64)
    difference = wide.max(axis=-1, keepdims=True) - wide
    exponential = plan.exp.astype(np.int64)[difference]
    # diff_min is at most 0, so the maximum itself always counts and no sum is 0.
    counted = difference <= -plan.diff_min
    addends = np.where(counted, rounding_divide_by_pot(exponential, SUM_BITS), 0)
    total = addends.sum(axis=-1, keepdims=True)
    if np.any(total > INT32_MAX):
        raise ValueError(f"rows of {x.shape[-1]} elements are too long for this softmax")
    # Leading zeros of a 32-bit number, from the exponent of the same number as a double.
    leading_zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    over_unit = SUM_BITS - leading_zeros
    mantissa = (total << leading_zeros) - (1 << 31)
    scale = _one_over_one_plus(mantissa)
    exponent = over_unit + 31 - 8
    value = rounding_divide_by_pot(_mul(scale, exponential), exponent) - 128
    return np.where(counted, np.clip(value, -128, 127), -128).astype(np.int8)
