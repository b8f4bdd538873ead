"""Soc: a machine and the memory it sits on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mensa.rtl.machine import Machine, MachineError, machines
from mensa.sim.memory import Memory, MemoryConfigError, lpddr4, memories

__all__ = ["Setting", "Soc", "SocError", "edge_tpu", "find", "load", "socs"]

MEMORY_PREFIX = "memory."
"""What stands before the name of a memory's setting, where both kinds of settings are given."""

LARGEST = 1 << 64
"""Beyond every setting's values."""

Setting = int | float | str | None

T = TypeVar("T")


class SocError(ValueError):
    """A system that can't be; the message says where it was described and what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Soc:
    """What a network runs on.

    Attributes
    ----------
    name : str
        What reports call it.
    machine : Machine
        The accelerator.
    memory : Memory
        The memory behind the accelerator's ports.
    """

    name: str
    machine: Machine
    memory: Memory

    def __post_init__(self) -> None:
        # Files and Verilog modules are named after the machine.
        if not re.fullmatch(r"[A-Za-z_]\w*", str(self.machine.name), re.ASCII):
            raise SocError(f"a machine's name is letters, digits and _, not {self.machine.name!r}")

    def with_machine(self, name: str) -> Soc:
        """Return a copy with another named machine. Raises: SocError if there is none."""
        return Soc(name=self.name, machine=_named("machine", machines, name), memory=self.memory)

    def with_settings(self, settings: Mapping[str, Setting]) -> Soc:
        """Return a copy with settings changed.

        Parameters
        ----------
        settings : mapping
            Those of the machine by name (`rows`), those of the memory with ``memory.`` before it
            (`memory.latency_ns`).

        Raises
        ------
        MachineError, MemoryConfigError, SocError
            If a setting does not exist or its value is refused.
        """
        ours: dict[str, Any] = {}
        memory: dict[str, Any] = {}
        for name, value in _whole_numbers(settings).items():
            if name.startswith(MEMORY_PREFIX):
                memory[name.removeprefix(MEMORY_PREFIX)] = value
            else:
                ours[name] = value
        machine = self.machine.replace(**ours)
        try:
            return Soc(name=self.name, machine=machine, memory=self.memory.replace(**memory))
        except MemoryConfigError as error:
            raise MemoryConfigError(f"memory: {error}") from error


edge_tpu = Soc(name="edge_tpu", machine=machines["edge_tpu"], memory=lpddr4)
"""The baseline: the Edge TPU's array on LPDDR4."""

socs = {soc.name: soc for soc in (edge_tpu,)}
"""The named systems, by name."""


def find(name: str) -> Soc:
    """Return the system of that name, or the one that a TOML file of that name describes."""
    if name in socs:
        return socs[name]
    if name.endswith(".toml"):
        return load(name)
    known = ", ".join(sorted(socs))
    raise SocError(f"no system {name!r}; there are {known}, or give a file that ends in .toml")


def load(path: str | Path) -> Soc:
    """Read a system from a TOML file.

    ::

        name = "small"

        [machine]
        base = "edge_tpu"      # a named machine; the rest are its settings
        rows = 8
        cols = 8

        [memory]
        base = "lpddr4"        # a named memory; the rest are its settings
        latency_ns = 60

    Everything may be left out: the name is then the file's, the bases are as above.

    Raises
    ------
    SocError
        If the file can't be read or describes no system; the message names file and place.
    """
    place = Path(path)
    try:
        with place.open("rb") as file:
            about = tomllib.load(file)
    except OSError as error:
        raise SocError(f"can't read {place}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers without end
        raise SocError(f"{place} is not TOML: {error}") from error
    known = ("name", "machine", "memory")
    for key in about:
        if key not in known:
            raise SocError(f"{place}: no entry {key!r}; there are {', '.join(known)}")
    name = about.get("name", place.stem)
    if not isinstance(name, str):
        raise SocError(f"{place}: name must be a string, not {name!r}")
    machine_base, machine_settings = _section(place, about, "machine", "edge_tpu")
    memory_base, memory_settings = _section(place, about, "memory", "lpddr4")
    try:
        return Soc(
            name=name,
            machine=_named("machine", machines, machine_base).replace(
                **_whole_numbers(machine_settings)
            ),
            memory=_named("memory", memories, memory_base).replace(
                **_whole_numbers(memory_settings)
            ),
        )
    except (MachineError, MemoryConfigError, SocError) as error:
        raise SocError(f"{place}: {error}") from error


def _section(
    place: Path, about: Mapping[str, Any], key: str, default: str
) -> tuple[str, dict[str, Any]]:
    """Return the base and the settings of a table of the file."""
    section = about.get(key, {})
    if not isinstance(section, dict):
        raise SocError(f"{place}: {key} must be a table, [{key}], not {section!r}")
    settings = dict(section)
    base = settings.pop("base", default)
    if not isinstance(base, str):
        raise SocError(f"{place}: [{key}] base must be a name, not {base!r}")
    return base, settings


def _whole_numbers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which a float that is a whole number, such as 1e15, is an integer.

    Raises: SocError for a number that is too long to be printed in a message about it.
    """
    for name, value in settings.items():
        if isinstance(value, int | float) and abs(value) > LARGEST:
            raise SocError(f"{name} is given a number that is beyond all settings")
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in settings.items()
    }


def _named(kind: str, table: Mapping[str, T], name: str) -> T:
    if name not in table:
        raise SocError(f"no {kind} {name!r}; there are {', '.join(sorted(table))}")
    return table[name]
