"""Operands that are broadcast are written out by plans that golden knows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mensa import golden
from mensa.golden import ConvPlan
from mensa.golden.operators.shape_ops import TilePlan
from mensa.golden.registry import compute
from mensa.rtl.machine import edge_tpu
from mensa.sched.lower import lower
from mensa.sched.lower.broadcast import spreads
from mensa.sched.placement import all_on
from mensa.sim.engines.events import layer_timing
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.memory import lpddr4


def product(*shapes):
    builder = golden.GraphBuilder("pair")
    inputs = [builder.input(shape, scale=0.1) for shape in shapes]
    return builder.build([builder.apply("MUL", *inputs, scale=0.1)])


def spreads_of(graph):
    (operator,) = graph.operators
    return list(spreads(graph, operator, golden.plan(graph, operator)))


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from([(1, 1), (0, 1), (1, 0)])),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 2),
)
def test_steps_give_what_numpy_does(dimensions, left_out):
    shapes = [tuple(size if has[which] else 1 for size, has in dimensions) for which in (0, 1)]
    shapes[1] = shapes[1][left_out:]
    graph = product(*shapes)
    output = graph.tensors[graph.outputs[0]]
    spread = {each.position: each for each in spreads_of(graph)}
    for position, index in enumerate(graph.inputs):
        tensor = graph.tensors[index]
        assert (position in spread) == (tensor.size != output.size)
        if position in spread:
            values = np.random.default_rng(1).integers(-128, 128, tensor.size, np.int8)
            result = values
            for step in spread[position].steps:
                shape = step.operand.shape
                if isinstance(step.work, ConvPlan):
                    shape = step.work.input_shape
                (result,) = compute(step.work, result.reshape(shape))
                assert result.size == step.nbytes
            wanted = np.broadcast_to(values.reshape(tensor.shape), output.shape)
            np.testing.assert_array_equal(result.reshape(output.shape), wanted)


@pytest.mark.parametrize(
    ("shape", "plans"),
    [
        ((1, 1, 1, 64), [TilePlan, TilePlan]),
        ((1, 1, 1, 1), [TilePlan, TilePlan]),
        ((1, 28, 28, 1), [ConvPlan]),
        ((1, 28, 1, 64), [TilePlan]),
    ],
)
def test_a_broadcast_takes_little_longer_than_the_product(shape, plans):
    graph = product((1, 28, 28, 64), shape)
    (spread,) = spreads_of(graph)
    assert [type(step.work) for step in spread.steps] == plans
    (program,) = lower(graph, all_on(edge_tpu)).programs
    (timing,) = layer_timing(ModelEngine(edge_tpu, lpddr4).run(program))
    pixels = 28 * 28
    assert timing.stalls["compute"] < 4 * pixels  # half of which are the product's
