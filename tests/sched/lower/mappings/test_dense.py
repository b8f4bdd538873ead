"""Layers as convolutions of another shape: the same outputs, in fewer cycles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden.planning import plan
from mensa.golden.registry import compute
from mensa.rtl.commands import Mode, Unit
from mensa.rtl.machine import KIB
from mensa.sched.lower import lower
from mensa.sched.lower.mappings.dense import shapes_of
from mensa.sched.placement import all_on
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, machine_of, random_inputs


def network(kind, size, channels, outputs, kernel, stride, dilation=1, padding="SAME", seed=0):
    rng = np.random.default_rng(seed)
    builder = golden.GraphBuilder()
    x = builder.input((1, *size, channels), scale=0.5, zero_point=3)
    fields = {
        "weight_scale": 0.02, "scale": 0.7, "zero_point": -5, "stride": stride,
        "dilation": (dilation, dilation), "padding": padding,
    }  # fmt: skip
    bias = rng.integers(-999, 999, outputs)
    if kind == "depthwise":
        weights = rng.integers(-127, 128, (1, *kernel, outputs)).astype(np.int8)
        x = builder.depthwise_conv2d(x, weights, bias, **fields)
    else:
        weights = rng.integers(-127, 128, (outputs, *kernel, channels)).astype(np.int8)
        x = builder.conv2d(x, weights, bias, **fields)
    return builder.build([x])


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_every_shape_computes_what_the_layer_does(data):
    kind = data.draw(st.sampled_from(["conv", "depthwise"]))
    channels = data.draw(st.integers(1, 4))
    outputs = channels * data.draw(st.integers(1, 3))
    size = data.draw(st.tuples(st.integers(4, 9), st.integers(4, 9)))
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = data.draw(st.integers(1, 2)) if stride == (1, 1) and max(kernel) < 3 else 1
    padding = data.draw(st.sampled_from(["SAME", "VALID"]))
    graph = network(kind, size, channels, outputs, kernel, stride, dilation, padding)
    work = plan(graph, graph.operators[0])
    inputs = np.random.default_rng(1).integers(-128, 128, work.input_shape).astype(np.int8)
    (wanted,) = compute(work, inputs)
    shapes = [shape.whole() for shape in shapes_of(work, 64)]
    assert len(shapes) == (kind == "depthwise") + (kernel[0] > 1)
    for shape in shapes:
        assert shape.kind == "conv"
        (found,) = compute(shape, inputs.reshape(shape.input_shape))
        assert np.array_equal(found.reshape(wanted.shape), wanted)


@pytest.mark.parametrize(
    ("kind", "size", "channels", "outputs", "kernel", "stride", "columns"),
    [
        ("depthwise", (16, 16), 2, 2, (3, 3), (2, 2), 6),  # three pixels a pack
        ("depthwise", (9, 9), 4, 8, (3, 3), (1, 1), 8),
        ("conv", (19, 4), 1, 8, (5, 3), (2, 1), 8),  # a word is many rows
    ],
)
def test_what_lies_side_by_side_is_taken_at_once(
    kind, size, channels, outputs, kernel, stride, columns
):
    graph = network(kind, size, channels, outputs, kernel, stride)
    lowered = lower(graph, all_on(machine_of(16, 8, 16 * KIB, 8 * KIB)))
    commands = [
        command
        for program in lowered.programs
        for command in program.commands()
        if command.unit == Unit.COMPUTE
    ]
    assert {command["MODE"] for command in commands} == {Mode.CONV}
    assert {command["GROUP_CHANNELS"] for command in commands} == {columns}
    taps = {command["KERNEL_H"] * command["KERNEL_W"] for command in commands}
    assert max(taps) < kernel[0] * kernel[1]
    assert_equals_golden(lowered, random_inputs(graph, 1), Watcher)
