"""The table of docs/depthwise.md is the one that the code gives now."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_is_on_the_page(capsys):
    runpy.run_path(str(ROOT / "scripts" / "depthwise_cycles.py"), run_name="__main__")
    table = capsys.readouterr().out
    assert table.count("\n") > 2
    assert table in (ROOT / "docs" / "depthwise.md").read_text(), "see docs/depthwise.md: run it"
