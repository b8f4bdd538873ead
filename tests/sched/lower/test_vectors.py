"""Operators of the vector unit: two operands, tables, sums over whole dimensions."""

import re

import numpy as np
import pytest

from mensa import golden
from mensa.golden.options import ReducerOptions
from mensa.rtl.commands import Mode, Unit
from mensa.sched.inspection import inspect
from mensa.sched.lower import LoweringOptions, ProgramStep, lower
from mensa.sched.lower.supported import why_on_host
from mensa.sched.placement import all_on
from tests.sched.lower.drawn_layers import assert_drawn_layers_equal_golden
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, machine_of, random_inputs

ROOMY = machine_of(8, 8, 1 << 16, 1 << 14)
SMALL = machine_of(4, 3, 1500, 700)
MACHINES = {"roomy": ROOMY, "small": SMALL}
MODES = {
    "SUB": Mode.SCALED_DIFFERENCE,
    "MUL": Mode.PRODUCT,
    "MAXIMUM": Mode.MAX,
    "MINIMUM": Mode.MIN,
    "MEAN": Mode.SUM,
    "SUM": Mode.SUM,
    "LOGISTIC": Mode.TABLE,
    "TANH": Mode.TABLE,
    "HARD_SWISH": Mode.TABLE,
    "LEAKY_RELU": Mode.TABLE,
    "RELU": Mode.TABLE,
    "RELU6": Mode.TABLE,
    "ELU": Mode.TABLE,
    "PRELU": Mode.SCALED_SUM,
}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("op", MODES)
def test_random_layers_equal_golden(op, name):
    def check(lowered):
        modes = {
            Mode(command["MODE"])
            for program in lowered.programs
            for command in program.commands()
            if command.unit == Unit.COMPUTE
        }
        assert MODES[op] in modes
        if op != "PRELU":  # which takes several
            assert modes <= {MODES[op], Mode.MAX, Mode.CONV}  # which broadcast

    assert_drawn_layers_equal_golden(op, MACHINES[name], examples=8, least=4, check=check)


def chain(builder, x, weights):
    """An attention gate: convolution, mean, logistic, product; streamed or on chip."""
    y = builder.conv2d(
        x, weights, np.zeros(6), weight_scale=0.01, scale=0.1, zero_point=3, activation="NONE"
    )
    z = builder.apply("LOGISTIC", y, scale=1 / 256, zero_point=-128)
    product = builder.apply("MUL", y, z, scale=0.08, zero_point=-4)
    return builder.apply("SUB", product, y, scale=0.2, zero_point=1)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("size", [5, 14])
def test_a_chain_of_them_equals_golden(name, size):
    builder = golden.GraphBuilder("gate")
    x = builder.input((1, size, size, 4), scale=0.05, zero_point=-3)
    weights = np.random.default_rng(5).integers(-127, 128, (6, 3, 3, 4), np.int8)
    graph = builder.build([chain(builder, x, weights)])
    lowered = lower(graph, all_on(MACHINES[name]))
    assert all(why_on_host(graph, operator) is None for operator in graph.operators)
    inputs = np.random.default_rng(6).integers(-128, 128, (1, size, size, 4), np.int8)
    assert_equals_golden(lowered, [inputs])


def test_what_finds_no_room_runs_on_the_host_and_says_so():
    builder = golden.GraphBuilder()
    x = builder.input((1, 40), scale=0.1)
    table = builder.build([builder.apply("LOGISTIC", x, scale=1 / 256, zero_point=-128)])
    builder = golden.GraphBuilder()
    x = builder.input((1, 20, 20, 8), scale=0.1)
    axes = builder.tensor(data=np.array([1, 2], np.int32), dtype=np.int32)
    mean = builder.build([builder.apply("MEAN", x, axes)])
    builder = golden.GraphBuilder()
    x = builder.input((1, 20, 20, 8), scale=0.1)
    pool = builder.build([builder.pool2d("average", x, window=(20, 20), stride=(20, 20))])
    for graph, machine, why in (
        (pool, machine_of(8, 8, 1700, 1 << 14), "8x8 has no room for it: a single output pixel"),
        (table, machine_of(4, 4, 4000, 200), "its table of 256 B may find no room in 4x4's"),
        (mean, machine_of(8, 8, 1700, 1 << 14), "8x8 has no room for it: a single output pixel"),
    ):
        lowered = lower(graph, all_on(machine))
        (layer,) = lowered.layers
        assert layer.reason.startswith(why)
        (view,) = inspect(graph, machine=machine)
        assert view.reason == layer.reason
        assert inspect(graph)[0].reason is None
        assert_equals_golden(lowered, random_inputs(graph, 3))


PAIRS = [
    ((2, 5, 6, 7), (1, 1, 1, 7)),
    ((2, 5, 6, 7), (2, 1, 1, 7)),
    ((1, 5, 6, 7), (1, 5, 6, 1)),
    ((1, 5, 6, 7), (1, 1, 1, 1)),
    ((4, 9), (1, 9)),
    ((4, 9), ()),
    ((30, 30), (1,)),
    ((2, 5, 70, 3), (3,)),
    ((2, 5, 7, 3), (2, 5, 1, 1)),
    ((3, 1, 9), (3, 2, 1)),
    ((4, 1), (1, 9)),
    ((2, 1, 6, 1), (5, 1, 7)),
    ((3, 1, 2, 1, 3), (1, 5, 1, 2, 1)),
]
"""Shapes that broadcast."""


@pytest.mark.parametrize("shapes", PAIRS, ids=str)
@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL", "MAXIMUM"])
def test_computed_operands_are_broadcast(op, name, shapes):
    for turned in (shapes, shapes[::-1]):
        lowered = lower(pair(op, *turned), all_on(MACHINES[name]))
        assert all(isinstance(step, ProgramStep) for step in lowered.steps)
        assert_equals_golden(lowered, random_inputs(lowered.graph, 8), Watcher)


def pair(op, *shapes):
    """An operator on computed tensors, which are used again after it."""
    builder = golden.GraphBuilder("pair")
    kinds = {"scale": 0.1, "zero_point": 3}
    operands = [builder.apply("RELU", builder.input(shape, **kinds), **kinds) for shape in shapes]
    kinds = kinds if op == "MAXIMUM" else {"scale": 0.3, "zero_point": -9}
    result = builder.apply(op, *operands, **kinds)
    return builder.build(
        [builder.apply("TANH", each, scale=1 / 128) for each in operands] + [result]
    )


@pytest.mark.parametrize("residency", [True, False])
def test_an_attention_gate_is_computed_on_chip_or_streamed(residency):
    builder = golden.GraphBuilder("gate")
    kinds = {"scale": 0.1, "zero_point": 3}
    x = builder.input((1, 12, 12, 10), **kinds)
    axes = builder.tensor(data=np.array([1, 2], np.int32), dtype=np.int32)
    mean = builder.apply("MEAN", x, axes, options=ReducerOptions(keep_dims=True), **kinds)
    gate = builder.apply("LOGISTIC", mean, scale=1 / 256, zero_point=-128)
    graph = builder.build([builder.apply("MUL", x, gate, **kinds)])
    lowered = lower(graph, all_on(ROOMY), options=LoweringOptions(residency=residency))
    (program,) = lowered.programs
    stores = [command for command in program.commands() if command.unit == Unit.STORE]
    written = sum(command["ROWS"] * command["ROW_BYTES"] for command in stores)
    size = graph.tensors[graph.outputs[0]].size
    assert written == size if residency else written > 2 * size
    assert_equals_golden(lowered, random_inputs(graph, 9), Watcher)


@pytest.mark.parametrize(("size", "host"), [(6, False), (7, True)])
def test_a_broadcast_of_too_many_commands_runs_on_the_host(size, host):
    shapes = (size,) * 5, (1, size, 1, size, 1)
    builder = golden.GraphBuilder()
    inputs = [builder.input(shape, scale=0.1) for shape in shapes]
    graph = builder.build([builder.apply("MUL", *inputs, scale=0.1)])
    said = why_on_host(graph, graph.operators[0])
    assert (said is not None and "more than 256 commands to be broadcast" in said) == host


@pytest.mark.parametrize("shape", [(3, 5, 7), (40, 9), (1, 6, 6, 4)])
@pytest.mark.parametrize("axes", [(), (-1,), (0,), (0, 1)])
@pytest.mark.parametrize("name", MACHINES)
def test_means_over_any_dimensions_that_follow_each_other(name, axes, shape):
    builder = golden.GraphBuilder()
    along = builder.tensor(data=np.array(axes, np.int32), dtype=np.int32)
    x = builder.input(shape, scale=0.1, zero_point=-7)
    graph = builder.build([builder.apply("MEAN", x, along, scale=0.03, zero_point=11)])
    lowered = lower(graph, all_on(MACHINES[name]))
    assert lowered.layers[0].reason is None
    assert len(lowered.programs[0].commands()) < 200
    assert_equals_golden(lowered, random_inputs(graph, 4))


@pytest.mark.parametrize(
    ("shape", "axes", "why"),
    [
        ((1, 3, 4, 5), (1, 3), r"dimensions that are added up must follow each other"),
        ((1 << 16, 2), (0,), r"with fewer than 2\*\*16 elements \(they are \[0\] of \[65536, 2\]"),
    ],
)
def test_sums_that_the_loops_do_not_reach_run_on_the_host(shape, axes, why):
    builder = golden.GraphBuilder()
    along = builder.tensor(data=np.array(axes, np.int32), dtype=np.int32)
    graph = builder.build([builder.apply("MEAN", builder.input(shape, scale=0.1), along)])
    (operator,) = graph.operators
    assert re.search(why, why_on_host(graph, operator))
