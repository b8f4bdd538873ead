"""Zeros, infinities, NaNs and the lowest integers, which random layers seldom meet."""

import itertools

import numpy as np
import pytest

import mensa.golden as golden
from mensa.golden.options import OPTIONS, LeakyReluOptions, ReducerOptions
from tests.golden.comparison import equal
from tests.golden.makers import MAKERS

NUMBERS = np.array(
    [0.0, -0.0, 0.25, -0.25, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.5, -2.5, 6.0, 7.0, -3.0, 1e-45,
     -1e-45, 8388607.5, -4194303.5, 2.0**31, -(2.0**31) - 256, 3e38, -3e38, np.inf, -np.inf,
     np.nan],
    np.float32,
)  # fmt: skip
UNARY = (
    *("FLOOR", "CEIL", "ROUND", "SIGN", "ABS", "NEG", "SQUARE"),
    *("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "HARD_SWISH", "ELU"),
)
COMPARISONS = ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")


def compare(builder, outputs, arrays, oracle):
    graph = builder.build(outputs)
    wanted = oracle.run(golden.write(graph), [arrays], outputs)[0]
    found = golden.run(graph, arrays, rounding=oracle.name)
    for output in outputs:
        np.testing.assert_array_equal(found[output], wanted[output])
        assert equal(found[output], wanted[output])


def kernel_or_skip(op, kind, oracle):
    types = MAKERS[op].types[oracle.name]
    if isinstance(types, str) or kind not in types:
        pytest.skip(f"NOT COMPARED with {oracle.name}: no kernel of {op} for {kind}")


@pytest.mark.parametrize("op", UNARY)
def test_a_function_of_extreme_numbers(op, oracle):
    kernel_or_skip(op, "float32", oracle)
    builder = golden.GraphBuilder(op, np.float32)
    x = builder.input(NUMBERS.shape)
    options = LeakyReluOptions(alpha=0.25) if op == "LEAKY_RELU" else None
    compare(builder, [builder.apply(op, x, options=options)], [NUMBERS], oracle)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("op", ["ABS", "NEG", "SIGN"])
def test_a_function_of_the_lowest_integer(op, kind, oracle):
    kernel_or_skip(op, kind, oracle)
    limits = np.iinfo(kind)
    values = np.array([limits.min, limits.min + 1, -1, 0, 1, limits.max], kind)
    builder = golden.GraphBuilder(op, kind)
    quantized = {"scale": 0.5} if (op, kind) == ("ABS", "int8") else {}
    x = builder.input(values.shape, **quantized)
    compare(builder, [builder.apply(op, x)], [values], oracle)


@pytest.mark.parametrize("op", COMPARISONS)
def test_comparisons_of_extreme_numbers(op, oracle):
    builder = golden.GraphBuilder(op, np.float32)
    x = builder.input(NUMBERS.shape)
    y = builder.apply(op, x, builder.reshape(x, (*NUMBERS.shape, 1)))
    compare(builder, [y], [NUMBERS], oracle)


@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL", "DIV"])
def test_arithmetic_of_extreme_numbers(op, activation, oracle):
    builder = golden.GraphBuilder(op, np.float32)
    x = builder.input(NUMBERS.shape)
    options = OPTIONS[op](activation=activation)
    y = builder.apply(op, x, builder.reshape(x, (*NUMBERS.shape, 1)), options=options)
    compare(builder, [y], [NUMBERS], oracle)


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_squared_differences_of_extreme_numbers(kind, oracle):
    values = NUMBERS
    if kind == "int32":
        values = np.array(
            [-(1 << 31), -(1 << 31) + 1, -65536, -1, 0, 1, 65536, (1 << 31) - 1], kind
        )
    builder = golden.GraphBuilder("squared difference", kind)
    x = builder.input(values.shape)
    y = builder.apply("SQUARED_DIFFERENCE", x, builder.reshape(x, (*values.shape, 1)))
    compare(builder, [y], [values], oracle)


@pytest.mark.parametrize("axes", [[1], [0, 1]])
@pytest.mark.parametrize("op", ["REDUCE_MAX", "REDUCE_MIN"])
def test_the_extremum_of_extreme_numbers(op, axes, oracle):
    inf, nan = np.inf, np.nan
    rows = np.array(
        list(itertools.product([inf, -inf, nan, 0.0, -0.0], repeat=3)), np.float32
    ).reshape(-1, 1, 3)
    for row in rows if axes == [0, 1] else [rows[:, 0]]:
        builder = golden.GraphBuilder(op, np.float32)
        where = builder.tensor(data=axes, dtype=np.int32)
        options = ReducerOptions(keep_dims=False)
        y = builder.apply(op, builder.input(row.shape), where, options=options)
        compare(builder, [y], [row], oracle)


def test_log_softmax_of_extreme_numbers(oracle):
    rows = np.array(list(itertools.product(NUMBERS, NUMBERS)), np.float32)
    builder = golden.GraphBuilder("log softmax", np.float32)
    compare(builder, [builder.apply("LOG_SOFTMAX", builder.input(rows.shape))], [rows], oracle)


def test_log_softmax_of_the_longest_rows(oracle):
    generator = np.random.default_rng(13)
    values = np.stack([np.full(4095, 9), generator.integers(-128, 128, 4095)]).astype(np.int8)
    for length, scale in itertools.product((1, 2, 3, 1000, 4095), (2.0**-7, 1 / 3, 9.0)):
        part = values[:, :length]
        builder = golden.GraphBuilder("log softmax")
        x = builder.input(part.shape, scale=scale)
        y = builder.apply("LOG_SOFTMAX", x, scale=1 / 16, zero_point=127)
        compare(builder, [y], [part], oracle)


def refused(builder, output, *words, rounding):
    with pytest.raises(golden.GraphError) as caught:
        golden.check_supported(builder.build([output]), rounding)
    for word in words:
        assert word in str(caught.value)


def test_a_row_that_is_too_long_for_log_softmax_is_refused():
    builder = golden.GraphBuilder("log softmax")
    x = builder.input((1, 4097), scale=0.5)
    graph = builder.build([builder.apply("LOG_SOFTMAX", x, scale=1 / 16, zero_point=127)])
    with pytest.raises(golden.GraphError, match=r"LOG_SOFTMAX.*4097 elements are too long"):
        golden.run(graph, [np.zeros((1, 4097), np.int8)])


@pytest.mark.parametrize("rounding", ["tflm", "litert"])
def test_scales_that_the_oracles_do_not_compare_are_refused(rounding):
    for op in COMPARISONS:
        builder = golden.GraphBuilder(op)
        x, y = (builder.input((4,), scale=scale) for scale in (0.5, 1.0))
        z = builder.apply(op, x, y)
        refused(builder, z, f"({op})", str(builder.build([z]).tensors[y]), rounding=rounding)


def test_what_one_oracle_alone_has_is_said():
    for op, kind, rounding, other in (
        ("GELU", np.int8, "tflm", "litert"),
        ("NEG", np.int8, "tflm", "litert"),
        ("ELU", np.int8, "litert", "tflm"),
        ("CEIL", np.float32, "litert", "tflm"),
        ("SQRT", np.int8, "tflm", "litert"),
        ("RELU_N1_TO_1", np.int8, "tflm", "litert"),
        ("RELU_0_TO_1", np.float32, "tflm", "litert"),
    ):
        builder = golden.GraphBuilder(op, kind)
        x = builder.input((4,), scale=0.5 if kind == np.int8 else None)
        refused(builder, builder.apply(op, x), op, f"rounding {other} takes it", rounding=rounding)


@pytest.mark.parametrize(
    ("op", "kind", "word"),
    [
        ("GREATER", "int16", "not INT16; rounding litert takes it"),
        ("LOGICAL_AND", "int8", "must be bool"),
        (
            "SQUARED_DIFFERENCE",
            "uint8",
            "must be int8 or int16 or int32 or float32 with TFLM, not UINT8",
        ),
    ],
)
def test_types_that_tflm_misreads_are_refused(op, kind, word):
    builder = golden.GraphBuilder(op, kind)
    x, y = (builder.input((4,), scale=0.5) for _ in range(2))
    refused(builder, builder.apply(op, x, y), op, word, rounding="tflm")


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_gelu_of_floats_is_refused(kind):
    builder = golden.GraphBuilder("gelu", kind)
    output = builder.apply("GELU", builder.input((2, 4)))
    refused(builder, output, "GELU", "floats are not supported", rounding="litert")


def test_litert_does_not_compute_not_equal_of_plain_int16_values():
    builder = golden.GraphBuilder("not equal", np.int16)
    x, y = (builder.input((4,)) for _ in range(2))
    refused(builder, builder.apply("NOT_EQUAL", x, y), "NOT_EQUAL", "scale", rounding="litert")
