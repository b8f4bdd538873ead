"""The kernels' quick ways give what the exact ones give."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden.arithmetic.fixed_point import requantize_double, requantize_float64
from mensa.golden.operators.convolution_kernel import Writer

EXACT_IN_FLOAT32 = 1 << 24


@settings(deadline=None, max_examples=200)
@given(
    log_scales=st.lists(st.floats(-20, 1), min_size=1, max_size=4),
    bias=st.integers(-(1 << 16), 1 << 16),
    zero_points=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
    activation=st.sampled_from(["NONE", "RELU", "RELU6"]),
    rounding=st.sampled_from(["tflm", "litert"]),
    depth=st.sampled_from([3, 1 << 18]),
    seed=st.integers(0, 2**31),
)
def test_rounding_in_floats_equals_the_oracles_roundings(
    log_scales, bias, zero_points, activation, rounding, depth, seed
):
    channels = len(log_scales)
    builder = golden.GraphBuilder()
    x = builder.input((1, depth), scale=1.0, zero_point=zero_points[0])
    y = builder.fully_connected(
        x,
        np.ones((channels, depth), np.int8),
        np.full(channels, bias, np.int32),
        weight_scale=2.0 ** np.array(log_scales),
        activation=activation,
        scale=1.0,
        zero_point=zero_points[1],
    )
    graph = builder.build([y])
    plan = golden.plan(graph, graph.operators[0], rounding)
    offset = bias - depth * zero_points[0]
    generator = np.random.default_rng(seed)
    # Sums over the whole output range and beyond, most of them close to the middle between two
    # outputs, where the order of the roundings shows.
    wanted = generator.integers(-320, 321, (5000, channels)) + 0.5
    sums = wanted / plan.scale + generator.integers(-3, 4, wanted.shape) - offset
    far = generator.integers(-EXACT_IN_FLOAT32, EXACT_IN_FLOAT32, wanted.shape)
    sums = np.where(generator.random(wanted.shape) < 0.1, far, sums)
    sums = np.clip(np.rint(sums), -EXACT_IN_FLOAT32, EXACT_IN_FLOAT32).astype(np.int64)
    if plan.requant == "float64":
        exact = requantize_float64(sums + offset, plan.scale)
    else:
        exact = requantize_double(sums + offset, plan.multiplier, plan.shift)
    # Where a zero point wraps, it wraps in the kernel, too.
    exact = (exact + plan.output_zero_point).astype(np.int32)
    found = np.empty(sums.shape, np.int8)
    writer = Writer(plan, found, len(sums), 1, 1)
    writer.sums[: len(sums)] = sums
    writer.write(0, len(sums))
    writer.finish()
    np.testing.assert_array_equal(found, np.clip(exact, plan.clamp_min, plan.clamp_max))
