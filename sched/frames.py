"""Reports and sweeps as frames of polars, which write CSV, Parquet and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mensa.sim.report import Report

if TYPE_CHECKING:
    import polars

__all__ = ["FrameError", "layers_table", "table_of"]


class FrameError(ValueError):
    """A library that is missing."""


def table_of(rows: Iterable[Mapping[str, Any]]) -> polars.DataFrame:
    """Rows as a frame. Raises: FrameError if polars is not installed."""
    try:
        import polars
    except ImportError as error:
        raise FrameError("polars is not installed; run: pip install 'mensa[sweep]'") from error
    return polars.DataFrame(list(rows), infer_schema_length=None)


def layers_table(report: Report) -> polars.DataFrame:
    """A row for each layer of a report: what its JSON has, what has parts in columns `a.b`."""
    return table_of(
        {
            key: value
            for name, found in layer.to_json().items()
            for key, value in _flat(name, found).items()
        }
        for layer in report.layers
    )


def _flat(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {f"{name}.{part}": each for part, each in value.items()}
    return {name: value}
