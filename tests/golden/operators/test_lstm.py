"""LSTM layers: their nonlinear functions, and states that go from one run to the next."""

import numpy as np
import pytest

import mensa.golden as golden
from mensa.golden.arithmetic import gates
from tests.golden.strategies import random_inputs
from tests.models import network_path

LSTM_NETWORKS = ("keras_lstm_mnist_ptq", "trained_lstm_int8")
EVERY_INT16 = np.arange(-(1 << 15), 1 << 15)


@pytest.fixture(params=LSTM_NETWORKS)
def recurrent(request):
    """Path of each recurrent network in turn."""
    return network_path(request.param)


@pytest.mark.parametrize(
    ("table", "steps"),
    [
        # Interpolation between 256 entries, and a rounding; then 16-bit fixed point.
        (gates.interpolated_sigmoid, 2),
        (gates.fixed_point_sigmoid, 8),
    ],
)
def test_a_sigmoid_is_near_the_real_one(table, steps):
    real = 2.0**15 / (1 + np.exp(-EVERY_INT16 / 2.0**12))
    assert np.abs(table() - real).max() < steps


@pytest.mark.parametrize("integer_bits", range(gates.MAX_INTEGER_BITS + 1))
def test_a_tanh_is_near_the_real_one(integer_bits):
    power = integer_bits - 15
    real = 2.0**15 * np.tanh(EVERY_INT16 * 2.0**power)
    assert np.abs(gates.fixed_point_tanh(integer_bits) - real).max() < 14
    assert np.abs(gates.interpolated_tanh(power) - real).max() < 3


def test_a_state_continues_a_sequence_and_none_starts_afresh(recurrent):
    graph = golden.load(recurrent)
    first, second = random_inputs(graph, 2, seed=3)
    start = golden.run(graph, first)
    again = golden.run(graph, first, state={})
    onward = golden.run(graph, second, keep="all", state=start.state)
    fresh = golden.run(graph, second, keep="all")
    (output,) = graph.outputs
    np.testing.assert_array_equal(start[output], again[output])
    assert set(start.state) == {t.index for t in graph.tensors if t.is_variable}
    assert any(not np.array_equal(onward[i], fresh[i]) for i in onward)


def test_a_run_does_not_change_the_state_that_it_is_given(recurrent):
    graph = golden.load(recurrent)
    first, second = random_inputs(graph, 2, seed=4)
    state = golden.run(graph, first).state
    before = {index: array.copy() for index, array in state.items()}
    once, twice = (golden.run(graph, second, state=state) for _ in range(2))
    for index, array in before.items():
        np.testing.assert_array_equal(state[index], array)
    for index in graph.outputs:
        np.testing.assert_array_equal(once[index], twice[index])


def test_a_state_that_does_not_fit_is_refused(recurrent):
    graph = golden.load(recurrent)
    (arrays,) = random_inputs(graph, 1, seed=5)
    state = golden.run(graph, arrays).state
    index = next(iter(state))
    with pytest.raises(golden.GraphError, match="shape"):
        golden.run(graph, arrays, state={**state, index: state[index][..., :-1]})
    with pytest.raises(golden.GraphError, match="type"):
        golden.run(graph, arrays, state={**state, index: state[index].astype(np.float32)})


def test_every_matrix_counts_once_per_step(recurrent):
    graph = golden.load(recurrent)
    (operator,) = (op for op in graph.operators if op.op == "UNIDIRECTIONAL_SEQUENCE_LSTM")
    (_, steps, features), (_, _, cells) = (
        graph.tensors[index].shape for index in (operator.inputs[0], operator.outputs[0])
    )
    assert golden.operator_macs(graph, operator) == steps * 4 * cells * (features + cells)
