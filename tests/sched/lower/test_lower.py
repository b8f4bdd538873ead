"""Lowered networks compute what golden computes, on any machine, in any order that tokens allow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.rtl.commands import HEADER_WORDS, Keep, Mode, Opcode, Space, Token, Unit
from mensa.rtl.machine import KIB, edge_tpu, jacquard, pascal, pavlov
from mensa.rtl.program import Program, decode
from mensa.sched.lower import (
    HostStep,
    LoweringError,
    LoweringOptions,
    ProgramStep,
    convolution,
    lower,
    matrix_product,
    tensor_from_memory,
    tensor_to_memory,
)
from mensa.sched.lower.mappings import columns
from mensa.sched.placement import all_on
from tests.golden.strategies import layers
from tests.machines import any_options
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import (
    NETWORKS,
    assert_equals_golden,
    load_network,
    machine_of,
    random_inputs,
)

FOR_TIME = {
    "edge_tpu": edge_tpu.replace(rows=8, cols=8),
    "jacquard": jacquard,
    "pascal": pascal,
    "pavlov": pavlov,
}

STREAMING = LoweringOptions(residency=False)

SHAPES = {
    "8x8": edge_tpu.replace(rows=8, cols=8),
    "16x16": edge_tpu.replace(rows=16, cols=16),
    "4x12": edge_tpu.replace(rows=4, cols=12, post_lanes=5),
    "64x64": edge_tpu,
    "8x8 tiled": machine_of(8, 8, 8 * KIB, 16 * KIB, entries=8),
    "3x5 two banks": machine_of(3, 5, 32 * KIB, 8 * KIB, entries=2, banks=2),
    "12x4 narrow port": machine_of(12, 4, 9000, 4 * KIB, port=4),
}
SMALL = {
    "2x2 split sums": machine_of(2, 2, 4 * KIB, 256, entries=4, banks=8),
    "5x3 split sums": machine_of(5, 3, 8 * KIB, 300, entries=4),
}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *((name, shape) for name in NETWORKS for shape in ("8x8", "4x12", "8x8 tiled")),
        *((name, shape) for name in NETWORKS[:2] for shape in ("64x64", "3x5 two banks")),
        *((name, "12x4 narrow port") for name in NETWORKS[4:]),
    ],
)
def test_networks_equal_golden(name, shape):
    graph = load_network(name)
    assert_equals_golden(lower(graph, all_on(SHAPES[shape])), random_inputs(graph, 1))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rounding", ["tflm", "litert"])
def test_networks_equal_golden_in_both_roundings(name, rounding):
    graph = load_network(name)
    lowered = lower(graph, all_on(SHAPES["16x16"]), rounding)
    assert lowered.rounding == rounding
    assert_equals_golden(lowered, random_inputs(graph, 2))


@pytest.mark.parametrize(
    ("name", "shape"), [("ad01_int8", "5x3 split sums"), ("str_ww_ref_model", "2x2 split sums")]
)
def test_sums_longer_than_the_parameter_buffer_equal_golden(name, shape):
    graph = load_network(name)
    lowered = lower(graph, all_on(SMALL[shape]))
    commands = [c for program in lowered.programs for c in program.commands()]
    assert any(c["KEEP"] & Keep.UNDRAINED for c in commands if c.unit == Unit.COMPUTE)
    assert_equals_golden(lowered, random_inputs(graph, 3))


@pytest.mark.parametrize("name", ["kws_ref_model", "pretrainedResnet_quant", "vww_96_int8"])
@pytest.mark.parametrize("shape", ["4x12", "8x8 tiled", "3x5 two banks"])
def test_tokens_keep_all_users_of_memory_and_buffers_apart(name, shape):
    graph, machine = load_network(name), SHAPES[shape]
    assert_equals_golden(lower(graph, all_on(machine)), random_inputs(graph, 4), Watcher)


@pytest.mark.parametrize("name", ["kws_ref_model", "vww_96_int8"])
def test_layers_too_wide_for_a_bank_are_cut_into_channels(name):
    graph, machine = load_network(name), machine_of(8, 8, 2 * KIB, 2 * KIB, entries=4)
    lowered = lower(graph, all_on(machine))
    loads = [
        (command["ROW_BYTES"], command["ROWS"])
        for program in lowered.programs
        for command in program.commands()
        if command.unit == Unit.LOAD and command["SPACE"] == Space.ACTIVATION
    ]
    channels = max(graph.tensors[op.outputs[0]].shape[-1] for op in graph.operators)
    assert any(rows > 1 and row < channels for row, rows in loads)
    assert_equals_golden(lowered, random_inputs(graph, 5), Watcher)


@st.composite
def machines(draw):
    edge = st.integers(2, 9)
    return machine_of(
        draw(edge),
        draw(edge),
        draw(st.sampled_from([64, 200, 600, 2000, 8000])),
        draw(st.sampled_from([64, 256, 1000, 8000])),
        entries=draw(st.sampled_from([2, 4, 8])),
        banks=draw(st.sampled_from([2, 4, 8])),
        port=draw(st.sampled_from([4, 8, 16, 32, None])),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(layers(), machines(), st.sampled_from([None, "tflm", "litert"]), any_options)
def test_random_layers_on_random_machines_equal_golden(layer, machine, rounding, options):
    try:
        lowered = lower(layer.graph, all_on(machine), rounding, options)
    except LoweringError:
        assume(False)
    (step,) = lowered.steps
    if isinstance(step, HostStep):
        op = layer.graph.operators[0].op
        assert op in ("SOFTMAX", "FULLY_CONNECTED")
        assert step.reason
    assert_equals_golden(lowered, layer.inputs()[0], Watcher)


@pytest.mark.parametrize(
    ("groups", "outputs", "cols"), [(2, 3, 4), (2, 9, 4), (3, 4, 4), (4, 1, 8), (1, 17, 8)]
)
def test_grouped_convolutions_equal_golden(groups, outputs, cols):
    rng = np.random.default_rng(groups)
    builder = golden.GraphBuilder()
    x = builder.input((2, 7, 9, 5 * groups), scale=0.5, zero_point=-7)
    weights = rng.integers(-128, 128, (outputs * groups, 3, 2, 5)).astype(np.int8)
    y = builder.conv2d(
        x,
        weights,
        rng.integers(-999, 999, outputs * groups),
        weight_scale=0.01,
        scale=2.0,
        zero_point=3,
        stride=(2, 1),
        dilation=(1, 2),
    )
    graph = builder.build([y])
    machine = machine_of(5, cols, 400, 600)
    assert_equals_golden(lower(graph, all_on(machine)), random_inputs(graph, 5), Watcher)


@pytest.mark.parametrize("multiplier", [1, 3, 4, 5, 11])
def test_depthwise_multipliers_equal_golden(multiplier):
    rng = np.random.default_rng(multiplier)
    builder = golden.GraphBuilder(dtype=np.uint8)
    x = builder.input((1, 6, 8, 7), scale=0.5, zero_point=130)
    channels = 7 * multiplier
    y = builder.depthwise_conv2d(
        x,
        rng.integers(0, 256, (1, 3, 3, channels)).astype(np.uint8),
        rng.integers(-999, 999, channels),
        weight_scale=0.01,
        weight_zero_point=99,
        scale=0.7,
        zero_point=100,
    )
    graph = builder.build([y])
    machine = machine_of(6, 4, 1500, 600)
    assert_equals_golden(lower(graph, all_on(machine)), random_inputs(graph, 6), Watcher)


def depthwise_graph(shape, kernel, multiplier=1, **fields):
    rng = np.random.default_rng(9)
    builder = golden.GraphBuilder()
    x = builder.input(shape, scale=0.5, zero_point=3)
    channels = shape[3] * multiplier
    weights = rng.integers(-127, 128, (1, *kernel, channels)).astype(np.int8)
    bias = rng.integers(-999, 999, channels)
    y = builder.depthwise_conv2d(x, weights, bias, weight_scale=0.02, scale=0.7, **fields)
    return builder.build([y])


@pytest.mark.parametrize(
    ("graph", "machine", "residency"),
    [
        # A stride where a side has one pixel, though all pixels form one row.
        (
            depthwise_graph((1, 2, 1, 2), (1, 1), stride=(1, 2)),
            machine_of(2, 2, 64, 64, 2, 2, 4),
            True,
        ),
        # A range of channels that begins inside a beat needs a longer slot.
        (
            depthwise_graph((1, 4, 4, 12), (2, 3), dilation=(3, 1)),
            machine_of(2, 3, 64, 64, 2, 4, 4),
            False,
        ),
        # Three channels fit a slot where they begin at a beat, but not the next three.
        (
            depthwise_graph((1, 2, 1, 12), (2, 1)),
            machine_of(1, 1, 16, 8, 2, 2),
            False,
        ),
        # The only layer is cut into ranges of channels, so that its parameters can't stay.
        (depthwise_graph((1, 3, 5, 9), (1, 1), 3), machine_of(2, 2, 64, 64, 2, 8, 8), True),
    ],
)
def test_odd_layers_on_the_smallest_machines_equal_golden(graph, machine, residency):
    lowered = lower(graph, all_on(machine), options=LoweringOptions(residency=residency))
    assert_equals_golden(lowered, random_inputs(graph, 7), Watcher)


@pytest.mark.parametrize("bank_bytes", [64, 80, 96, 128])
def test_an_operand_may_be_on_chip_and_the_other_one_streamed(bank_bytes):
    graph = add_graph((2, 2, 5, 10), (2, 2, 5, 10))
    machine = machine_of(2, 2, bank_bytes, 64, 2, 8, 4)
    assert_equals_golden(lower(graph, all_on(machine)), random_inputs(graph, 8), Watcher)


def test_operands_may_lie_at_both_ends_of_the_largest_buffer():
    builder = golden.GraphBuilder()
    x = builder.input((1, 9), scale=0.5, zero_point=-7)
    first = builder.add(x, x, scale=1.0)
    constant = builder.tensor(data=np.arange(9, dtype=np.int8), scale=0.3)
    graph = builder.build([builder.add(first, constant, scale=2.0)])
    machine = machine_of(2, 2, 1 << 27, 64, 2, 2, 4)
    assert_equals_golden(lower(graph, all_on(machine)), random_inputs(graph, 9), Watcher)


def add_graph(first, second, constant=False):
    builder = golden.GraphBuilder()
    x = builder.input(first, scale=0.5, zero_point=-7)
    if constant:
        data = np.random.default_rng(0).integers(-128, 128, second).astype(np.int8)
        y = builder.tensor(data=data, scale=0.3, zero_point=9)
    else:
        y = builder.input(second, scale=0.3, zero_point=9)
    return builder.build([builder.add(x, y, scale=0.6, zero_point=1)])


def test_constants_are_broadcast():
    machine = machine_of(4, 4, 256, 256)
    for shape in ((6,), (1,), (5, 1), (4, 5, 6)):
        lowered = lower(add_graph((4, 5, 6), shape, constant=True), all_on(machine))
        assert isinstance(lowered.steps[0], ProgramStep)
        assert_equals_golden(lowered, random_inputs(lowered.graph, 7))


def test_long_vectors_become_several_tiles():
    machine = machine_of(2, 2, 1 << 19, 256, port=4)
    lowered = lower(add_graph((300_001,), (300_001,)), all_on(machine))
    assert_equals_golden(lowered, random_inputs(lowered.graph, 8))


def test_reshape_is_an_alias_without_commands():
    builder = golden.GraphBuilder()
    x = builder.input((1, 4, 4, 2), scale=0.5)
    pooled = builder.pool2d("max", x, window=(2, 2), stride=(2, 2), padding="VALID")
    y = builder.reshape(pooled, (2, 4))
    lowered = lower(builder.build([y]), all_on(SHAPES["8x8"]))
    (program,) = lowered.programs
    assert program.layers == (0, 1)
    assert lowered.tensors[y] == lowered.tensors[pooled]
    assert {c.tag for c in program.commands()} == {0}
    assert not lowered.layers[1].traffic.commands


def test_a_program_of_nothing_but_a_reshape_does_nothing():
    builder = golden.GraphBuilder()
    x = builder.input((1, 4), scale=0.5)
    lowered = lower(builder.build([builder.reshape(x, (2, 2))]), all_on(SHAPES["8x8"]))
    (program,) = lowered.programs
    assert program.commands() == []
    assert_equals_golden(lowered, random_inputs(lowered.graph, 9))


def test_host_operators_cut_the_network_into_programs():
    builder = golden.GraphBuilder()
    x = builder.input((1, 8), scale=0.5)
    first = builder.add(x, x, scale=1.0)
    soft = builder.apply("LOG_SOFTMAX", first, scale=1 / 16, zero_point=127)
    y = builder.add(soft, soft, scale=1 / 128)
    graph = builder.build([y])
    lowered = lower(graph, all_on(SHAPES["8x8"]))
    kinds = [type(step) for step in lowered.steps]
    assert kinds == [ProgramStep, HostStep, ProgramStep]
    assert [program.layers for program in lowered.programs] == [(0,), (2,)]
    assert (
        lowered.layers[1].reason
        == "the roots and logarithms of L2 normalisation and LOG_SOFTMAX are beyond every lane"
    )
    assert_equals_golden(lowered, random_inputs(graph, 10))


def test_layers_report_macs_bytes_and_commands():
    graph = load_network("pretrainedResnet_quant")
    lowered = lower(graph, all_on(SHAPES["8x8 tiled"]), options=STREAMING)
    assert [layer.index for layer in lowered.layers] == [op.index for op in graph.operators]
    assert sum(layer.macs for layer in lowered.layers) == golden.total_macs(graph)
    commands = [c for program in lowered.programs for c in program.commands()]
    for layer in lowered.layers:
        own = [c for c in commands if c.tag == layer.index]
        counts = {unit: sum(c.unit == unit for c in own) for unit in Unit}
        assert counts == {unit: layer.traffic.commands[unit] for unit in Unit}
        copied = {
            unit: sum(c["ROWS"] * c["ROW_BYTES"] for c in own if c.unit == unit)
            for unit in (Unit.LOAD, Unit.STORE)
        }
        assert layer.traffic.read_bytes == copied[Unit.LOAD]
        assert layer.traffic.write_bytes == copied[Unit.STORE]
        if layer.reason is None and layer.op != "RESHAPE":
            output = graph.output_tensor(graph.operators[layer.index])
            assert layer.traffic.write_bytes == output.nbytes


@pytest.mark.parametrize("machine", FOR_TIME.values(), ids=FOR_TIME)
@pytest.mark.parametrize("name", ["pretrainedResnet_quant", "trained_lstm_int8"])
def test_lowered_for_time_alone_programs_are_the_same_and_no_weight_is_laid_out(
    name, machine, monkeypatch
):
    graph, placement = load_network(name), all_on(machine)
    whole = lower(graph, placement)

    def laid_out(*_):
        raise AssertionError("somebody lays parameters out")

    monkeypatch.setattr(columns, "constant_entry", laid_out)
    for module in (columns, convolution, matrix_product):
        monkeypatch.setattr(module, "parameter_words", laid_out)
    with pytest.raises(AssertionError, match="lays parameters out"):
        lower(graph, placement)
    quick = lower(graph, placement, for_time=True)
    assert quick.programs
    pairs = zip(
        (*whole.setups.values(), *whole.programs),
        (*quick.setups.values(), *quick.programs),
        strict=True,
    )
    for program, same in pairs:
        assert program.words[HEADER_WORDS:].tolist() == same.words[HEADER_WORDS:].tolist()
        assert program.program_address == same.program_address
        assert list(program.commands()) == decode(program.words, program.machine)
        assert not same.image
    assert [each.traffic for each in whole.layers] == [each.traffic for each in quick.layers]
    with pytest.raises(ValueError, match="lowered for time alone"):
        quick.initial_memory()


def test_programs_overlap_loading_and_computing():
    graph = load_network("pretrainedResnet_quant")
    (program, *_) = lower(graph, all_on(SHAPES["8x8"]), options=STREAMING).programs
    units = [c.unit for c in program.commands() if c.tag == 1]
    first_compute = units.index(Unit.COMPUTE)
    assert units[:first_compute].count(Unit.LOAD) >= 2  # this tile's and the next one's
    modes = {c["MODE"] for c in program.commands() if c.unit == Unit.COMPUTE}
    assert modes == {Mode.CONV, Mode.SCALED_SUM, Mode.SUM, Mode.SOFTMAX}


def test_buffers_too_small_for_a_pixel_are_named():
    graph = load_network("kws_ref_model")
    with pytest.raises(LoweringError) as caught:
        lower(graph, all_on(machine_of(4, 4, 64, KIB)))
    message = str(caught.value)
    assert "operator 0 (" in message
    assert "activation_buffer_bytes" in message
    needed = int(message.rsplit(" ", 1)[1])
    assert needed > 4 * 64


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.float32, np.int32])
def test_tensors_survive_memory(dtype):
    builder = golden.GraphBuilder()
    index = builder.input((3, 5), scale=0.5, dtype=dtype)
    tensor = builder.build([index]).tensors[index]
    value = np.arange(15).reshape(3, 5).astype(dtype)
    memory = np.zeros(200, np.uint8)
    memory[60 : 60 + tensor.nbytes] = tensor_to_memory(tensor, value)
    again = tensor_from_memory(tensor, memory, 60)
    assert again.dtype == tensor.dtype
    assert np.array_equal(again, value)
    if dtype == np.uint8:
        assert memory[60] == 0x80  # 0 is stored as -128


@pytest.mark.parametrize("token", [t for t in Token if t.name.endswith("_FREE")] + [Token.STORED])
def test_without_a_token_the_watcher_finds_a_clash(token):
    """The check of the protocol is itself worth something."""
    graph, machine = load_network("pretrainedResnet_quant"), SHAPES["8x8 tiled"]
    lowered = lower(graph, all_on(machine))
    (program,) = lowered.programs
    wait = np.uint64(1 << (48 + token))
    words = program.words.copy()
    is_go = words >> np.uint64(60) == Opcode.GO
    words[is_go] &= ~wait
    fields = {name: getattr(program, name) for name in program.__dataclass_fields__}
    broken = Program(**(fields | {"words": words}))
    watcher = Watcher(machine)
    watcher.run(lowered.setup, lowered.initial_memory())
    with pytest.raises(AssertionError, match="at the same time"):
        watcher.run(broken, broken.initial_memory())
