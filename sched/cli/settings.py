"""Which system a command is about: from its options --soc, --machine and --set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from mensa.rtl.machine import Machine
from mensa.sched.lower.options import LoweringOptions
from mensa.sched.placement import cell
from mensa.sched.placement.cell import find_system
from mensa.sim import soc as systems
from mensa.sim.soc import Setting, Soc

__all__ = [
    "SettingError",
    "choose_machine",
    "choose_soc",
    "parse_grid",
    "parse_settings",
    "says_cell",
    "take_options",
]


PREFIXES = (systems.MEMORY_PREFIX, systems.HOST_PREFIX, systems.ENERGY_PREFIX)
"""Of settings that are not a machine's."""


class SettingError(ValueError):
    """A --set that is not a name and a number."""


def choose_soc(soc: str, machine: str | None, settings: Iterable[str]) -> Soc:
    """Return the system of that name or file, with another machine and settings where given.

    Raises
    ------
    SocError, SettingError, MachineError, MemoryConfigError, HostConfigError, TechnologyError
        The message says what there is, or what a setting may be.
    """
    return find_system(soc, parse_settings(settings), machine=machine)


def choose_machine(machine: str | None, settings: Iterable[str]) -> Machine:
    """Return edge_tpu, or the machine of that name, with settings; for what has nothing else.

    Raises
    ------
    SocError, SettingError, MachineError
        The message says what there is, or what a setting may be.
    """
    settings = list(settings)
    for text in settings:
        for prefix in PREFIXES:
            if text.startswith(prefix):
                raise SettingError(
                    f"--set {text}: the {prefix.rstrip('.')} is no part of this; only a machine's "
                    "settings count here"
                )
    return choose_soc("edge_tpu", machine, settings).machine


def take_options(settings: Iterable[str]) -> tuple[LoweringOptions, list[str]]:
    """How programs are to be made, and the settings that are about something else.

    Raises: SettingError if an option is neither on nor off.
    """
    names = {field.name for field in dataclasses.fields(LoweringOptions)}
    settings = list(settings)
    ours = [text for text in settings if text.partition("=")[0] in names]
    chosen: dict[str, bool] = {}
    for name, value in parse_settings(ours).items():
        if not isinstance(value, bool):
            raise SettingError(f"--set {name}: it is on or off, not {value!r}")
        chosen[name] = value
    return LoweringOptions(**chosen), [text for text in settings if text not in ours]


def says_cell(settings: Iterable[str]) -> bool:
    """Whether a setting is about the LSTM cell."""
    return cell.says_cell(text.partition("=")[0] for text in settings)


def parse_settings(settings: Iterable[str]) -> dict[str, Setting]:
    """Settings by name, from texts such as ``rows=8`` and ``memory.latency_ns=62.5``.

    A number may be written with underscores, with an exponent as ``1e9``, or in hexadecimal after
    ``0x``; ``none`` is None, ``on`` and ``off`` are True and False.
    """
    parsed: dict[str, Setting] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise SettingError(f"--set {text}: write a name and a number, as in --set rows=8")
        if name in parsed:
            raise SettingError(f"--set {name} is given twice")
        parsed[name] = _number(name, value)
    return parsed


def parse_grid(settings: Iterable[str]) -> dict[str, list[Setting]]:
    """Settings with all their values, from texts such as ``rows=8,16``.

    Several names with ``=`` between them stay one, such as ``rows=cols``. Raises: SettingError.
    """
    parsed: dict[str, list[Setting]] = {}
    seen: set[str] = set()
    for text in settings:
        names, equals, values = text.rpartition("=")
        if not equals or not values or not all(names.split("=")):
            raise SettingError(f"--set {text}: write a name and numbers, as in --set rows=8,16")
        for name in names.split("="):
            if name in seen:
                raise SettingError(f"--set {name} is given twice")
            seen.add(name)
        parsed[names] = [_number(names.split("=")[0], value) for value in values.split(",")]
    return parsed


WORDED = ("cell", "kind", "device")
"""Settings beside names that are no numbers."""

WORDS: dict[str, Setting] = {"none": None, "on": True, "off": False}
"""Values that are no numbers."""


def _number(name: str, text: str) -> Setting:
    if name in ("name", *(f"{prefix}name" for prefix in PREFIXES)):
        return text
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if name.rpartition(".")[2] in WORDED:
        return text.lower()
    for read in (lambda: int(text, 0), lambda: float(text)):
        try:
            return read()
        except ValueError:
            continue
    raise SettingError(f"--set {name}={text}: {text!r} is neither a number nor {', '.join(WORDS)}")
