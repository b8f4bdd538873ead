"""Fixed-point functions at all corners and a million random points, against big integers.

Numbers stand here as Python integers, which never overflow, in arrays of objects; a rounding is a
division by its definition, floor(n / d + 1/2).
"""

from decimal import Decimal, localcontext
from itertools import product

import numpy as np
import pytest

from mensa.golden.arithmetic import fixed_point, fixed_point_functions
from tests.golden.arithmetic.test_fixed_point import (
    CORNERS,
    INT32_MAX,
    INT32_MIN,
    MULTIPLIERS,
    SHIFTS,
)

POINTS = 1_000_000
# So many at a time stay in the cache.
PIECE = 1 << 14


def half_up(n, d):
    return (2 * n + d) // (2 * d)


def half_away(n, d):
    return np.where(n >= 0, half_up(n, d), -half_up(-n, d))


def wrap(n):
    return (n - INT32_MIN) % (1 << 32) + INT32_MIN


def high_product(a, b):
    return np.minimum(half_up(a * b, 1 << 31), INT32_MAX)


def power(exponents):
    """Powers of two; 1 for a negative exponent."""
    return 2 ** np.maximum(exponents, 0)


def double(x, multiplier, shift):
    return half_away(high_product(wrap(x * power(shift)), multiplier), power(-shift))


def single(x, multiplier, shift):
    return half_away(wrap(x * power(shift)) * multiplier, power(-shift) << 31)


def int64_sums(x, multiplier, shift):
    narrow = np.minimum(half_up(multiplier, 1 << 16), (1 << 15) - 1)
    return wrap(half_up(x * narrow, power(15 - shift)))


class Points:
    """A million random points, and what corners there are."""

    def __init__(self):
        self.generator = np.random.default_rng(31)

    def integers(self, low, high):
        return self.generator.integers(low, high, POINTS, endpoint=True)

    def int32s(self):
        """As many small ones as large ones."""
        return self.integers(INT32_MIN, INT32_MAX) >> self.integers(0, 31)

    def multipliers(self):
        return self.integers(1 << 30, INT32_MAX)

    def all(self, *random, corners):
        """One array per argument: the random ones and all combinations of corners."""
        columns = zip(*product(*corners), strict=True)
        return [
            np.concatenate([points, np.array(column)])
            for points, column in zip(random, columns, strict=True)
        ]


def check(ours, exact, arrays):
    """The two functions agree on all elements of these arrays, more than a million."""
    size = len(arrays[0])
    for start in range(0, size, PIECE):
        piece = [array[start : start + PIECE] for array in arrays]
        found, wanted = ours(*piece), exact(*(array.astype(object) for array in piece))
        wrong = np.flatnonzero(found != wanted.astype(np.int64))
        assert wrong.size == 0, [array[wrong[0]] for array in piece]
    assert size > POINTS


@pytest.mark.parametrize(
    ("ours", "exact", "largest_shift"),
    [
        (fixed_point.requantize_double, double, 30),
        (fixed_point.requantize_single, single, 30),
        (fixed_point.requantize_int64, int64_sums, fixed_point.MAX_INT64_SHIFT),
    ],
    ids=["double", "single", "int64_sums"],
)
def test_requantisers(ours, exact, largest_shift):
    p = Points()
    x = p.int32s()
    corners = CORNERS
    if exact is int64_sums:
        x = x * p.integers(0, 1 << 16)
        corners = (*CORNERS, -(1 << 47), (1 << 47) - 1)
    shifts = [shift for shift in SHIFTS if shift <= largest_shift]
    arrays = p.all(
        *(x, p.multipliers(), p.integers(-31, largest_shift)),
        corners=(corners, MULTIPLIERS, shifts),
    )
    check(ours, exact, arrays)


@pytest.mark.parametrize(
    ("ours", "width"), [(fixed_point.requantize_double, 32), (fixed_point.requantize_int64, 64)]
)
def test_shifts_beyond_the_width_of_a_number_count_modulo_it(ours, width):
    p = Points()
    x, multiplier, shift = p.int32s()[:10_000], p.multipliers()[:10_000], np.arange(10_000) % 31
    for turns in (1, 2, 3):
        found = ours(x, multiplier, shift + turns * width)
        np.testing.assert_array_equal(found, ours(x, multiplier, shift))


def test_a_division_by_more_than_the_number_has_bits():
    """As the kernel's own steps give it, on words of 64 and of 32 bits."""
    x = Points().int32s()[:10_000]
    for exponent in (32, 33, 45, 62, 63, 64, 65, 95, 96):
        mask = wrap((1 << (exponent % 64)) - 1)
        threshold = (mask >> 1) + (x < 0)
        wanted = (x >> (exponent % 32)) + ((x & mask) > threshold)
        np.testing.assert_array_equal(fixed_point.rounding_divide_by_pot(x, exponent), wanted)


def test_floats_that_int32_does_not_hold():
    edge = np.array(
        [2147483520, 2147483648, -2147483648, -2147483904, np.nan, np.inf, -np.inf, 2.9]
    )
    wanted = [2147483520, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, 2]
    for kind in (np.float32, np.float64):
        assert fixed_point.to_int32(edge.astype(kind)).tolist() == wanted


def test_the_doubling_high_product():
    p = Points()
    arrays = p.all(p.int32s(), p.int32s(), corners=(CORNERS, CORNERS))
    check(fixed_point.saturating_rounding_doubling_high_mul, high_product, arrays)


def test_the_division_by_a_power_of_two():
    p = Points()
    arrays = p.all(p.int32s(), p.integers(0, 31), corners=(CORNERS, range(32)))
    check(fixed_point.rounding_divide_by_pot, lambda x, e: half_away(x, power(e)), arrays)


def test_the_float_requantiser():
    p = Points()
    scales = 2.0 ** p.generator.uniform(-40, 20, POINTS)
    corner_scales = (0.0, 2.0**-31, 0.1, 0.5, 1.5, 2.0**20)
    x, scales = p.all(p.int32s(), scales, corners=(CORNERS, corner_scales))

    def exact(x, scales):
        products = (float(a) * b for a, b in zip(x, scales, strict=True))
        ratios = np.array([each.as_integer_ratio() for each in products], dtype=object)
        rounded = half_away(ratios[:, 0], ratios[:, 1])
        # What a cast to int32 gives on x86-64 for a number that does not fit.
        fits = (rounded >= INT32_MIN) & (rounded <= INT32_MAX)
        return np.where(fits, rounded, INT32_MIN)

    check(fixed_point.requantize_float64, exact, [x, scales])


def test_quantised_multipliers():
    generator = np.random.default_rng(32)
    powers = 2.0 ** np.arange(-40, 31)
    edges = [np.nextafter(powers, 0), powers, np.nextafter(powers, np.inf)]
    reals = np.concatenate([2.0 ** generator.uniform(-40, 30, POINTS), *edges])
    multipliers, shifts = fixed_point.quantize_multipliers(reals)
    ratios = np.array([each.as_integer_ratio() for each in reals.tolist()], dtype=object)
    numerators, denominators = ratios[:, 0], ratios[:, 1]
    multipliers, shifts = (array.astype(object) for array in (multipliers, shifts))
    # The nearest number of 31 bits with this shift, of the two nearest the larger one.
    nearest = half_up(numerators * power(31 - shifts), denominators * power(shifts - 31))
    zero = multipliers == 0
    assert np.all((multipliers == nearest) | zero)
    assert np.all(((multipliers >= 1 << 30) & (multipliers <= INT32_MAX)) | zero)
    # Zero only for what would round to less than half of 2**-31.
    too_small = half_up(numerators << 63, denominators) < 1 << 31
    assert np.array_equal(zero, too_small)
    assert not np.any(shifts[zero.astype(bool)])


# --- Functions in Q0.31, by the series and iterations of gemmlowp's fixedpoint.h ---


def q31(real):
    """A decimal number in Q0.31."""
    return int((real * (1 << 31)).to_integral_value())


def decimal(text, power_of_e=None):
    with localcontext() as context:
        context.prec = 40
        return Decimal(text) if power_of_e is None else Decimal(power_of_e).exp()


def exponential(a, integer_bits):
    quarter = 1 << (29 - integer_bits)
    last = a % quarter - quarter
    eighth = q31(decimal(None, "-0.125"))
    x = (last << integer_bits) + (1 << 28)
    square = high_product(x, x)
    cube, fourth = high_product(square, x), high_product(square, square)
    third = half_up((1 << 31), 3)
    tail = high_product(half_away(fourth, 4) + cube, third) + square
    result = eighth + high_product(eighth, x + half_away(tail, 2))
    rest = last - a  # a multiple of a quarter: each of its bits is a factor
    for place in range(2 + integer_bits):
        factor = q31(decimal(None, str(-(Decimal(2) ** (place - 2)))))
        there = (rest // quarter >> place) & 1
        result = np.where(there == 1, high_product(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def two_over_one_plus(a):
    """2 / (1 + a), in Q2.29: Newton's iteration from 48/17 - 32/17 d."""
    d = half_away(a + INT32_MAX, 2)
    x = half_up(48 << 29, 17) + high_product(d, -half_up(32 << 29, 17))
    for _ in range(3):
        error = (1 << 29) - high_product(d, x)
        x = x + saturate(4 * high_product(x, error))
    return x


def saturate(n):
    return np.minimum(np.maximum(n, INT32_MIN), INT32_MAX)


def logistic(a, integer_bits):
    power_of_e = exponential(-abs(a), integer_bits)
    above = saturate(2 * two_over_one_plus(power_of_e))
    value = np.where(a > 0, above, INT32_MAX - above)
    return np.where(a == 0, 1 << 30, value)


def tanh(a, integer_bits):
    power_of_e = exponential(-abs(a), integer_bits + 1)
    value = saturate(4 * (two_over_one_plus(power_of_e) - (1 << 29)))
    return np.where(a == 0, 0, np.where(a > 0, value, -value))


@pytest.mark.parametrize(
    ("ours", "exact", "most_bits"),
    [
        (fixed_point_functions.exp_on_negative_values, exponential, 5),
        (fixed_point_functions.logistic, logistic, 5),
        (fixed_point_functions.tanh, tanh, 4),
    ],
    ids=["exp", "logistic", "tanh"],
)
def test_functions_in_fixed_point(ours, exact, most_bits):
    p = Points()
    bits = np.arange(POINTS) * (most_bits + 1) // POINTS  # in order, so that a piece has one or two
    # The lowest number has no negative, and its kernels are not given it.
    x, bits = p.all(
        np.maximum(p.int32s(), INT32_MIN + 1), bits, corners=(CORNERS[1:], range(most_bits + 1))
    )
    if exact is exponential:
        x = -np.abs(x)

    def by_bits(function):
        def each(x, bits):
            result = np.zeros(x.shape, x.dtype)
            for number in set(bits.tolist()):
                result[bits == number] = function(x[bits == number], number)
            return result

        return each

    check(by_bits(ours), by_bits(exact), [x, bits])


def inverse_square_root(x):
    """1 / sqrt(x) by Newton's iteration in Q3.28. Returns: multipliers, shifts."""
    pairs = np.array([(31 - int(each).bit_length()) // 2 for each in x], dtype=object)
    # Two bits are dropped at a time where there is no room for the iteration.
    kept = np.where(pairs < 1, x // power(2 * (1 - pairs)), x * power(2 * pairs - 2))
    half = half_away(kept // 2, 2)
    root = np.full(x.shape, 1 << 28, dtype=object)
    for _ in range(5):
        cube = saturate(64 * high_product(high_product(root, root), root))
        root = saturate(8 * (high_product((1 << 28) + (1 << 27), root) - high_product(half, cube)))
    multiplier = high_product(root, q31(decimal("0.5").sqrt()))
    shifts = pairs - 12
    return np.where(x <= 1, INT32_MAX, wrap(multiplier * power(shifts))), np.minimum(
        np.where(x <= 1, 0, shifts), 0
    )


def test_the_inverse_square_root():
    p = Points()
    (x,) = p.all(np.abs(np.maximum(p.int32s(), -INT32_MAX)), corners=([2, 3, 4, *CORNERS[5:]],))

    def both(function):
        def packed(x):
            multiplier, shift = function(x)
            return multiplier * 64 + shift

        return packed

    check(both(fixed_point_functions.inverse_square_root), both(inverse_square_root), [x])


def logarithm(x, integer_bits, output_bits):
    """Natural: 2**k, of two candidates a quarter off, times what a fraction of polynomials has."""
    root, half = decimal("2").sqrt().sqrt(), decimal("0.5").sqrt()
    bits = 31 - (output_bits + 1)
    length = np.array([int(each).bit_length() for each in x], dtype=object)
    shorter = high_product(x, q31(half))
    short = np.array([int(each).bit_length() for each in shorter], dtype=object)
    first = saturate(2 * high_product(x * power(31 - length), q31(half)))
    second = saturate(x * power(31 - short))
    r = np.minimum(first, second)
    quarter = 1 << (bits - 2)
    k = np.maximum(
        (integer_bits + length - 32) * (1 << bits) + quarter,
        (integer_bits + short - 31) * (1 << bits) - quarter,
    )
    centre = q31(1 / root)
    q = 2 * (r - centre)
    square = high_product(q, q)
    above = high_product(q, r) + high_product(high_product(q, square), q31(11 * root / 240))
    below = high_product(
        half_away(r + centre, 2), q31(2 / root - root) + q + high_product(q31(root / 20), square)
    ) + high_product(q31(root / 4), q)
    scaled = half_away(above, 1 << (output_bits + 1))
    part = high_product(scaled, saturate(2 * two_over_one_plus(below)))
    return saturate(2 * (high_product(saturate(k), q31(decimal("2").ln())) + part))


def test_the_logarithm():
    p = Points()
    ends = [1 << 19, (1 << 19) + 1, 741455, 741456, (1 << 30) - 1, 1 << 30, INT32_MAX]
    (x,) = p.all(np.maximum(np.abs(np.maximum(p.int32s(), -INT32_MAX)), 1 << 19), corners=(ends,))

    def of_sums(function):
        return lambda x: function(x, 12, 5)

    check(of_sums(fixed_point_functions.log_from_one), of_sums(logarithm), [x])
    x = x.astype(np.int64)
    real = np.log(x / (1 << 19)) * (1 << 26)
    assert np.max(np.abs(fixed_point_functions.log_from_one(x, 12, 5) - real)) < 3
