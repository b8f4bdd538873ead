"""Reports as tables for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import partial

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mensa.golden.error import printable
from mensa.sched.roofline import ADVICE
from mensa.sim.host import ESTIMATE
from mensa.sim.report import LayerReport, Report

LEGEND = (
    "util: MACs of the array's peak. work: cycles in which the array was fed; 100% is the bound of "
    "the layer's mapping. The others were lost to filling and draining the array (drain), or to "
    "waiting for parameters (param), activations (activ), the store unit (store), the next command "
    "(comm). cached, streamed: parameters that stay on chip, that each inference loads. nJ: energy."
)

LOSSES = {
    "fill_drain": ("drain", "fill and drain"),
    "wait_parameters": ("param", "parameters"),
    "wait_activations": ("activ", "activations"),
    "wait_store": ("store", "the store"),
    "wait_command": ("comm", "commands"),
}
"""What a layer's cycles may go to besides computing, by category: the heading of its column, and
its name where the largest is named alone. All but the first are waiting."""

__all__ = ["LEGEND", "console", "layer_table", "summary"]

WIDTH_OF_A_LOG = 180
"""Columns of text where standard output is no terminal: enough for whole tables."""

UNBOUNDED = 1000
"""More columns of text than any table has."""


def console() -> Console:
    """Return the console of standard output, which prints texts as they are."""
    width = None if sys.stdout.isatty() else WIDTH_OF_A_LOG
    return Console(width=width, highlight=False, markup=False, emoji=False)


class Detail(IntEnum):
    """How much a table of layers shows, from what matters most to everything."""

    LARGEST_LOSS = 0
    PARAMETERS = 1
    ALL = 2


def layer_table(report: Report, out: Console) -> Table:
    """Return a row per layer, in as much detail as finds room on `out`.

    Columns that the engine can't fill are left out.
    """
    for detail in reversed(Detail):
        table = _layer_table(report, detail)
        if Measurement.get(out, out.options.update(width=UNBOUNDED), table).maximum <= out.width:
            break
    return table


def _layer_table(report: Report, detail: Detail) -> Table:
    columns = _identity(detail)
    if any(layer.cycles is not None for layer in report.layers):
        columns |= _times(report, detail)
    if any(layer.bit_exact is not None for layer in report.layers):
        columns["exact"] = lambda layer: _VERDICTS[layer.bit_exact]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in columns:
        left = heading in ("layer", "output", "on", "lost to", "exact")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for layer in report.layers:
        table.add_row(*(cell(layer) for cell in columns.values()))
    return table


Columns = dict[str, Callable[[LayerReport], str | Text]]
"""What a layer shows in each column, by heading."""

BAD = "bold red"

_VERDICTS: dict[bool | None, str | Text] = {True: "yes", False: Text("NO", BAD), None: "-"}


def _identity(detail: Detail) -> Columns:
    columns: Columns = {
        "#": lambda layer: str(layer.index),
        "layer": lambda layer: printable(layer.op),
        "output": lambda layer: "x".join(map(str, layer.shape)),
    }
    if detail >= Detail.ALL:
        columns["on"] = lambda layer: layer.machine
    return columns


def _times(report: Report, detail: Detail) -> Columns:
    columns: Columns = {"cycles": lambda layer: _count(layer.cycles)}
    if report.timing is not None:
        model = report.timing.cycles
        columns["model"] = lambda layer: _beside(layer.cycles, model.get(layer.index, 0))
    columns["util"] = lambda layer: f"{layer.utilization:.1%}" if layer.utilization else "-"
    columns["work"] = partial(_share, "compute")
    if detail >= Detail.ALL:
        for category, (heading, _) in LOSSES.items():
            columns[heading] = partial(_share, category)
    else:
        columns["lost to"] = _largest_loss
    if detail >= Detail.PARAMETERS:
        columns["cached B"] = partial(_parameters, "cached")
        columns["streamed B"] = partial(_parameters, "streamed")
    if detail >= Detail.ALL:
        columns["read B"] = lambda layer: _count(layer.dram_read_bytes)
        columns["write B"] = lambda layer: _count(layer.dram_write_bytes)
        columns["nJ"] = _nanojoule
    return columns


def _nanojoule(layer: LayerReport) -> str:
    return "-" if layer.energy_pj is None else f"{sum(layer.energy_pj.values()) / 1000:,.1f}"


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _beside(cycles: int | None, model: int) -> str | Text:
    """Return the model's cycles with a mark that says whether they are the same."""
    if cycles is None:
        return "-"
    return f"= {model:,}" if model == cycles else Text(f"!= {model:,}", BAD)


def _share(category: str, layer: LayerReport) -> str:
    if not layer.cycles or not layer.stalls or not layer.stalls[category]:
        return "-"
    return f"{layer.stalls[category] / layer.cycles:.0%}"


def _largest_loss(layer: LayerReport) -> str:
    """Return the category that cost most besides computing, and its share."""
    if not layer.cycles or layer.stalls is None:
        return "-"
    stalls = layer.stalls
    most = max(LOSSES, key=lambda name: stalls[name])
    return f"{LOSSES[most][1]} {_share(most, layer)}" if stalls[most] else "-"


def _parameters(where: str, layer: LayerReport) -> str:
    return _count(layer.parameter_bytes[where] if layer.parameter_bytes else None)


def summary(report: Report) -> Iterator[str]:
    """Lines below the table: totals, why layers are on the host, and what was compared."""
    machines = report.machines
    for machine, total in machines.items():
        yield (
            f"{machine}: {total.cycles:,} cycles, {total.time_ns / 1000:,.1f} us, "
            f"{total.macs:,} of {report.macs:,} MACs"
        )
    time, host_time = report.time_ns_without_host, report.host_time_ns
    if len(machines) > 1 and time is not None:
        macs = sum(total.macs for total in machines.values())
        yield (
            f"all machines, one after another: {time / 1000:,.1f} us, "
            f"{macs:,} of {report.macs:,} MACs"
        )
    if report.host_layers and time is not None and host_time is not None:
        yield from _host(report, time, host_time)
    for machine, cycles in report.setup_cycles.items():
        yield f"{machine}: {cycles:,} cycles once, to load the parameters that stay on chip"
    if machines:
        bytes_of = report.parameter_bytes
        yield (
            f"parameters and constants: {bytes_of['cached']:,} B stay on chip, "
            f"{bytes_of['streamed']:,} B are loaded by each inference"
        )
    yield from _energy(report)
    yield from _costliest(report)
    spilled = [layer for layer in report.layers if layer.spilled_bytes]
    if spilled:
        nbytes = sum(layer.spilled_bytes or 0 for layer in spilled)
        layers = ", ".join(f"{layer.index} {layer.op}" for layer in spilled)
        yield printable(f"intermediate results to memory and back: {nbytes:,} B, of {layers}")
    copies = [layer for layer in report.layers if layer.copies]
    if copies:
        spent = sum(layer.cycles or 0 for layer in copies)
        took = f", {spent:,} cycles" if spent else ""
        layers = ", ".join(f"{layer.index} {layer.op}" for layer in copies)
        yield printable(f"run as copies, which compute nothing: {layers}{took}")
    tables: dict[int, list[str]] = {}
    for layer in report.layers:
        if layer.table_of is not None:
            tables.setdefault(layer.table_of, []).append(f"{layer.index} {layer.op}")
    for last, members in tables.items():
        yield printable(f"computed by the table of layer {last}: {', '.join(members)}")
    for layer in report.layers:
        if layer.reason is not None:
            about = "" if layer.time_ns is None else f"; about {layer.time_ns / 1000:,.1f} us"
            yield printable(f"layer {layer.index} {layer.op} is on the host: {layer.reason}{about}")
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


def _energy(report: Report) -> Iterator[str]:
    """Lines about energy: its sum, what a MAC costs, and the largest components."""
    energy = report.energy_pj
    if energy is None:
        return
    whole = sum(energy.values())
    per_mac = "" if report.pj_per_mac is None else f", {report.pj_per_mac:,.2f} pJ/MAC"
    parts = sorted(energy.items(), key=lambda part: -part[1])
    shares = ", ".join(
        f"{name.replace('_', ' ')} {value / whole:.0%}"
        for name, value in parts
        if value > whole / 200
    )
    technology = report.provenance.get("technology", {})
    of = ""
    if technology:
        of = (
            f" ({technology['node_nm']:g} nm, {technology['device']}, "
            f"{technology['temperature_k']} K)"
        )
    yield f"energy: {whole / 1e6:,.2f} uJ{per_mac}{of}: {shares}"


COSTLIEST = 3
"""Layers whose bound is told."""


def _costliest(report: Report) -> Iterator[str]:
    """Lines about the layers that take longest: what bounds each, and what would help."""
    timed = [layer for layer in report.layers if layer.roofline is not None and layer.time_ns]
    whole = sum(layer.time_ns or 0.0 for layer in timed)
    for layer in sorted(timed, key=lambda each: -(each.time_ns or 0.0))[:COSTLIEST]:
        assert layer.roofline is not None
        bound = layer.roofline["bound"]
        share = (layer.time_ns or 0.0) / whole
        yield printable(
            f"costliest: {layer.index} {layer.op}, {share:.0%} of the time, bound by {bound}: "
            f"{ADVICE[bound]}"
        )


def _host(report: Report, time_ns: float, host_time_ns: float) -> Iterator[str]:
    """Lines about the time of what is on the host, and with it."""
    layers = report.host_layers
    macs = sum(layer.macs for layer in layers)
    total = time_ns + host_time_ns
    share = host_time_ns / total if total else 0.0
    yield (
        f"host: {len(layers)} layer(s), about {host_time_ns / 1000:,.1f} us, "
        f"{macs:,} of {report.macs:,} MACs; {ESTIMATE}"
    )
    yield (
        f"with the host: about {total / 1000:,.1f} us, {share:.1%} of it the host's; "
        f"without it: {time_ns / 1000:,.1f} us"
    )
