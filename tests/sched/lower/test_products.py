"""Products of computed tensors: one of them is laid out as parameter words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mensa import golden
from mensa.golden.options import (
    BatchMatMulOptions,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
)
from mensa.rtl.commands import Mode, Unit
from mensa.sched.lower import LoweringOptions, ProgramStep, lower
from mensa.sched.lower.moves import words
from mensa.sched.lower.supported import why_on_host
from mensa.sched.placement import all_on
from tests.machines import any_options
from tests.sched.lower.drawn_layers import assert_drawn_layers_equal_golden
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, machine_of, random_inputs

MACHINES = {
    "roomy": machine_of(8, 8, 1 << 16, 1 << 14),
    "small": machine_of(4, 3, 600, 200),
    "narrow": machine_of(3, 5, 300, 100, port=4, entries=2),
}
KINDS = {"scale": 0.1, "zero_point": 3}


@pytest.mark.parametrize("name", MACHINES)
def test_random_layers_equal_golden(name):
    assert_drawn_layers_equal_golden("BATCH_MATMUL", MACHINES[name], examples=25, least=20)


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 20), st.integers(1, 8), st.booleans())
def test_words_have_a_byte_for_each_column(matrices, inputs, outputs, columns, inputs_last):
    values = np.arange(matrices * inputs * outputs).reshape(matrices, inputs, outputs)
    groups = -(-outputs // columns)
    wanted = np.full((matrices, inputs, groups * columns), -1)
    wanted[..., :outputs] = values
    wanted = wanted.reshape(matrices, inputs, groups, columns).transpose(0, 2, 1, 3)
    source = (values.transpose(0, 2, 1) if inputs_last else values).ravel()
    found = np.full(wanted.size, -1)
    for move in words(matrices, inputs, outputs, columns, inputs_last=inputs_last):
        here, there = np.arange(move.run), np.arange(move.run)
        for loop in move.loops:
            turn = np.arange(loop.count)[:, None]
            here = (here + turn * loop.source_step).ravel()
            there = (there + turn * loop.target_step).ravel()
        assert (found[move.target_start + there] == -1).all()
        found[move.target_start + there] = source[move.source_start + here]
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)


def computed_weights(op, dtype=np.int8, channels=11, outputs=10):
    """A layer whose weights another one gives."""
    builder = golden.GraphBuilder(op.lower(), dtype)
    shape = (7, channels) if op == "FULLY_CONNECTED" else (2, 5, 6, channels)
    taps = () if op == "FULLY_CONNECTED" else (3, 2)
    x = builder.input(shape, **KINDS)
    kinds = {"scale": 0.1, "zero_point": 0 if dtype == np.int8 else 100}
    weights = builder.input((outputs, *taps, channels), **kinds)
    weights = builder.apply("MAXIMUM", weights, weights, **kinds)
    bias = builder.tensor(
        data=np.arange(outputs) * 99 - 400, dtype=np.int32, scale=0.1 * 0.1, zero_point=0
    )
    options = FullyConnectedOptions()
    if op == "CONV_2D":
        options = Conv2DOptions(padding="SAME", stride_w=1, stride_h=2, dilation_w=2)
    y = builder.apply(op, x, weights, bias, options=options, scale=4.0, zero_point=5)
    return builder.build([y])


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("residency", [True, False])
@pytest.mark.parametrize(
    ("dtype", "rounding"), [(np.int8, "tflm"), (np.int8, "litert"), (np.uint8, "litert")]
)
@pytest.mark.parametrize("op", ["CONV_2D", "FULLY_CONNECTED"])
def test_computed_weights_equal_golden(op, dtype, rounding, residency, name):
    graph = computed_weights(op, dtype)
    options = LoweringOptions(residency=residency)
    lowered = lower(graph, all_on(MACHINES[name]), rounding, options)
    assert [type(step) for step in lowered.steps] == [ProgramStep]
    for seed in range(3):
        assert_equals_golden(lowered, random_inputs(graph, seed), Watcher)


def attention(heads=2, length=9, depth=10):
    """Products of products, whose operands come from layers before and are used again."""
    builder = golden.GraphBuilder("attention")
    shape = (heads, length, depth)
    queries, keys, values = (
        builder.apply("TANH", builder.input(shape, **KINDS), scale=1 / 128) for _ in range(3)
    )
    scores = builder.apply(
        "BATCH_MATMUL", queries, keys, options=BatchMatMulOptions(adj_y=True), **KINDS
    )
    shares = builder.apply("LOGISTIC", scores, scale=1 / 256, zero_point=-128)
    mixed = builder.apply("BATCH_MATMUL", shares, values, options=BatchMatMulOptions(), **KINDS)
    turned = builder.apply(
        "BATCH_MATMUL", mixed, keys, options=BatchMatMulOptions(adj_x=True), **KINDS
    )
    return builder.build([turned, builder.add(values, mixed, **KINDS)])


@pytest.mark.parametrize("name", MACHINES)
@given(options=any_options)
def test_products_of_products_equal_golden(name, options):
    graph = attention()
    assert all(why_on_host(graph, operator) is None for operator in graph.operators)
    lowered = lower(graph, all_on(MACHINES[name]), "litert", options)
    assert_equals_golden(lowered, random_inputs(graph, 1), Watcher)


def test_constant_matrices_are_parameters_that_stay():
    builder = golden.GraphBuilder("matmul")
    x = builder.input((3, 5, 12), **KINDS)
    data = np.random.default_rng(2).integers(-128, 128, (12, 16)).astype(np.int8)
    matrix = builder.tensor(data=data, dtype=np.int8, **KINDS)
    y = builder.apply("BATCH_MATMUL", x, matrix, options=BatchMatMulOptions(), scale=4.0)
    lowered = lower(builder.build([y]), all_on(MACHINES["roomy"]))
    assert lowered.layers[0].cached_bytes >= data.size
    (program,) = lowered.programs
    modes = {c["MODE"] for c in program.commands() if c.unit == Unit.COMPUTE}
    assert modes == {Mode.CONV}  # and no copies
    assert_equals_golden(lowered, random_inputs(lowered.graph, 3), Watcher)


def test_weights_of_depthwise_layers_and_of_groups_must_be_constants():
    for op, shape, options in (
        ("CONV_2D", (4, 1, 1, 2), Conv2DOptions(stride_w=1, stride_h=1)),
        ("DEPTHWISE_CONV_2D", (1, 1, 1, 4), DepthwiseConv2DOptions(
            stride_w=1, stride_h=1, depth_multiplier=1)),
    ):  # fmt: skip
        builder = golden.GraphBuilder()
        x, w = builder.input((1, 4, 4, 4), **KINDS), builder.input(shape, name="w", **KINDS)
        y = builder.tensor((1, 4, 4, 4), **KINDS)
        builder.operator(op, (x, w), (y,), options)
        graph = builder.build([y])
        said = why_on_host(graph, graph.operators[0])
        assert said.startswith("computed weights must be those of a convolution without groups")
        assert said.endswith("(tensor 1 'w' is computed)")


@pytest.mark.parametrize(("batches", "host"), [(1024, False), (1025, True)])
def test_too_many_products_run_on_the_host(batches, host):
    builder = golden.GraphBuilder()
    operands = [builder.input((batches, 1, 1), **KINDS) for _ in range(2)]
    y = builder.apply("BATCH_MATMUL", *operands, options=BatchMatMulOptions(), **KINDS)
    graph = builder.build([y])
    said = why_on_host(graph, graph.operators[0])
    assert (said is not None and said.endswith("(there are 1025 pairs)")) == host
