"""The figures of docs/performance.md are those that the code gives now."""

import runpy
from pathlib import Path

import pytest

from mensa import golden
from tests.models import NETWORKS, network_path

ROOT = Path(__file__).parents[2]
CYCLES = runpy.run_path(str(ROOT / "benchmarks" / "cycles.py"))
LINES = (ROOT / "docs" / "performance.md").read_text().splitlines()
AGAIN = "run benchmarks/cycles.py as docs/performance.md says, and put its tables there"

ON_PAGE = {line.split()[1] for line in LINES if line.startswith("| ")}


@pytest.mark.parametrize("name", sorted(ON_PAGE & set(NETWORKS)) or ["mobilenet_v2_1.0_224_quant"])
def test_a_network_s_rows_are_on_the_page(name):
    measured = CYCLES["figures"](golden.load(network_path(name)))
    for line in CYCLES["tables"]([measured]):
        assert line in LINES, AGAIN
