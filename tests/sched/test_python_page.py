"""docs/python.md is right: its code runs, and it names all that there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from mensa.sched import api
from mensa.sched.sweep import COLUMNS

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_code_of_the_page_runs(tmp_path):
    assert len(BLOCKS) >= 5
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(BLOCKS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sweep.csv").read_text().count("\n") == 1 + 3 * 2 * 2
    assert (tmp_path / "layers.csv").exists()


def test_the_sweep_of_the_page_has_fewer_than_ten_lines():
    (block,) = (each for each in BLOCKS if "api.sweep(" in each)
    assert len(block.splitlines()) <= 10


def test_the_page_names_every_column_and_what_there_is():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert dict(rows) == COLUMNS
    types = {"LayerReport", "LoweringOptions", "Report", "Result"}
    for name in set(api.__all__) - types:
        assert f"api.{name}" in PAGE, name
