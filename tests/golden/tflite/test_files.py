"""Files and inputs that golden must refuse with its one exception, and what it must keep."""

import contextlib
import errno
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden import schema
from tests.golden.makers import MAKERS
from tests.golden.strategies import layers
from tests.golden.tflite.model_files import changed


@pytest.fixture
def graph():
    builder = golden.GraphBuilder("small")
    x = builder.input((1, 5, 5, 2), scale=0.1, name="image")
    weights = np.arange(-27, 27, dtype=np.int8).reshape(3, 3, 3, 2)
    y = builder.conv2d(
        x, weights, [1, 2, 3], weight_scale=[0.1, 0.2, 0.3], scale=2.0, name="features"
    )
    y = builder.pool2d("average", y, window=(5, 5), stride=(1, 1))
    y = builder.reshape(y, (1, 3))
    return builder.build([builder.softmax(y)])


@pytest.fixture
def data(graph):
    return golden.write(graph)


def refused(call, *words):
    with pytest.raises(golden.GraphError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def any_layer(op):
    """A strategy for layers of one operator, of any type."""
    for oracle, types in MAKERS[op].types.items():
        if not isinstance(types, str):
            return layers(operators=(op,), dtypes=types, floats=True, oracle=oracle)
    raise AssertionError(op)


@pytest.mark.parametrize("op", sorted(MAKERS))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_saving_and_loading_keeps_everything(op, data):
    graph = data.draw(any_layer(op)).graph
    again = golden.read(golden.write(graph), name=graph.name)
    assert again.name == graph.name
    for one, other in zip((graph, *graph.subgraphs), (again, *again.subgraphs), strict=True):
        assert_same(one, other)


def assert_same(graph, again):
    assert (again.inputs, again.outputs) == (graph.inputs, graph.outputs)
    for ours, theirs in zip(graph.operators, again.operators, strict=True):
        for field in fields(ours):
            assert getattr(ours, field.name) == getattr(theirs, field.name)
    for ours, theirs in zip(graph.tensors, again.tensors, strict=True):
        for field in (
            "index",
            "name",
            "shape",
            "dtype",
            "quantized_dimension",
            "is_variable",
            "type_name",
        ):
            assert getattr(ours, field) == getattr(theirs, field)
        np.testing.assert_array_equal(ours.scale, theirs.scale)
        np.testing.assert_array_equal(ours.zero_point, theirs.zero_point)
        assert (ours.data is None) == (theirs.data is None)
        if ours.data is not None:
            np.testing.assert_array_equal(ours.data, theirs.data)


def test_the_same_graph_gives_the_same_bytes(graph):
    assert golden.write(graph) == golden.write(graph)


def test_a_place_that_can_not_be_written_is_named(graph, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    long = "n" * 300
    for place, words in (
        (tmp_path, "Is a directory"),
        (tmp_path / "no" / "net.tflite", "No such file"),
        (tmp_path / "file" / "net.tflite", "Not a directory"),
        (tmp_path / long, "too long"),
        (Path("/dev/full"), "No space left"),
    ):
        refused(lambda place=place: golden.save(graph, place), str(place), words)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_is_replaced_whole_or_not_at_all(graph, data, tmp_path, monkeypatch):
    (tmp_path / "net.tflite").write_bytes(b"before")
    (tmp_path / "link.tflite").symlink_to("net.tflite")

    def full(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        refused(lambda: golden.save(graph, tmp_path / "link.tflite"), "No space left")
    assert (tmp_path / "net.tflite").read_bytes() == b"before"
    golden.save(graph, tmp_path / "link.tflite")
    assert (tmp_path / "net.tflite").read_bytes() == data
    assert (tmp_path / "link.tflite").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"net.tflite", "link.tflite"}


def test_a_missing_file(tmp_path):
    refused(lambda: golden.load(tmp_path / "no.tflite"), "no.tflite", "No such file")


def test_a_folder(tmp_path):
    refused(lambda: golden.load(tmp_path), "Is a directory")


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.tflite").write_bytes(b"")
    refused(lambda: golden.load(tmp_path / "empty.tflite"), "empty.tflite", "empty")


def test_a_truncated_file_at_every_length(data):
    for length in range(0, len(data), 7):
        refused(lambda cut=data[:length]: golden.read(cut))


def test_a_random_file(tmp_path):
    noise = np.random.default_rng(0).bytes(5000)
    (tmp_path / "noise.tflite").write_bytes(noise)
    refused(lambda: golden.load(tmp_path / "noise.tflite"), "not a .tflite file")
    for seed in range(50):
        noise = bytearray(np.random.default_rng(seed).bytes(400))
        noise[4:8] = b"TFL3"
        refused(lambda noise=noise: golden.read(bytes(noise)))


@settings(max_examples=400, deadline=2000, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_a_damaged_file_runs_or_is_refused(data, graph, changes):
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with contextlib.suppress(golden.GraphError):
        found = golden.read(bytes(damaged), max_bytes=1 << 24, max_macs=1 << 26)
        inputs = [np.zeros(found.tensors[i].shape, found.tensors[i].dtype) for i in found.inputs]
        golden.run(found, inputs)


def test_the_budgets(data, tmp_path):
    (tmp_path / "small.tflite").write_bytes(data)
    path = tmp_path / "small.tflite"
    macs = golden.total_macs(golden.load(path))
    assert macs == 5 * 5 * 3 * 3 * 3 * 2
    golden.load(path, max_macs=macs)
    refused(lambda: golden.load(path, max_macs=macs - 1), "operator 0 (CONV_2D)", "max_macs")
    total = sum(tensor.nbytes for tensor in golden.load(path).tensors)
    golden.load(path, max_bytes=total)
    refused(lambda: golden.load(path, max_bytes=total - 1), "tensor", "max_bytes")


def test_inputs_that_do_not_fit(graph):
    good = np.zeros((1, 5, 5, 2), np.int8)
    golden.run(graph, [good])
    golden.run(graph, {graph.inputs[0]: good})
    refused(lambda: golden.run(graph, [good[0]]), "tensor 0 'image'", "[5, 5, 2]", "[1, 5, 5, 2]")
    refused(lambda: golden.run(graph, [good.astype(np.float32)]), "float32", "int8")
    refused(lambda: golden.run(graph, []), "0 inputs")
    refused(lambda: golden.run(graph, {}), "tensor 0 'image'", "missing")
    refused(lambda: golden.run(graph, {3: good}), "not an input")
    refused(lambda: golden.run(graph, good), "list")
    refused(lambda: golden.run(graph, [good], keep="some"), "keep")
    refused(lambda: golden.run(graph, [good], rounding="exact"), "rounding")


def test_a_float_network():
    builder = golden.GraphBuilder("float", np.float32)
    x = builder.input((1, 4))
    weights = builder.tensor(data=np.ones((2, 4)))
    y = builder.tensor((1, 2))
    builder.operator("FULLY_CONNECTED", (x, weights), (y,), version=1)
    graph = golden.read(golden.write(builder.build([y])))
    refused(
        lambda: golden.run(graph, [np.zeros((1, 4), np.float32)]),
        "operator 0 (FULLY_CONNECTED)",
        "tensor 0",
        "float32 is not supported",
    )


def test_an_unsupported_operator_is_named_but_does_not_stop_loading(data):
    # The schema's number of SOFTMAX becomes that of SKIP_GRAM, in both of its fields.
    old, new = (schema.OPERATORS.index(name) for name in ("SOFTMAX", "SKIP_GRAM"))
    graph = golden.read(data)
    changed = None
    for match in re.finditer(re.escape(old.to_bytes(4, "little")), data):
        trial = bytearray(data)
        trial[match.start()] = new
        try:
            found = golden.read(bytes(trial))
        except golden.GraphError:
            continue
        if found.operators[-1].op == "SKIP_GRAM":
            changed = found
    assert changed is not None
    assert [op.op for op in changed.operators[:-1]] == [op.op for op in graph.operators[:-1]]
    for call in (
        lambda: golden.check_supported(changed),
        lambda: golden.run(changed, [np.zeros((1, 5, 5, 2), np.int8)]),
    ):
        refused(call, "operator 3 (SKIP_GRAM)", "not supported")


def compiled(name):
    """A network of one custom operator of this name."""
    builder = golden.GraphBuilder("compiled")
    x, y = builder.input((1, 4), scale=1.0), builder.tensor((1, 2), scale=1.0)
    builder.operator(f"CUSTOM:{name}", (x,), (y,))
    return builder.build([y])


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("edgetpu-custom-op", "Edge TPU"),
        ("ethos-u", "Ethos-U"),
        ("NeutronGraph", "Neutron"),
        ("DISPATCH_OP", "NPU"),
        ("vsi-npu", "VeriSilicon"),
    ],
)
def test_a_compiled_network_is_refused_as_such(name, device):
    graph = golden.read(golden.write(compiled(name)))
    refused(
        lambda: golden.check_supported(graph),
        f"operator 0 (CUSTOM:{name})",
        "this network was compiled for a",
        device,
        "what is wanted is the .tflite file that the compiler was given",
    )


@pytest.mark.parametrize(
    ("name", "device"), [("DISPATCH_OP_3", "NPU"), ("XC_conv2d_v2", "XMOS"), ("XC_mine", "XMOS")]
)
def test_what_a_beginning_tells_of_a_compiler_is_called_probable(name, device):
    graph = golden.read(golden.write(compiled(name)))
    refused(
        lambda: golden.check_supported(graph),
        f"operator 0 (CUSTOM:{name}): this operator is not supported",
        "probably compiled for a",
        device,
    )


@pytest.mark.parametrize("name", ["ethos-u65", "my-vsi-npu", "NeutronGraph2", "XCORE", "DISPATCH"])
def test_a_name_like_that_of_a_compilers_operator_tells_nothing(name):
    graph = golden.read(golden.write(compiled(name)))
    with pytest.raises(golden.GraphError) as caught:
        golden.check_supported(graph)
    assert caught.value.reason == "this operator is not supported"


def sparse_weights(model, schema):
    """Gives the second tensor of a file the table that makes weights sparse."""
    sparse = schema.SparsityParametersT()
    sparse.traversalOrder, sparse.blockMap = [0, 1], []
    model.subgraphs[0].tensors[1].sparsity = sparse


def test_sparse_weights_are_refused_as_such(data):
    refused(lambda: golden.read(changed(data, sparse_weights)), "tensor 1 'weights'", "is sparse")


def test_shapes_that_do_not_agree_name_the_operator_and_the_tensor():
    builder = golden.GraphBuilder()
    x = builder.input((1, 4, 4, 1), scale=1.0)
    y = builder.tensor((1, 3, 3, 1), scale=1.0, name="wrong")
    builder.operator("MAX_POOL_2D", (x,), (y,), golden_pool(2))
    refused(
        lambda: golden.check_supported(builder.build([y])),
        "operator 0 (MAX_POOL_2D)",
        "'wrong'",
        "[1, 4, 4, 1]",
    )


def golden_pool(size):
    from mensa.golden.options import Pool2DOptions

    return Pool2DOptions(padding="SAME", stride_h=1, stride_w=1, filter_h=size, filter_w=size)


def test_names_of_operators_agree_with_the_schema_package():
    numbers = pytest.importorskip("tflite.BuiltinOperator").BuiltinOperator
    names = {name: value for name, value in vars(numbers).items() if isinstance(value, int)}
    for name, value in names.items():
        assert schema.OPERATORS[value] == name


def with_options(op, options):
    """A graph of one operator with these options, which need not be of any use to it."""
    builder = golden.GraphBuilder()
    x, y = builder.input((1,), scale=0.5), builder.tensor((1,), scale=0.5)
    builder.operator(op, (x,), (y,), options=options)
    return builder.build([y])


def test_option_slots_agree_with_the_schema_package():
    """Options of every class, written by golden, are read by the schema's accessors."""
    tflite = pytest.importorskip("tflite")
    from mensa.golden.options import OPTIONS

    accessors = {
        "activation": "FusedActivationFunction",
        "stride_w": "StrideW",
        "stride_h": "StrideH",
        "dilation_w": "DilationWFactor",
        "dilation_h": "DilationHFactor",
        "filter_w": "FilterWidth",
        "filter_h": "FilterHeight",
        "pot_scale_int16": "PotScaleInt16",
    }
    for op, kind in OPTIONS.items():
        if not kind.union_type:
            continue
        for place, item in enumerate(fields(kind)):
            form = item.metadata["kind"]
            value = {
                "int32": 5 + place,
                "float32": 2.5,
                "bool": not item.default,
                "int32s": (3, 1, 4),
                "text": "words",
                "bytes": b"\x03\x01\x04",
            }.get(form)
            if form == "enum":
                value = item.metadata["names"][-1]
            written = with_options(op, kind(**{item.name: value}))
            model = tflite.Model.GetRootAs(golden.write(written), 0)
            operator = model.Subgraphs(0).Operators(0)
            first = kind.union_slot == 3
            union = operator.BuiltinOptions() if first else operator.BuiltinOptions2()
            table = getattr(tflite, kind.__name__)()
            table.Init(union.Bytes, union.Pos)
            name = accessors.get(item.name, "".join(part.title() for part in item.name.split("_")))
            if form == "bytes":
                assert getattr(table, f"{name}AsNumpy")().tobytes() == value
                continue
            if form == "int32s":
                found = getattr(table, f"{name}AsNumpy")()
                assert tuple(int(v) for v in found) == value
                continue
            found = getattr(table, name)()
            if form == "text":
                found = found.decode()
            assert found == (item.metadata["names"].index(value) if form == "enum" else value), (
                item.name
            )
        numbers = tflite.BuiltinOptions if kind.union_slot == 3 else tflite.BuiltinOptions2
        assert getattr(numbers, kind.__name__) == kind.union_type


def test_importing_golden_adds_little_to_importing_numpy():
    code = (
        # Processor time: other programs on the machine do not count.
        "import time, numpy; start = time.process_time(); import mensa.golden, sys;"
        "print(time.process_time() - start); "
        "assert not {'tflite', 'amaranth', 'flatbuffers'} & set(sys.modules)"
    )
    seconds = min(
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, check=True, text=True
            ).stdout
        )
        for _ in range(3)
    )
    assert seconds < 0.2
