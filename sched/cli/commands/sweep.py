"""`mensa sweep`: networks on every combination of settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mensa.sched.cli.networks import check_outputs
from mensa.sched.cli.options import MachineOption, RoundingOption, SocOption, gathers

if TYPE_CHECKING:
    import polars

    from mensa.sim.soc import Setting

SHOWN = 20
"""Rows that are printed."""

ENERGY = "energy."
BANDWIDTH = "memory.bandwidth_bytes_per_s"
WHY = ": the data port lets less through (port_bytes x clock_hz), or little is moved"


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What `mensa sweep` takes; each field's help says what it is."""

    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help=".tflite files.")]
    soc: SocOption = "edge_tpu"
    machine: MachineOption = None
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE,...",
            help="A setting and its values, as of mensa run (rows=8,16,32); several names before "
            "the values have the same one (rows=cols=8,16); repeatable, for every combination.",
        ),
    ] = None
    rounding: RoundingOption = None
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.csv|.parquet|.json",
            help="Write the table there. A sweep that was stopped goes on where it was: its rows "
            "are in FILE.journal until it is done.",
        ),
    ] = None
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE.png|.svg|.pdf",
            help="Draw the time over the first setting that has several values.",
        ),
    ] = None
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", min=1, help="Processes; default: one a core."),
    ] = None


@gathers(SweepOptions)
def sweep(options: SweepOptions) -> None:
    """Time networks on every combination of settings, on all cores, as a table.

    Example: mensa sweep net.tflite --set rows=cols=8,16,32 --set port_bytes=16,64 -o sweep.csv
    --plot sweep.png
    """
    from mensa.sched.cli.progress import ProgressBar
    from mensa.sched.cli.settings import parse_grid
    from mensa.sched.sweep import SweepError, sweep
    from mensa.sched.sweep_files import check_format, check_plot, draw, write

    check_outputs({"--output": options.output, "--plot": options.plot}, *options.models)
    check_format(options.output)
    settings = parse_grid(options.settings or [])
    check_plot(options.plot, len(options.models), settings)
    journal = None
    if options.output is not None:
        journal = options.output.with_name(f"{options.output.name}.journal")
    with ProgressBar() as progress:
        table = sweep(
            options.models,
            settings,
            soc=options.soc,
            machine=options.machine,
            rounding=options.rounding,
            jobs=options.jobs,
            journal=journal,
            progress=progress,
        )
    refused = table["error"].is_not_null().all()
    if not refused:
        if options.output is not None:
            write(table, options.output)
        if options.plot is not None:
            draw(table, settings, options.plot)
        _show(table, settings, options)
    if journal is not None:
        journal.unlink()
    if refused:
        raise SweepError(f"no combination can be: {table['error'][0]}")


def _show(
    table: polars.DataFrame, settings: dict[str, list[Setting]], options: SweepOptions
) -> None:
    """The fastest rows of each network, and how many others there are."""
    from rich import box
    from rich.table import Table

    from mensa.golden.error import printable
    from mensa.sched.cli.table import console
    from mensa.sched.placement.cell import find_system
    from mensa.sched.sweep import without_effect

    names = [name for names in settings for name in names.split("=")]
    out = console()
    rows = table.filter(table["error"].is_null()).sort("time_us")
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("network", *names, "cycles", "us", "util", "read B", "write B", "uJ"):
        shown.add_column(heading, justify="left" if heading == "network" else "right")
    for row in rows.head(SHOWN).iter_rows(named=True):
        shown.add_row(
            printable(row["network"]),
            *(str(row[name]) for name in names),
            f"{row['cycles']:,}",
            f"{row['time_us']:,.1f}",
            f"{row['utilization']:.1%}",
            f"{row['read_bytes']:,}",
            f"{row['write_bytes']:,}",
            f"{row['energy_uj']:,.2f}",
        )
    out.print(shown)
    for name in without_effect(rows, settings):
        print(f"{name} changes nothing here" + (WHY if name.endswith(BANDWIDTH) else ""))
    refused = table.filter(table["error"].is_not_null())
    all_in = f"; all in {options.output}" if options.output else ""
    print(f"{len(rows)} rows, the fastest first{all_in}")
    technology = find_system(options.soc, machine=options.machine).technology
    given = {name.removeprefix(ENERGY): value for name, value in settings.items()}
    made_of = {name: given.get(name, [value]) for name, value in vars(technology).items()}
    print("energy: " + ", ".join(f"{n} {'|'.join(map(str, v))}" for n, v in made_of.items()))
    for (error,), group in refused.group_by("error", maintain_order=True):
        print(printable(f"{len(group)} combination(s) can't be: {error}"))
