"""What operators cost the host: counts against numbers that follow from their shapes by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mensa import golden
from mensa.golden.families import supported
from mensa.golden.options import GatherOptions
from mensa.sim.host_work import (
    FUNCTIONS,
    MOVES,
    OPERATIONS_OF_A_FUNCTION,
    OPERATIONS_OF_A_MOVE,
    OPERATIONS_PER_ELEMENT,
    SELECTED,
    operations,
    traffic_bytes,
)


def counts(builder, output):
    """Operations and bytes of a graph's only operator."""
    graph = builder.build([output])
    (operator,) = graph.operators
    return operations(graph, operator), traffic_bytes(graph, operator)


def test_a_convolution_is_its_multiply_accumulates():
    builder = golden.GraphBuilder()
    x = builder.input((1, 8, 8, 3), scale=0.05, zero_point=0)
    weights, bias = np.ones((5, 3, 3, 3), np.int8), np.zeros(5, np.int32)
    y = builder.conv2d(x, weights, bias, weight_scale=0.02, scale=0.1, zero_point=0)
    read, constants, written = 8 * 8 * 3, 5 * 3 * 3 * 3 + 5 * 4, 8 * 8 * 5
    assert counts(builder, y) == (8 * 8 * 5 * 3 * 3 * 3, read + constants + written)


def test_elements_cost_by_the_kind_of_their_operator():
    def of(op, dtype=np.int8):
        builder = golden.GraphBuilder()
        x = builder.input((1, 12), scale=0.05, zero_point=0, dtype=dtype)
        return counts(builder, builder.apply(op, x))

    assert of("ABS") == (24 * OPERATIONS_PER_ELEMENT, 24)
    assert of("LOGISTIC") == (24 * OPERATIONS_OF_A_FUNCTION, 24)
    assert of("LOGISTIC", np.float32) == (24 * OPERATIONS_OF_A_FUNCTION, 4 * 24)
    assert OPERATIONS_OF_A_MOVE < OPERATIONS_PER_ELEMENT < OPERATIONS_OF_A_FUNCTION


def test_a_reshape_moves_its_elements_and_reads_its_shape():
    builder = golden.GraphBuilder()
    x = builder.input((1, 12), scale=0.05, zero_point=0)
    assert counts(builder, builder.reshape(x, (3, 4))) == (
        (24 + 2) * OPERATIONS_OF_A_MOVE,
        24 + 2 * 4,
    )


def test_a_tensor_that_is_read_twice_counts_once():
    builder = golden.GraphBuilder()
    x = builder.input((1, 12), scale=0.05, zero_point=0)
    y = builder.add(x, x, scale=0.1, zero_point=0)
    assert counts(builder, y) == (24 * OPERATIONS_PER_ELEMENT, 24)


@pytest.mark.parametrize("rows", [10, 1000])
def test_a_table_counts_by_what_is_taken_from_it(rows):
    builder = golden.GraphBuilder()
    table = builder.tensor((rows, 7), scale=0.1, data=np.zeros((rows, 7), np.int8))
    which = builder.input((3,), dtype=np.int32)
    y = builder.apply("GATHER", table, which, options=GatherOptions())
    assert counts(builder, y) == ((3 + 2 * 21) * OPERATIONS_OF_A_MOVE, 3 * 4 + 2 * 21)


@given(st.integers(1, 50), st.integers(0, 50), st.sampled_from(["ABS", "LOGISTIC", "RELU"]))
def test_a_larger_tensor_never_costs_less(size, more, op):
    def of(elements):
        builder = golden.GraphBuilder()
        return counts(
            builder,
            builder.apply(op, builder.input((1, elements), scale=0.05, zero_point=0)),
        )

    for less, greater in zip(of(size), of(size + more), strict=True):
        assert less <= greater


def test_the_kinds_are_of_operators_that_there_are_and_exclude_each_other():
    assert MOVES | FUNCTIONS | SELECTED.keys() <= set(supported())
    assert not MOVES & FUNCTIONS
    assert SELECTED.keys() <= MOVES
