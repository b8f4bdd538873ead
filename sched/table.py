"""Reports as tables for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from mensa.sim.report import HOST, LayerReport, Report

__all__ = ["console", "layer_table", "summary"]

WIDTH_OF_A_LOG = 132
"""Columns where standard output is no terminal."""

_WAITS = {
    "wait_parameters": "par",
    "wait_activations": "act",
    "wait_store": "sto",
    "wait_command": "cmd",
}
"""Headings of the waits."""


def console() -> Console:
    """Return the console of standard output."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_LOG, highlight=False)


def layer_table(report: Report) -> Table:
    """Return a row per layer; columns that the engine can't fill are left out."""
    timed = any(layer.cycles is not None for layer in report.layers)
    compared = any(layer.bit_exact is not None for layer in report.layers)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=False)
    table.add_column("#", justify="right")
    table.add_column("layer", no_wrap=True)
    table.add_column("output", no_wrap=True)
    table.add_column("on", no_wrap=True)
    if timed:
        table.add_column("cycles", justify="right", no_wrap=True)
        if report.timing is not None:
            table.add_column("model", justify="right", no_wrap=True)
        table.add_column("util", justify="right", no_wrap=True)
        table.add_column("work", justify="right", no_wrap=True)
        table.add_column("fill", justify="right", no_wrap=True)
        for heading in _WAITS.values():
            table.add_column(f"{heading}", justify="right", no_wrap=True)
        table.add_column("read B", justify="right", no_wrap=True)
        table.add_column("write B", justify="right", no_wrap=True)
    if compared:
        table.add_column("exact", no_wrap=True)
    for layer in report.layers:
        cells = [str(layer.index), layer.op, "x".join(map(str, layer.shape)), layer.machine]
        if timed:
            cells += _times(layer, report)
        if compared:
            cells.append({True: "yes", False: "[bold red]NO[/]", None: "-"}[layer.bit_exact])
        table.add_row(*cells)
    return table


def _times(layer: LayerReport, report: Report) -> list[str]:
    """Cells from "cycles" to "write B"."""
    columns = 10 + (report.timing is not None)
    if layer.cycles is None:
        return ["-"] * columns
    cells = [f"{layer.cycles:,}"]
    if report.timing is not None:
        model = report.timing.cycles.get(layer.index, 0)
        cells.append(f"= {model:,}" if model == layer.cycles else f"[bold red]≠ {model:,}[/]")
    cells.append("-" if layer.utilization is None else f"{layer.utilization:.1%}")
    stalls = layer.stalls or {}
    cells += [_share(stalls, name, layer.cycles) for name in ("compute", "fill_drain", *_WAITS)]
    return [*cells, f"{layer.dram_read_bytes or 0:,}", f"{layer.dram_write_bytes or 0:,}"]


def _share(stalls: Mapping[str, int], name: str, cycles: int) -> str:
    return f"{stalls.get(name, 0) / cycles:.0%}" if cycles else "-"


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
    if machines:
        yield (
            "util: of the array's MACs. work, fill: computing, filling and draining. "
            "par, act, sto, cmd: waiting for parameters, activations, store, commands"
        )
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
