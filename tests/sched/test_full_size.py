"""Real networks on the RTL of the whole 64 x 64 array: make regress."""

import os

import pytest

from mensa.sched.cli.main import invoke
from tests.models import network_path

NETWORKS = (
    "kws_ref_model",
    "pretrainedResnet_quant",
    "vww_96_int8",
    "ad01_int8",
    "mobilenet_v1_0.25_128_quant",
    "tf2_mobilenet_v2_1.0_224_ptq",
    "mobilenet_v2_1.0_224_quant",
    "mobilenet_edgetpu_0.75_224_post_training_quant",
)


@pytest.mark.skipif(os.environ.get("MENSA_REGRESS") != "1", reason="minutes: make regress")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_bit_exact_and_takes_the_model_s_cycles(name, capfd):
    path = str(network_path(name))
    assert invoke(["run", path, "--soc", "edge_tpu", "--engine", "rtl", "--check"]) == 0
    said = capfd.readouterr().out
    assert "bit-exact:" in said
    assert "cycles, stalls and bytes of RTL and timing model: equal, command by command" in said
