"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["OutputError", "check_writable", "fresh_directory", "new_file", "write_text"]


class OutputError(OSError):
    """A file that can't be written; the message says which, why, and what to do."""


def check_writable(path: str | Path | None) -> None:
    """Raise OutputError if a file can't be made at `path`: before the work, not after it."""
    if path is None:
        return
    place = Path(path)
    if place.is_dir():
        raise OutputError(f"can't write {place}: it is a directory; give the name of a file")
    _check_parent(place)


def _check_parent(place: Path) -> None:
    parent = place.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"can't write {place}: there is no directory {parent}; make it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"can't write {place}: no permission to write in {parent}")


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Give the path of a temporary file beside `path`, which becomes `path` if all goes well.

    Raises
    ------
    OutputError
        If it can't be written. Nothing is left behind then, nor if the body raises.
    """
    place = Path(path)
    check_writable(place)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.absolute().parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"can't write {place}: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(place)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"can't write {place}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all. Raises: OutputError."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def fresh_directory(path: str | Path, names: Iterable[str]) -> Iterator[Path]:
    """Give a temporary directory beside `path`, which becomes `path` if all goes well.

    Parameters
    ----------
    path : path
        What it becomes. A directory that is there already is replaced, but only if it holds
        nothing but files of these names.
    names : strings
        Of the files that the body makes.

    Raises
    ------
    OutputError
        If it can't be written. Nothing is left behind then, nor if the body raises.
    """
    place = Path(path)
    if place.exists() and not place.is_dir():
        raise OutputError(f"can't write {place}: it is a file; give the name of a directory")
    _check_parent(place)
    _check_replaceable(place, set(names))
    try:
        temporary = Path(
            tempfile.mkdtemp(prefix=f".{place.absolute().name}.", dir=place.absolute().parent)
        )
    except OSError as error:
        raise OutputError(f"can't write {place}: {error.strerror or error}") from error
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if place.exists():
            shutil.rmtree(place)
        temporary.rename(place)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"can't write {place}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_replaceable(place: Path, names: set[str]) -> None:
    found = sorted(entry.name for entry in place.iterdir()) if place.exists() else []
    others = [name for name in found if name not in names]
    if others:
        raise OutputError(
            f"can't write {place}: it holds {others[0]}, which this command did not make; "
            f"give a new or empty directory"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
