"""What commands do with a network and the files around it: read, check, tell notes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mensa.golden import Graph

__all__ = ["check_outputs", "load_network", "notes", "tell_notes"]


def check_outputs(paths: dict[str, Path | None], *sources: Path | str | None) -> None:
    """Raise OutputError if the files given by option can't all be written, or are read, too."""
    from mensa.sched.files import OutputError, check_distinct, check_writable

    for path in paths.values():
        check_writable(path)
    check_distinct(paths)
    read = [Path(source) for source in sources if source is not None and Path(source).is_file()]
    for option, path in paths.items():
        for source in read:
            if path is not None and path.exists() and path.samefile(source):
                raise OutputError(f"{option} would replace {source}, which is read; name another")


def load_network(model: Path, rounding: str | None, check: bool = True) -> Graph:
    """Read a network that golden can run. Raises: GraphError that names the file."""
    from mensa import golden

    graph = golden.load(model)
    if check:
        try:
            golden.check_supported(graph, rounding)
        except golden.GraphError as error:
            raise golden.GraphError(f"{model}: {error}") from error
    return graph


def notes(graph: Graph) -> dict[str, list[str]]:
    """What JSON files have of reading the network."""
    return {"notes": list(graph.notes)}


def tell_notes(graph: Graph) -> None:
    """Print what reading the network left out or worked out, below all else."""
    from mensa.golden.error import printable

    for note in graph.notes:
        print(printable(f"note: {note}"))
