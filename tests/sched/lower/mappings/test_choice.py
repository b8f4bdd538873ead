"""The use of the array that lowering chooses: it computes the same, in the fewest cycles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.rtl.arrays.filter.filter_stream import filter_stream
from mensa.rtl.commands import Mode, Unit
from mensa.rtl.machine import KIB, edge_tpu
from mensa.rtl.timing import SETUP_CYCLES, feed_cycles, room_cycles, start_cycle
from mensa.sched.lower import lower
from mensa.sched.lower.mappings.choice import mapper
from mensa.sched.placement import all_on
from mensa.sim.engines.events import layer_timing
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.memory import lpddr4
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, load_network, machine_of, random_inputs

CYCLES = {
    "mobilenet_v1_0.25_128_quant": 32_352,
    "tf2_mobilenet_v2_1.0_224_ptq": 650_000,
    "mobilenet_v2_1.0_224_quant": 650_000,
    "mobilenet_edgetpu_0.75_224_post_training_quant": 500_000,
    "deeplabv3_mnv2_dm05_pascal_quant": 1_279_736,
}
"""The most that a network may take on edge_tpu: Google's compiler's static estimates for as many
MACs (of MobileNetV1 1.5 times 21,568; of DeepLab the estimate), else this project's own aims."""


def layer_network(kind, size, channels, outputs, kernel, stride, layers=1):
    """A chain of equal convolutions of random weights."""
    rng = np.random.default_rng(size)
    builder = golden.GraphBuilder()
    x = builder.input((1, *size, channels), scale=0.5, zero_point=3)
    for _ in range(layers):
        fields = {"weight_scale": 0.02, "scale": 0.7, "zero_point": -5, "stride": (stride, stride)}
        bias = rng.integers(-999, 999, outputs)
        if kind == "depthwise":
            weights = rng.integers(-127, 128, (1, *kernel, channels)).astype(np.int8)
            x = builder.depthwise_conv2d(x, weights, bias, **fields)
        else:
            weights = rng.integers(-127, 128, (outputs, *kernel, channels)).astype(np.int8)
            x = builder.conv2d(x, weights, bias, **fields)
    return builder.build([x])


def compute_commands(lowered):
    return [
        command
        for program in lowered.programs
        for command in program.commands()
        if command.unit == Unit.COMPUTE
    ]


@pytest.mark.parametrize(
    ("size", "channels", "kernel", "stride", "mode", "words"),
    [
        ((9, 13), 8, (3, 3), 1, Mode.FILTER, 1),  # a group fills the columns
        ((9, 13), 20, (3, 3), 1, Mode.FILTER, 1),  # several groups, the last not full
        ((6, 23), 2, (3, 1), 1, Mode.FILTER, 4),  # four pixels a word, and an edge of three
        ((60, 5), 20, (2, 3), 2, Mode.FILTER, 1),
        ((2, 13), 8, (3, 3), 2, Mode.DEPTHWISE, 1),  # many strips for so few outputs
        ((5, 5), 20, (5, 5), 1, Mode.DEPTHWISE, 1),  # 25 taps and their rows don't fit 16 rows
    ],
)
def test_depthwise_layers_are_filters_where_their_taps_fit(
    size, channels, kernel, stride, mode, words
):
    graph = layer_network("depthwise", size, channels, channels, kernel, stride)
    lowered = lower(graph, all_on(machine_of(16, 8, 8 * KIB, 8 * KIB)))
    commands = compute_commands(lowered)
    assert {command["MODE"] for command in commands} == {mode}
    assert {command["GROUP_CHANNELS"] for command in commands} == {min(8, words * channels)}
    assert_equals_golden(lowered, random_inputs(graph, 1), Watcher)


@pytest.mark.parametrize(
    ("size", "channels", "outputs", "kernel", "stride", "pixels"),
    [
        ((9, 14), 3, 4, (3, 3), 2, 2),
        ((9, 13), 3, 2, (3, 3), 1, 3),  # the last word of a row has one pixel
        ((12, 9), 2, 2, (1, 1), 1, 4),
        ((8, 8), 16, 8, (1, 1), 1, 1),  # all columns are in use
    ],
)
def test_pixels_share_the_columns_where_a_pixel_alone_leaves_them_idle(
    size, channels, outputs, kernel, stride, pixels
):
    graph = layer_network("conv", size, channels, outputs, kernel, stride)
    lowered = lower(graph, all_on(machine_of(8, 8, 8 * KIB, 8 * KIB)))
    commands = compute_commands(lowered)
    assert {command["GROUP_CHANNELS"] for command in commands} == {pixels * outputs}
    assert_equals_golden(lowered, random_inputs(graph, 2), Watcher)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.sampled_from([(1, 1), (3, 1), (1, 3), (3, 3), (5, 5)]),
    st.integers(1, 3),
    st.integers(1, 6),
    st.sampled_from([8, 16, 33]),
)
def test_strips_cover_a_row_and_no_even_cut_is_faster(words, kernel, stride, rows, array_rows):
    machine = edge_tpu.replace(rows=array_rows, cols=8)

    def loops(width):
        return {
            "MODE": Mode.FILTER, "PIXELS": rows * width, "OUT_WIDTH": width, "GROUPS": 2,
            "PIXEL_X_STEP": 8 * stride, "PIXEL_Y_STEP": stride, "TAP_X_STEP": 8, "TAP_Y_STEP": 1,
            "KERNEL_H": kernel[0], "KERNEL_W": kernel[1],
        }  # fmt: skip

    def cycles(widths):
        room = room_cycles(machine, Mode.FILTER, Mode.FILTER)
        between = start_cycle(0, room, ()) + SETUP_CYCLES
        total = between * (len(widths) - 1)
        for width in widths:
            stream = filter_stream(array_rows, loops(width), 0)
            if stream is None:
                return None
            total += feed_cycles(machine, loops(width) | stream)
        return total

    found = mapper(machine).strips(words, loops)
    cuts = [
        [words // count + (number < words % count) for number in range(count)]
        for count in range(1, words + 1)
    ]
    possible = [each for each in map(cycles, cuts) if each is not None]
    if found is None:
        assert not possible
        return
    widths, claimed = found
    assert sum(widths) == words
    assert claimed == cycles(widths) == min(possible)


@pytest.mark.parametrize(
    ("size", "channels", "kernel", "least"), [(28, 256, 1, 0.90), (56, 64, 3, 0.85)]
)
def test_convolutions_keep_the_array_busy(size, channels, kernel, least):
    """Alone, from memory to memory, and between others, where all operands are on chip."""
    for layers in (1, 3):
        graph = layer_network("conv", (size, size), channels, channels, (kernel, kernel), 1, layers)
        (program,) = lower(graph, all_on(edge_tpu)).programs
        timing = layer_timing(ModelEngine(edge_tpu, lpddr4).run(program))[layers // 2]
        macs = golden.operator_macs(graph, graph.operators[timing.tag])
        assert macs >= least * timing.cycles * edge_tpu.peak_macs_per_cycle


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1)])
@pytest.mark.parametrize("kind", ["conv", "depthwise"])
def test_rows_and_columns_may_be_longer_than_a_register_counts(kind, size):
    graph = layer_network(kind, size, 2, 2, (3, 3), 1)
    assert max(size) > 1 << 16
    assert_equals_golden(lower(graph, all_on(edge_tpu)), random_inputs(graph, 1), Watcher)


@pytest.mark.parametrize("name", CYCLES)
def test_networks_take_no_more_cycles_than_they_should(name):
    lowered = lower(load_network(name), all_on(edge_tpu))
    engine = ModelEngine(edge_tpu, lpddr4)
    assert sum(engine.run(program).cycles for program in lowered.programs) <= CYCLES[name]
