"""The tree of commands: `mensa` and its subcommands, in the order of its help."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Annotated

import typer

from mensa.sched.cli.commands.compile import compile_model
from mensa.sched.cli.commands.disasm import disasm
from mensa.sched.cli.commands.doctor import doctor
from mensa.sched.cli.commands.golden import golden
from mensa.sched.cli.commands.inspect import inspect
from mensa.sched.cli.commands.rtl import rtl
from mensa.sched.cli.commands.run import run
from mensa.sched.cli.commands.sweep import sweep
from mensa.sched.cli.commands.synth import synth

__all__ = ["app"]

COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "sweep": sweep,
    "golden": golden,
    "inspect": inspect,
    "compile": compile_model,
    "rtl": rtl,
    "synth": synth,
    "disasm": disasm,
    "doctor": doctor,
}

app = typer.Typer(
    name="mensa",
    help="Runs int8 networks on open accelerators: bit-exact, and to the cycle.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mensa {metadata.version('mensa')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_version),
    ] = False,
) -> None:
    pass


for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
