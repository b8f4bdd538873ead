"""Fixed-point softmax against the real function."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden.arithmetic.fixed_point_functions import exp_on_negative_values


def test_the_fixed_point_exponential_is_as_good_as_its_polynomial():
    a = -np.arange(0, 1 << 31, 7919, dtype=np.int64)
    real = np.exp(a / 2.0**26) * 2.0**31
    # The kernel's polynomial leaves out the fifth-order term, at most (1/8)**5 / 5! there.
    left_out = 0.125**5 / 120 * 2.0**31
    assert np.abs(exp_on_negative_values(a) - real).max() < left_out


@settings(deadline=None, max_examples=100)
@given(
    depth=st.integers(1, 300),
    log_scale=st.floats(-8, 1),
    seed=st.integers(0, 2**31),
    beta=st.floats(0.25, 4, width=32),
)
def test_softmax_is_within_a_step_of_the_real_one(depth, log_scale, seed, beta):
    builder = golden.GraphBuilder()
    scale = float(np.float32(2.0**log_scale))
    x = builder.input((2, depth), scale=scale)
    graph = builder.build([builder.softmax(x, beta=beta)])
    data = np.random.default_rng(seed).integers(-128, 128, (2, depth)).astype(np.int8)
    found = golden.run(graph, [data])[graph.outputs[0]].astype(float)
    power = np.exp(beta * scale * (data - data.max(axis=1, keepdims=True).astype(float)))
    real = power / power.sum(axis=1, keepdims=True)
    assert np.abs((found + 128) / 256 - real).max() <= 1.01 / 256
