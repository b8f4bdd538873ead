"""Operators that together are a function of one 8-bit value: one table."""

import dataclasses

import numpy as np
import pytest

from mensa import golden
from mensa.sched.lower import lower
from mensa.sched.lower.functions import functions
from mensa.sched.lower.supported import why_on_host
from mensa.sched.placement import Placement, all_on
from tests.sched.runner import (
    assert_equals_golden,
    load_network,
    machine_of,
    random_inputs,
)

MACHINE = machine_of(8, 8, 1 << 14, 1 << 13)
OTHER = machine_of(4, 4, 1 << 14, 1 << 13)
SHAPES = [(1, 3, 5, 7), (1,), (2, 300)]


def float_tail(shape, dtype=np.int8):
    """X -> sqrt(x) in floating point."""
    builder = golden.GraphBuilder("tail", dtype)
    x = builder.input(shape, scale=0.02, zero_point=-128 if dtype == np.int8 else 0)
    y = builder.apply("SQRT", builder.apply("DEQUANTIZE", x, dtype=np.float32))
    return builder.build([builder.quantize(y, scale=0.01, zero_point=3)])


def swish(shape):
    """X -> x / (1 + exp(-x)): what lies between is read twice, and a constant is broadcast."""
    builder = golden.GraphBuilder("swish")
    x = builder.apply(
        "DEQUANTIZE", builder.input(shape, scale=0.05, zero_point=7), dtype=np.float32
    )
    one = builder.tensor(data=[1], dtype=np.float32)
    below = builder.apply("ADD", builder.apply("EXP", builder.apply("NEG", x)), one)
    return builder.build([builder.quantize(builder.apply("DIV", x, below), scale=0.04)])


def casts(shape):
    """What networks for pictures begin with: bytes without a scale, as numbers."""
    builder = golden.GraphBuilder("casts")
    x = builder.apply("CAST", builder.input(shape, dtype=np.uint8), dtype=np.float32)
    y = builder.apply("RESHAPE", x, builder.tensor(data=[-1], dtype=np.int32))
    return builder.build([builder.quantize(y, scale=1.0, zero_point=-128, dtype=np.int8)])


def assert_one_table(graph, rounding=None):
    lowered = lower(graph, all_on(MACHINE), rounding)
    assert [each.reason for each in lowered.layers] == [None] * len(graph.operators)
    *members, last = lowered.layers
    assert all(each.table_of == last.index for each in members)
    assert last.table_of is None
    assert not any(each.traffic.commands for each in members)
    assert last.traffic.commands
    for seed in range(3):
        assert_equals_golden(lowered, random_inputs(graph, seed))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_a_tail_in_floating_point(shape, dtype):
    assert_one_table(float_tail(shape, dtype))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_between_may_be_read_twice(shape):
    assert_one_table(swish(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_without_a_scale(shape):
    assert_one_table(casts(shape))


def test_on_two_machines_it_is_not_one_table():
    graph = float_tail((2, 9))
    placements = [{0: OTHER.name}, {1: OTHER.name}, {2: OTHER.name}]
    for turns in placements:
        here = {op.index: MACHINE.name for op in graph.operators}
        lowered = lower(graph, Placement((MACHINE, OTHER), here | turns))
        assert "no such operation" in lowered.layers[1].reason
        assert [each.table_of for each in lowered.layers] == [None] * 3
        assert_equals_golden(lowered, random_inputs(graph, 1))


def test_between_two_programs():
    """A host's operator between those of a function: its operand is kept until the last one."""
    builder = golden.GraphBuilder("between")
    x = builder.input((3, 40), scale=0.02, zero_point=-128)
    start = builder.add(x, x, scale=0.03, zero_point=-128)
    y = builder.apply("DEQUANTIZE", start, dtype=np.float32)
    softmax = builder.apply("LOG_SOFTMAX", x, scale=16 / 256, zero_point=127)
    end = builder.quantize(builder.apply("SQRT", y), scale=0.01)
    graph = builder.build([softmax, builder.add(end, end, scale=0.03)])
    lowered = lower(graph, all_on(MACHINE), "litert")
    assert [each.table_of for each in lowered.layers] == [None, 4, None, 4, None, None]
    assert len(lowered.programs) == 2
    assert_equals_golden(lowered, random_inputs(graph, 1))


def two_operands(builder, x):
    y = builder.apply("LOGISTIC", x, scale=1 / 256, zero_point=-128)
    return builder.apply(
        "MUL", *(builder.apply("DEQUANTIZE", each, dtype=np.float32) for each in (x, y))
    )


def of_channels(builder, x):
    factors = builder.tensor(data=[1, 2, 3, 4], dtype=np.float32)
    return builder.apply("MUL", builder.apply("DEQUANTIZE", x, dtype=np.float32), factors)


def of_rows(builder, x):
    return builder.apply("SOFTMAX", builder.apply("DEQUANTIZE", x, dtype=np.float32))


@pytest.mark.parametrize("make", [two_operands, of_channels, of_rows])
def test_what_is_no_function_of_one_value_stays_on_the_host(make):
    builder = golden.GraphBuilder(make.__name__)
    y = make(builder, builder.input((5, 4), scale=0.02))
    graph = builder.build([builder.quantize(y, scale=0.1)])
    assert not functions(graph, "litert")
    assert why_on_host(graph, graph.operators[-1], "litert") is not None
    assert_equals_golden(lower(graph, all_on(MACHINE), "litert"), random_inputs(graph, 1))


def test_what_others_see_stays_on_the_host():
    graph = float_tail((5, 4))
    (result,) = graph.outputs
    seen = dataclasses.replace(graph, outputs=(result, graph.operators[1].outputs[0]))
    assert len(functions(graph, "litert")) == 1
    assert not functions(seen, "litert")
    assert_equals_golden(lower(seen, all_on(MACHINE), "litert"), random_inputs(seen, 1))


def test_a_machine_without_room_for_a_table():
    small = machine_of(2, 2, 1 << 12, 256)
    lowered = lower(float_tail((5, 4)), all_on(small))
    assert "no such operation" in lowered.layers[0].reason


def test_movenet():
    found = functions(load_network("movenet_single_pose_lightning_ptq"), "litert")
    assert [each.operators for each in found] == [(0, 1), (122, 123, 124)]


def test_a_scale_for_each_channel_is_no_function_of_the_byte():
    builder = golden.GraphBuilder("channels")
    x = builder.tensor((2, 3, 4), scale=[0.1, 0.2, 0.3, 0.4], quantized_dimension=2)
    y = builder.quantize(builder.apply("DEQUANTIZE", x, dtype=np.float32), scale=0.05)
    graph = dataclasses.replace(builder.build([y]), inputs=(x,))
    assert not functions(graph, "litert")
    assert_equals_golden(lower(graph, all_on(MACHINE), "litert"), random_inputs(graph, 0))


def test_what_has_no_value_for_some_byte_is_no_table():
    builder = golden.GraphBuilder("divided")
    x = builder.input((1, 5), scale=1.0)
    whole = builder.apply("CAST", x, dtype=np.int32)
    thousand = builder.tensor(data=[1000], dtype=np.int32)
    y = builder.apply("CAST", builder.apply("FLOOR_DIV", thousand, whole), dtype=np.int8)
    graph = builder.build([y])
    assert not functions(graph, "litert")
    lowered = lower(graph, all_on(MACHINE), "litert")
    assert all(layer.reason for layer in lowered.layers)
    assert_equals_golden(lowered, [np.array([[1, -2, 100, 7, -128]], np.int8)])


def test_programs_without_commands_are_none():
    """Of a function whose operators others cut apart, only the last one's program is there."""
    builder = golden.GraphBuilder("apart")
    x = builder.input((3, 8), scale=0.02, zero_point=-128)
    outputs = []
    y = builder.apply("DEQUANTIZE", x, dtype=np.float32)
    outputs.append(builder.apply("LOG_SOFTMAX", x, scale=16 / 256, zero_point=127))
    y = builder.apply("SQRT", y)
    outputs.append(builder.apply("LOG_SOFTMAX", x, scale=16 / 256, zero_point=127))
    graph = builder.build([*outputs, builder.quantize(y, scale=0.01)])
    lowered = lower(graph, all_on(MACHINE), "litert")
    assert [program.layers for program in lowered.programs] == [(4,)]
    assert_equals_golden(lowered, random_inputs(graph, 1))
