"""Arguments and options that several commands have, and commands that gather theirs in a class."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from mensa.rtl.machine import machines

__all__ = [
    "CompileSetOption",
    "DirectoryOption",
    "InputOption",
    "JsonOption",
    "MachineArgument",
    "MachineOption",
    "MachineSetOption",
    "ModelArgument",
    "Rounding",
    "RoundingOption",
    "SeedOption",
    "SetOption",
    "SocOption",
    "gathers",
]

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite file.")]
SocOption = Annotated[
    str,
    typer.Option("--soc", metavar="NAME|FILE.toml", help="The system: machine, memory and host."),
]
MachineOption = Annotated[
    str | None,
    typer.Option(
        "--machine",
        metavar="NAME",
        help="The machine: one of the system's, or a named one in its place; in that of a named "
        "system with its own memory.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the machine (rows=8), the memory (memory.latency_ns=60), the host "
        "(host.clock_hz=1e9), the technology (energy.node_nm=28) or of how programs are made "
        "(prefetch=off, residency=off); of one of several machines after its name (big.rows=8); "
        "repeatable.",
    ),
]
MachineSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the machine (rows=8); repeatable.",
    ),
]
CompileSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the machine (rows=8) or of how programs are made (prefetch=off, "
        "residency=off); repeatable.",
    ),
]


class Rounding(StrEnum):
    """What `--rounding` takes; each is its own name for golden."""

    TFLM = "tflm"
    LITERT = "litert"


RoundingOption = Annotated[
    Rounding | None,
    typer.Option(
        "--rounding",
        metavar="tflm|litert",
        help="Whose arithmetic: TFLM (default for int8 files) or LiteRT BUILTIN_REF (for uint8).",
    ),
]
InputOption = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="FILE.npy|FILE.npz|random|zeros",
        help="What goes in; .npz arrays are named by tensor index. Default: random.",
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Seed of random input.")
]
MachineArgument = Annotated[
    str, typer.Argument(metavar="MACHINE", help=f"A named machine: {', '.join(machines)}.")
]
DirectoryOption = Annotated[
    Path,
    typer.Option(
        "-o", "--output", metavar="DIR", help="A directory: new, empty, or made by this command."
    ),
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result there as JSON.")
]

Options = TypeVar("Options")


def gathers(kind: type[Options]) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Decorate a function of one dataclass to make it a command.

    Every field of `kind` is a parameter of the command, in their order; its type is what the type
    of a parameter is to typer.
    """
    types = get_type_hints(kind, include_extras=True)
    parameters = []
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        required = field.default is dataclasses.MISSING
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if required else field.default,
                annotation=types[field.name],
            )
        )

    def command_of(function: Callable[[Options], None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(**given: Any) -> None:
            function(kind(**given))

        # What typer looks at.
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = types
        return command

    return command_of
