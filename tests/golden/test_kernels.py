"""The kernels' quick ways give what the exact ones give."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden import kernels
from mensa.golden.fixed_point import requantize_double


@settings(deadline=None, max_examples=200)
@given(
    log_scales=st.lists(st.floats(-20, 1), min_size=1, max_size=4),
    zero_point=st.integers(-128, 127),
    seed=st.integers(0, 2**31),
)
def test_requantising_by_float32_equals_the_two_roundings(log_scales, zero_point, seed):
    channels = len(log_scales)
    builder = golden.GraphBuilder()
    x = builder.input((1, 3), scale=1.0)
    y = builder.fully_connected(
        x,
        np.ones((channels, 3), np.int8),
        np.zeros(channels, np.int32),
        weight_scale=2.0 ** np.array(log_scales),
        scale=1.0,
        zero_point=zero_point,
    )
    graph = builder.build([y])
    plan = golden.plan(graph, graph.operators[0], "tflm")
    generator = np.random.default_rng(seed)
    # Sums over the whole output range and beyond, most of them close to the middle between two
    # outputs, where the order of the roundings shows.
    wanted = generator.integers(-320, 321, (5000, channels)) + 0.5
    sums = wanted / plan.scale + generator.integers(-3, 4, wanted.shape)
    far = generator.integers(-(1 << 31), 1 << 31, wanted.shape)
    sums = np.where(generator.random(wanted.shape) < 0.1, far, sums)
    sums = np.clip(np.rint(sums), -(1 << 31), (1 << 31) - 1).astype(np.int32)
    exact = requantize_double(sums, plan.multiplier, plan.shift) + zero_point
    exact = exact.astype(np.int32)  # where a zero point wraps, it wraps in the kernel, too
    found = kernels.requantize(plan, sums)
    np.testing.assert_array_equal(found, np.clip(exact, plan.clamp_min, plan.clamp_max))
    assert math.prod(found.shape) == sums.size
