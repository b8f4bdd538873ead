"""docs/energy.md has the constants as they are."""

from __future__ import annotations

from pathlib import Path

from mensa.sim.energy.page import tables

PAGE = Path(__file__).parents[3] / "docs" / "energy.md"


def test_the_page_has_every_component_and_constant():
    assert tables() in PAGE.read_text(), "run: python -m mensa.sim.energy.page"
