"""Soc: machines, the memory that each sits on, and the host beside them."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mensa.rtl.machine import Machine, MachineError, machines
from mensa.sim.energy.constants import constants
from mensa.sim.energy.technology import Technology, TechnologyError
from mensa.sim.host import HOST, Host, HostConfigError, cortex_a53, hosts
from mensa.sim.memory import Memory, MemoryConfigError, lpddr4, memories, stacked

__all__ = [
    "Setting",
    "Site",
    "Soc",
    "SocError",
    "edge_tpu",
    "find",
    "load",
    "socs",
    "whole_number",
]

MEMORY = "memory"
MEMORY_PREFIX = f"{MEMORY}."
"""What stands before the name of a memory's setting, where both kinds of settings are given."""

HOST_PREFIX = f"{HOST}."
"""The same of the host's settings."""

ENERGY = "energy"
ENERGY_PREFIX = f"{ENERGY}."
"""The same of the technology's."""

LARGEST = 1 << 64
"""Beyond every setting's values."""

Setting = int | float | str | None

T = TypeVar("T")


class SocError(ValueError):
    """A system that can't be; the message says where it was described and what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A machine, and the memory behind its ports.

    Attributes
    ----------
    machine : Machine
        The accelerator.
    memory : Memory
        What its ports see of memory.
    """

    machine: Machine
    memory: Memory


@dataclass(frozen=True, kw_only=True)
class Soc:
    """What a network runs on: machines that share one address space.

    Attributes
    ----------
    name : str
        What reports call it.
    sites : tuple of Site
        At least one; their machines have names of their own.
    host : Host
        The core that runs what no machine takes.
    technology : Technology
        What the machines are made of, for energy and area.

    Raises
    ------
    SocError
        If there is no site, or a machine's name is another's or none for files and modules.
    """

    name: str
    sites: tuple[Site, ...]
    host: Host = cortex_a53
    technology: Technology = field(default_factory=Technology)

    def __post_init__(self) -> None:
        names = [site.machine.name for site in self.sites]
        if not names:
            raise SocError(f"the system {self.name} has no machine")
        for name in names:
            # Files and Verilog modules are named after the machine.
            if not re.fullmatch(r"[A-Za-z_]\w*", str(name), re.ASCII):
                raise SocError(f"a machine's name is letters, digits and _, not {name!r}")
            if name in (MEMORY, HOST, ENERGY):
                raise SocError(f"a machine can't be called {name!r}: settings have that word")
            if names.count(name) > 1:
                raise SocError(f"two machines are called {name!r}")
        for site in self.sites:
            if site.memory.kind not in constants().memories:
                known = ", ".join(constants().memories)
                raise SocError(f"memory kind is {known}, not {site.memory.kind!r}")

    @classmethod
    def single(cls, name: str, machine: Machine, memory: Memory, host: Host = cortex_a53) -> Soc:
        """A system with one machine."""
        return cls(name=name, sites=(Site(machine=machine, memory=memory),), host=host)

    @property
    def machines(self) -> tuple[Machine, ...]:
        """The machines, in order."""
        return tuple(site.machine for site in self.sites)

    @property
    def machine(self) -> Machine:
        """The only machine. Raises: SocError where there are several."""
        if len(self.sites) > 1:
            names = ", ".join(machine.name for machine in self.machines)
            raise SocError(f"{self.name} has several machines; choose one of {names}")
        return self.sites[0].machine

    def memory_of(self, machine: str) -> Memory:
        """The memory of the machine of that name."""
        return next(site.memory for site in self.sites if site.machine.name == machine)

    def to_json(self) -> dict[str, Any]:
        """All settings, as JSON values: machines and memories by the machine's name, and others."""
        return {
            "machines": {machine.name: machine.settings for machine in self.machines},
            "memories": {s.machine.name: dataclasses.asdict(s.memory) for s in self.sites},
            HOST: dataclasses.asdict(self.host),
            "technology": dataclasses.asdict(self.technology),
        }

    def with_machine(self, name: str) -> Soc:
        """Return a copy with one machine: this system's of that name, or a named one in its place.

        In place of a named system it is the system of the machine's name, with its memory.

        Raises: SocError if there is none, or if several would have to go.
        """
        ours = tuple(site for site in self.sites if site.machine.name == name)
        if ours:
            return dataclasses.replace(self, sites=ours)
        if len(self.sites) > 1:
            names = ", ".join(machine.name for machine in self.machines)
            raise SocError(f"{self.name} has no machine {name!r}; there are {names}")
        machine = _named("machine", machines, name)
        if self == socs.get(self.name):
            return socs[name]
        site = Site(machine=machine, memory=self.sites[0].memory)
        return dataclasses.replace(self, sites=(site,))

    def with_settings(self, settings: Mapping[str, Setting]) -> Soc:
        """Return a copy with settings changed.

        Parameters
        ----------
        settings : mapping
            Those of the machine by name (`rows`), those of its memory with ``memory.`` before it
            (`memory.latency_ns`). Of several machines, each after its own name (`big.rows`,
            `big.memory.latency_ns`). Those of the host with ``host.`` before it, those of the
            technology with ``energy.``.

        Raises
        ------
        MachineError, MemoryConfigError, HostConfigError, TechnologyError, SocError
            If a setting does not exist or its value is refused.
        """
        names = [machine.name for machine in self.machines]
        given: dict[str, dict[str, Any]] = {name: {} for name in (*names, HOST, ENERGY)}
        for key, value in _whole_numbers(settings).items():
            owner, dot, rest = key.partition(".")
            if dot and owner in given:
                given[owner][rest] = value
            elif len(names) == 1:
                given[names[0]][key] = value
            else:
                raise SocError(
                    f"{key}: say of which machine, as in {names[0]}.{key}; {self.name} has "
                    f"{', '.join(names)}"
                )
        changed = [_changed(site, given[site.machine.name]) for site in self.sites]
        try:
            host = self.host.replace(**given[HOST])
        except HostConfigError as error:
            raise HostConfigError(f"{HOST}: {error}") from error
        try:
            technology = self.technology.replace(**given[ENERGY])
        except TechnologyError as error:
            raise TechnologyError(f"{ENERGY}: {error}") from error
        return Soc(name=self.name, sites=tuple(changed), host=host, technology=technology)


def _changed(site: Site, settings: Mapping[str, Any]) -> Site:
    """A site with settings changed."""
    ours: dict[str, Any] = {}
    memory: dict[str, Any] = {}
    for name, value in settings.items():
        if name.startswith(MEMORY_PREFIX):
            memory[name.removeprefix(MEMORY_PREFIX)] = value
        else:
            ours[name] = value
    machine = site.machine.replace(**ours)
    try:
        return Site(machine=machine, memory=site.memory.replace(**memory))
    except MemoryConfigError as error:
        raise MemoryConfigError(f"memory: {error}") from error


edge_tpu = Soc.single("edge_tpu", machines["edge_tpu"], lpddr4)
"""The baseline: the Edge TPU's array on LPDDR4."""

jacquard = Soc.single("jacquard", machines["jacquard"], stacked)
"""The data-centric machine in the logic layer of a stacked memory."""

pascal = Soc.single("pascal", machines["pascal"], lpddr4)
"""The compute-centric machine on the processor's die, on LPDDR4."""

pavlov = Soc.single("pavlov", machines["pavlov"], stacked)
"""The LSTM-centric machine in the logic layer of a stacked memory."""

socs = {soc.name: soc for soc in (edge_tpu, jacquard, pascal, pavlov)}
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

        [host]
        base = "cortex_a53"    # a named host; the rest are its settings
        clock_hz = 1.2e9

        [energy]               # the technology
        node_nm = 28

    Everything may be left out: the name is then the file's, the bases are as above. A system with
    several machines has a table for each; one that names no memory sits on ``[memory]``::

        [machines.big]
        base = "edge_tpu"

        [machines.near]
        base = "edge_tpu"
        rows = 16
        cols = 16
        memory = "stacked"

        [memories.stacked]
        base = "lpddr4"
        bandwidth_bytes_per_s = 256e9

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
    try:
        return _system(about, place.stem)
    except (
        MachineError,
        MemoryConfigError,
        HostConfigError,
        TechnologyError,
        SocError,
    ) as error:
        raise SocError(f"{place}: {error}") from error


_ENTRIES = ("name", "machine", "machines", MEMORY, "memories", HOST, ENERGY)


def _system(about: Mapping[str, Any], default_name: str) -> Soc:
    """The system that a file's entries describe."""
    for key in about:
        if key not in _ENTRIES:
            raise SocError(f"no entry {key!r}; there are {', '.join(_ENTRIES)}")
    name = about.get("name", default_name)
    if not isinstance(name, str):
        raise SocError(f"name must be a string, not {name!r}")
    common = _memory(f"[{MEMORY}]", _table(about, MEMORY))
    host = _host(f"[{HOST}]", _table(about, HOST))
    technology = _technology(_table(about, ENERGY))
    if "machines" not in about:
        if "memories" in about:
            raise SocError("[memories] are for [machines]; one machine sits on [memory]")
        machine = _machine("[machine]", _table(about, "machine"), {})
        site = Site(machine=machine, memory=common)
        return Soc(name=name, sites=(site,), host=host, technology=technology)
    if "machine" in about:
        raise SocError("give [machine] or [machines], not both")
    found = {
        each: _memory(f"[memories.{each}]", _table(_table(about, "memories"), each, "memories."))
        for each in _table(about, "memories")
    }
    sites, used = [], set()
    for each in _table(about, "machines"):
        table = _table(_table(about, "machines"), each, "machines.")
        of = table.pop(MEMORY, None)
        if of is not None and of not in found:
            there = ", ".join(found) or "none"
            raise SocError(f"[machines.{each}] sits on memory {of!r}; [memories] has {there}")
        used.add(of)
        machine = _machine(f"[machines.{each}]", table, {"name": each})
        sites.append(Site(machine=machine, memory=common if of is None else found[of]))
    for each in found:
        if each not in used:
            raise SocError(f"no machine sits on [memories.{each}]")
    return Soc(name=name, sites=tuple(sites), host=host, technology=technology)


def _table(about: Mapping[str, Any], key: str, prefix: str = "") -> dict[str, Any]:
    """A copy of a table of the file; empty if it isn't there."""
    table = about.get(key, {})
    if not isinstance(table, dict):
        raise SocError(f"{prefix}{key} must be a table, [{prefix}{key}], not {table!r}")
    return dict(table)


def _base(where: str, table: dict[str, Any], default: str) -> str:
    base = table.pop("base", default)
    if not isinstance(base, str):
        raise SocError(f"{where} base must be a name, not {base!r}")
    return base


def _machine(where: str, table: dict[str, Any], also: Mapping[str, Any]) -> Machine:
    """The machine of a table that says its base and settings."""
    base = _named("machine", machines, _base(where, table, "edge_tpu"))
    try:
        return base.replace(**_whole_numbers({**also, **table}))
    except MachineError as error:
        raise MachineError(f"{where}: {error}") from error


def _memory(where: str, table: dict[str, Any]) -> Memory:
    """The memory of a table that says its base and settings."""
    base = _named(MEMORY, memories, _base(where, table, "lpddr4"))
    try:
        return base.replace(**_whole_numbers(table))
    except MemoryConfigError as error:
        raise MemoryConfigError(f"{where}: {error}") from error


def _host(where: str, table: dict[str, Any]) -> Host:
    """The host of a table that says its base and settings."""
    base = _named(HOST, hosts, _base(where, table, "cortex_a53"))
    try:
        return base.replace(**_whole_numbers(table))
    except HostConfigError as error:
        raise HostConfigError(f"{where}: {error}") from error


def _technology(table: dict[str, Any]) -> Technology:
    """The technology of a table of settings."""
    try:
        return Technology().replace(**_whole_numbers(table))
    except TechnologyError as error:
        raise TechnologyError(f"[{ENERGY}]: {error}") from error


def _whole_numbers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which a float that is a whole number, such as 1e15, is an integer.

    Raises: SocError for a number that is too long to be printed in a message about it.
    """
    for name, value in settings.items():
        if isinstance(value, int | float) and abs(value) > LARGEST:
            raise SocError(f"{name} is given a number that is beyond all settings")
    return {name: whole_number(value) for name, value in settings.items()}


def whole_number(value: Any) -> Any:
    """A float that is a whole number, such as 32e9, as an integer; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _named(kind: str, table: Mapping[str, T], name: str) -> T:
    if name not in table:
        raise SocError(f"no {kind} {name!r}; there are {', '.join(sorted(table))}")
    return table[name]
