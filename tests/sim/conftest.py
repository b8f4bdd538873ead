"""At the end, one line says how many random layers were compared, of which kind and where."""

from __future__ import annotations

from collections import Counter

from tests.properties import recorded

COMPARED = "compared on every engine"
"""Property of a test: machine, kind of layer, and how many of it were compared."""


def pytest_terminal_summary(terminalreporter):
    """Print the line, also where the tests ran in several processes."""
    found = recorded(terminalreporter, COMPARED)
    if not found:
        return
    kinds, shapes = Counter(), Counter()
    for shape, kind, count in found:
        kinds[kind] += count
        shapes[shape] += count
    each = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    terminalreporter.write_line(
        f"random layers {COMPARED}: {kinds.total()} ({each}), "
        f"at least {min(shapes.values())} on each of {len(shapes)} machines"
    )
