"""Values at the ends of their range, which random layers seldom meet, against both oracles."""

import numpy as np
import pytest

import mensa.golden as golden
from mensa.golden.options import ArgMaxOptions, CastOptions, LeakyReluOptions
from tests.golden.makers import MAKERS

NUMBERS = np.array(
    [0.5, -0.5, 127.9, 128, -128.9, -129, 255.9, 256, -1, 32767.5, 32768, -32769, 65535.5, 65536,
     2.0**31 - 128, 2.0**31, -(2.0**31), -(2.0**31) - 256, 2.0**32 - 256, 2.0**32, 1e10, -1e10,
     9.2e18, 9.3e18, -9.3e18, 1e30, -1e30, np.nan, np.inf, -np.inf],
    np.float32,
)  # fmt: skip


def compare(graph, arrays, oracle):
    (output,) = graph.outputs
    wanted = oracle.run(golden.write(graph), [arrays], [output])[0][output]
    found = golden.run(graph, arrays, rounding=oracle.name)[output]
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == wanted.dtype


@pytest.mark.parametrize("target", ["int8", "uint8", "int16", "int32", "uint32", "int64"])
def test_a_float_beyond_an_integer_is_cast_as_the_oracle_does_it(target, oracle):
    if oracle.name == "tflm" and target in ("uint8", "int64"):
        pytest.skip("TFLM does not cast to this type")
    builder = golden.GraphBuilder("cast", np.float32)
    x = builder.input(NUMBERS.shape)
    options = CastOptions(in_data_type="FLOAT32", out_data_type=target.upper())
    y = builder.tensor(NUMBERS.shape, dtype=target)
    graph = builder.build([builder.operator("CAST", (x,), (y,), options)])
    compare(graph, [NUMBERS], oracle)


def test_every_bit_of_the_exponential_equals_the_oracle(oracle):
    generator = np.random.default_rng(11)
    x = np.concatenate(
        [generator.normal(0, 3, 100_000), generator.uniform(-110, 95, 100_000), NUMBERS]
    ).astype(np.float32)
    builder = golden.GraphBuilder("exp", np.float32)
    graph = builder.build([builder.apply("EXP", builder.input(x.shape))])
    compare(graph, [x], oracle)


@pytest.mark.parametrize("op", ["SQRT", "RSQRT"])
def test_every_bit_of_a_root_equals_the_oracle(op, oracle):
    bits = np.random.default_rng(12).integers(0, 0x7F800000, 200_000)
    x = np.concatenate([bits.astype(np.uint32).view(np.float32), NUMBERS])
    builder = golden.GraphBuilder("root", np.float32)
    graph = builder.build([builder.apply(op, builder.input(x.shape))])
    compare(graph, [x], oracle)


def test_the_largest_of_infinities_and_missing_numbers(litert):
    inf, nan = np.inf, np.nan
    x = np.array(
        [[nan, 1, 2], [2, nan, 1], [nan, nan, nan], [nan, -inf, nan], [-inf, nan, -inf]],
        np.float32,
    )
    builder = golden.GraphBuilder("largest", np.float32)
    where = builder.tensor(data=np.array(1, np.int32), dtype=np.int32)
    y = builder.apply(
        "ARG_MAX",
        builder.input(x.shape),
        where,
        options=ArgMaxOptions(output_type="INT32"),
        dtype=np.int32,
    )
    compare(builder.build([y]), [x], litert)


@pytest.mark.parametrize("op", ["GATHER", "GATHER_ND", "EMBEDDING_LOOKUP"])
@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_is_refused(op, index):
    builder = golden.GraphBuilder("outside")
    places = builder.tensor(data=np.array([index], np.int32), dtype=np.int32)
    table = builder.input((3, 2), scale=1.0)
    inputs = (places, table) if op == "EMBEDDING_LOOKUP" else (table, places)
    graph = builder.build([builder.apply(op, *inputs, dtype=np.int8, scale=1.0)])
    with pytest.raises(golden.GraphError, match=f"operator 0 .{op}."):
        golden.run(graph, [np.zeros((3, 2), np.int8)])


# Random layers have few values, of which few would show the last bit of a multiplier.
@pytest.mark.parametrize("op", ["ABS", "EXP", "LEAKY_RELU", "RELU", "RELU6", "RSQRT", "SQRT"])
def test_every_int16_value_of_drawn_scales_equals_the_oracle(op, oracle):
    if "int16" not in MAKERS[op].types[oracle.name]:
        pytest.skip("no int16 kernel")
    generator = np.random.default_rng(13)
    values = np.arange(0 if op in ("RSQRT", "SQRT") else -32768, 32768).astype(np.int16)
    for _ in range(20):
        builder = golden.GraphBuilder("every", np.int16)
        scale, factor = generator.uniform(1e-4, 1e-3), generator.uniform(0.8, 1.6)
        units = {"EXP": 4e-4, "RSQRT": 1 / np.sqrt(scale) / 32768, "SQRT": 2e-4}
        x = builder.input(values.shape, scale=scale)
        options = LeakyReluOptions(alpha=generator.uniform(0, 1)) if op == "LEAKY_RELU" else None
        output_scale = factor * units.get(op, scale)
        graph = builder.build([builder.apply(op, x, options=options, scale=output_scale)])
        compare(graph, [values], oracle)
