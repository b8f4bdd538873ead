"""`mensa compile`: what a network needs on a core, as files."""

from __future__ import annotations

from typing import Annotated

import typer

from mensa.sched.cli.networks import load_network, tell_notes
from mensa.sched.cli.options import (
    CompileSetOption,
    DirectoryOption,
    ModelArgument,
    RoundingOption,
)


def compile_model(
    model: ModelArgument,
    output: DirectoryOption,
    machine: Annotated[
        str, typer.Option("--machine", metavar="NAME", help="The machine that will run it.")
    ] = "edge_tpu",
    settings: CompileSetOption = None,
    rounding: RoundingOption = None,
    base: Annotated[
        str,
        typer.Option(
            "--base", metavar="ADDRESS", help="Where the network's memory begins, as 0x80000000."
        ),
    ] = "0",
) -> None:
    """Write what a network needs on a core: programs, parameters, memory map, C header.

    Example: mensa compile net.tflite --machine edge_tpu --set rows=8 --set cols=8 -o network
    """
    from mensa.rtl.program import ProgramError
    from mensa.sched.cli.settings import choose_machine, take_options
    from mensa.sched.compile import compile_network
    from mensa.sched.lower import lower
    from mensa.sched.placement import all_on

    try:
        address = int(base, 0)
    except ValueError:
        raise ProgramError(f"--base {base}: write a number, as 0x80000000") from None
    options, rest = take_options(settings or [])
    chosen = choose_machine(machine, rest)
    graph = load_network(model, rounding)
    lowered = lower(graph, all_on(chosen), rounding, options)
    for path in compile_network(lowered, output, address):
        print(path)
    tell_notes(graph)
