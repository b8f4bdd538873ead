"""The tables of docs/jacquard.md and docs/pascal.md are those that the code gives now."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAMILIES = runpy.run_path(str(ROOT / "benchmarks" / "families.py"))
RESIDENT = {name: FAMILIES["resident_table"](name) for name in FAMILIES["TABLES"]}


@pytest.mark.parametrize("name", FAMILIES["TABLES"])
def test_the_tables_are_on_the_page(name):
    page = (ROOT / "docs" / f"{name}.md").read_text()
    for make in FAMILIES["TABLES"][name]:
        table = make(name)
        assert table.count("\n") > 2
        assert table in page, (
            f"run benchmarks/families.py {name}, and put its tables into docs/{name}.md"
        )


@pytest.mark.parametrize(
    ("name", "layer", "percent"),
    [
        ("jacquard", "3x3 depthwise, 28x28x256", 85),
        ("jacquard", "3x3 conv, 7x7x512 to 512", 70),
        ("pascal", "1x1 conv, 28x28x256 to 256", 90),
    ],
)
def test_an_array_is_as_busy_as_it_was_built_for(name, layer, percent):
    rows = [[cell.strip() for cell in line.split("|")] for line in RESIDENT[name].split("\n")[2:]]
    of_bound = {row[1]: float(row[8].rstrip("%")) for row in rows}
    assert of_bound[layer] >= percent
