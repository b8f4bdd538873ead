"""Fixed-point arithmetic against its definition in exact integers and fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mensa.golden.arithmetic import fixed_point

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
CORNERS = (
    INT32_MIN,
    INT32_MIN + 1,
    -(1 << 30),
    -256,
    -1,
    0,
    1,
    2,
    255,
    1 << 30,
    INT32_MAX - 1,
    INT32_MAX,
)
MULTIPLIERS = (0, 1, (1 << 30) - 1, 1 << 30, (1 << 30) + 1, INT32_MAX - 1, INT32_MAX)
SHIFTS = (-31, -30, -16, -8, -1, 0, 1, 2, 15, 29, 30)

int32s = st.one_of(st.sampled_from(CORNERS), st.integers(INT32_MIN, INT32_MAX))
multipliers = st.one_of(st.sampled_from(MULTIPLIERS), st.integers(1 << 30, INT32_MAX))
shifts = st.integers(-31, 30)


def wrap(x):
    return (x - INT32_MIN) % (1 << 32) + INT32_MIN


def half_up(x):
    return math.floor(x + Fraction(1, 2))


def half_away(x):
    return half_up(x) if x >= 0 else -half_up(-x)


def exact_double(x, multiplier, shift):
    """The high product rounds half up, the right shift half away from zero."""
    x = wrap(x << max(shift, 0))
    high = min(half_up(Fraction(x * multiplier, 1 << 31)), INT32_MAX)
    return half_away(Fraction(high, 1 << max(-shift, 0)))


def exact_single(x, multiplier, shift):
    x = wrap(x << max(shift, 0))
    return half_away(Fraction(x * multiplier, 1 << (31 + max(-shift, 0))))


FUNCTIONS = (
    (fixed_point.requantize_double, exact_double),
    (fixed_point.requantize_single, exact_single),
)


@pytest.mark.parametrize(("ours", "exact"), FUNCTIONS)
def test_requantisers_at_all_corners(ours, exact):
    cases = [(x, m, s) for x in CORNERS for m in MULTIPLIERS for s in SHIFTS]
    x, m, s = (np.array(column) for column in zip(*cases, strict=True))
    assert ours(x, m, s).tolist() == [exact(*case) for case in cases]


@pytest.mark.parametrize(("ours", "exact"), FUNCTIONS)
@settings(deadline=None, max_examples=300)
@given(cases=st.lists(st.tuples(int32s, multipliers, shifts), min_size=1, max_size=40))
def test_requantisers_equal_exact_fractions(ours, exact, cases):
    x, m, s = (np.array(column) for column in zip(*cases, strict=True))
    found = ours(x, m, s)
    assert found.dtype == np.int64
    assert found.tolist() == [exact(*case) for case in cases]


int64_sums = st.one_of(st.sampled_from(CORNERS), st.integers(-(1 << 47), (1 << 47) - 1))


@settings(deadline=None, max_examples=300)
@given(
    cases=st.lists(
        st.tuples(
            int64_sums, st.one_of(multipliers, st.integers(0, INT32_MAX)), st.integers(-31, 14)
        ),
        min_size=1,
        max_size=40,
    )
)
def test_int64_sums_are_scaled_by_a_multiplier_of_fifteen_bits(cases):
    x, m, s = (np.array(column) for column in zip(*cases, strict=True))
    wanted = [
        wrap(half_up(Fraction(x * min(half_up(Fraction(m, 1 << 16)), 32767), 1 << (15 - s))))
        for x, m, s in cases
    ]
    assert fixed_point.requantize_int64(x, m, s).tolist() == wanted


@settings(deadline=None, max_examples=300)
@given(cases=st.lists(st.tuples(int32s, int32s), min_size=1, max_size=40))
def test_doubling_high_product_saturates_in_its_one_case(cases):
    a, b = (np.array(column) for column in zip(*cases, strict=True))
    found = fixed_point.saturating_rounding_doubling_high_mul(a, b)
    wanted = [min(half_up(Fraction(x * y, 1 << 31)), INT32_MAX) for x, y in cases]
    assert found.tolist() == wanted
    assert fixed_point.saturating_rounding_doubling_high_mul(INT32_MIN, INT32_MIN) == INT32_MAX


@settings(deadline=None, max_examples=300)
@given(cases=st.lists(st.tuples(int32s, st.integers(0, 31)), min_size=1, max_size=40))
def test_rounding_division_by_a_power_of_two(cases):
    x, exponent = (np.array(column) for column in zip(*cases, strict=True))
    found = fixed_point.rounding_divide_by_pot(x, exponent)
    assert found.tolist() == [half_away(Fraction(v, 1 << e)) for v, e in cases]


@settings(deadline=None, max_examples=500)
@given(real=st.floats(2.0**-40, 2.0**30))
def test_a_quantised_multiplier_is_the_nearest(real):
    multiplier, shift = fixed_point.quantize_multiplier(real)
    if multiplier == 0:
        assert shift == 0
        assert real < 2.0**-32
        return
    assert 1 << 30 <= multiplier <= INT32_MAX
    assert -31 <= shift <= 31
    step = Fraction(1, 1) * Fraction(2) ** (shift - 31)
    assert abs(Fraction(real) - multiplier * step) <= step / 2


def test_quantised_multipliers_at_their_edges():
    assert fixed_point.quantize_multiplier(0.0) == (0, 0)
    assert fixed_point.quantize_multiplier(1.0) == (1 << 30, 1)
    # The mantissa rounds up to one and the shift takes it.
    assert fixed_point.quantize_multiplier(1.0 - 2.0**-40) == (1 << 30, 1)
    assert fixed_point.quantize_multiplier(2.0**-32) == (1 << 30, -31)
    assert fixed_point.quantize_multiplier(2.0**-33) == (0, 0)
    assert fixed_point.quantize_multiplier(math.inf) == (0, 0)
    assert fixed_point.quantize_multiplier(math.nan) == (0, 0)
    with pytest.raises(ValueError, match="scale factor"):
        fixed_point.quantize_multiplier(-1.0)


@settings(deadline=None, max_examples=300)
@given(x=int32s, scale=st.floats(2.0**-40, 2.0**20))
def test_float_requantisation_rounds_the_double_product_half_away(x, scale):
    wanted = half_away(Fraction(float(x) * scale))
    if not INT32_MIN <= wanted <= INT32_MAX:
        wanted = INT32_MIN
    assert int(fixed_point.requantize_float64(x, scale)) == wanted


def test_float_requantisation_does_not_round_what_is_just_below_a_half():
    assert int(fixed_point.requantize_float64(1, 0.49999999999999994)) == 0
    assert fixed_point.requantize_float64([1, -1, 3, -3], 0.5).tolist() == [1, -1, 2, -2]
