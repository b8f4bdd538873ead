"""Operators that only move elements are copies that the machine makes, on chip and streamed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden.options import (
    ConcatenationOptions,
    DepthToSpaceOptions,
    ResizeNearestNeighborOptions,
    SplitOptions,
    SplitVOptions,
    StridedSliceOptions,
)
from mensa.rtl.commands import Mode, Unit
from mensa.rtl.machine import edge_tpu
from mensa.sched.lower import LoweringOptions, ProgramStep, lower
from mensa.sched.lower.moves import is_move, moves
from mensa.sched.lower.supported import why_on_host
from mensa.sched.placement import all_on
from tests.golden.makers import MAKERS
from tests.golden.moving_layers import dilated
from tests.golden.strategies import layers
from tests.machines import any_options
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, machine_of, random_inputs

MOVING = (
    "BATCH_TO_SPACE_ND",
    "CONCATENATION",
    "DEPTH_TO_SPACE",
    "MIRROR_PAD",
    "PACK",
    "PAD",
    "PADV2",
    "RESIZE_NEAREST_NEIGHBOR",
    "SLICE",
    "SPACE_TO_BATCH_ND",
    "SPACE_TO_DEPTH",
    "SPLIT",
    "SPLIT_V",
    "STRIDED_SLICE",
    "TILE",
    "TRANSPOSE",
    "UNPACK",
)

ROOMY = edge_tpu.replace(rows=8, cols=8)

STRIDED = StridedSliceOptions(end_mask=1)
NEAREST = ResizeNearestNeighborOptions()

REASONS = (
    "all bytes of the value that pads must be equal, as it is written byte by byte",
    "what only moves elements must have elements to move",
    "what only moves elements must not take more than 256 commands: it would be slow",
)


@st.composite
def machines(draw):
    """Machines with little room, or with much."""
    edge = st.integers(1, 9)
    return machine_of(
        draw(edge),
        draw(edge),
        draw(st.sampled_from([8, 64, 200, 600, 8000])),
        draw(st.sampled_from([64, 1000])),
        entries=2,
        banks=draw(st.sampled_from([2, 4, 8])),
        port=draw(st.sampled_from([4, 8, 16, None])),
    )


def types(op):
    """All types of elements that golden moves with an operator."""
    kinds = {
        kind for each in MAKERS[op].types.values() for kind in each if not isinstance(each, str)
    }
    return sorted(kinds)


@pytest.mark.parametrize("op", MOVING)
def test_moved_elements_equal_golden(op):
    on_machine = 0

    @settings(
        max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(
        layers(operators=(op,), dtypes=types(op), max_pixels=6, oracle="litert"),
        machines(),
        any_options,
    )
    def compare(layer, machine, options):
        nonlocal on_machine
        lowered = lower(layer.graph, all_on(machine), "litert", options)
        for step, operator in zip(lowered.steps, layer.graph.operators, strict=False):
            if isinstance(step, ProgramStep):
                on_machine += 1
            else:
                assert step.reason.startswith(REASONS) or "its table of" in step.reason, step.reason
                assert operator.op == op
        assert_equals_golden(lowered, layer.inputs()[0], Watcher)

    compare()
    assert on_machine >= 10


@pytest.mark.parametrize("op", MOVING)
def test_moves_write_every_byte_of_the_results_once(op):
    @settings(
        max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(layers(operators=(op,), dtypes=types(op), oracle="litert"))
    def check(layer):
        graph = layer.graph
        operator = graph.operators[-1]
        assume(why_on_host(graph, operator, "litert") is None)
        work = golden.plan(graph, operator, "litert")
        assert is_move(work)
        operands = [graph.tensors[operator.inputs[each]] for each in work.operands]
        written = [np.zeros(graph.tensors[each].nbytes, int) for each in operator.outputs]
        for move in moves(work, operands):
            sources = targets = np.arange(move.run)
            inside = move.run
            for loop in move.loops:
                assert loop.count > 1
                assert loop.target_step >= inside
                turn = np.arange(loop.count)[:, None]
                sources = (sources + turn * loop.source_step).ravel()
                targets = (targets + turn * loop.target_step).ravel()
                inside += (loop.count - 1) * loop.target_step
            assert move.nbytes == targets.size
            written[move.target][move.target_start + targets] += 1
            if not move.is_fill:
                sources = sources + move.source_start
                assert sources.min() >= 0
                assert sources.max() < operands[move.source].nbytes
        assert all((each == 1).all() for each in written)

    check()


@pytest.mark.parametrize(
    ("op", "shape", "parameters", "options", "commands"),
    [
        ("SLICE", (2, 20, 30, 5), ([0, 3, 4, 1], [2, 9, 11, 3]), None, 1),
        ("STRIDED_SLICE", (20, 30, 2), ([19, 0, 0], [0, 30, 2], [-3, 4, 1]), STRIDED, 1),
        ("TRANSPOSE", (7, 11, 13), ([2, 0, 1],), None, 1),
        ("TRANSPOSE", (3, 5, 7, 4), ([3, 2, 1, 0],), None, 4),
        ("DEPTH_TO_SPACE", (1, 6, 7, 12), (), DepthToSpaceOptions(block_size=2), 1),
        ("TILE", (9, 1, 10), ([1, 12, 1],), None, 1),
        ("PAD", (1, 12, 14, 6), ([[0, 0], [1, 1], [1, 1], [0, 0]],), None, 5),
        ("RESIZE_NEAREST_NEIGHBOR", (1, 9, 8, 16), ([18, 16],), NEAREST, 4),
        ("SPLIT_V", (6, 9), ([2, 4, 3], 1), SplitVOptions(num_splits=3), 3),
    ],
)
def test_up_to_three_loops_are_in_a_command(op, shape, parameters, options, commands):
    builder = golden.GraphBuilder()
    x = builder.input(shape, scale=0.5, zero_point=7)
    x = builder.add(x, x, scale=0.5, zero_point=7)
    constants = [builder.tensor(data=np.array(n, np.int32), dtype=np.int32) for n in parameters]
    outputs = builder.apply_all(op, x, *constants, options=options)
    last = [builder.add(y, y, scale=0.9, zero_point=7) for y in outputs]
    graph = builder.build([*last, *outputs])
    lowered = lower(graph, all_on(ROOMY))
    assert all(layer.reason is None for layer in lowered.layers)
    copies = [
        command
        for program in lowered.programs
        for command in program.commands()
        if command.unit == Unit.COMPUTE and command["MODE"] == Mode.MAX
    ]
    assert len(copies) == commands
    assert_equals_golden(lowered, random_inputs(graph, 3), Watcher)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("rounding", ["tflm", "litert"])
def test_of_a_dilated_convolution_in_batches_all_runs_on_the_machine(depthwise, rounding):
    graph, _ = dilated(depthwise, zero_point=6)
    for machine in (ROOMY, machine_of(4, 4, 1024, 1024), machine_of(2, 3, 300, 1024, port=4)):
        lowered = lower(graph, all_on(machine), rounding)
        assert [type(step) for step in lowered.steps] == [ProgramStep]
        assert_equals_golden(lowered, random_inputs(graph, 1), Watcher)


def branches(dtype, rng):
    """Convolutions around copies: two branches of an image, joined, padded and taken apart."""
    builder = golden.GraphBuilder(dtype=dtype)
    x = builder.input((1, 9, 8, 6), scale=0.5, zero_point=3)

    def convolution(y, inputs, outputs, **kinds):
        weights = rng.integers(0, 127, (outputs, 3, 3, inputs))
        bias = rng.integers(-99, 99, outputs)
        kinds = {"weight_scale": 0.01, "scale": 0.5, "zero_point": 3, **kinds}
        return builder.conv2d(y, weights, bias, **kinds)

    padding = builder.tensor(data=[[0, 0], [1, 1], [2, 0], [0, 0]], dtype=np.int32)
    first, second = convolution(x, 6, 5), convolution(x, 6, 8)
    joined = builder.apply(
        "CONCATENATION",
        first,
        x,
        second,
        x,
        options=ConcatenationOptions(axis=3),
        scale=0.5,
        zero_point=3,
    )
    padded = builder.apply("PAD", joined, padding, scale=0.5, zero_point=3)
    third = convolution(padded, 25, 10, padding="VALID")
    axis = builder.tensor(data=3, dtype=np.int32)
    options, kinds = SplitOptions(num_splits=2), {"scale": 0.5, "zero_point": 3, "dtype": dtype}
    halves = builder.apply_all("SPLIT", axis, third, options=options, **kinds)
    return builder.build([convolution(halves[1], 5, 4), halves[0], joined])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("bank_bytes", [260, 400, 1000, 4000, 100_000])
def test_copies_between_convolutions_equal_golden(dtype, bank_bytes):
    graph = branches(dtype, np.random.default_rng(bank_bytes))
    lowered = lower(graph, all_on(machine_of(4, 5, bank_bytes, 600, port=8)))
    assert [type(step) for step in lowered.steps] == [ProgramStep]
    assert_equals_golden(lowered, random_inputs(graph, 4), Watcher)


def test_a_constant_and_an_input_that_is_used_twice_are_joined():
    builder = golden.GraphBuilder()
    kinds = {"scale": 0.5, "zero_point": 3}
    x = builder.input((3, 7), **kinds)
    constant = builder.tensor(data=np.arange(14, dtype=np.int8).reshape(2, 7), **kinds)
    options = ConcatenationOptions(axis=0)
    graph = builder.build(
        [builder.apply("CONCATENATION", x, constant, x, options=options, **kinds)]
    )
    for machine in (ROOMY, machine_of(2, 2, 16, 64, port=4)):
        lowered = lower(graph, all_on(machine))
        assert isinstance(lowered.steps[0], ProgramStep)
        assert_equals_golden(lowered, random_inputs(graph, 4), Watcher)


def reason(builder, *outputs, rounding=None):
    graph = builder.build(list(outputs))
    return why_on_host(graph, graph.operators[-1], rounding)


@pytest.mark.parametrize(("value", "host"), [(0, False), (-1, False), (1, True)])
def test_what_pads_must_be_the_same_in_every_byte(value, host):
    builder = golden.GraphBuilder()
    x = builder.input((2, 3), dtype=np.int32)
    padding = builder.tensor(data=[[1, 1], [0, 1]], dtype=np.int32)
    number = builder.tensor(data=[value], dtype=np.int32)
    said = reason(builder, builder.apply("PADV2", x, padding, number))
    assert said == (REASONS[0] if host else None)


@pytest.mark.parametrize(("size", "host"), [(16, False), (17, True)])
def test_a_copy_of_too_many_commands_runs_on_the_host(size, host):
    builder = golden.GraphBuilder()
    x = builder.input((size, 20, 16, 20), scale=0.5)
    order = builder.tensor(data=[3, 2, 1, 0], dtype=np.int32)
    said = reason(builder, builder.apply("TRANSPOSE", x, order))
    assert said == (REASONS[2] if host else None)


KINDS = {"scale": 0.5, "zero_point": 3}
SMALL = machine_of(2, 1, 512, 64, port=4)
"""With 1024 B for what stays: two banks of four."""


def added(builder, x):
    return builder.add(x, x, scale=0.9, zero_point=3)


def joined(*sizes):
    """Inputs of so many bytes, one behind the other."""
    builder = golden.GraphBuilder()
    inputs = [builder.input((size,), **KINDS) for size in sizes]
    options = ConcatenationOptions(axis=0)
    return builder.build([builder.apply("CONCATENATION", *inputs, options=options, **KINDS)])


def parted(*sizes):
    """An input in parts of so many bytes, each of which is used."""
    builder = golden.GraphBuilder()
    x = builder.input((sum(sizes),), **KINDS)
    constants = [builder.tensor(data=each, dtype=np.int32) for each in ([*sizes], 0)]
    options = SplitVOptions(num_splits=len(sizes))
    parts = builder.apply_all("SPLIT_V", x, *constants, options=options)
    return builder.build([added(builder, part) for part in parts])


def after_one_that_stays():
    """A layer whose input is on chip, and one whose input isn't."""
    builder = golden.GraphBuilder()
    inputs = [builder.input((size,), **KINDS) for size in (450, 3000)]
    return builder.build([added(builder, x) for x in inputs])


def padded():
    """A computed image whose first bytes are padding."""
    builder = golden.GraphBuilder()
    x = added(builder, builder.input((60,), **KINDS))
    padding = builder.tensor(data=[[100, 0]], dtype=np.int32)
    return builder.build([added(builder, builder.apply("PAD", x, padding))])


@pytest.mark.parametrize(
    "graph",
    [
        padded(),
        joined(40, 450),
        joined(40, 3000, 450),
        joined(450, 3000, 40),
        joined(3000, 40),
        parted(2000, 100),
        parted(100, 2000),
        after_one_that_stays(),
    ],
)
@pytest.mark.parametrize("residency", [True, False])
def test_of_a_layer_some_tensors_may_be_on_chip_and_others_streamed(graph, residency):
    lowered = lower(graph, all_on(SMALL), options=LoweringOptions(residency=residency))
    assert [type(step) for step in lowered.steps] == [ProgramStep]
    assert_equals_golden(lowered, random_inputs(graph, 5), Watcher)


def test_a_run_that_no_command_holds_is_counted_in_pieces():
    builder = golden.GraphBuilder()
    k = {"scale": 0.5, "zero_point": 5}
    x = builder.input(((1 << 24) + 8,), **k)
    begin, size = (
        builder.tensor(data=np.array([value], np.int32), dtype=np.int32) for value in (0, 1 << 24)
    )
    graph = builder.build([builder.apply("SLICE", x, begin, size, **k)])
    (operator,) = graph.operators
    assert why_on_host(graph, operator) is None
    assert lower(graph, all_on(machine_of(8, 8, 1 << 16, 1 << 14))).layers[0].reason is None
