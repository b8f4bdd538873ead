"""Scales that are very far apart, for which the kernels' shifts and casts overflow.

C++ leaves open what such a shift or cast gives; both oracles are built for x86-64, whose answer it
is. Random layers have scales that networks have; here those of their activations are moved.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import mensa.golden as golden
from mensa.golden.options import L2NormOptions, SoftmaxOptions
from tests.golden.comparison import EXAMPLES, equal
from tests.golden.makers import MAKERS
from tests.golden.oracles import OracleError
from tests.golden.refused_scales import COMPARISONS, REFUSED
from tests.golden.strategies import layers

_VARIABLES = {"ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE"}
#: Operators whose tensors must all be of one scale, by oracle: it is moved for all of them.
OF_ONE_SCALE = {
    "tflm": _VARIABLES | {"AVERAGE_POOL_2D", "CONCATENATION", "MAX_POOL_2D", "REDUCE_MAX",
                          "REDUCE_MIN"},
    "litert": _VARIABLES | {"BATCH_TO_SPACE_ND", "CONCATENATION", "EXPAND_DIMS", "MIRROR_PAD",
                            "PACK", "PADV2", "REDUCE_MAX", "REDUCE_MIN", "SPACE_TO_BATCH_ND",
                            "UNPACK"},
}  # fmt: skip
#: Operators whose output must be of one certain scale: it stays.
OF_GIVEN_OUTPUT = {"L2_NORMALIZATION", "LOGISTIC", "LOG_SOFTMAX", "SOFTMAX"}
#: The share of layers that are compared at least; the others the oracle can't run, or golden says
#: in REFUSED why it doesn't.
LEAST = 1 / 2
#: By operator, the share where it is less: these stop at outputs that are too fine, or at scales
#: of 1 and more.
LESS = {
    ("ADD", "litert"): 1 / 3,
    ("ADD", "tflm"): 1 / 4,
    ("SUB", "tflm"): 1 / 4,
    ("SQUARED_DIFFERENCE", "litert"): 1 / 4,
}
#: Of float layers, and of types that have no scales, there is nothing to move.
QUANTIZED = {"int8", "uint8", "int16"}


def _scaled(tensor, exponent):
    """The tensor with a scale that is this many powers of two away."""
    scale = np.clip(tensor.scale.astype(np.float64) * 2.0**exponent, 2.0**-125, 2.0**125)
    return replace(tensor, scale=scale.astype(np.float32))


def _exponent(generator):
    return generator.uniform(-1, 1) * generator.choice([8, 45, 110])


def moved_together(graph, generator):
    """A copy in which all scales are moved by the same factor, of called subgraphs, too."""
    exponent = _exponent(generator)

    def scaled(graph):
        return replace(
            graph,
            tensors=tuple(_scaled(tensor, exponent) for tensor in graph.tensors),
            subgraphs=tuple(scaled(each) for each in graph.subgraphs),
        )

    return scaled(graph)


def moved(graph, generator):
    """A copy in which inputs or outputs of the last operator have other scales, or both."""
    operator, tensors = graph.operators[-1], list(graph.tensors)
    ends = (operator.outputs, operator.inputs[:2], (*operator.inputs[:2], *operator.outputs))
    given = operator.op in OF_GIVEN_OUTPUT
    for index in operator.inputs[:2] if given else ends[generator.integers(3)]:
        if index >= 0 and tensors[index].scale.size:
            tensors[index] = _scaled(tensors[index], _exponent(generator))
    for index in operator.inputs[2:] if operator.op != "SVDF" else ():
        # Of a bias, which must have the product of the others; SVDF's has that of two that stay.
        if index >= 0 and tensors[index].dtype.kind == "i" and tensors[index].dtype.itemsize >= 4:
            data, weights = (
                tensors[place].scale.astype(np.float64) for place in operator.inputs[:2]
            )
            if data.size and weights.size and tensors[index].scale.size:
                product = np.clip(data * weights, 2.0**-125, 2.0**125).astype(np.float32)
                tensors[index] = replace(tensors[index], scale=product)
    return replace(graph, tensors=tuple(tensors))


@pytest.mark.parametrize("op", sorted(MAKERS))
def test_layers_of_scales_far_apart_equal_the_oracle(op, oracle):
    types = [kind for kind in MAKERS[op].types[oracle.name] if kind in QUANTIZED]
    if isinstance(MAKERS[op].types[oracle.name], str) or not types:
        pytest.skip("NOT COMPARED: no oracle, or no type, that has scales")
    drawn, compared = [], []
    move = moved_together if op in OF_ONE_SCALE[oracle.name] else moved

    @settings(
        max_examples=EXAMPLES // 2,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(layer=layers(operators=(op,), dtypes=types, floats=True, oracle=oracle.name))
    def check(layer):
        drawn.append(layer)
        graph = move(layer.graph, np.random.default_rng(layer.seed))
        data, outputs = golden.write(graph), list(graph.outputs)
        (inputs,) = layer.inputs()
        try:
            (wanted,) = oracle.run(data, [inputs], outputs)
        except OracleError:
            return
        try:
            found = golden.run(golden.read(data), inputs, rounding=oracle.name)
        except golden.GraphError as error:
            if op not in REFUSED or not error.reason.startswith(REFUSED[op].reason):
                pytest.fail(f"{layer}: {error}")
            return
        assert all(equal(found[index], wanted[index]) for index in outputs), layer
        compared.append(layer)

    check()
    least = LESS.get((op, oracle.name), LEAST)
    assert len(compared) >= least * len(drawn), f"{len(compared)} of {len(drawn)} compared"


@pytest.mark.parametrize("scale", [1 / 128, 1 / 64, 1e-9])
def test_a_normalisation_of_another_scale_is_refused_though_tflm_runs_it(scale, tflm):
    builder = golden.GraphBuilder("normal")
    x = builder.input((1, 4), scale=0.5)
    options = L2NormOptions()
    graph = builder.build([builder.apply("L2_NORMALIZATION", x, options=options, scale=scale)])
    values, (output,) = np.array([[1, -2, 3, -4]], np.int8), graph.outputs
    (wanted,) = tflm.run(golden.write(graph), [[values]], [output])
    if scale == 1 / 128:
        assert equal(golden.run(graph, [values], rounding="tflm")[output], wanted[output])
        return
    with pytest.raises(golden.GraphError) as caught:
        golden.run(graph, [values], rounding="tflm")
    assert caught.value.reason.startswith(REFUSED["L2_NORMALIZATION"].reason)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("shift", [25, 30, 31, 32, 33, 40, 63, 64, 95, 96, 102])
def test_a_product_of_tiny_scale_equals_the_oracle(shift, dtype, oracle):
    """A published network has such a MUL, whose output's scale is 3e-35."""
    if oracle.name == "tflm" and dtype == "uint8":
        pytest.skip("TFLM can't load uint8 networks")
    builder = golden.GraphBuilder("tiny", dtype)
    values = np.arange(256).astype(np.uint8).view(dtype)
    x = builder.input((256,), scale=0.0235)
    y = builder.tensor(data=values[::-1] * 3, scale=1 / 256)
    scale = math.ldexp(float(np.float32(0.0235) / 256) / 0.7, -shift)
    graph = builder.build([builder.apply("MUL", x, y, scale=scale)])
    (output,) = graph.outputs
    (wanted,) = oracle.run(golden.write(graph), [[values]], [output])
    assert equal(golden.run(graph, [values], rounding=oracle.name)[output], wanted[output])


FLOATS = np.array(
    [1, -1, 0.005, 3, 1e10, -1e10, 3e38, -3e38, 2147483520, 2147483648, -2147483648, -2147483904,
     np.nan, np.inf, -np.inf, 0, 0.25] * 3,
    np.float32,
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("scale", [1.0, 0.4, 1e-12, 1e-38])
@pytest.mark.parametrize("zero_point", [0, 5, "lowest", "highest"])
def test_floats_beyond_int32_are_quantised_as_the_oracle_does_it(dtype, scale, zero_point, oracle):
    if oracle.name == "tflm" and dtype == "uint8":
        pytest.skip("TFLM has no kernel from float to uint8")
    limits = {"lowest": np.iinfo(dtype).min, "highest": np.iinfo(dtype).max}
    builder = golden.GraphBuilder("floats", dtype)
    x = builder.input(FLOATS.shape, dtype=np.float32)
    shift = 0 if dtype == "int16" else int(limits.get(zero_point, zero_point))
    graph = builder.build([builder.quantize(x, scale=scale, zero_point=shift, dtype=dtype)])
    (output,) = graph.outputs
    (wanted,) = oracle.run(golden.write(graph), [[FLOATS]], [output])
    assert equal(golden.run(graph, [FLOATS], rounding=oracle.name)[output], wanted[output])


@pytest.mark.parametrize("scale", [1e-6, 0.3, 10.0, 1e3, 1e9, 1e20])
def test_a_softmax_of_wide_steps_equals_the_oracle(scale, oracle):
    builder = golden.GraphBuilder("steep", np.int16)
    x = builder.input((5, 40), scale=scale)
    options = SoftmaxOptions(beta=1.0)
    graph = builder.build([builder.apply("SOFTMAX", x, options=options, scale=1 / 32768)])
    (output,) = graph.outputs
    values = np.random.default_rng(4).integers(-32768, 32768, (5, 40)).astype(np.int16)
    (wanted,) = oracle.run(golden.write(graph), [[values]], [output])
    assert equal(golden.run(graph, [values], rounding=oracle.name)[output], wanted[output])


def equals_or_refuses(graph, inputs, oracle):
    """Golden gives what the oracle does, or refuses the scale where the oracle dies of it."""
    (output,) = graph.outputs
    try:
        (wanted,) = oracle.run(golden.write(graph), [inputs], [output])
    except OracleError:
        with pytest.raises(golden.GraphError, match="its scale"):
            golden.run(graph, inputs, rounding=oracle.name)
        return
    assert equal(golden.run(graph, inputs, rounding=oracle.name)[output], wanted[output])


@pytest.mark.parametrize("op", COMPARISONS)
@pytest.mark.parametrize("scale", [0.999, 1.0, 1.001, 3.0, 1e3, 6e4])
@pytest.mark.parametrize("shapes", [((300,), (300,)), ((1, 300), (2, 300)), ((1, 1), (3,))])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_comparison_of_a_large_scale_equals_the_oracle(op, scale, shapes, dtype, oracle):
    if oracle.name == "tflm" and dtype == "uint8":
        pytest.skip("TFLM can't load uint8 networks")
    limits, generator = np.iinfo(dtype), np.random.default_rng(5)
    builder = golden.GraphBuilder("large", dtype)
    first = builder.input(shapes[0], scale=scale, zero_point=int(limits.min))
    second = builder.input(shapes[1], scale=0.7, zero_point=int(limits.max))
    graph = builder.build([builder.apply(op, first, second)])
    inputs = [
        generator.integers(limits.min, limits.max + 1, shape).astype(dtype) for shape in shapes
    ]
    equals_or_refuses(graph, inputs, oracle)


@pytest.mark.parametrize("exponent", [-60, 60, 112, 113, 114, 125])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_a_squared_difference_of_a_huge_scale_equals_the_oracle(exponent, dtype, oracle):
    """LiteRT multiplies the output's scale by ``2**14`` in single precision."""
    if oracle.name == "litert" and dtype == "int16":
        pytest.skip("LiteRT has no int16 kernel")
    builder = golden.GraphBuilder("huge", dtype)
    values = np.arange(-128, 128).astype(dtype)
    scale = math.ldexp(1.7, exponent // 2)
    x = builder.input((256,), scale=scale)
    y = builder.tensor(data=values[::-1] // 2, scale=scale / 3)
    output_scale = math.ldexp(1.0, exponent)
    graph = builder.build([builder.apply("SQUARED_DIFFERENCE", x, y, scale=output_scale)])
    equals_or_refuses(graph, [values], oracle)


@pytest.mark.parametrize(
    "powers", [(-20, -10), (-100, -90), (-110, -110), (-120, -125), (125, 125)]
)
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_a_root_of_tiny_scales_equals_the_oracle(powers, dtype, oracle):
    """LiteRT multiplies two scales in single precision, which gives 0 where they are tiny."""
    builder = golden.GraphBuilder("root", dtype)
    values = np.arange(128).astype(dtype)
    scale, output_scale = (math.ldexp(1.1, power) for power in powers)
    x = builder.input(values.shape, scale=scale)
    graph = builder.build([builder.apply("RSQRT", x, scale=output_scale)])
    (output,) = graph.outputs
    (wanted,) = oracle.run(golden.write(graph), [[values]], [output])
    assert equal(golden.run(graph, [values], rounding=oracle.name)[output], wanted[output])
