"""Fixed-point arithmetic of TensorFlow Lite's int8 kernels, on NumPy arrays.

A real factor ``r`` is held as a pair (multiplier, shift) with
``r = multiplier * 2**(shift - 31)``; a positive shift is to the left. `requantize_double` and
`requantize_single` are the software twins of the hardware's requantiser. Its domain is every
int32 value, multipliers from 0 to ``2**31 - 1``, left shifts from 0 to 30, right shifts from 0
to 31.

Scales that are very far apart ask for left shifts that C++ leaves undefined. The oracles are built
for x86, which counts them modulo the width of the number, and so do the functions here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
IntLike = npt.ArrayLike

INT32_MIN = -(1 << 31)
INT32_MAX = (1 << 31) - 1
#: Largest left shift at which `requantize_int64` multiplies.
MAX_INT64_SHIFT = 14


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Multiplier and shift that stand for `real` (``QuantizeMultiplier``, quantization_util.cc).

    The multiplier has 31 significant bits, rounded half away from zero; a factor below
    ``2**-32`` becomes (0, 0), and so does one that is not finite: the kernels cast it to an integer
    whose lower half is 0.

    Returns: (multiplier in ``[0, 2**31 - 1]``, shift, positive to the left).
    Raises: ValueError when `real` is negative.
    """
    if real < 0.0:
        raise ValueError(f"A scale factor must not be negative, not {real!r}")
    if real == 0.0 or not math.isfinite(real):
        return 0, 0
    fraction, shift = math.frexp(real)
    # fraction * 2**31 is exact in a double and its fractional part too: floor(x + 0.5) is
    # round-half-away for positive x below 2**52.
    multiplier = math.floor(fraction * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return multiplier, shift


def quantize_multipliers(reals: npt.ArrayLike) -> tuple[Int32Array, Int32Array]:
    """`quantize_multiplier` of every element. Returns: two int32 arrays of the shape of `reals`."""
    values = np.asarray(reals, dtype=np.float64)
    pairs = [quantize_multiplier(float(value)) for value in values.ravel()]
    multiplier = np.array([pair[0] for pair in pairs], dtype=np.int32).reshape(values.shape)
    shift = np.array([pair[1] for pair in pairs], dtype=np.int32).reshape(values.shape)
    return multiplier, shift


def scale_ratio(rounding: str, numerators: Sequence[np.float32], denominator: np.float32) -> float:
    """Product of scales (or other factors) over a scale: what a tensor is multiplied with.

    With `rounding` "litert" every step is rounded to single precision, with "tflm" to double: the
    kernels of the two differ in this, unless their planner says otherwise.
    """
    kind: type[np.floating[Any]] = np.float32 if rounding == "litert" else np.float64
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        product = kind(1)
        for numerator in numerators:
            product = product * kind(numerator)
        return float(product / kind(denominator))


def wrap32(x: IntLike) -> Int64Array:
    """`x` modulo ``2**32``, read as a signed 32-bit number; the result is an int64 array."""
    return np.asarray(x, dtype=np.int64).astype(np.int32).astype(np.int64)


def saturating_rounding_doubling_high_mul(a: IntLike, b: IntLike) -> Int64Array:
    """High half of ``2 * a * b``, rounded half up, saturated (gemmlowp's fixedpoint.h).

    Parameters: int32 values that broadcast. Returns: int64 array of int32 values. The one
    product that does not fit, ``(-2**31) * (-2**31)``, gives ``2**31 - 1``.
    """
    product = np.asarray(a, dtype=np.int64) * np.asarray(b, dtype=np.int64)
    # gemmlowp adds a nudge that depends on the sign and then truncates; for both signs that is
    # the floor of (product + 2**30) / 2**31.
    result: Int64Array = np.minimum((product + (1 << 30)) >> 31, INT32_MAX)
    return result


def rounding_divide_by_pot(x: IntLike, exponent: IntLike) -> Int64Array:
    """``x / 2**exponent`` rounded half away from zero (gemmlowp's fixedpoint.h).

    Parameters: int32 values `x` and exponents from 0 to 31 that broadcast; others count modulo 64,
    and those beyond 31 divide as modulo 32, and add 1 to what is not negative. Returns: int64
    array.
    """
    value = np.asarray(x, dtype=np.int64)
    exponents = np.asarray(exponent, dtype=np.int64)
    half = (np.int64(1) << (exponents & 31)) >> 1
    # The mask of the bits that go has 64 bits, of which the kernel takes the lower half.
    beyond = (exponents & 32) != 0
    half = np.where(beyond, 0, half)
    # Below zero a half goes down, where the shift alone would take it up.
    whole = (value + (half - ((value < 0) & (half > 0)))) >> (exponents & 31)
    result: Int64Array = whole + (beyond & (value >= 0))
    return result


def double_requantizer(multiplier: IntLike, shift: IntLike) -> Callable[..., Int64Array]:
    """`requantize_double` by one multiplier and shift again and again.

    Returns: a function of x and, where multiplier and shift are arrays, of an index: which of
    their elements to take for those of x.
    """
    multipliers = np.asarray(multiplier, dtype=np.int64)
    shifts = np.asarray(shift, dtype=np.int64)
    left = np.maximum(shifts, 0) & 31 if shifts.size and shifts.max() > 0 else None
    right = np.asarray(np.maximum(-shifts, 0))
    beyond = bool(shifts.size and shifts.min() < -31)
    half = np.asarray((np.int64(1) << (right & 31)) >> 1)
    # Below zero a half goes down, where the shift alone would take it up.
    down = np.asarray(half - (half > 0))

    def requantized(x: IntLike, index: Any = ...) -> Int64Array:
        value = np.asarray(x, dtype=np.int64)
        if left is not None:
            value = wrap32(value << left[index])
        # No product saturates: multipliers are not negative.
        high = (value * multipliers[index] + (1 << 30)) >> 31
        if beyond:
            return rounding_divide_by_pot(high, right[index])
        nudge = np.where(high < 0, down[index], half[index])
        result: Int64Array = (high + nudge) >> right[index]
        return result

    return requantized


def requantize_double(x: IntLike, multiplier: IntLike, shift: IntLike) -> Int64Array:
    """``x * multiplier * 2**(shift - 31)``, rounded twice as TFLite's integer kernels do.

    ``MultiplyByQuantizedMultiplier`` (common.cc): a left shift that wraps to 32 bits, the
    doubling high product rounded half up, then a right shift rounded half away from zero.

    Parameters: int32 values that broadcast; `shift` from -31 to 30, positive to the left. Further
    to the left it counts modulo 32, and further to the right as in `rounding_divide_by_pot`.
    Returns: int64 array of int32 values.
    """
    return double_requantizer(multiplier, shift)(x)


def requantize_single(x: IntLike, multiplier: IntLike, shift: IntLike) -> Int64Array:
    """``x * multiplier * 2**(shift - 31)``, rounded once, half away from zero.

    A left shift wraps to 32 bits first, as in `requantize_double`.

    Parameters: int32 values that broadcast; `shift` from -31 to 30, positive to the left,
    `multiplier` not negative. Returns: int64 array of int32 values.
    """
    shifts = np.asarray(shift, dtype=np.int64)
    value = np.asarray(x, dtype=np.int64)
    value = wrap32(value << np.maximum(shifts, 0))
    product = value * np.asarray(multiplier, dtype=np.int64)
    right = 31 + np.maximum(-shifts, 0)
    # |product| < 2**62 and the half is at most 2**61: no overflow.
    magnitude = (np.abs(product) + (np.int64(1) << (right - 1))) >> right
    result: Int64Array = np.where(product < 0, -magnitude, magnitude)
    return result


#: The name that TFLite gives `requantize_double`.
multiply_by_quantized_multiplier = requantize_double


def requantize_int64(x: IntLike, multiplier: IntLike, shift: IntLike) -> Int64Array:
    """``x * multiplier * 2**(shift - 31)`` of 64-bit sums, rounded once, half up.

    ``MultiplyByQuantizedMultiplier`` of int64 (common.cc), which the kernels of int16 activations
    use: the multiplier keeps 15 of its bits, and a result outside int32 wraps.

    Parameters: int64 values within ``2**47`` that broadcast; `multiplier` from 0 to
    ``2**31 - 1``, `shift` from -31 on, positive to the left: beyond 14, ``15 - shift`` counts
    modulo 64. Returns: int64 array of int32 values.
    """
    narrow = np.minimum((np.asarray(multiplier, np.int64) + (1 << 15)) >> 16, (1 << 15) - 1)
    right = 15 - np.asarray(shift, np.int64)
    # Wraps where the rounding constant becomes the sign.
    with np.errstate(over="ignore"):
        product = np.asarray(x, np.int64) * narrow + (np.int64(1) << ((right - 1) & 63))
    return wrap32(product >> (right & 63))


def round_half_away(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Floats to whole numbers, halves away from zero, in their own precision (``TfLiteRound``)."""
    whole = np.trunc(x)
    # x - whole is exact, so ties are seen where floor(|x| + 0.5) could round up to one.
    result: npt.NDArray[Any] = whole + np.where(
        np.abs(x - whole) >= 0.5, np.sign(x), x.dtype.type(0)
    )
    return result


def to_int32(x: npt.NDArray[Any]) -> Int64Array:
    """Floats as a cast to int32 sees them: toward zero, and what does not fit as ``-2**31``.

    In C++ what does not fit is undefined; this is x86-64. Returns: int64 array of int32 values.
    """
    fits = (x >= INT32_MIN) & (x < -float(INT32_MIN))
    result: Int64Array = np.where(fits, x, INT32_MIN).astype(np.int64)
    return result


def quantized(x: npt.NDArray[Any], scale: float) -> Int64Array:
    """Whole numbers of `scale` in float32 `x`, halves away from zero (``AffineQuantize``)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return to_int32(round_half_away(x.astype(np.float32) / np.float32(scale)))


def requantize_float64(x: IntLike, scale: npt.ArrayLike) -> Int64Array:
    """``round(double(x) * scale)``, half away from zero, as an x86-64 cast to int32 sees it.

    The float requantisation of LiteRT 2.x's reference FULLY_CONNECTED.

    Parameters: int32 `x` and float64 `scale` that broadcast. Returns: int64 array of int32 values.
    """
    product = np.asarray(x, dtype=np.float64) * np.asarray(scale, dtype=np.float64)
    return to_int32(round_half_away(product))


def clamped(
    accumulator: npt.NDArray[np.int64], zero_point: int, low: int, high: int
) -> npt.NDArray[np.int8]:
    """Int8 outputs of requantised sums: the zero point added, then cut to `low` and `high`."""
    return np.clip(accumulator + zero_point, low, high).astype(np.int8)
