"""Files of a sweep: its table, and a plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mensa.sched.files import new_file
from mensa.sched.plots import check_plot_name, new_figure, save_figure
from mensa.sched.sweep import SweepError

if TYPE_CHECKING:
    import polars

__all__ = ["check_format", "check_plot", "draw", "write"]

_WRITERS: Mapping[str, Callable[[polars.DataFrame, Path], Any]] = {
    ".csv": lambda table, place: table.write_csv(place),
    ".parquet": lambda table, place: table.write_parquet(place),
    ".json": lambda table, place: table.write_json(place),
}

MOST_LINES = 12
"""Lines that a plot can tell apart."""


def check_format(path: Path | None) -> None:
    """Raise SweepError unless a table can be written to a file of this name."""
    if path is not None and path.suffix.lower() not in _WRITERS:
        raise SweepError(f"{path}: a table's name ends in {', '.join(_WRITERS)}")


def check_plot(path: Path | None, models: int, settings: Mapping[str, Sequence[Any]]) -> None:
    """Raise PlotError unless a plot can be written to a file of this name.

    SweepError if so many networks and settings make more lines than can be told apart, or nothing
    varies.
    """
    if path is None:
        return
    check_plot_name(path)
    if not _varied(settings):
        raise SweepError("a plot needs a setting with several values")
    lines = models * math.prod(len(settings[name]) for name in _varied_names(settings)[1:])
    if lines > MOST_LINES:
        raise SweepError(
            f"the plot would have {lines} lines, {MOST_LINES} can be told apart; sweep fewer "
            "settings, or plot the table yourself"
        )


def _varied_names(settings: Mapping[str, Sequence[Any]]) -> list[str]:
    return [name for name, values in settings.items() if len(set(values)) > 1]


def _varied(settings: Mapping[str, Sequence[Any]]) -> list[str]:
    """A column for each setting with several values."""
    return [name.split("=")[0] for name in _varied_names(settings)]


def write(table: polars.DataFrame, path: Path) -> None:
    """Write a table, in the format that the file's name says. Raises: OutputError, SweepError."""
    check_format(path)
    with new_file(path) as place:
        _WRITERS[path.suffix.lower()](table, Path(place))


def draw(table: polars.DataFrame, settings: Mapping[str, Sequence[Any]], path: Path) -> None:
    """Plot the time over the first setting with several values; a line for each of the others.

    Parameters: the table of `sweep`, and the settings that it was given. Raises: as `check_plot`,
    OutputError.
    """
    check_plot(path, table["network"].n_unique(), settings)
    across, *others = _varied(settings)
    good = table.filter(table["error"].is_null())
    lines = list(good.group_by("network", *others, maintain_order=True))
    is_number = good[across].dtype.is_numeric() and not good[across].null_count()
    figure = new_figure(8, 5)
    axes = figure.subplots()
    for key, group in lines:
        label = ", ".join(
            [str(key[0]), *(f"{n}={v}" for n, v in zip(others, key[1:], strict=True))]
        )
        places = group[across].to_list()
        if not is_number:
            places = [str(each) for each in places]
        axes.plot(places, group["time_us"].to_list(), marker="o", label=label)
    axes.set_xlabel(across)
    axes.set_ylabel("time of an inference, us, without the host")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save_figure(figure, path)
