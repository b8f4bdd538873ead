"""The command line as a page of documentation, made from the commands themselves.

::

    python -m mensa.sched.cli.reference > docs/cli.md
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from mensa.rtl.machine import edge_tpu
from mensa.sched.cli.app import app
from mensa.sched.cli.settings import WORDS
from mensa.sched.lower.options import LoweringOptions
from mensa.sim.energy.technology import Technology
from mensa.sim.host import cortex_a53
from mensa.sim.memory import lpddr4
from mensa.sim.soc import ENERGY_PREFIX, HOST_PREFIX, MEMORY_PREFIX, socs

__all__ = ["page"]

INTRODUCTION = """\
# Command line

Every command exits with 0 on success, 1 when a check failed, and 2 on bad input, with one line on
standard error that says what was wrong, where, and what to do; Ctrl-C is 130. What the terminal's
encoding lacks is printed as `?`; files are UTF-8, and JSON has null for a number that is not
finite. Files are written whole or not at all; links, devices and pipes stay what they are. Networks
are .tflite files; builds of the hardware are kept in the user's cache, or in the directory that the
environment variable `MENSA_CACHE` names.

That no network ends a command in a traceback is tested by
`python -m pytest tests/sched/cli/test_every_file.py`, which gives odd, damaged and sound files to
every command that takes one, in two encodings, and prints how often each ended with which status.
"""


TABLE = ("| | |", "|---|---|")

SETTINGS = """\
## Settings

What `--set` takes, and a system's file: the value of the named machine, memory, host or
technology, and what it is. A switch is `on` or `off`, in a file `true` or `false`; a whole number
may be written as `1e9`. Programs and hardware must be made with the same settings of the machine,
but for `name` and `clock_hz`. `prefetch` and `residency` say how programs are made; hardware has
none of them.
"""


def page() -> str:
    """Return the page, as Markdown."""
    group: Any = typer.main.get_command(app)
    parts = [INTRODUCTION]
    for name, command in group.commands.items():
        text, _, example = inspect.cleandoc(command.callback.__doc__).partition("Example: ")
        example = " ".join(example.split())
        parts.append(f"## mensa {name}\n\n{text.strip()}\n\n```sh\n{example}\n```\n")
        parts.append("\n".join(_rows(command)))
    settings = [
        *_settings(edge_tpu, edge_tpu.settings, ""),
        *_settings(edge_tpu.array, edge_tpu.settings, ""),
        *_settings(lpddr4, vars(lpddr4), MEMORY_PREFIX),
        *_settings(cortex_a53, vars(cortex_a53), HOST_PREFIX),
        *_settings(Technology(), vars(Technology()), ENERGY_PREFIX),
        *_settings(LoweringOptions(), vars(LoweringOptions()), ""),
    ]
    parts.append("\n".join([SETTINGS, *TABLE, *settings, ""]))
    for name, system in socs.items():
        if name == "edge_tpu":
            continue
        machine, memory = system.machine, system.memory_of(name)
        found = [
            *_settings(machine, machine.settings, ""),
            *_settings(machine.array, machine.settings, ""),
            *_settings(memory, vars(memory), MEMORY_PREFIX),
        ]
        heading = f"Those of `{name}` and of its memory `{memory.name}` that are others:\n"
        others = [row for row in found if row not in settings]
        parts.append("\n".join([heading, *TABLE, *others, ""]))
    return "\n".join(parts)


def _rows(command: Any) -> Iterator[str]:
    yield from TABLE
    for parameter in command.params:
        shown = parameter.metavar
        if parameter.param_type_name == "option":
            shown = ", ".join(parameter.opts) + (f" {shown}" if shown else "")
        default = parameter.default
        said = parameter.help
        if isinstance(default, str | int) and not isinstance(default, bool):
            said += f" Default: {default}."
        yield f"| `{_escaped(shown)}` | {_escaped(said)} |"
    yield ""


def _settings(named: Any, values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Rows for the settings among the attributes of `named`, from what its classes say of them.

    What a class says comes before what those say that it is made from.
    """
    told = {"array"}
    for kind in type(named).__mro__:
        _, _, attributes = (inspect.getdoc(kind) or "").partition("Attributes\n----------\n")
        if kind.__doc__ is None:
            continue
        for names, said in re.findall(r"^([\w, ]+) : .*\n((?:    .*\n?)+)", attributes, re.M):
            for name in names.split(", "):
                if name in values and name not in told:
                    told.add(name)
                    shown = next((w for w, meant in WORDS.items() if values[name] is meant), None)
                    shown = shown or values[name]
                    yield f"| `{prefix}{name}={shown}` | {_escaped(' '.join(said.split()))} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
