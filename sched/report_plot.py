"""A report as a plot: where each layer's time and energy go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mensa.rtl.registers import CATEGORIES
from mensa.sched.plots import PlotError, new_figure, save_figure
from mensa.sim.report import Report

__all__ = ["plot_report"]

ROW_INCHES = 0.22
MOST_ROWS = 120
"""Layers that a plot has room for; of more, those that take longest."""


def plot_report(report: Report, path: Path) -> None:
    """Draw time by category and energy by component of each layer on a machine, as bars.

    Raises: PlotError if the engine knows no time, matplotlib is missing, or the file's name is of
    no format; OutputError.
    """
    layers = [layer for layer in report.layers if layer.cycles]
    if not layers:
        raise PlotError("there is nothing to plot: no layer on a machine has a time")
    longest = sorted(layers, key=lambda layer: -(layer.time_ns or 0.0))[:MOST_ROWS]
    shown = [layer for layer in layers if layer in longest]
    figure = new_figure(12, 1.5 + ROW_INCHES * len(shown))
    time, energy = figure.subplots(1, 2, sharey=True)
    labels = [f"{layer.index} {layer.op}" for layer in shown]
    microseconds = {
        name: [
            (layer.time_ns or 0.0) / 1000 * (layer.stalls or {})[name] / (layer.cycles or 1)
            for layer in shown
        ]
        for name in CATEGORIES
    }
    _bars(time, labels, microseconds, "us")
    names = list(shown[0].energy_pj or {})
    nanojoules = {name: [(layer.energy_pj or {})[name] / 1000 for layer in shown] for name in names}
    _bars(energy, labels, nanojoules, "nJ")
    time.invert_yaxis()
    few = "" if len(shown) == len(layers) else f", the {len(shown)} longest of {len(layers)} layers"
    figure.suptitle(f"{report.model} on {', '.join(report.machines)}, engine {report.engine}{few}")
    save_figure(figure, path)


def _bars(axes: Any, labels: Sequence[str], parts: dict[str, list[float]], unit: str) -> None:
    """Bars of parts that lie end to end; parts that are nowhere are left out."""
    from matplotlib import colormaps

    colors = colormaps["tab20"]
    start = [0.0] * len(labels)
    places = range(len(labels))
    for number, (name, values) in enumerate(parts.items()):
        if any(values):
            axes.barh(
                places, values, left=start, color=colors(number), label=name.replace("_", " ")
            )
            start = [a + b for a, b in zip(start, values, strict=True)]
    axes.set_yticks(list(places), labels, fontsize="small")
    axes.set_xlabel(unit)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
