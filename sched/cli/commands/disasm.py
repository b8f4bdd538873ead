"""`mensa disasm`: the commands of programs, as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mensa.sched.cli.networks import load_network, tell_notes
from mensa.sched.cli.options import MachineOption, RoundingOption, SetOption, SocOption


def disasm(
    program: Annotated[
        Path, typer.Argument(metavar="FILE|MODEL", help="A saved program (.npz) or a .tflite file.")
    ],
    soc: SocOption = "edge_tpu",
    machine: MachineOption = None,
    settings: SetOption = None,
    rounding: RoundingOption = None,
) -> None:
    """Print the commands of a program, or of the programs that a network is lowered to.

    Example: mensa disasm net.tflite --set rows=8 --set cols=8
    """
    from mensa.rtl.program import Program, disassemble
    from mensa.sched.cli.settings import SettingError

    graph = None
    if program.suffix == ".npz":
        if machine is not None or settings or rounding is not None:
            raise SettingError(
                f"{program} is a saved program: --machine, --set and --rounding are for networks"
            )
        programs: Sequence[Program] = [Program.load(program)]
    else:
        from mensa.sched.cli.settings import choose_soc, take_options
        from mensa.sched.lower import lower
        from mensa.sched.placement import all_on

        options, rest = take_options(settings or [])
        system = choose_soc(soc, machine, rest)
        graph = load_network(program, rounding)
        programs = lower(graph, all_on(system.machine), rounding, options).programs
    for number, each in enumerate(programs):
        if len(programs) > 1:
            print(f"program {number}")
        for line in disassemble(each.words):
            print(line)
    if graph is not None:
        tell_notes(graph)
