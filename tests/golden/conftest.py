"""Where the real networks are, and the two oracles."""

import pytest

from tests.golden.oracles import Oracle, available
from tests.models import NETWORKS, network_path


# Where there are none, one test that is skipped says so.
@pytest.fixture(scope="session", params=NETWORKS or ["any network"])
def network(request):
    """Path of each real network in turn."""
    return network_path(request.param)


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
def tflm(_oracles):
    """TensorFlow Lite Micro."""
    if not available("tflm"):
        pytest.skip("NOT COMPARED with tflm: its wheel is not installed")
    return _oracles["tflm"]


@pytest.fixture
def litert(_oracles):
    """LiteRT's BUILTIN_REF."""
    if not available("litert"):
        pytest.skip("NOT COMPARED with litert: its wheel is not installed")
    return _oracles["litert"]


@pytest.fixture
def litert_beside(oracle, _oracles):
    """LiteRT where `oracle` is TFLM, to ask both about one file; None where there is no other."""
    return _oracles["litert"] if oracle.name == "tflm" and available("litert") else None
