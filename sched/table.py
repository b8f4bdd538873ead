"""Reports as tables for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from mensa.sim.report import HOST, LayerReport, Report

LEGEND = (
    "util: MACs of the array's peak. work: cycles in which the array was fed. lost to: where most "
    "of the others went. cached, streamed: parameters that stay on chip, that each inference loads."
)

LOSSES = {
    "fill_drain": "fill and drain",
    "wait_parameters": "parameters",
    "wait_activations": "activations",
    "wait_store": "the store",
    "wait_command": "commands",
}
"""What a layer's cycles may go to besides computing, by category: most but the first is waiting."""

__all__ = ["console", "layer_table", "summary"]

WIDTH_OF_A_LOG = 160
"""Columns where standard output is no terminal."""

WIDTH_OF_ALL_COLUMNS = 145
"""On a narrower terminal a table has only the columns that matter most."""


def console() -> Console:
    """Return the console of standard output."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_LOG, highlight=False)


def layer_table(report: Report, width: int) -> Table:
    """Return a row per layer; columns that the engine can't fill are left out.

    Parameters
    ----------
    report : Report
        What to show.
    width : int
        Columns of text that there are.
    """
    columns = _identity(wide=width >= WIDTH_OF_ALL_COLUMNS)
    if any(layer.cycles is not None for layer in report.layers):
        columns |= _times(report, wide=width >= WIDTH_OF_ALL_COLUMNS)
    if any(layer.bit_exact is not None for layer in report.layers):
        columns["exact"] = lambda layer: _VERDICTS[layer.bit_exact]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in columns:
        left = heading in ("layer", "output", "on", "lost to", "exact")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for layer in report.layers:
        table.add_row(*(cell(layer) for cell in columns.values()))
    return table


Columns = dict[str, Callable[[LayerReport], str]]
"""What a layer shows in each column, by heading."""

_VERDICTS = {True: "yes", False: "[bold red]NO[/]", None: "-"}


def _identity(wide: bool) -> Columns:
    columns: Columns = {
        "#": lambda layer: str(layer.index),
        "layer": lambda layer: layer.op,
        "output": lambda layer: "x".join(map(str, layer.shape)),
    }
    if wide:
        columns["on"] = lambda layer: layer.machine
    return columns


def _times(report: Report, wide: bool) -> Columns:
    columns: Columns = {"cycles": lambda layer: _count(layer.cycles)}
    if report.timing is not None:
        model = report.timing.cycles
        columns["model"] = lambda layer: _beside(layer.cycles, model.get(layer.index, 0))
    columns["util"] = lambda layer: f"{layer.utilization:.1%}" if layer.utilization else "-"
    columns["work"] = lambda layer: _share(layer, "compute")
    columns["lost to"] = _loss
    if wide:
        columns["cached B"] = lambda layer: _parameters(layer, "cached")
        columns["streamed B"] = lambda layer: _parameters(layer, "streamed")
        columns["read B"] = lambda layer: _count(layer.dram_read_bytes)
        columns["write B"] = lambda layer: _count(layer.dram_write_bytes)
    return columns


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _beside(cycles: int | None, model: int) -> str:
    """Return the model's cycles with a mark that says whether they are the same."""
    if cycles is None:
        return "-"
    return f"= {model:,}" if model == cycles else f"[bold red]!= {model:,}[/]"


def _share(layer: LayerReport, category: str) -> str:
    if not layer.cycles or layer.stalls is None:
        return "-"
    return f"{layer.stalls[category] / layer.cycles:.0%}"


def _loss(layer: LayerReport) -> str:
    """Return the category that cost most besides computing, and its share."""
    if not layer.cycles or layer.stalls is None:
        return "-"
    stalls = layer.stalls
    most = max(LOSSES, key=lambda name: stalls[name])
    return f"{LOSSES[most]} {_share(layer, most)}" if stalls[most] else "-"


def _parameters(layer: LayerReport, where: str) -> str:
    return _count(layer.parameter_bytes[where] if layer.parameter_bytes else None)


def summary(report: Report) -> Iterator[str]:
    """Lines below the table: totals, why layers are on the host, and what was compared."""
    machines = report.cycles
    accelerated = sum(layer.macs for layer in report.layers if layer.machine != HOST)
    for machine, cycles in machines.items():
        time = report.time_ns_without_host
        assert time is not None
        yield (
            f"{machine}: {cycles:,} cycles, {time / 1000:,.1f} us, "
            f"{accelerated:,} of {report.macs:,} MACs"
        )
    for machine, cycles in report.setup_cycles.items():
        yield f"{machine}: {cycles:,} cycles once, to load the parameters that stay on chip"
    if machines:
        yield LEGEND
    for layer in report.layers:
        if layer.reason is not None:
            yield f"layer {layer.index} {layer.op} is on the host: {layer.reason}"
    if report.bit_exact is not None:
        exact = sum(layer.bit_exact is True for layer in report.layers)
        verdict = "bit-exact" if report.bit_exact else "NOT BIT-EXACT"
        yield (
            f"{verdict}: {exact} of {len(report.layers)} layers equal golden "
            f"({report.provenance['rounding']} rounding), "
            f"{report.provenance['inferences']} inference(s)"
        )
    if report.timing is not None:
        if report.timing.equal:
            yield "cycles, stalls and bytes of RTL and timing model: equal, command by command"
        else:
            yield "RTL AND TIMING MODEL DIFFER:"
            yield from (f"  {difference}" for difference in report.timing.differences)
