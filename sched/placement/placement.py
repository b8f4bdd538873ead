"""Placement: for every operator the machine that is to run it, or the host."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mensa.rtl.machine import Machine
from mensa.sim.host import HOST

__all__ = ["Placement", "PlacementError", "all_on", "load_placement"]

ON_HOST = "it is placed on the host"


class PlacementError(ValueError):
    """A placement that names a machine that is not there, or names two alike."""


@dataclass(frozen=True)
class Placement:
    """Where the operators of a network are to run.

    What no machine can run goes to the host wherever it is placed; lowering says why.

    Attributes
    ----------
    machines : tuple of Machine
        At least one, by different names.
    operators : mapping of int to str or None
        Name of an operator's machine by its index, None for the host. An operator that is not
        there is on the first machine.

    Raises
    ------
    PlacementError
        If there is no machine, if two have the same name, or if an operator's is not there.
    """

    machines: tuple[Machine, ...]
    operators: Mapping[int, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [machine.name for machine in self.machines]
        if not names:
            raise PlacementError("a placement needs at least one machine")
        if HOST in names:
            raise PlacementError(f"a machine can't be called {HOST!r}")
        if len(set(names)) < len(names):
            raise PlacementError(f"machines need names of their own: {', '.join(names)}")
        for operator, name in self.operators.items():
            if name is not None and name not in names:
                raise PlacementError(
                    f"operator {operator} is placed on {name!r}; machines are {', '.join(names)}"
                )

    def machine(self, operator: int) -> Machine | None:
        """The machine of an operator, or None for the host."""
        if operator not in self.operators:
            return self.machines[0]
        name = self.operators[operator]
        return next((machine for machine in self.machines if machine.name == name), None)


def load_placement(path: str | Path, machines: Sequence[Machine]) -> Placement:
    """Read a placement from a JSON file.

    ::

        {"0": "big", "1": "near", "2": "host"}

    by operator index; an operator that is not there is on the first machine.

    Raises
    ------
    PlacementError
        If the file can't be read or places an operator where nothing is; the message names it.
    """
    place = Path(path)
    try:
        about = json.loads(place.read_bytes())
    except OSError as error:
        raise PlacementError(f"can't read {place}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise PlacementError(f"{place} is not JSON: {error}") from error
    if not isinstance(about, dict):
        raise PlacementError(f"{place}: a placement is an object of operators and machines")
    operators: dict[int, str | None] = {}
    for key, name in about.items():
        if not (key.isascii() and key.isdigit()) or not isinstance(name, str):
            raise PlacementError(
                f"{place}: {key!r}: {name!r} is not an operator's index and the name of a machine, "
                f"or of the {HOST}"
            )
        operators[int(key)] = None if name == HOST else name
    try:
        return Placement(tuple(machines), operators)
    except PlacementError as error:
        raise PlacementError(f"{place}: {error}") from error


def all_on(machine: Machine) -> Placement:
    """Everything on one machine, as far as it can run it."""
    return Placement((machine,))
