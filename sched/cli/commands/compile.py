"""`mensa compile`: what a network needs on a core, as files."""

from __future__ import annotations

from typing import Annotated

import typer

from mensa.sched.cli.networks import load_network, tell_notes
from mensa.sched.cli.options import (
    DirectoryOption,
    MachineSetOption,
    ModelArgument,
    RoundingOption,
)


def compile_model(
    model: ModelArgument,
    output: DirectoryOption,
    machine: Annotated[
        str, typer.Option("--machine", metavar="NAME", help="The machine that will run it.")
    ] = "edge_tpu",
    settings: MachineSetOption = None,
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
    from mensa.sched.cli.settings import choose_machine
    from mensa.sched.compile import compile_network
    from mensa.sched.lower import lower

    try:
        address = int(base, 0)
    except ValueError:
        raise ProgramError(f"--base {base}: write a number, as 0x80000000") from None
    chosen = choose_machine(machine, settings or [])
    graph = load_network(model, rounding)
    for path in compile_network(lower(graph, chosen, rounding), output, address):
        print(path)
    tell_notes(graph)
