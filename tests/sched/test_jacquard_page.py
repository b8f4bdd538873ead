"""The tables of docs/jacquard.md are those that the code gives now."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAMILIES = runpy.run_path(str(ROOT / "benchmarks" / "families.py"))
PAGE = (ROOT / "docs" / "jacquard.md").read_text()


def test_the_tables_are_on_the_page():
    for table in (FAMILIES["resident_table"](), FAMILIES["table"](FAMILIES["LAYERS"])):
        assert table.count("\n") > 2
        assert table in PAGE, "run benchmarks/families.py, and put its tables into docs/jacquard.md"


def test_the_array_is_as_busy_as_it_was_built_for():
    rows = [
        [cell.strip() for cell in line.split("|")]
        for line in FAMILIES["resident_table"]().split("\n")[2:]
    ]
    of_bound = {row[1]: float(row[8].rstrip("%")) for row in rows}
    assert of_bound["3x3 depthwise, 28x28x256"] >= 85
    assert of_bound["3x3 conv, 7x7x512 to 512"] >= 70
