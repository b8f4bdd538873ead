"""The tables of docs/energy.md, made from the constants.

::

    python -m mensa.sim.energy.page
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from mensa.sim.energy.constants import constants
from mensa.sim.energy.model import COMPONENTS

__all__ = ["tables"]


def tables() -> str:
    """The components, the constants, and the buffers, as Markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    known = constants()
    yield from ("| component | what it is |", "|---|---|")
    for name, what in COMPONENTS.items():
        yield f"| `{name}` | {what} |"
    yield from ("", "| constant | at 22 nm | what | source |", "|---|---|---|---|")
    for each in known.single.values():
        source = f"{each.source} {each.tag}"
        yield f"| `{each.name}` | {each.value:g} {each.unit} | {each.what} | {source} |"
    yield from ("", "| buffer | read, pJ/bit | write, pJ/bit | mm2 |", "|---|---|---|---|")
    for row in known.buffers:
        yield f"| {row['bytes']:,} B | {row['read']:g} | {row['write']:g} | {row['mm2']:g} |"
    kelvins = known.temperatures
    heading = " | ".join(f"{kelvin} K, uW/kB" for kelvin in kelvins)
    yield from (
        "",
        f"| device | access beside lstp | {heading} |",
        f"|---|---|{'---|' * len(kelvins)}",
    )
    for device, factor in known.devices.items():
        leakage = " | ".join(f"{known.leakage[device][kelvin]:g}" for kelvin in kelvins)
        yield f"| `{device}` | {factor:g} | {leakage} |"


if __name__ == "__main__":
    sys.stdout.write(tables() + "\n")
