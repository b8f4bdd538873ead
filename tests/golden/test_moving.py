"""Indices, sizes and numbers at the ends of their range, which random layers seldom meet."""

import numpy as np
import pytest

import mensa.golden as golden
from mensa.golden.options import CumsumOptions, ReverseSequenceOptions
from tests.golden.comparison import equal
from tests.golden.moving_layers import constant, dilated
from tests.golden.oracles import OracleError


def compare(graph, arrays, oracle):
    outputs = list(graph.outputs)
    wanted = oracle.run(golden.write(graph), [arrays], outputs)[0]
    found = golden.run(graph, arrays, rounding=oracle.name)
    for output in outputs:
        np.testing.assert_array_equal(found[output], wanted[output])
        assert equal(found[output], wanted[output]), "the type or the sign of a zero differs"
    return [found[output] for output in outputs]


def refused_by_both(graph, arrays, oracle, reason):
    with pytest.raises(golden.GraphError, match=reason) as caught:
        golden.run(graph, arrays, rounding=oracle.name)
    assert caught.value.operator == f"operator 0 ({graph.operators[0].op})"
    with pytest.raises(OracleError):
        oracle.run(golden.write(graph), [arrays], list(graph.outputs))


def scatter(indices, shape, updates):
    builder = golden.GraphBuilder("scatter", updates.dtype)
    where = builder.input(np.shape(indices), dtype=np.int32)
    new = builder.input(updates.shape)
    y = builder.apply("SCATTER_ND", where, new, constant(builder, shape), dtype=updates.dtype)
    return builder.build([y]), [np.array(indices, np.int32), updates]


@pytest.mark.parametrize(
    "updates",
    [
        np.array([100, 100, 100], np.int8),
        np.array([200, 100, 1], np.uint8),
        np.array([2**31 - 1, 2**31 - 1, 5], np.int32),
        np.array([True, True, False]),
        np.array([-0.0, 1e30, 1.0], np.float32),
        np.array([3e38, 3e38, -np.inf], np.float32),
    ],
    ids=str,
)
@pytest.mark.parametrize("indices", [[[1], [1], [1]], [[0], [1], [2]], [[2], [0], [2]]], ids=str)
def test_slices_scattered_to_one_place_add_up(indices, updates, litert):
    compare(*scatter(indices, (3,), updates), litert)


@pytest.mark.parametrize("index", [[0, 3], [1, -1], [2, 0], [-1, 2], [-(2**31), 0]], ids=str)
def test_scattering_outside_is_refused(index, litert):
    # Each index is held against its own dimension, though most of these are inside the tensor.
    graph, arrays = scatter([[0, 0], index], (2, 3), np.array([1, 2], np.int8))
    refused_by_both(graph, arrays, litert, rf"index \[{index[0]}, {index[1]}\] is outside")


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize(
    "start", [[0, 0], [2, 1], [3, 4], [-5, 1], ["most", "least"], ["least", "most"]], ids=str
)
def test_a_slice_that_starts_outside_is_moved_inside(start, kind, oracle):
    limits = np.iinfo(kind)
    ends = {"most": limits.max, "least": limits.min}
    builder = golden.GraphBuilder("update")
    x, update = builder.input((4, 3)), builder.input((2, 2))
    where = builder.input((2,), dtype=kind)
    graph = builder.build([builder.apply("DYNAMIC_UPDATE_SLICE", x, update, where)])
    values = np.arange(12, dtype=np.int8).reshape(4, 3)
    at = np.array([ends.get(each, each) for each in start], kind)
    compare(graph, [values, -values[:2, 1:], at], oracle)


def test_of_equal_elements_the_first_is_larger(litert):
    inf = np.inf
    x = np.array([[0.0, -0.0, 1, -0.0, 0.0], [inf, -inf, inf, -inf, -inf]], np.float32)
    for k in range(6):
        builder = golden.GraphBuilder("largest", np.float32)
        compare(builder.build(list(builder.top_k(builder.input(x.shape), k))), [x], litert)


def largest(kind, k, room, width=5):
    """TOPK_V2 whose number is an input."""
    builder = golden.GraphBuilder("largest")
    x, count = builder.input((2, width)), builder.input((1,), dtype=kind)
    outputs = builder.tensor((2, room)), builder.tensor((2, room), dtype=np.int32)
    builder.operator("TOPK_V2", (x, count), outputs)
    values = np.random.default_rng(3).integers(-9, 9, (2, width)).astype(np.int8)
    return builder.build(list(outputs)), [values, np.array([k], kind)]


@pytest.mark.parametrize("kind", [np.int16, np.int32])
@pytest.mark.parametrize(("k", "room"), [(1, 1), (3, 3), (5, 5)])
def test_how_many_of_the_largest_may_be_computed(k, room, kind, litert):
    compare(*largest(kind, k, room), litert)


def test_a_computed_number_of_the_largest_must_be_that_of_the_outputs():
    with pytest.raises(golden.GraphError, match="2 are wanted, the outputs have room for 3"):
        golden.run(*largest(np.int32, 2, 3), rounding="litert")
    with pytest.raises(golden.GraphError, match="has rows of 5, 6 are wanted"):
        golden.run(*largest(np.int32, 6, 6), rounding="litert")


def test_more_of_the_largest_than_there_are_is_refused(litert):
    builder = golden.GraphBuilder("largest")
    graph = builder.build(list(builder.top_k(builder.input((2, 5)), 6)))
    refused_by_both(graph, [np.zeros((2, 5), np.int8)], litert, "has rows of 5, 6 are wanted")


def test_the_largest_of_missing_numbers_are_refused():
    builder = golden.GraphBuilder("largest", np.float32)
    graph = builder.build(list(builder.top_k(builder.input((3,)), 2)))
    with pytest.raises(golden.GraphError, match="NaN"):
        golden.run(graph, [np.array([1, np.nan, 2], np.float32)], rounding="litert")


def sequences(lengths, kind=np.int32):
    builder = golden.GraphBuilder("sequences", np.int16)
    x, count = builder.input((3, 4)), builder.input((3,), dtype=kind)
    options = ReverseSequenceOptions(seq_dim=1, batch_dim=0)
    graph = builder.build([builder.apply("REVERSE_SEQUENCE", x, count, options=options)])
    return graph, [np.arange(12, dtype=np.int16).reshape(3, 4), np.array(lengths, kind)]


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("lengths", [[0, 1, 4], [-1, 2, 3], [3, -7, 1 - 2**31]], ids=str)
def test_sequences_are_reversed_up_to_their_lengths(lengths, kind, litert):
    compare(*sequences(lengths, kind), litert)


@pytest.mark.parametrize("lengths", [[5, 1, 1], [1, 1, 5], [0, -(2**31), 0]], ids=str)
def test_sequences_longer_than_their_steps_are_refused(lengths):
    # LiteRT looks at the first only, and writes beyond its output for the others.
    with pytest.raises(golden.GraphError, match=r"a length is .*, there are 4 steps"):
        golden.run(*sequences(lengths), rounding="litert")


@pytest.mark.parametrize("axes", [[0, 2], [1, 1], [3], [-4], [2, 0]], ids=str)
def test_dimensions_that_do_not_follow_one_another_are_not_reversed(axes, oracle):
    builder = golden.GraphBuilder("reverse")
    x = builder.input((2, 3, 2))
    graph = builder.build([builder.apply("REVERSE_V2", x, constant(builder, axes))])
    refused_by_both(graph, [np.zeros((2, 3, 2), np.int8)], oracle, "dimension")


def test_no_dimension_is_not_reversed():
    # The oracles read what stands before the list, and die.
    builder = golden.GraphBuilder("reverse")
    graph = builder.build([builder.apply("REVERSE_V2", builder.input((2,)), constant(builder, []))])
    for rounding in ("tflm", "litert"):
        with pytest.raises(golden.GraphError, match="not one or more"):
            golden.run(graph, [np.zeros(2, np.int8)], rounding=rounding)


@pytest.mark.parametrize(
    ("op", "most"), [("BROADCAST_TO", 5), ("REVERSE_V2", 6), ("DYNAMIC_UPDATE_SLICE", 6)]
)
def test_as_many_dimensions_as_the_oracle_takes(op, most, oracle):
    def layer(rank):
        shape = (*(1,) * (rank - 2), 3, 2)
        builder = golden.GraphBuilder("dimensions")
        x = builder.input(shape)
        others = {
            "BROADCAST_TO": lambda: (constant(builder, shape),),
            "REVERSE_V2": lambda: (constant(builder, [-1]),),
            "DYNAMIC_UPDATE_SLICE": lambda: (
                builder.tensor(data=np.full((*(1,) * (rank - 1), 2), 9)),
                constant(builder, [0] * (rank - 2) + [1, 0]),
            ),
        }
        y = builder.apply(op, x, *others[op]())
        return builder.build([y]), [np.arange(6, dtype=np.int8).reshape(shape)]

    most = most if oracle.name == "tflm" else 8
    compare(*layer(most), oracle)
    if most < 8:
        refused_by_both(*layer(most + 1), oracle, "dimensions")


def test_a_scalar_is_broadcast(oracle):
    builder = golden.GraphBuilder("scalar", np.int32)
    y = builder.apply("BROADCAST_TO", builder.input(()), constant(builder, [2, 3]))
    compare(builder.build([y]), [np.array(-5, np.int32)], oracle)


@pytest.mark.parametrize(("shape", "wanted"), [((2,), (3,)), ((1, 1, 2), (2,)), ((2, 1), (1, 2))])
def test_shapes_that_do_not_broadcast_are_refused(shape, wanted, oracle):
    builder = golden.GraphBuilder("broadcast")
    x, y = builder.input(shape), builder.tensor(wanted)
    builder.operator("BROADCAST_TO", (x, constant(builder, wanted)), (y,))
    refused_by_both(builder.build([y]), [np.zeros(shape, np.int8)], oracle, "can't be broadcast")


def sums(shape, ratio, zero_points=(0, 0), **options):
    """CUMSUM along a row of int8 elements, whose scale is `ratio` output steps."""
    builder = golden.GraphBuilder("sums")
    x = builder.input(shape, scale=ratio, zero_point=zero_points[0])
    y = builder.apply(
        *("CUMSUM", x, constant(builder, -1)),
        options=CumsumOptions(**options),
        scale=1.0,
        zero_point=zero_points[1],
    )
    return builder.build([y])


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ratio", [2.0**18, 1.0, 0.02, 2.0**-12, 2.0**-40])
@pytest.mark.parametrize("zero_points", [(-128, 0), (127, -128), (5, 127)])
def test_sums_of_int8_elements_wrap_in_32_bits(zero_points, ratio, reverse, exclusive, tflm):
    generator = np.random.default_rng(5)
    x = generator.choice([-128, -1, 0, 1, 127], (20, 300)).astype(np.int8)
    x[:2] = [[-128], [127]]
    graph = sums(x.shape, ratio, zero_points, exclusive=exclusive, reverse=reverse)
    compare(graph, [x], tflm)


@pytest.mark.parametrize("ratio", [2.0**19, 2.0**20, 1e30])
def test_sums_of_coarse_elements_are_refused(ratio, tflm):
    graph = sums((3,), ratio)
    refused_by_both(graph, [np.ones(3, np.int8)], tflm, "too small for the input's")


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_every_bit_of_sums_of_floats_equals_the_oracle(reverse, exclusive, oracle):
    generator = np.random.default_rng(6)
    x = generator.normal(0, 1, (3, 40, 7)) * 10.0 ** generator.integers(-9, 9, (3, 40, 7))
    x[generator.random(x.shape) < 0.2] = -0.0
    x[0, 20, :3] = [np.inf, -np.inf, np.nan]
    x[0, 30, :3] = -np.inf
    x[1, :, 0] = -0.0
    x[1, :, 1] = 3e38
    for axis in range(-3, 3):
        builder = golden.GraphBuilder("sums", np.float32)
        options = CumsumOptions(exclusive=exclusive, reverse=reverse)
        values = builder.input(x.shape)
        y = builder.apply("CUMSUM", values, constant(builder, [axis]), options=options)
        compare(builder.build([y]), [x.astype(np.float32)], oracle)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_sums_of_integers_wrap(kind, litert):
    limits = np.iinfo(kind)
    builder = golden.GraphBuilder("sums", kind)
    y = builder.apply("CUMSUM", builder.input((6,)), constant(builder, 0))
    x = np.array([limits.max, 1, 1, limits.max, limits.max, limits.min], kind)
    compare(builder.build([y]), [x], litert)


@pytest.mark.parametrize(
    ("op", "ends"),
    [
        ("SPACE_TO_BATCH_ND", [[0, 1], [0, 0]]),
        ("BATCH_TO_SPACE_ND", [[5, 5], [0, 0]]),
        ("BATCH_TO_SPACE_ND", [[-1, 0], [0, 0]]),
    ],
)
def test_pixels_that_are_not_whole_blocks_are_refused(op, ends, litert):
    builder = golden.GraphBuilder("blocks")
    x, y = builder.input((4, 4, 4, 2)), builder.tensor((1, 1, 1, 1))
    operands = (x, constant(builder, [2, 2]), constant(builder, ends))
    builder.operator(op, operands, (y,))
    refused_by_both(builder.build([y]), [np.zeros((4, 4, 4, 2), np.int8)], litert, "pixels|left")


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("zero_point", [0, -128, 6])
def test_batches_of_pixels_make_a_convolution_dilated(zero_point, depthwise, oracle):
    in_batches, whole = dilated(depthwise, zero_point)
    x = np.random.default_rng(9).integers(-128, 128, (1, 9, 7, 4)).astype(np.int8)
    (found,) = compare(in_batches, [x], oracle)
    (wanted,) = compare(whole, [x], oracle)
    # TFLM pads with 0, whatever the zero point is.
    assert np.array_equal(found, wanted) == (oracle.name == "litert" or zero_point == 0)
