"""The command line as a page of documentation, made from the commands themselves.

::

    python -m mensa.sched.cli_reference > docs/cli.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import typer

from mensa.sched.cli import app

__all__ = ["page"]

INTRODUCTION = """\
# Command line

Every command exits with 0 on success, 1 when a check failed, and 2 on bad input, with one line on
standard error that says what was wrong, where, and what to do. Files are written whole or not at
all; links, devices and pipes stay what they are. Networks are .tflite files; builds of the hardware
are kept in the user's cache, or in the directory that the environment variable `MENSA_CACHE` names.
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
    return "\n".join(parts)


def _rows(command: Any) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
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


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
