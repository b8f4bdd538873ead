"""The constants of the energy model, read from their one file, and how they scale."""

from __future__ import annotations

import functools
import itertools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

__all__ = ["Constant", "Constants", "constants"]


@dataclass(frozen=True, kw_only=True)
class Constant:
    """One constant.

    Attributes
    ----------
    name, unit, what, source, tag, date : str
        What it is and where it is from; `tag` is explained in the file.
    value : float
        At the reference node, if it is one of logic.
    """

    name: str
    value: float
    unit: str
    what: str
    source: str
    tag: str
    date: str

    @property
    def is_estimate(self) -> bool:
        """Whether no source was found."""
        return self.tag == "[E]"


@dataclass(frozen=True)
class Constants:
    """All that the file has.

    Attributes
    ----------
    single : mapping of str to Constant
        By table and name, such as ``array.mac`` and ``memories.lpddr4.read``.
    buffers : list of mappings
        CACTI's rows by rising `bytes`: `read` and `write` [pJ/bit], `mm2`.
    devices : mapping of str to float
        A read's energy beside that of lstp.
    leakage : mapping of str to mapping of int to float
        By device and temperature [K]: microwatt per kB.
    exponent, reference_nm : float
        Energy of logic goes with (node / reference) ** exponent.
    nodes : (float, float)
        Smallest and largest node that may be scaled to [nm].
    """

    single: Mapping[str, Constant]
    buffers: Sequence[Mapping[str, float]]
    devices: Mapping[str, float]
    leakage: Mapping[str, Mapping[int, float]]
    exponent: float
    reference_nm: float
    nodes: tuple[float, float]

    @property
    def temperatures(self) -> tuple[int, ...]:
        """Those at which leakage is known [K]."""
        return tuple(self.leakage["lstp"])

    @property
    def memories(self) -> tuple[str, ...]:
        """Kinds of memory."""
        names = [name.split(".") for name in self.single if name.startswith("memories.")]
        return tuple(dict.fromkeys(kind for _, kind, _ in names))

    def energy_scale(self, node_nm: float) -> float:
        """Energy of logic and buffers at a node beside that at the reference."""
        return float((node_nm / self.reference_nm) ** self.exponent)

    def area_scale(self, node_nm: float) -> float:
        """The same of area: both sides of everything go with the node."""
        return (node_nm / self.reference_nm) ** 2

    def buffer(self, nbytes: float, column: str) -> float:
        """`read` or `write` [pJ/bit], or `mm2`, of a buffer of so many bytes at the reference.

        Between two rows the logarithm goes linearly with that of the size. Beyond the rows energy
        per bit and area per byte are those of the first or the last.
        """
        rows = self.buffers
        per_byte = column == "mm2"
        for first, last in itertools.pairwise(rows):
            if first["bytes"] <= nbytes <= last["bytes"]:
                share = math.log(nbytes / first["bytes"]) / math.log(last["bytes"] / first["bytes"])
                return float(first[column] * (last[column] / first[column]) ** share)
        end = rows[0] if nbytes < rows[0]["bytes"] else rows[-1]
        return end[column] * nbytes / end["bytes"] if per_byte else end[column]


@functools.cache
def constants() -> Constants:
    """The file's content."""
    text = resources.files(__package__).joinpath("data/constants.toml").read_text()
    about = tomllib.loads(text)
    single: dict[str, Constant] = {}
    for table in ("array", "units"):
        single |= _read(table, about[table])
    for kind, entries in about["memories"].items():
        single |= _read(f"memories.{kind}", entries)
    node, buffers, leakage = about["node"], about["buffers"], about["leakage"]
    return Constants(
        single=single,
        buffers=buffers["rows"],
        devices=buffers["devices"],
        leakage={
            device: {int(kelvin): each for kelvin, each in leakage[device].items()}
            for device in buffers["devices"]
        },
        exponent=node["exponent"]["value"],
        reference_nm=node["reference_nm"],
        nodes=(node["least_nm"], node["most_nm"]),
    )


def _read(table: str, entries: Mapping[str, Any]) -> dict[str, Constant]:
    return {
        f"{table}.{name}": Constant(
            name=f"{table}.{name}", **(each | {"date": each["date"].isoformat()})
        )
        for name, each in entries.items()
    }
