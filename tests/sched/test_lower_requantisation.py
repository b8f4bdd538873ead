"""A proof that two roundings agree is right when every single sum says so."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mensa.golden.fixed_point import requantize_float64, requantize_single
from mensa.sched.lower.requantisation import single_rounding


def both(scale, multiplier, shift, sums, zero_point, low, high):
    wanted = np.clip(requantize_float64(sums, scale) + zero_point, low, high)
    given_ = np.clip(requantize_single(sums, multiplier, shift) + zero_point, low, high)
    return wanted, given_


scales = st.one_of(
    st.floats(2**-14, 4.0),
    # Fractions with a small denominator put sums exactly between two outputs.
    st.builds(lambda n, d: n / d, st.integers(1, 64), st.sampled_from([64, 128, 1000, 4096])),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(scales, min_size=1, max_size=4),
    st.integers(-3000, 3000),
    st.integers(0, 30_000),
    st.integers(-128, 127),
    st.tuples(st.integers(-128, 127), st.integers(-128, 127)).map(sorted),
)
def test_every_sum_gives_the_same_output(factors, start, count, zero_point, clamp):
    scale = np.array(factors)
    low, high = np.full(scale.shape, start), np.full(scale.shape, start + count)
    found = single_rounding(scale, low, high, zero_point, *clamp)
    assert found is not None
    multiplier, shift = found
    sums = np.arange(start, start + count + 1)[:, None]
    wanted, result = both(scale, multiplier, shift, sums, zero_point, *clamp)
    assert np.array_equal(wanted, result)


def test_sums_that_no_multiplier_serves_are_refused():
    # Outputs step at sums near 2**31, where 32 bits of a factor place them one sum too far.
    scale = np.array([2**-24 / 3 * 1.1])
    low, high = np.array([-(1 << 31)]), np.array([(1 << 31) - 1])
    assert single_rounding(scale, low, high, 0, -128, 127) is None


def test_sums_beyond_32_bits_are_refused():
    one = np.array([2**-20])
    assert single_rounding(one, np.array([0]), np.array([1 << 31]), 0, -128, 127) is None
    assert single_rounding(one * 2**30, np.array([0]), np.array([1 << 25]), 0, -128, 127) is None
