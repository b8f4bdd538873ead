"""One program, three engines: RTL, functional and model agree in every byte and every cycle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tests.golden.makers  # noqa: F401  registers how layers are drawn
from mensa.rtl.commands import EXPONENTIAL_BYTES, TABLE_BYTES
from mensa.sched.lower import LoweringError, ProgramStep, lower
from mensa.sched.placement import all_on
from mensa.sched.run import run_network
from mensa.sim.memory import lpddr4
from mensa.sim.soc import Soc
from tests.golden.makers import MAKERS
from tests.golden.networks import networks
from tests.golden.strategies import layers
from tests.sched.lower.test_concatenation import rescaled
from tests.sched.lower.test_products import attention, computed_weights
from tests.sched.lower.test_resize import resized
from tests.sched.lower.test_softmax import softmax_of
from tests.sched.lower.test_views import detector, halves
from tests.sched.runner import NETWORKS, assert_equals_golden, load_network, random_inputs
from tests.sim.conftest import COMPARED
from tests.sim.engines.all_engines import AllEngines
from tests.sim.pool import POOL, REGRESS, ROOMY

ACCELERATED = (
    "ADD",
    "AVERAGE_POOL_2D",
    "BATCH_MATMUL",
    "BATCH_TO_SPACE_ND",
    "CONCATENATION",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "DEPTH_TO_SPACE",
    "FULLY_CONNECTED",
    "HARD_SWISH",
    "LOGISTIC",
    "MAXIMUM",
    "MAX_POOL_2D",
    "MEAN",
    "MINIMUM",
    "MIRROR_PAD",
    "MUL",
    "PACK",
    "PAD",
    "PADV2",
    "PRELU",
    "QUANTIZE",
    "RELU6",
    "RESIZE_NEAREST_NEIGHBOR",
    "SLICE",
    "SOFTMAX",
    "SPACE_TO_BATCH_ND",
    "SPACE_TO_DEPTH",
    "SPLIT",
    "SPLIT_V",
    "STRIDED_SLICE",
    "SUB",
    "SUM",
    "SVDF",
    "TILE",
    "TRANSPOSE",
    "TRANSPOSE_CONV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNPACK",
)
"""Operators that become commands; all others are for the host, or an alias."""

EITHER_TYPE = {"ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED",
               "MAX_POOL_2D", "QUANTIZE"}  # fmt: skip
"""Those of which golden runs int8 and uint8 files in either arithmetic."""

TABLES = {"HARD_SWISH", "LOGISTIC", "PRELU", "RELU6", "SOFTMAX"}

RECURRENT = {"SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"}

NETWORK = "several layers"

EXAMPLES = 6 if REGRESS else 2
"""Layers of each operator, and networks, that each shape compares."""

TINY_BANK_BYTES = 256
"""Smaller banks of the activation buffer get smaller layers, so that most of them fit."""


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *((name, "8x8") for name in NETWORKS),
        *((name, "16x16") for name in NETWORKS[:2]),
        *((name, "4x12 tiled") for name in NETWORKS[:2]),
        *((name, "8x8 jacquard, two lanes") for name in NETWORKS[:5]),
        *((name, "6x5 jacquard, slow") for name in NETWORKS[:1]),
        *((name, "6x8 pascal, slow") for name in NETWORKS[:2]),
        *((name, "2x8 pavlov") for name in NETWORKS[:3]),
    ],
)
def test_networks_are_the_same_on_every_engine(name, shape):
    graph = load_network(name)
    lowered = lower(graph, all_on(POOL[shape]))
    assert_equals_golden(lowered, random_inputs(graph, 11), AllEngines())


@pytest.mark.parametrize(
    "shape", ["4x12 tiled", "6x5 jacquard, slow", "6x8 pascal, slow", "2x8 pavlov"]
)
@pytest.mark.parametrize("name", ["kws_ref_model", "pretrainedResnet_quant"])
def test_buffers_are_the_same_after_every_command(name, shape):
    graph, machine = load_network(name), POOL[shape]
    lowered = lower(graph, all_on(machine))
    engines = AllEngines(every_command=True)
    assert_equals_golden(lowered, random_inputs(graph, 12), engines)
    programs = [program for program in (lowered.setup, *lowered.programs) if program]
    commands = sum(len(program.commands()) for program in programs)
    assert engines.commands_compared == commands


SELDOM_DRAWN = {
    "a resize by a simple ratio": resized(
        (5, 6), (10, 12), np.int8, channels=7, half_pixel_centers=True
    ),
    "a concatenation that rescales": rescaled(0.5, 0.25, 0.7, axis=2),
    "a convolution with computed weights": computed_weights("CONV_2D"),
    "products of products": attention(),
    "parts of a tensor": halves(),
    "joined tensors": detector(),
    "a softmax whose shifts are too large": softmax_of((3, 1001), 1e-6),
    "a softmax of long rows": softmax_of((2, 1300), 0.01),
}
"""Layers whose like the draws below seldom have, or never."""


@pytest.mark.parametrize("shape", ["8x8", "4x12 tiled", "8x8 jacquard, two lanes"])
@pytest.mark.parametrize("name", SELDOM_DRAWN)
def test_layers_that_are_seldom_drawn_are_the_same_on_every_engine(name, shape):
    graph = SELDOM_DRAWN[name]
    lowered = lower(graph, all_on(POOL[shape]))
    assert all(isinstance(step, ProgramStep) for step in lowered.steps)
    assert_equals_golden(lowered, random_inputs(graph, 13), AllEngines())


@st.composite
def memories(draw):
    """Slow and fast memories, also with fractions of a beat per cycle, with and without rows."""
    return lpddr4.replace(
        rows=draw(st.booleans()),
        row_bytes=draw(st.sampled_from([64, 256, 2048])),
        banks=draw(st.sampled_from([1, 4, 16])),
        row_miss_ns=draw(st.sampled_from([0, 36, 200])),
        refresh_interval_ns=draw(st.sampled_from([500, 3904])),
        latency_ns=draw(st.sampled_from([0, 1, 20, 100, 333, 1000])),
        bandwidth_bytes_per_s=draw(
            st.sampled_from([10**8, 333_333_333, 10**9, 3 * 10**9, 32 * 10**9])
        ),
        outstanding=draw(st.sampled_from([1, 2, 5, 16])),
    )


@pytest.mark.parametrize("kind", [*ACCELERATED, NETWORK])
@pytest.mark.parametrize("shape", POOL)
def test_random_layers_are_the_same_on_every_engine(shape, kind, record_property):
    machine = POOL[shape]
    most = {"max_channels": max(12, 3 * machine.array.group // 2)}
    if machine.activation_bank_bytes < TINY_BANK_BYTES:
        most = {"max_channels": 4, "max_pixels": 4}
    if kind == NETWORK:
        graphs = networks(**most)
    else:
        types = (MAKERS[kind].types[oracle] for oracle in ("tflm", "litert"))
        known = next(each for each in types if "int8" in each and not isinstance(each, str))
        dtypes = tuple(each for each in ("int8", "uint8") if kind in EITHER_TYPE or each in known)
        if kind == "STRIDED_SLICE":
            most["oracle"] = "tflm"  # which knows fewer forms of it
        if kind in RECURRENT:
            if not machine.state_lanes:
                pytest.skip("the machine has no LSTM cell")
            most["oracle"] = machine.cell
        graphs = layers(operators=(kind,), dtypes=dtypes, **most)
    if kind == "SVDF" and machine.constant_entries < 8:
        pytest.skip("biases of units, in an eighth of the constant buffer, have no room")
    if kind == "SOFTMAX" and not machine.exponential_lanes:
        pytest.skip("the machine has no softmax unit")
    longest = EXPONENTIAL_BYTES if kind == "SOFTMAX" else TABLE_BYTES
    if kind in TABLES and machine.parameter_bytes < 4 * longest:
        pytest.skip("tables run on the host: the parameter buffer has no room")
    roundings = st.sampled_from([None, "litert"])
    if kind in RECURRENT:
        roundings = st.just(machine.cell)
    compared = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(graphs, memories(), roundings)
    def compare(layer, memory, rounding):
        nonlocal compared
        try:
            lowered = lower(layer.graph, all_on(machine), rounding)
        except LoweringError:
            # Only for want of space: the largest machine of the pool takes every layer.
            if shape == ROOMY:
                raise
            assume(False)
        assume(any(isinstance(step, ProgramStep) for step in lowered.steps))
        assert_equals_golden(lowered, layer.inputs()[0], AllEngines(memory))
        compared += 1

    compare()
    assert compared >= EXAMPLES, f"only {compared} were compared"
    record_property(COMPARED, [shape, kind, compared])


@pytest.mark.parametrize("kind", sorted(RECURRENT))
@pytest.mark.parametrize("shape", [name for name in POOL if POOL[name].state_lanes])
def test_recurrent_layers_keep_their_state_from_step_to_step_on_rtl(shape, kind):
    machine = POOL[shape]
    if kind == "SVDF" and machine.constant_entries < 8:
        pytest.skip("biases of units, in an eighth of the constant buffer, have no room")
    if not (REGRESS or shape in ("8x8", "2x8 pavlov")):
        pytest.skip("seconds each: make regress")
    soc = Soc.single("soc", machine, lpddr4)
    drawn = layers(operators=(kind,), dtypes=("int8",), oracle=machine.cell)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(drawn, st.integers(2, 4))
    def compare(layer, calls):
        lowered = lower(layer.graph, all_on(machine), machine.cell)
        assume(any(isinstance(step, ProgramStep) for step in lowered.steps))
        inputs = [random_inputs(layer.graph, seed) for seed in range(calls)]
        result = run_network(
            layer.graph, soc, inputs, engine="rtl", rounding=machine.cell, check=True
        )
        assert result.report.passed

    compare()
