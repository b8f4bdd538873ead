"""Operators on the host say why, in the words of the restriction that they don't keep to."""

from __future__ import annotations

import numpy as np
import pytest

import mensa.golden as golden
from mensa.golden.options import ShapeOptions
from mensa.sched.lower.supported import RESTRICTIONS, why_on_host


def test_every_restriction_is_a_sentence():
    for restriction in RESTRICTIONS:
        assert restriction.__doc__
        assert restriction.__doc__.endswith(".")
        assert "\n" not in restriction.__doc__


def reason(builder, output, rounding=None):
    graph = builder.build([output])
    return why_on_host(graph, graph.operators[-1], rounding)


def test_a_logarithm_runs_on_the_host():
    builder = golden.GraphBuilder()
    x = builder.input((1, 4), scale=0.5)
    output = builder.apply("LOG_SOFTMAX", x, scale=1 / 16, zero_point=127)
    assert (
        reason(builder, output)
        == "the roots and logarithms of L2 normalisation and LOG_SOFTMAX are beyond every lane"
    )


def test_quantising_floats_runs_on_the_host():
    builder = golden.GraphBuilder()
    x = builder.input((1, 4), dtype=np.float32, name="sound")
    why = reason(builder, builder.quantize(x, scale=0.5))
    assert why.startswith("activations must be int8 or uint8 (")
    assert "'sound' is float32" in why


def test_int16_activations_run_on_the_host():
    generator = np.random.default_rng(3)
    builder = golden.GraphBuilder(dtype=np.int16)
    x = builder.input((1, 6, 6, 4), scale=2.0**-15, name="sound")
    weights = generator.integers(-127, 128, (4, 3, 3, 4))
    y = builder.conv2d(x, weights, np.zeros(4), weight_scale=0.01, scale=2.0**-14)
    y = builder.depthwise_conv2d(
        y, weights[:1], np.zeros(4), weight_scale=0.01, scale=2.0**-14, activation="RELU6"
    )
    y = builder.pool2d("average", builder.add(x, y, scale=2.0**-13), window=(2, 2), stride=(2, 2))
    y = builder.fully_connected(
        builder.reshape(y, (1, 36)), np.ones((3, 36)), None, weight_scale=0.01, scale=2.0**-13
    )
    graph = builder.build([builder.quantize(y, scale=0.1, dtype=np.int8)])
    for operator in graph.operators:
        why = why_on_host(graph, operator)
        if operator.op == "RESHAPE":
            assert why is None
        else:
            assert why.startswith("activations must be int8 or uint8 (tensor"), operator
    assert "'sound' is int16" in why_on_host(graph, graph.operators[0])


@pytest.mark.parametrize(("exponent", "host"), [(29, False), (30, True), (100, True)])
def test_scales_too_far_apart_for_the_requantiser_run_on_the_host(exponent, host):
    builder = golden.GraphBuilder()
    x = builder.input((1, 4), scale=1.0)
    coarse = builder.quantize(x, scale=2.0**-exponent)
    sums = builder.fully_connected(
        x, np.ones((2, 4)), [0, 0], weight_scale=1.0, scale=2.0**-exponent
    )
    for y in (coarse, sums):
        graph = builder.build([y])
        (operator,) = (each for each in graph.operators if y in each.outputs)
        why = why_on_host(graph, operator, "tflm")
        wanted = f"to the left or 31 to the right (its scales ask for {exponent + 1})"
        assert (why is not None and why.endswith(wanted)) == host


def test_a_reshape_by_a_computed_shape_is_as_any_other():
    builder = golden.GraphBuilder()
    x = builder.input((2, 3, 4), scale=0.5)
    sizes = builder.apply("SHAPE", x, options=ShapeOptions(out_type="INT32"), dtype=np.int32)
    y = builder.tensor((2, 12), scale=0.5)
    last = [builder.tensor(data=[size], dtype=np.int32) for size in (0, 1, -1)]
    batch = builder.apply("SLICE", sizes, *last[:2])
    wanted = builder.apply("CONCATENATION", batch, last[2])
    builder.operator("RESHAPE", (x, wanted), (y,))
    graph = golden.read(golden.write(builder.build([y])))
    assert [why_on_host(graph, operator) for operator in graph.operators] == [None]


def test_reshaping_a_constant_runs_on_the_host():
    builder = golden.GraphBuilder()
    x = builder.tensor(data=np.zeros((2, 2), np.int8), scale=0.5)
    assert "is a constant" in reason(builder, builder.reshape(x, (4,)))


@pytest.mark.parametrize(("weight_scale", "host"), [(7.0, True), (6.0, False)])
def test_a_fully_connected_layer_without_an_equal_multiplier_runs_on_the_host(weight_scale, host):
    builder = golden.GraphBuilder()
    x = builder.input((1, 16), scale=1.0)
    y = builder.fully_connected(
        x, np.ones((3, 16), np.int8), np.zeros(3), weight_scale=weight_scale, scale=10.0
    )
    # Sums between two outputs: doubles round some multiples of 7 / 10 up and some down.
    said = reason(builder, y, "litert")
    assert said is not None if host else said is None
    assert not host or "must have an equal in fixed point" in said
    assert reason(builder, y, "tflm") is None


@pytest.mark.parametrize("rounding", ["tflm", "litert"])
def test_other_operators_run_on_the_machine(rounding):
    builder = golden.GraphBuilder()
    x = builder.input((1, 4, 4, 2), scale=0.5)
    for output in (
        builder.add(x, x, scale=1.0),
        builder.pool2d("average", x, window=(2, 2), stride=(1, 1)),
        builder.pool2d("max", x, window=(3, 3), stride=(2, 2)),
        builder.reshape(x, (32,)),
        builder.quantize(x, scale=0.1, dtype=np.uint8),
    ):
        assert reason(builder, output, rounding) is None
