"""The tables of the arrays' pages are those that the code gives now."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAMILIES = runpy.run_path(str(ROOT / "benchmarks" / "families.py"))
RESIDENT = {name: FAMILIES["resident_table"](name) for name in FAMILIES["RESIDENT"]}


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
    of_bound = {row[0]: float(row[7].rstrip("%")) for row in rows_of(RESIDENT[name])}
    assert of_bound[layer] >= percent


def test_an_lstm_keeps_pavlov_or_a_narrow_port_busy():
    phases = {(row[0], row[1]): row for row in rows_of(FAMILIES["phases_table"]("pavlov"))}
    busy, port = (float(phases[each, "recurrent"][column].rstrip("%")) for each, column in
                  (("256 B", 3), ("32 B", 5)))  # fmt: skip
    assert busy >= 90
    assert port >= 90


def rows_of(table):
    """The cells of a table."""
    lines = table.split("\n")[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
