"""Scales whose products or quotients are almost simple: the last bit of a multiplier decides.

Sums fall in the middle between two outputs again and again there, and it shows whether an oracle
multiplies the scales in float32 or in double precision. Scales drawn at random hardly tell.
"""

import math

import numpy as np
import pytest

import mensa.golden as golden
from mensa.golden.options import SVDFOptions, UnidirectionalSequenceLSTMOptions
from tests.golden.comparison import Comparison, differ

RUNS = 200
CASES = 6
WEIGHTS = np.array([-7, 3, 5, 1])


class Scales:
    """x, w and what comes out eight times as coarse as their product, nearly."""

    def __init__(self, seed):
        generator = np.random.default_rng(seed)
        x, w = (float(np.float32(2.0**power)) for power in generator.uniform(-8, -3, 2))
        self.x, self.w, self.out = x, w, float(np.float32(x * w * 8))
        # One that makes the products of an LSTM's gates a power of two, nearly.
        self.gate = float(np.float32(2.0**-16 / x))
        self.generator = generator


def offset(builder):
    return 128 if builder.dtype == np.uint8 else 0


def weights(builder, shape):
    return (WEIGHTS + offset(builder)).astype(builder.dtype).reshape(shape)


def kinds(builder, scales):
    middle = offset(builder)
    return {
        "weight_scale": scales.w,
        "weight_zero_point": middle,
        "scale": scales.out,
        "zero_point": middle - 20,
    }


def data(builder, scales, *shape):
    return builder.input(shape, scale=scales.x, zero_point=offset(builder))


def fully_connected(b, s):
    bias = np.array([1, 2, 3, 0], np.int32)
    return b.fully_connected(data(b, s, 1, 1), weights(b, (4, 1)), bias, **kinds(b, s))


def fully_connected_without_bias(b, s):
    return b.fully_connected(data(b, s, 1, 1), weights(b, (4, 1)), None, **kinds(b, s))


def conv(b, s):
    bias = np.array([1, 2, 3, 0], np.int32)
    return b.conv2d(data(b, s, 1, 1, 1, 1), weights(b, (4, 1, 1, 1)), bias, **kinds(b, s))


def depthwise(b, s):
    x = data(b, s, 1, 1, 1, 1)
    return b.depthwise_conv2d(x, weights(b, (1, 1, 1, 4)), None, **kinds(b, s))


def batch_matmul(b, s):
    second = b.input((1, 1, 4), scale=s.w, zero_point=2)
    return b.apply("BATCH_MATMUL", data(b, s, 1, 1, 1), second, scale=s.out, zero_point=-20)


def mul(b, s):
    second = b.input((1, 4), scale=s.w, zero_point=offset(b) + 2)
    out = {"scale": s.out, "zero_point": offset(b) - 20}
    return b.apply("MUL", data(b, s, 1, 4), second, **out)


def absolute(b, s):
    # In a ratio of 11 / 16, but for a part in 2**26: a single-precision quotient is that exactly.
    whole = (1 << 23) + 16 * int(s.generator.integers(1 << 19)) + 3
    x = b.input((1, 64), scale=math.ldexp((11 * whole - 1) // 16, -30))
    return b.apply("ABS", x, scale=math.ldexp(whole, -30))


def svdf(b, s):
    features = b.tensor(data=WEIGHTS.reshape(4, 1), dtype=np.int8, scale=s.w)
    times = b.tensor(data=WEIGHTS.reshape(4, 1) * 4000, dtype=np.int16, scale=2.0**-14)
    bias_scale = float(np.float32(s.out) * np.float32(2.0**-14))
    bias = b.tensor(data=np.zeros(4), dtype=np.int32, scale=bias_scale)
    state = b.tensor((1, 4), dtype=np.int16, scale=s.out, is_variable=True)
    options = SVDFOptions(rank=1, activation="RELU")
    inputs = (data(b, s, 1, 1), features, times, bias, state)
    return b.apply("SVDF", *inputs, options=options, scale=s.out, zero_point=0)


def lstm(b, s):
    inputs = [data(b, s, 1, 1, 1)] + [-1] * 23
    for gate in range(4):
        matrix = s.generator.integers(-127, 128, (4, 5))
        inputs[1 + gate] = b.tensor(data=matrix[:, :1], dtype=np.int8, scale=s.gate)
        inputs[5 + gate] = b.tensor(data=matrix[:, 1:], dtype=np.int8, scale=2.0**-9)
        inputs[12 + gate] = b.tensor(data=np.arange(4), dtype=np.int32, scale=1.0)
    hidden = {"scale": 2.0**-7, "zero_point": 0}
    inputs[18] = b.tensor((1, 4), is_variable=True, **hidden)
    inputs[19] = b.tensor((1, 4), dtype=np.int16, scale=2.0**-12, is_variable=True)
    internal = [b.tensor((0,), dtype=np.float32) for _ in range(4)]
    internal.append(b.tensor((0,), **hidden))
    y = b.tensor((1, 1, 4), **hidden)
    options = UnidirectionalSequenceLSTMOptions(activation="TANH")
    op = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    return b.operator(op, tuple(inputs), (y,), options, intermediates=tuple(internal))


BOTH = ("int8", "uint8")
LAYERS = {
    fully_connected: BOTH,
    fully_connected_without_bias: BOTH,
    conv: BOTH,
    depthwise: BOTH,
    mul: BOTH,
    absolute: ("int8", "int16"),
    batch_matmul: ("int8",),
    svdf: ("int8",),
    lstm: ("int8",),
}


@pytest.mark.parametrize(
    ("make", "dtype"), [(make, dtype) for make, dtypes in LAYERS.items() for dtype in dtypes]
)
def test_scales_near_powers_of_two(make, dtype, oracle, litert_beside, record_property):
    if oracle.name == "tflm" and dtype == "uint8":
        pytest.skip("TFLM can't load uint8 networks")
    comparison = None
    for case in range(CASES):
        scales = Scales(case)
        builder = golden.GraphBuilder(make.__name__, dtype)
        graph = builder.build([make(builder, scales)])
        (output,) = graph.outputs
        states = [tensor.index for tensor in graph.tensors if tensor.is_variable]
        limits = np.iinfo(dtype)
        inputs = [
            [
                scales.generator.integers(
                    limits.min, limits.max + 1, graph.tensors[index].shape
                ).astype(dtype)
                for index in graph.inputs
            ]
            for _ in range(RUNS)
        ]
        data = golden.write(graph)
        answers = oracle.run(data, inputs, [output, *states])
        state = None
        for arrays, wanted in zip(inputs, answers, strict=True):
            found = golden.run(graph, arrays, keep="all", rounding=oracle.name, state=state)
            state = found.state
            for index in (output, *states):
                np.testing.assert_array_equal(found[index], wanted[index], err_msg=f"case {case}")
        comparison = comparison or Comparison(graph.operators[0].op, oracle.name, ties=True)
        others = litert_beside and litert_beside.run(data, inputs, [output, *states])
        comparison.add(graph, others and differ(answers, others))
    comparison.finish(record_property)
