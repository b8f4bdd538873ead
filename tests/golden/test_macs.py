"""Multiply-accumulates, against one count per multiplication that the operator's sum names."""

import itertools

import numpy as np
import pytest

import mensa.golden as golden
from mensa.golden import families
from mensa.golden.options import (
    BatchMatMulOptions,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    SVDFOptions,
    UnidirectionalSequenceLSTMOptions,
)

TYPES = (np.int8, np.int16, np.float32)
COUNTED = {
    "BATCH_MATMUL",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "SVDF",
    "TRANSPOSE_CONV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
}


def loops(*sizes):
    """Turns of the innermost of nested loops."""
    return sum(1 for _ in itertools.product(*(range(size) for size in sizes)))


def count(builder):
    graph = builder.build([])
    (operator,) = graph.operators
    found = golden.operator_macs(graph, operator)
    assert golden.total_macs(graph) == found
    return found


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_multiplies_each_tap_of_each_output(dtype, padding, groups):
    b = golden.GraphBuilder(dtype=dtype)
    x, weights = b.input((2, 7, 6, 4)), b.tensor((6, 3, 2, 4 // groups))
    y = b.apply(
        "CONV_2D", x, weights, options=Conv2DOptions(padding=padding, stride_h=2, stride_w=1)
    )
    n, oh, ow, oc = b.build([]).tensors[y].shape
    assert count(b) == loops(n, oh, ow, oc, 3, 2, 4 // groups)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("multiplier", [1, 3])
def test_a_depthwise_convolution_multiplies_one_channel_for_each_output(dtype, multiplier):
    b = golden.GraphBuilder(dtype=dtype)
    x, weights = b.input((1, 7, 6, 4)), b.tensor((1, 3, 2, 4 * multiplier))
    options = DepthwiseConv2DOptions(
        padding="VALID", stride_h=1, stride_w=2, depth_multiplier=multiplier
    )
    y = b.apply("DEPTHWISE_CONV_2D", x, weights, options=options)
    n, oh, ow, oc = b.build([]).tensors[y].shape
    assert count(b) == loops(n, oh, ow, oc, 3, 2)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8), (2, 4, 4)])
def test_a_fully_connected_layer_multiplies_every_input_of_each_row(dtype, shape):
    b = golden.GraphBuilder(dtype=dtype)
    b.apply("FULLY_CONNECTED", b.input(shape), b.tensor((3, 8)))
    assert count(b) == loops(int(np.prod(shape)) // 8, 3, 8)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_transposed_convolution_spreads_each_element_of_the_input(dtype):
    b = golden.GraphBuilder(dtype=dtype)
    sizes = b.tensor(data=np.array([2, 9, 8, 5]), dtype=np.int32)
    x, weights = b.input((2, 5, 4, 3)), b.tensor((5, 3, 2, 3))
    b.operator("TRANSPOSE_CONV", (sizes, weights, x), (b.tensor((2, 9, 8, 5)),))
    assert count(b) == loops(2, 5, 4, 3, 5, 3, 2)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("adj_x", [False, True])
@pytest.mark.parametrize("adj_y", [False, True])
def test_a_product_of_matrices_multiplies_its_depth_for_each_output(dtype, adj_x, adj_y):
    b, rows, depth, columns = golden.GraphBuilder(dtype=dtype), 3, 7, 4
    first = b.input((5, 1, depth, rows) if adj_x else (5, 1, rows, depth))
    second = b.input((2, columns, depth) if adj_y else (2, depth, columns))
    b.apply("BATCH_MATMUL", first, second, options=BatchMatMulOptions(adj_x=adj_x, adj_y=adj_y))
    assert count(b) == loops(5, 2, rows, depth, columns)


def test_svdf_multiplies_the_features_and_all_that_is_remembered():
    b, batch, features, filters, memory = golden.GraphBuilder(), 2, 6, 8, 5
    inputs = b.input((batch, features)), b.tensor((filters, features)), b.tensor((filters, memory))
    b.apply("SVDF", *inputs, options=SVDFOptions(rank=2))
    assert count(b) == loops(batch, filters, features) + loops(batch, filters, memory)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("projected", [False, True])
def test_an_lstm_multiplies_each_gate_and_the_projection_in_every_step(
    time_major, coupled, projected
):
    b, batch, steps, features, cells = golden.GraphBuilder(), 2, 5, 3, 4
    outputs = 2 if projected else cells
    inputs = [b.input((steps, batch, features) if time_major else (batch, steps, features))]
    inputs += [-1] * 23
    gates = range(1, 4) if coupled else range(4)
    for gate in gates:
        inputs[1 + gate] = b.tensor((cells, features))
        inputs[5 + gate] = b.tensor((cells, outputs))
    if projected:
        inputs[16] = b.tensor((outputs, cells))
    options = UnidirectionalSequenceLSTMOptions(time_major=time_major)
    b.apply("UNIDIRECTIONAL_SEQUENCE_LSTM", *inputs, options=options)
    products = loops(batch, steps, len(gates), cells, features + outputs)
    assert count(b) == products + (loops(batch, steps, outputs, cells) if projected else 0)


@pytest.mark.parametrize("op", sorted({*families.supported(), "CUSTOM:unknown"} - COUNTED))
def test_other_operators_multiply_no_matrices(op):
    b = golden.GraphBuilder()
    b.operator(op, (b.input((4, 4)), b.tensor((4, 4))), (b.tensor((4, 4)),))
    assert count(b) == 0


@pytest.mark.parametrize("op", sorted(COUNTED))
def test_an_operator_without_its_tensors_counts_nothing(op):
    for inputs, outputs in itertools.product(range(4), range(2)):
        b = golden.GraphBuilder()
        scalars = tuple(b.tensor(()) for _ in range(inputs + outputs))
        b.operator(op, scalars[:inputs], scalars[inputs:])
        assert count(b) <= inputs  # scalars: no matrix has more elements than there are inputs
        b = golden.GraphBuilder()
        b.operator(op, (-1,) * inputs, (-1,) * outputs)
        assert count(b) == 0
