"""Networks as files of the wild are made, ten steps in a row, on RTL and compared with golden."""

import json
from pathlib import Path

import pytest

from mensa.sched.cli.main import invoke
from tests.golden.wild_networks import CASES, wild
from tests.sched.test_streaming import SETTINGS, STEPS


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_wild_network_is_bit_exact_on_rtl_for_ten_steps(name, dtype, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("network.tflite").write_bytes(wild(name, dtype)[0])
    arguments = ["run", "network.tflite", "--engine", "rtl", "--check", "--json", "report.json"]
    arguments += ["--steps", str(STEPS)]
    for setting in SETTINGS:
        arguments += ["--set", setting]
    assert invoke(arguments) == 0
    report = json.loads(Path("report.json").read_text())
    assert all(layer["bit_exact"] is True for layer in report["layers"])
    convolutions = [layer for layer in report["layers"] if layer["op"] == "CONV_2D"]
    assert convolutions
    assert all(layer["machine"] == "edge_tpu" for layer in convolutions)
