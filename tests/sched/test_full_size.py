"""Real networks on the RTL of the named machines as they are, the largest in make regress."""

import os

import pytest

from mensa.sched.cli.main import invoke
from tests.models import network_path

SMALL = (
    "ad01_int8",
    "kws_ref_model",
    "mobilenet_v1_0.25_128_quant",
    "pretrainedResnet_quant",
    "str_ww_ref_model",
    "trained_lstm_int8",
    "vww_96_int8",
)
LARGE = (
    "deeplabv3_mnv2_dm05_pascal_quant",
    "keras_lstm_mnist_ptq",  # small, but for the other LSTM cell, and so another machine
    "mobilenet_edgetpu_0.75_224_post_training_quant",
    "mobilenet_v2_1.0_224_quant",
    "movenet_single_pose_lightning_ptq",
    "tf2_mobilenet_v2_1.0_224_ptq",
)
REGRESS = os.environ.get("MENSA_REGRESS") == "1"

RUNS = [
    (machine, name)
    for machine in ("jacquard", "pascal", "pavlov", "edge_tpu")
    for name in (*SMALL, *LARGE)
]
"""An `edge_tpu`'s 4,096 PEs take minutes to build."""


@pytest.mark.parametrize(("machine", "name"), RUNS)
def test_a_network_is_bit_exact_and_takes_the_model_s_cycles(machine, name, capfd):
    few = {
        "jacquard": SMALL,
        "pascal": ("kws_ref_model",),
        "pavlov": ("trained_lstm_int8",),
        "edge_tpu": (),
    }
    if not REGRESS and name not in few[machine]:
        pytest.skip("minutes: make regress")
    arguments = ["run", str(network_path(name)), "--machine", machine, "--engine", "rtl", "--check"]
    steps = "10" if "lstm" in name else "1"
    assert invoke([*arguments, "--steps", steps]) == 0
    said = capfd.readouterr().out
    assert "bit-exact:" in said
    assert "cycles, stalls and bytes of RTL and timing model: equal, command by command" in said
