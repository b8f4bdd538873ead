"""Where the real networks are, and the two oracles."""

import os
from pathlib import Path

import pytest

from .oracles import Oracle, available

# All of the folder.
NETWORKS = (
    "kws_ref_model",
    "pretrainedResnet_quant",
    "ad01_int8",
    "vww_96_int8",
    "str_ww_ref_model",
    "mobilenet_v1_0.25_128_quant",
    "keras_lstm_mnist_ptq",
    "trained_lstm_int8",
    "tf2_mobilenet_v2_1.0_224_ptq",
    "mobilenet_v2_1.0_224_quant",
    "mobilenet_edgetpu_0.75_224_post_training_quant",
    "movenet_single_pose_lightning_ptq",
    "deeplabv3_mnv2_dm05_pascal_quant",
)


def _models():
    given = os.environ.get("MENSA_MODELS")
    return Path(given) if given else Path(__file__).parents[3] / "shared" / "models"


@pytest.fixture(scope="session")
def models():
    """Folder of the real networks; the test is skipped where there is none."""
    folder = _models()
    if not folder.is_dir():
        pytest.skip(f"no networks at {folder}: set MENSA_MODELS to a folder of .tflite files")
    return folder


@pytest.fixture(scope="session", params=NETWORKS)
def network(request, models):
    """Path of each real network in turn."""
    path = models / f"{request.param}.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    return path


@pytest.fixture(scope="session")
def _oracles():
    started = {name: Oracle(name) for name in ("tflm", "litert")}
    yield started
    for oracle in started.values():
        oracle.close()


@pytest.fixture(params=("tflm", "litert"))
def oracle(request, _oracles):
    """Each oracle in turn; skipped, and said so, where its wheel is not installed."""
    if not available(request.param):
        pytest.skip(f"NOT COMPARED with {request.param}: its wheel is not installed")
    return _oracles[request.param]


@pytest.fixture
def litert(_oracles):
    """LiteRT's BUILTIN_REF."""
    if not available("litert"):
        pytest.skip("NOT COMPARED with litert: its wheel is not installed")
    return _oracles["litert"]
