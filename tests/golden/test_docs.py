"""docs/golden.md is right: its code runs, and it names all that there is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mensa.golden as golden
from tests.golden.oracles import available

PAGE = Path(__file__).parents[2] / "docs" / "golden.md"
BLOCKS = re.findall(r"^```python( litert)?\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)

# Golden alone is installed: of other packages, only what NumPy and flatbuffers are made of.
ALONE = """
import sys
from importlib.abc import MetaPathFinder

class Alone(MetaPathFinder):
    KNOWN = {"mensa", "numpy", "flatbuffers", *sys.stdlib_module_names}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.KNOWN:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)
        if name.startswith("mensa.") and not name.startswith("mensa.golden"):
            raise ModuleNotFoundError(f"golden must not need {name}", name=name)

sys.meta_path.insert(0, Alone())
"""


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_code_of_the_page_runs_where_golden_is_alone(tmp_path):
    code = "\n".join(block for litert, block in BLOCKS if not litert)
    assert len(BLOCKS) > 8
    out = run(ALONE + code, tmp_path)
    assert "operator 0 (CONV_2D)" in out


@pytest.mark.skipif(not available("litert"), reason="NOT RUN: LiteRT's wheel is not installed")
def test_the_code_of_the_page_runs_with_litert(tmp_path):
    assert any(litert for litert, _ in BLOCKS)
    run("\n".join(block for _, block in BLOCKS), tmp_path)


def test_the_page_names_everything_that_golden_offers():
    _, _, names = PAGE.read_text().partition("## All there is")
    assert {name for name in golden.__all__ if f"`{name}" not in names} == set()


def test_a_real_network_runs_where_golden_is_alone(network, tmp_path):
    """Whatever a network needs is in golden; the package index is not asked in tests."""
    code = f"""
import numpy as np
from mensa import golden
graph = golden.load({str(network)!r})
tensors = (graph.tensors[index] for index in graph.inputs)
golden.run(graph, [np.zeros(tensor.shape, tensor.dtype) for tensor in tensors])
golden.save(graph, "again.tflite")
"""
    run(ALONE + code, tmp_path)
