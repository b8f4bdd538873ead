"""What reading a file worked out or left out is told by every command that takes a network."""

import json

import numpy as np
import pytest

import mensa.golden as golden
from mensa.golden.options import ShapeOptions, StridedSliceOptions
from mensa.sched.cli.main import invoke


@pytest.fixture
def model(tmp_path):
    """A network whose first layer only computes the shape of its last one."""
    builder = golden.GraphBuilder("folded")
    x = builder.input((2, 3), scale=0.5)
    sizes = builder.apply("SHAPE", x, options=ShapeOptions(out_type="INT32"), dtype=np.int32)
    ends = [builder.tensor(data=[value], dtype=np.int32) for value in (1, -3, -1)]
    turned = builder.apply("STRIDED_SLICE", sizes, *ends, options=StridedSliceOptions())
    y = builder.tensor((3, 2), scale=0.5)
    builder.operator("RESHAPE", (x, turned), (y,))
    path = tmp_path / "folded.tflite"
    golden.save(builder.build([y]), path)
    return path


NOTE = "note: computed when the file was read, from constants and shapes alone: SHAPE (tensor 1 "


@pytest.mark.parametrize("command", ["inspect", "golden", "run", "compile", "disasm"])
def test_every_command_that_takes_a_network_prints_notes_last(command, model, capsys, tmp_path):
    output = ["-o", str(tmp_path / "compiled")] if command == "compile" else []
    assert invoke([command, str(model), *output]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1].startswith(NOTE)
    assert shown.out.count("note: ") == 1
    assert not shown.err


@pytest.mark.parametrize("command", ["inspect", "golden", "run"])
def test_json_has_the_notes(command, model, tmp_path):
    assert invoke([command, str(model), "--json", str(tmp_path / "answer.json")]) == 0
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["notes"] == list(golden.load(model).notes)
    assert len(answer["notes"]) == 1


def test_what_is_folded_is_no_layer(model, tmp_path):
    assert invoke(["inspect", str(model), "--json", str(tmp_path / "layers.json")]) == 0
    answer = json.loads((tmp_path / "layers.json").read_text())
    assert [layer["accelerated"] for layer in answer["layers"]] == [True]


def test_saved_tensors_have_what_was_folded(model, tmp_path):
    assert invoke(["golden", str(model), "--save-tensors", str(tmp_path / "tensors.npz")]) == 0
    tensors = np.load(tmp_path / "tensors.npz")
    graph = golden.load(model)
    assert {str(index) for index in graph.folded} <= set(tensors.files)
    assert tensors[str(graph.operators[0].inputs[1])].tolist() == [3, 2]
    assert tensors[str(graph.outputs[0])].shape == (3, 2)
