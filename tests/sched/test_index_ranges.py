"""Random inputs that networks use as indices are inside what they index, and only those."""

import numpy as np
import pytest

import mensa.golden as golden
from mensa.golden.options import CastOptions, GatherOptions, ReverseSequenceOptions
from mensa.sched import api
from mensa.sched.index_ranges import index_ranges
from mensa.sched.inputs import InputError, make_inputs
from tests.sched.cli.test_commands import invoke

SEEDS = range(200)


def gather(builder, index):
    table = builder.input((3, 7, 2), scale=1.0)
    return builder.apply("GATHER", table, index, options=GatherOptions(axis=1))


def gather_nd(builder, index):
    return builder.apply("GATHER_ND", builder.input((3, 7, 2), scale=1.0), index)


def embedding(builder, index):
    table = builder.tensor(data=np.arange(18, dtype=np.int8).reshape(6, 3), scale=1.0)
    return builder.apply("EMBEDDING_LOOKUP", index, table, dtype=np.int8, scale=1.0)


def scatter(builder, index):
    shape = builder.tensor(data=np.array([3, 5, 2]), dtype=np.int32)
    updates = builder.input((2, 2), scale=1.0)
    return builder.apply("SCATTER_ND", index, updates, shape, dtype=np.int8, scale=1.0)


def update(builder, index):
    whole, part = builder.input((4, 5, 2), scale=1.0), builder.input((1, 3, 2), scale=1.0)
    return builder.apply("DYNAMIC_UPDATE_SLICE", whole, part, index)


def top_k(builder, index, room=3):
    x = builder.input((2, 5), scale=1.0)
    outputs = builder.tensor((2, room), scale=1.0), builder.tensor((2, room), dtype=np.int32)
    return builder.operator("TOPK_V2", (x, index), outputs)


def reverse(builder, index):
    x = builder.input((3, 4), scale=1.0, dtype=np.uint8)
    options = ReverseSequenceOptions(seq_dim=1, batch_dim=0)
    return builder.apply("REVERSE_SEQUENCE", x, index, options=options)


#: By operator: a layer, the shape of its indices, and the least and the largest of each.
LAYERS = {
    "GATHER": (gather, (2, 2), 0, 6),
    "GATHER_ND": (gather_nd, (4, 2), 0, [2, 6]),
    "EMBEDDING_LOOKUP": (embedding, (5,), 0, 5),
    "SCATTER_ND": (scatter, (2, 2), 0, [2, 4]),
    "DYNAMIC_UPDATE_SLICE": (update, (3,), 0, [3, 2, 0]),
    "TOPK_V2": (top_k, (1,), 3, 3),
    "REVERSE_SEQUENCE": (reverse, (3,), 0, 4),
}
#: Those that TFLM has no kernel of.
LITERT_ONLY = ("SCATTER_ND", "TOPK_V2", "REVERSE_SEQUENCE")


def drawn(graph, rounding="litert"):
    """The first input, many times, all of which golden can compute."""
    found = []
    for seed in SEEDS:
        inputs = make_inputs(graph, "random", seed, rounding)
        golden.run(graph, inputs, rounding=rounding)
        found.append(inputs[0])
    return np.stack(found)


@pytest.mark.parametrize("op", LAYERS)
def test_indices_are_drawn_from_all_that_are_inside(op):
    layer, shape, least, largest = LAYERS[op]
    builder = golden.GraphBuilder(op)
    index = builder.input(shape, dtype=np.int32)
    graph = builder.build([layer(builder, index)])
    for rounding in ("litert",) if op in LITERT_ONLY else ("tflm", "litert"):
        values = drawn(graph, rounding)
        assert values.dtype == np.int32
        np.testing.assert_array_equal(values.min(axis=0), np.broadcast_to(least, shape))
        np.testing.assert_array_equal(values.max(axis=0), np.broadcast_to(largest, shape))


def moved(builder, index):
    """An index of shape [4, 1] in int64, from an input of any shape and type."""
    index = builder.reshape(index, (4, 1))
    target = builder.tensor((4, 1), dtype=np.int64)
    options = CastOptions(in_data_type="INT32", out_data_type="INT64")
    return builder.operator("CAST", (index,), (target,), options)


def test_indices_are_inside_after_they_were_moved():
    builder = golden.GraphBuilder()
    index = moved(builder, builder.input((2, 2), dtype=np.int32))
    graph = builder.build([gather(builder, index)])
    values = drawn(graph)
    assert values.shape == (len(SEEDS), 2, 2)
    assert set(values.ravel().tolist()) == set(range(7))


def test_moved_indices_of_several_dimensions_are_inside_all():
    builder = golden.GraphBuilder()
    index = builder.reshape(builder.input((8,), dtype=np.int32), (4, 2))
    values = drawn(builder.build([gather_nd(builder, index)]))
    assert set(values.ravel().tolist()) == {0, 1, 2}


def test_an_index_of_two_operators_is_inside_both():
    builder = golden.GraphBuilder()
    index = builder.input((5,), dtype=np.int32)
    outputs = [gather(builder, index), embedding(builder, index)]
    assert set(drawn(builder.build(outputs)).ravel().tolist()) == set(range(6))


def test_an_index_that_can_be_inside_one_of_two_only_is_an_error():
    builder = golden.GraphBuilder()
    index = builder.input((1,), dtype=np.int32, name="k")
    graph = builder.build([top_k(builder, index, 2), top_k(builder, index, 3)])
    with pytest.raises(InputError, match="no value of tensor 0 'k' is inside all"):
        make_inputs(graph, "random", 0, "litert")


def test_what_is_computed_with_is_drawn_from_the_whole_range():
    builder = golden.GraphBuilder()
    index = builder.input((5,), dtype=np.int32)
    total = builder.apply("MUL", index, index)
    graph = builder.build([embedding(builder, index), total])
    assert index_ranges(graph, "litert") == {}
    (values, *_) = make_inputs(graph, "random", 0, "litert")
    assert np.abs(values.astype(np.int64)).max() > 1 << 20


def test_what_is_moved_and_then_computed_with_is_no_index():
    builder = golden.GraphBuilder()
    x = builder.input((2, 2), dtype=np.int32)
    index = moved(builder, x)
    floats = builder.tensor((2, 2), dtype=np.float32)
    options = CastOptions(in_data_type="INT32", out_data_type="FLOAT32")
    builder.operator("CAST", (x,), (floats,), options)
    graph = builder.build([gather(builder, index), floats])
    assert x not in index_ranges(graph, "litert")


def test_what_is_only_moved_is_drawn_from_the_whole_range():
    builder = golden.GraphBuilder(dtype=np.int32)
    graph = builder.build([builder.reshape(builder.input((4,)), (2, 2))])
    assert index_ranges(graph) == {}


def test_an_index_of_16_bits_stays_in_them():
    builder = golden.GraphBuilder()
    index = builder.input((3,), dtype=np.int16)
    table = builder.input((1 << 17,), scale=1.0)
    graph = builder.build([builder.apply("GATHER", table, index)])
    values = drawn(graph)
    assert values.dtype == np.int16
    assert values.min() >= 0
    assert values.max() > 1 << 14


def test_truths_are_drawn():
    builder = golden.GraphBuilder(dtype=np.bool_)
    graph = builder.build([builder.reshape(builder.input((9,)), (3, 3))])
    values = drawn(graph)
    assert values.dtype == np.bool_
    assert 0.4 < values.mean() < 0.6


@pytest.mark.parametrize("op", LAYERS)
@pytest.mark.parametrize("engine", ["model", "functional"])
def test_networks_with_indices_run_on_random_input(op, engine, tmp_path, capsys):
    layer, shape, *_ = LAYERS[op]
    builder = golden.GraphBuilder(op)
    path = tmp_path / "net.tflite"
    golden.save(builder.build([layer(builder, builder.input(shape, dtype=np.int32))]), path)
    rounding = ["--rounding", "litert"] if op in LITERT_ONLY else []
    small = ["--set", "rows=2", "--set", "cols=2"]
    check = ["--check"] if engine == "functional" else []
    command = ["run", str(path), "--engine", engine, *check, "--steps", "3", *small, *rounding]
    assert invoke(command) == 0
    assert f"{op} is on the host: the accelerators have no such operation" in " ".join(
        capsys.readouterr().out.split()
    )
    assert invoke(["inspect", str(path), *rounding]) == 0
    assert invoke(["golden", str(path), *rounding]) == 0


@pytest.fixture
def at_most(tmp_path):
    """A network whose index is what goes in, but at most 2."""
    builder = golden.GraphBuilder("at most")
    x, two = builder.input((1,), dtype=np.int32), builder.tensor(data=[2], dtype=np.int32)
    index = builder.apply("MINIMUM", x, two)
    table = builder.tensor(data=np.arange(3), dtype=np.int8, scale=1.0)
    graph = builder.build([builder.apply("GATHER", table, index, options=GatherOptions())])
    path = tmp_path / "net.tflite"
    golden.save(graph, path)
    np.save(tmp_path / "minus_one.npy", np.array([-1], np.int32))
    np.save(tmp_path / "one.npy", np.array([1], np.int32))
    return path


COMMANDS = {
    "golden": ["golden"],
    "functional": [
        "run",
        "--engine",
        "functional",
        "--check",
        "--set",
        "rows=2",
        "--set",
        "cols=2",
    ],
}


def test_a_run_for_time_alone_computes_no_index(at_most, capsys):
    graph = golden.load(at_most)
    arrays = [make_inputs(graph, "random", seed) for seed in range(20)]
    wrong = next(seed for seed in range(20) if arrays[seed][0][0] < 0)
    assert invoke(["run", str(at_most), "--seed", str(wrong)]) == 0
    result = api.run(graph, api.system(), [arrays[wrong]])
    assert result.report.time_ns
    with pytest.raises(golden.GraphError, match="an index is not from 0 to 2"):
        _ = result.outputs


@pytest.mark.parametrize("command", COMMANDS)
def test_random_input_that_leads_to_a_wrong_index_is_to_be_given(command, at_most, capsys):
    words = [*COMMANDS[command], str(at_most)]
    wrong = next(  # a negative number is none of the indices
        seed for seed in range(20) if make_inputs(golden.load(at_most), "random", seed)[0][0] < 0
    )
    assert invoke([*words, "--seed", str(wrong)]) == 2
    said = capsys.readouterr().err
    assert "operator 1 (GATHER)" in said
    assert "an index is not from 0 to 2" in said
    assert "made-up inputs (random)" in said
    assert "give --input a file" in said
    # What was given is what was meant.
    assert invoke([*words, "--input", str(at_most.with_name("minus_one.npy"))]) == 2
    said = capsys.readouterr().err
    assert "an index is not from 0 to 2" in said
    assert "--input" not in said
    assert invoke([*words, "--input", str(at_most.with_name("one.npy"))]) == 0
