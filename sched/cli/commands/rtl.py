"""`mensa rtl`: a machine's hardware, as files."""

from __future__ import annotations

from mensa.sched.cli.options import DirectoryOption, MachineArgument, MachineSetOption


def rtl(
    machine: MachineArgument,
    output: DirectoryOption,
    settings: MachineSetOption = None,
) -> None:
    """Write a machine's Verilog, register map, C header and file list.

    Example: mensa rtl edge_tpu --set rows=8 --set cols=8 -o hardware
    """
    from mensa.sched.cli.progress import ProgressBar
    from mensa.sched.cli.settings import choose_machine
    from mensa.sched.generate import generate

    chosen = choose_machine(machine, settings or [])
    with ProgressBar() as progress:
        progress(0, 1, "writing Verilog")
        files = generate(chosen, output)
    for path in files:
        print(path)
