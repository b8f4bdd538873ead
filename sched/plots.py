"""Figures in files: made by matplotlib, without a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mensa.sched.files import new_file

__all__ = ["PlotError", "check_plot_name", "new_figure", "save_figure"]

_FORMATS = (".png", ".svg", ".pdf")


class PlotError(ValueError):
    """A plot that can't be made; the message says why and what to do."""


def check_plot_name(path: Path | None) -> None:
    """Raise PlotError unless a plot can be written to a file of this name."""
    if path is None:
        return
    if path.suffix.lower() not in _FORMATS:
        raise PlotError(f"{path}: a plot's name ends in {', '.join(_FORMATS)}")
    _figure_class()


def new_figure(width: float, height: float) -> Any:
    """A figure of so many inches. Raises: PlotError if matplotlib is not installed."""
    return _figure_class()(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure in the format of the file's name. Raises: PlotError, OutputError."""
    check_plot_name(path)
    with new_file(path) as place:
        figure.savefig(place, format=path.suffix.lower().lstrip("."))


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError("matplotlib is not installed; run: pip install 'mensa[sweep]'") from error
    return Figure
