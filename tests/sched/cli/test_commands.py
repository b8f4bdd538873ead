"""The command line as users meet it: results, exit status, one line for bad input."""

import ast
import dataclasses
import importlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from rich.console import Console

from mensa import golden
from mensa.golden.plan import Rounding as GoldenRounding
from mensa.rtl.machine import KIB, edge_tpu
from mensa.rtl.registers import CATEGORIES
from mensa.sched import digits, inspection
from mensa.sched.cli import errors
from mensa.sched.cli.main import invoke
from mensa.sched.cli.options import Rounding
from mensa.sched.cli.settings import choose_soc
from mensa.sched.inputs import InputError, make_inputs
from mensa.sched.lower import lower
from mensa.sched.placement import all_on
from mensa.sched.run import run_network
from tests.golden.tflite.model_files import changed
from tests.models import NETWORKS, network_path

# The machine "8x8" of tests/sim/pool.py, so that both need one build.
SMALL = (
    "--set", "rows=8", "--set", "cols=8",
    "--set", "parameter_buffer_bytes=524288", "--set", "activation_buffer_bytes=524288",
)  # fmt: skip

# A core with waves is a build of its own: a small one.
TINY = (
    "--set", "rows=4", "--set", "cols=4",
    "--set", "parameter_buffer_bytes=4096", "--set", "activation_buffer_bytes=8192",
)  # fmt: skip

REGRESS = os.environ.get("MENSA_REGRESS") == "1"
# Networks of more work than this are looked at in `make regress` only.
LARGE_MACS = 30_000_000

MODEL = digits.DATA / "digits.tflite"

LAYER_KEYS = {
    "index", "op", "name", "machine", "cycles", "time_ns", "macs", "utilization", "stalls",
    "dram_read_bytes", "dram_write_bytes", "parameter_bytes", "spilled_bytes", "buffer_reads",
    "energy_pj", "roofline", "energy_events", "bit_exact", "reason", "copies", "table_of",
}  # fmt: skip


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty directory that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tflite_with_operator(name):
    """The bundled network, its ADD replaced by another builtin operator."""

    def change(model, schema):
        (code,) = (
            each for each in model.operatorCodes if each.builtinCode == schema.BuiltinOperator.ADD
        )
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)

    return changed(MODEL.read_bytes(), change)


def float_network():
    """The bundled network's shapes with float32 tensors."""
    graph = digits.load_network()
    none = {"scale": np.zeros(0, np.float32), "zero_point": np.zeros(0, np.int64)}
    tensors = tuple(
        dataclasses.replace(
            tensor,
            dtype=np.dtype(np.float32),
            type_name="FLOAT32",
            data=None if tensor.data is None else tensor.data.astype(np.float32),
            **none,
        )
        for tensor in graph.tensors
    )
    return golden.write(golden.Graph(tensors, graph.operators, graph.inputs, graph.outputs))


def bad_files(folder):
    """Files that are wrong in every way that a file can be."""
    good = MODEL.read_bytes()
    (folder / "net.tflite").write_bytes(good)
    (folder / "truncated.tflite").write_bytes(good[: len(good) // 2])
    (folder / "random.tflite").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "empty.tflite").write_bytes(b"")
    (folder / "float.tflite").write_bytes(float_network())
    (folder / "cos.tflite").write_bytes(tflite_with_operator("COS"))
    np.save(folder / "shape.npy", np.zeros((1, 9, 9, 1), np.int8))
    np.save(folder / "type.npy", np.zeros((1, 8, 8, 1), np.int64))
    np.savez(folder / "names.npz", a=np.zeros(1), b=np.zeros(1))
    (folder / "garbage.npy").write_bytes(b"garbage")
    np.save(folder / "objects.npy", np.array([{}, 1], object), allow_pickle=True)
    np.save(folder / "whole.npy", np.zeros((1, 8, 8, 1), np.int8))
    whole = (folder / "whole.npy").read_bytes()
    (folder / "cut.npy").write_bytes(whole[:-5])
    (folder / "header.npy").write_bytes(whole.replace(b"(1, 8, 8, 1)", b"((((((((((((".ljust(12)))
    (folder / "huge.npy").write_bytes(whole.replace(b"(1, 8, 8, 1)", b"(999999999,)"))
    with zipfile.ZipFile(folder / "text.npz", "w") as file:
        file.writestr("0", "no array")
    (folder / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    (folder / "circle.tflite").symlink_to("circle.tflite")
    (folder / "garbage.npz").write_bytes(b"garbage")
    (folder / "wrong.toml").write_text("[machine]\nrows = 0\n")
    (folder / "directory").mkdir()


def contents(folder):
    """Every file of a folder and what is in it; None for a directory."""
    paths = folder.rglob("*")
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


BAD = [
    ("run missing.tflite", "missing.tflite"),
    ("run directory", "directory"),
    ("run truncated.tflite", "truncated.tflite"),
    ("run random.tflite", "not a .tflite file"),
    ("run empty.tflite", "empty"),
    ("run float.tflite", "float32"),
    ("run cos.tflite", "COS"),
    ("golden float.tflite", "float32"),
    ("golden cos.tflite --save-tensors t.npz", "COS"),
    ("golden truncated.tflite", "truncated.tflite"),
    ("inspect random.tflite", "not a .tflite file"),
    ("disasm empty.tflite", "empty"),
    ("disasm missing.npz", "missing.npz"),
    ("disasm garbage.npz", "not a saved program"),
    ("run --input shape.npy", "[1, 9, 9, 1]"),
    ("run --input type.npy", "int64"),
    ("run --input names.npz", "names.npz"),
    ("run --input missing.npy", "missing.npy"),
    ("run --input garbage.npy", "garbage.npy"),
    ("run --input garbage.npz", "garbage.npz"),
    ("run --input digits", "digits"),
    ("run --input objects.npy", "objects.npy is not a NumPy file of numbers"),
    ("run --input cut.npy", "cut.npy is not a NumPy file of numbers"),
    ("golden MODEL --input header.npy", "header.npy is not a NumPy file of numbers"),
    ("run --input huge.npy", "huge.npy is not a NumPy file of numbers"),
    ("run --input text.npz", "'0' is no array"),
    ("run circle.tflite", "circle.tflite"),
    ("disasm text.npz", "not a saved program"),
    ("run --soc bytes.toml", "bytes.toml is not TOML"),
    (f"golden {'n' * 300}.tflite", "File name too long"),
    (f"inspect MODEL --json {'n' * 300}", "File name too long"),
    ("compile MODEL -o out --base x", "--base x"),
    ("compile MODEL -o out --base -4096", "can't begin at -0x1000"),
    ("compile MODEL -o net.tflite", "it is a file"),
    ("compile directory -o out", "Is a directory"),
    ("synth edge_tpu --target ecp5-25k --timeout inf", "--timeout"),
    ("synth edge_tpu --target ecp5-25k --frequency nan", "--frequency"),
    ("synth edge_tpu --target ecp5-25k --frequency inf", "--frequency"),
    ("run --set rows=0", "rows"),
    ("run --set rows=1000", "rows"),
    ("run --set rows=eight", "eight"),
    ("run --set rows", "rows"),
    ("run --set rows=8 --set rows=16", "twice"),
    ("run --set lanes=8", "lanes"),
    ("run --set memory.lanes=8", "lanes"),
    ("run --set memory.latency_ns=-1", "latency_ns"),
    ("run --set memory.size_bytes=4096", "memory"),
    ("run --set host.lanes=8", "host: no setting 'lanes'"),
    ("run --set energy.volts=1", "energy: no setting 'volts'"),
    ("run --set energy.node_nm=7", "energy: node_nm must be between 14 and 45, not 7"),
    ("run --set energy.device=cmos", "energy: device is lstp, lop, hp, not 'cmos'"),
    ("run --set memory.kind=dram", "memory kind is lpddr4, stacked, hbm2, not 'dram'"),
    ("rtl edge_tpu -o hw --set energy.node_nm=28", "the energy is no part of this"),
    ("run --set host.clock_hz=0", "host: clock_hz must be between 1 and"),
    ("rtl edge_tpu -o hw --set host.clock_hz=1e9", "the host is no part of this"),
    ("run --set memory.bandwidth_bytes_per_s=1e16", "at most 1000000000000000"),
    ("run --set rows=8.5", "rows must be an integer, not 8.5"),
    (f"run --set rows=0x{'f' * 5000}", "beyond all settings"),
    (f"run --set rows={'9' * 5000}", "beyond all settings"),
    ("run --set memory.latency_ns=inf", "beyond all settings"),
    ("run --set memory.latency_ns=nan", "finite"),
    ("run --set name=../x", "name"),
    ("run --set activation_buffer_bytes=1024 --set parameter_buffer_bytes=512", "bank"),
    ("run --machine tpu9", "tpu9"),
    ("run --soc phone", "phone"),
    ("run --soc missing.toml", "missing.toml"),
    ("run --soc wrong.toml", "rows"),
    ("run --engine quantum", "quantum"),
    ("run --rounding up", "up"),
    ("run --steps 0", "--steps"),
    ("run --steps 99", "--input random"),
    ("run net.tflite --steps 99999999999999", "--steps"),
    ("run --vcd waves.vcd", "--engine rtl"),
    ("run --check", "--check needs --engine rtl or functional"),
    ("run net.tflite --engine model --check --json r.json", "nothing to compare"),
    ("run --plot run.gif", "a plot's name ends in .png"),
    ("run --plot no/where.png", "no/where.png"),
    ("run --engine functional --plot run.png", "--plot needs --engine model or rtl"),
    ("run --json no/where.json", "no/where.json"),
    ("run --json directory", "directory"),
    ("run --trace no/where.json", "no/where.json"),
    ("run --seed -1", "--seed"),
    ("golden MODEL --seed -1", "--seed"),
    ("golden MODEL --rounding up", "up"),
    ("inspect MODEL --rounding up", "up"),
    ("disasm MODEL --rounding up", "up"),
    ("run --engine functional --trace t.json", "--trace needs --engine model or rtl"),
    ("run --json x --trace x", "--json and --trace"),
    ("run --engine rtl --trace x --vcd ./x", "--trace and --vcd"),
    ("golden MODEL --json x --save-tensors directory/../x", "--json and --save-tensors"),
    ("golden MODEL --save-tensors no/where.npz", "no/where.npz"),
    ("run net.tflite --json net.tflite", "--json would replace net.tflite"),
    ("run net.tflite --trace directory/../net.tflite", "--trace would replace net.tflite"),
    ("run --input type.npy --json type.npy", "--json would replace type.npy"),
    ("golden net.tflite --save-tensors net.tflite", "--save-tensors would replace net.tflite"),
    ("golden net.tflite --input names.npz --save-tensors names.npz", "would replace names.npz"),
    ("inspect net.tflite --json net.tflite", "--json would replace net.tflite"),
    ("disasm names.npz --machine edge_tpu", "--machine, --set and --rounding are for networks"),
    ("disasm names.npz --set rows=8", "--machine, --set and --rounding are for networks"),
    ("disasm names.npz --rounding tflm", "--machine, --set and --rounding are for networks"),
    ("rtl tpu9 -o out", "tpu9"),
    ("rtl edge_tpu --set cols=0 -o out", "cols"),
    ("rtl edge_tpu --set lanes=1 -o out", "lanes"),
    ("rtl edge_tpu -o no/where", "no/where"),
    ("rtl edge_tpu -o empty.tflite", "empty.tflite"),
    ("rtl edge_tpu", "-o"),
    ("sweep", "MODEL"),
    ("sweep missing.tflite --set rows=8", "missing.tflite"),
    ("sweep float.tflite --set rows=8 -o t.csv", "float32"),
    ("sweep net.tflite --set rows", "rows"),
    ("sweep net.tflite --set rows=8 --set rows=cols=8", "rows is given twice"),
    ("sweep net.tflite --set rows=8,", "neither a number"),
    ("sweep net.tflite --set rows=0,1000 -o t.csv --jobs 1", "no combination can be: rows must"),
    ("sweep net.tflite --set lanes=8 -o t.csv --jobs 1", "no combination can be: no setting"),
    ("sweep net.tflite --set rows=8,16 -o t.txt", "a table's name ends in .csv"),
    ("sweep net.tflite --set rows=8,16 --plot t.gif", "a plot's name ends in .png"),
    ("sweep net.tflite --set rows=8 --plot t.png", "a setting with several values"),
    (
        "sweep net.tflite --set rows=1,2,3 --set cols=1,2,3,4 --set port_bytes=8,16,32,64 "
        "--plot t.png",
        "16 lines, 12 can be told apart",
    ),
    ("sweep net.tflite --set rows=8 -o net.tflite", "--output would replace net.tflite"),
    ("sweep net.tflite --set rows=8 -o no/where.csv", "no/where.csv"),
    ("sweep net.tflite --set rows=8 --soc phone", "phone"),
    ("run --colour", "--colour"),
    ("fly", "fly"),
    ("", "Missing command"),
]


@pytest.mark.parametrize(("command", "words"), BAD, ids=[command[:80] or "-" for command, _ in BAD])
def test_bad_input_is_one_clear_line_and_leaves_nothing(workplace, capsys, command, words):
    bad_files(workplace)
    before = contents(workplace)
    arguments = [str(MODEL) if word == "MODEL" else word for word in command.split()]
    assert invoke(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mensa: error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert contents(workplace) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission_is_named(workplace, capsys):
    (workplace / "locked").mkdir(mode=0o500)
    assert invoke(["run", "--json", "locked/report.json"]) == 2
    assert "permission" in capsys.readouterr().err


def test_the_installed_command_answers_bad_input_without_a_traceback(tmp_path):
    program = Path(sys.executable).parent / "mensa"
    done = subprocess.run(
        [program, "run", "missing.tflite"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "golden", "inspect", "disasm"])
def test_a_reader_who_has_seen_enough_is_no_error(command):
    program = Path(sys.executable).parent / "mensa"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [program, command, MODEL], stdout=writer, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 0


def test_the_roundings_are_goldens():
    assert {each.value for each in Rounding} == set(get_args(GoldenRounding))


def test_inspection_refuses_a_rounding_that_there_is_not():
    with pytest.raises(golden.GraphError, match="up"):
        inspection.inspect(digits.load_network(), "up")


def test_a_seed_below_zero_is_an_error():
    with pytest.raises(InputError, match="at least 0, not -1"):
        make_inputs(digits.load_network(), "random", -1)


def run_json(folder, *arguments):
    """Exit status and report of `mensa run`."""
    path = folder / "report.json"
    status = invoke(["run", *arguments, "--json", str(path)])
    return status, json.loads(path.read_text())


def test_the_bundled_network_reads_digits_and_shows_them(workplace, capsys):
    assert invoke(["run"]) == 0
    shown = capsys.readouterr().out
    assert "digits read right" in shown
    assert "on the host" not in shown


def test_a_layer_on_the_host_has_a_reason_and_a_time(workplace, capsys):
    assert invoke(["run", "--set", "softmax_lanes=0"]) == 0
    shown = capsys.readouterr().out
    reason = "edge_tpu has no softmax unit"
    assert re.search(rf"SOFTMAX is on the host: {reason}; about [0-9.]+ us\n", shown)


@pytest.mark.parametrize("engine", ["model", "functional", "rtl"])
def test_every_engine_gives_a_whole_report(workplace, capsys, engine):
    check = () if engine == "model" else ("--check",)
    status, report = run_json(workplace, "--engine", engine, *check, "--steps", "2", *SMALL)
    assert status == 0
    assert report["engine"] == engine
    assert report["soc"] == "edge_tpu"
    graph = digits.load_network()
    assert [entry["op"] for entry in report["layers"]] == [op.op for op in graph.operators]
    assert sum(entry["macs"] for entry in report["layers"]) == report["totals"]["macs"]
    for entry in report["layers"]:
        assert set(entry) == LAYER_KEYS
        assert entry["bit_exact"] is (None if engine == "model" else True)
        assert (entry["machine"] == "host") == (entry["reason"] is not None)
        if engine != "functional" and entry["machine"] != "host":
            assert set(entry["stalls"]) == set(CATEGORIES)
            assert sum(entry["stalls"].values()) == entry["cycles"]
        else:
            assert entry["cycles"] is None
    if engine == "rtl":
        assert report["provenance"]["timing_check"]["equal"] is True


def test_model_and_rtl_agree_in_every_number(workplace, capsys):
    _, model = run_json(workplace, "--engine", "model", *SMALL)
    _, rtl = run_json(workplace, "--engine", "rtl", *SMALL)
    for entry in (*model["layers"], *rtl["layers"]):
        del entry["bit_exact"]
    assert model["layers"] == rtl["layers"]
    assert model["totals"]["cycles"] == rtl["totals"]["cycles"]


def test_a_wrong_layer_is_reported_and_the_status_is_1(workplace, capsys, monkeypatch):
    right = golden.run

    def wrong(graph, inputs, keep="outputs", **rest):
        tensors = right(graph, inputs, keep=keep, **rest)
        if len(graph.operators) > 1:
            spoilt = graph.operators[3].outputs[0]
            tensors[spoilt] = tensors[spoilt] + np.int8(1)
        return tensors

    monkeypatch.setattr(golden, "run", wrong)
    status, report = run_json(workplace, "--engine", "functional", "--check")
    assert status == 1
    assert [e["index"] for e in report["layers"] if not e["bit_exact"]] == [3]
    assert report["totals"]["bit_exact"] is False
    assert "NOT BIT-EXACT" in capsys.readouterr().out


def test_random_input_follows_the_seed(workplace, capsys):
    def output(*arguments):
        path = workplace / "answer.json"
        assert invoke(["golden", str(MODEL), "--json", str(path), *arguments]) == 0
        return json.loads(path.read_text())["outputs"]

    assert output("--seed", "1") == output("--seed", "1")
    assert output("--seed", "1") != output("--seed", "2")


def test_golden_saves_every_tensor_by_its_index(workplace, capsys):
    samples = digits.load_samples()
    np.save("image.npy", samples.inputs[:1])
    arguments = ["golden", str(MODEL), "--input", "image.npy", "--save-tensors", "t.npz"]
    assert invoke(arguments) == 0
    graph = digits.load_network()
    wanted = golden.run(graph, [samples.inputs[:1]], keep="all")
    with np.load("t.npz") as found:
        assert set(found.files) == {str(index) for index in wanted}
        for index, array in wanted.items():
            assert np.array_equal(found[str(index)], array)
            assert found[str(index)].dtype == array.dtype
    _, _, largest = capsys.readouterr().out.partition(str(graph.tensors[graph.outputs[0]]))
    assert f"[{wanted[graph.outputs[0]].argmax()}]" in largest.splitlines()[1]


@pytest.mark.parametrize("rounding", ["tflm", "litert"])
def test_golden_gives_the_outputs_and_the_time_of_every_operator(workplace, capsys, rounding):
    arguments = ["--rounding", rounding, "--input", "zeros", "--json", "answer.json"]
    assert invoke(["golden", str(MODEL), *arguments]) == 0
    answer = json.loads(Path("answer.json").read_text())
    graph = digits.load_network()
    zeros = [np.zeros(graph.tensors[index].shape, np.int8) for index in graph.inputs]
    wanted = golden.run(graph, zeros, rounding=rounding)
    assert answer["rounding"] == rounding
    assert [entry["index"] for entry in answer["outputs"]] == list(graph.outputs)
    for entry in answer["outputs"]:
        assert np.array_equal(entry["values"], wanted[entry["index"]])
    assert [entry["op"] for entry in answer["operators"]] == [op.op for op in graph.operators]
    assert all(entry["time_ns"] > 0 for entry in answer["operators"])
    # The table shows them, and their sum.
    total = sum(entry["time_ns"] for entry in answer["operators"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for entry in answer["operators"]:
        (row,) = (row for row in rows if row[:1] == [str(entry["index"])])
        assert row[1] == entry["op"]
        assert row[-2].replace(",", "") == f"{entry['time_ns'] / 1000:.1f}"
    assert ["all", f"{total / 1000:,.1f}", "100.0%"] in rows


@pytest.mark.parametrize("name", NETWORKS or ["any network"])
def test_golden_and_inspect_take_every_real_network(workplace, capsys, name):
    path = str(network_path(name))
    if golden.total_macs(golden.load(path)) > LARGE_MACS and not REGRESS:
        pytest.skip("a large network: make regress")
    assert invoke(["golden", path, "--input", "random", "--save-tensors", "tensors.npz"]) == 0
    graph = golden.load(path)
    with np.load("tensors.npz") as found:
        activations = {index for op in graph.operators for index in op.outputs}
        assert {*graph.inputs, *activations} <= {int(key) for key in found.files}
    assert invoke(["inspect", path, "--json", "layers.json"]) == 0
    report = json.loads(Path("layers.json").read_text())
    assert report["totals"]["macs"] == golden.total_macs(graph)
    for key in ("macs", "parameter_bytes", "activation_bytes"):
        assert report["totals"][key] == sum(entry[key] for entry in report["layers"])
    for entry, operator in zip(report["layers"], graph.operators, strict=True):
        assert entry["macs"] == golden.operator_macs(graph, operator)
        moved = graph.parameter_bytes(operator) + graph.activation_bytes(operator)
        intensity = 2 * entry["macs"] / moved if entry["macs"] else None
        assert entry["flop_per_byte"] == intensity
        assert entry["accelerated"] is (entry["reason"] is None)
    shown = capsys.readouterr().out
    assert "…" not in shown


@pytest.mark.parametrize("engine", ["model", "functional"])
@pytest.mark.parametrize("name", ["keras_lstm_mnist_ptq", "trained_lstm_int8"])
def test_a_recurrent_network_keeps_its_state_over_the_steps(workplace, capsys, name, engine):
    path = network_path(name)
    check = () if engine == "model" else ("--check",)
    status, report = run_json(
        workplace, str(path), "--engine", engine, "--steps", "3", *check, *SMALL
    )
    assert status == 0
    assert report["totals"]["bit_exact"] is (None if engine == "model" else True)
    graph = golden.load(path)
    inputs = [make_inputs(graph, "random", seed) for seed in range(3)]
    system = choose_soc("edge_tpu", None, list(SMALL[1::2]))
    found = run_network(graph, system, inputs, engine=engine).outputs
    state = None
    for arrays, outputs in zip(inputs, found, strict=True):
        wanted = golden.run(graph, arrays, state=state)
        state = wanted.state
        for index in graph.outputs:
            assert np.array_equal(outputs[index], wanted[index])


def test_the_layers_of_a_network_fit_eighty_columns():
    layers = inspection.inspect(digits.load_network())
    out = Console(width=80, file=io.StringIO())
    out.print(inspection.table(layers))
    text = out.file.getvalue()
    assert "…" not in text
    for layer in layers:
        assert layer.op in text


def test_layers_on_the_host_for_one_reason_share_a_line():
    builder = golden.GraphBuilder()
    x = builder.input((1, 4), scale=0.5)
    layers = [builder.apply("LOG_SOFTMAX", x, scale=1 / 16, zero_point=127) for _ in range(3)]
    lines = list(inspection.summary(inspection.inspect(builder.build(layers))))
    reason = "the roots and logarithms of L2 normalisation and LOG_SOFTMAX are beyond every lane"
    assert f"layers 0, 1, 2 LOG_SOFTMAX are on the host: {reason}" in lines


def test_an_npz_names_its_arrays_by_tensor_index(workplace, capsys):
    index = digits.load_network().inputs[0]
    inputs = digits.load_samples().inputs
    np.savez("in.npz", **{str(index): inputs[:1], "other": np.zeros(3)})
    assert invoke(["run", str(MODEL), "--input", "in.npz"]) == 0


def roots_network():
    """Square roots of floats, of which those of negative numbers are NaN."""
    builder = golden.GraphBuilder("roots", np.float32)
    x = builder.input((1, 64))
    outputs = [builder.apply(op, builder.apply(op, x)) for op in ("SQRT", "RSQRT")]
    return builder.build(outputs)


@pytest.mark.parametrize("engine", ["functional", "rtl"])
def test_a_number_that_is_none_equals_goldens(workplace, capsys, engine):
    golden.save(roots_network(), "roots.tflite")
    status, report = run_json(workplace, "roots.tflite", "--engine", engine, "--check", *SMALL)
    assert status == 0
    assert report["totals"]["bit_exact"] is True


def test_json_has_null_for_what_is_no_number(workplace, capsys):
    graph = roots_network()
    golden.save(graph, "roots.tflite")
    np.save("x.npy", np.linspace(-1, 1, 64, dtype=np.float32)[None])
    arguments = ["golden", "roots.tflite", "--input", "x.npy", "--json", "answer.json"]
    assert invoke(arguments) == 0
    text = Path("answer.json").read_text()
    outputs = json.loads(text, parse_constant=pytest.fail)["outputs"]
    wanted = golden.run(graph, [np.load("x.npy")])
    for entry, index in zip(outputs, graph.outputs, strict=True):
        found = np.array(entry["values"], np.float32)  # null becomes NaN
        finite = np.where(np.isfinite(wanted[index]), wanted[index], np.nan)
        assert np.isnan(finite).any()
        assert np.array_equal(found, finite, equal_nan=True)


@pytest.mark.parametrize(
    ("setting", "same"),
    [
        ("memory.bandwidth_bytes_per_s=1e15", "memory.bandwidth_bytes_per_s=1000000000000000"),
        ("clock_hz=250e6", "clock_hz=250_000_000"),
        ("host.clock_hz=1e9", "host.clock_hz=1000000000"),
        ("rows=8.0", "rows=0x8"),
    ],
)
def test_a_whole_number_may_be_written_with_an_exponent(setting, same):
    found, wanted = (choose_soc("edge_tpu", None, [each]) for each in (setting, same))
    assert found == wanted
    assert isinstance(found.memory_of(found.machine.name).bandwidth_bytes_per_s, int)


def test_a_name_is_a_text_whatever_it_is():
    system = choose_soc("edge_tpu", None, ["name=none", "memory.name=on", "host.name=off"])
    assert (system.machine.name, system.memory_of("none").name) == ("none", "on")
    assert system.host.name == "off"


def test_a_damaged_program_is_refused_or_printed(workplace, capsys):
    (program,) = lower(digits.load_network(), all_on(edge_tpu)).programs
    program.save("digits.npz")
    sound = Path("digits.npz").read_bytes()
    words = program.words.copy()
    statuses = set()
    for seed in range(60):
        generator = np.random.default_rng(seed)
        damaged = bytearray(sound)
        damaged[generator.integers(len(sound))] ^= 1 << generator.integers(8)
        if seed % 2:  # sound archives of damaged words
            words[generator.integers(words.size)] ^= np.uint64(1) << generator.integers(
                64, dtype="u8"
            )
            dataclasses.replace(program, words=words).save("damaged.npz")
        else:
            Path("damaged.npz").write_bytes(damaged)
        status = invoke(["disasm", "damaged.npz"])
        said = capsys.readouterr().err
        assert (status, said.count("\n")) in {(0, 0), (2, 1)}, said
        statuses.add(status)
    assert statuses == {0, 2}


def test_the_trace_has_a_bar_for_every_command(workplace, capsys):
    assert invoke(["run", "--trace", "t.json", *SMALL]) == 0
    events = json.loads(Path("t.json").read_text())["traceEvents"]
    bars = [event for event in events if event["ph"] == "X"]
    machine = edge_tpu.replace(
        rows=8, cols=8, parameter_buffer_bytes=512 * KIB, activation_buffer_bytes=512 * KIB
    )
    lowered = lower(digits.load_network(), all_on(machine))
    assert len(bars) == sum(len(program.commands()) for program in lowered.programs)
    assert {event["args"]["name"] for event in events if event["name"] == "thread_name"} == {
        "load", "compute", "store",
    }  # fmt: skip


@pytest.mark.skipif(not REGRESS, reason="a build of its own: make regress")
def test_waves_of_all_programs_are_written(workplace, capsys):
    arguments = ["--engine", "rtl", "--steps", "2", "--vcd", "waves.vcd", *TINY]
    status, report = run_json(workplace, *arguments)
    assert status == 0
    assert sorted(path.name for path in workplace.iterdir()) == ["report.json", "waves.vcd"]
    waves = Path("waves.vcd").read_text()
    assert waves[:200].count("$") > 1
    totals = report["totals"]
    cycles = sum(totals["setup_cycles"].values()) + 2 * sum(totals["cycles"].values())
    edges = int(waves[waves.rindex("\n#") + 2 :].split(maxsplit=1)[0])
    assert edges >= 2 * cycles


def test_inspect_says_why_a_layer_is_on_the_host(workplace, capsys):
    (workplace / "cos.tflite").write_bytes(tflite_with_operator("COS"))
    assert invoke(["inspect", "cos.tflite", "--json", "layers.json"]) == 0
    shown = capsys.readouterr().out
    assert "COS can't be run" in shown
    layers = json.loads(Path("layers.json").read_text())["layers"]
    assert [entry["op"] for entry in layers if not entry["computable"]] == ["COS"]


def test_disasm_prints_the_same_for_a_network_and_its_saved_program(workplace, capsys):
    assert invoke(["disasm", str(MODEL)]) == 0
    of_network = capsys.readouterr().out
    (program,) = lower(digits.load_network(), all_on(edge_tpu)).programs
    program.save("digits.npz")
    assert invoke(["disasm", "digits.npz"]) == 0
    assert capsys.readouterr().out == of_network
    assert of_network.rstrip().endswith("end")


def test_doctor_finds_what_the_tests_run_on(workplace, capsys):
    assert invoke(["doctor", "--json", "tools.json"]) == 0
    tools = json.loads(Path("tools.json").read_text())
    assert {tool["tool"] for tool in tools if tool["version"]} >= {"numpy", "verilator", "g++"}


def test_doctor_names_what_is_missing_and_how_to_get_it(workplace, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert invoke(["doctor"]) == 1
    assert "MISSING: apt install g++" in capsys.readouterr().out


ROOT = Path(__file__).parents[3]
PACKAGES = ("golden", "rtl", "sim", "sched")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def test_every_exception_of_ours_has_an_exit_status():
    known = {
        (module, name)
        for table in (errors.BAD_INPUT_ERRORS, errors.CHECK_FAILED_ERRORS)
        for module, names in table.items()
        for name in names
    }
    found = {("builtins", "OSError"), ("builtins", "MemoryError")}
    for path in SOURCES:
        module = ".".join(("mensa", *path.relative_to(ROOT).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                assert issubclass(getattr(importlib.import_module(module), node.name), Exception)
                found.add((module, node.name))
    assert found == known


def test_nothing_is_written_that_is_no_json():
    calls = 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dump", "json.dumps"):
                calls += 1
                strict = {each.arg: ast.unparse(each.value) for each in node.keywords}
                assert strict.get("allow_nan") == "False", f"{path}:{node.lineno}"
    assert calls
