"""A proof that two roundings agree is right when every single sum says so."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mensa.golden.arithmetic.fixed_point import requantize_float64, requantize_single
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
    sums = np.arange(start, start + count + 1)[:, None]
    found = single_rounding(scale, low, high, zero_point, *clamp)
    if found is not None:
        wanted, result = both(scale, *found, sums, zero_point, *clamp)
        assert np.array_equal(wanted, result)
        return
    # The double product is itself rounded: 500 x 0.043 reaches 21.5 but 1500 x 0.043 not 64.5.
    # Then no factor serves all sums, and really none near it may.
    fraction, shift = np.frexp(scale)
    serves = np.zeros(scale.shape, bool)
    for distance in range(-4, 5):
        multiplier = np.round(fraction * 2**31).astype(np.int64) + distance
        wanted, result = both(scale, multiplier, shift, sums, zero_point, *clamp)
        serves |= (wanted == result).all(axis=0)
    assert not serves.all()


@given(st.floats(2**-14, 0.5), st.integers(0, 2**20))
def test_a_factor_of_two_float32_scales_has_a_multiplier(factor, reach):
    # What files have: products and quotients of float32 numbers, whose steps fall between sums.
    scale = np.array([float(np.float32(factor)) * float(np.float32(1 / 3))])
    bound = np.array([reach])
    assert single_rounding(scale, -bound, bound, -5, -128, 127) is not None


def test_sums_that_no_multiplier_serves_are_refused():
    # Outputs step at sums near 2**31, where 32 bits of a factor place them one sum too far.
    scale = np.array([2**-24 / 3 * 1.1])
    low, high = np.array([-(1 << 31)]), np.array([(1 << 31) - 1])
    assert single_rounding(scale, low, high, 0, -128, 127) is None


def test_sums_beyond_32_bits_are_refused():
    one = np.array([2**-20])
    assert single_rounding(one, np.array([0]), np.array([1 << 31]), 0, -128, 127) is None
    assert single_rounding(one * 2**30, np.array([0]), np.array([1 << 25]), 0, -128, 127) is None
