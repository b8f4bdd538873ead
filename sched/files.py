"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mensa.rtl.strict_json import json_text

__all__ = [
    "OutputError",
    "check_distinct",
    "check_writable",
    "fresh_directory",
    "new_file",
    "write_json",
    "write_text",
]


class OutputError(OSError):
    """A file that can't be written; the message says which, why, and what to do."""


def check_writable(path: str | Path | None) -> None:
    """Raise OutputError if a file can't be made at `path`: before the work, not after it."""
    if path is None:
        return
    place = Path(path)
    if place.is_dir():
        raise OutputError(f"can't write {place}: it is a directory; give the name of a file")
    if _is_special(place):
        if not os.access(place, os.W_OK):
            raise OutputError(f"can't write {place}: no permission")
        return
    _check_parent(place)


def check_distinct(paths: Mapping[str, Path | None]) -> None:
    """Raise OutputError if two outputs, given by option, are one file. Devices may be shared."""
    options: dict[Path, str] = {}
    for option, path in paths.items():
        if path is None or _is_special(path):
            continue
        other = options.setdefault(_resolved(path), option)
        if other != option:
            raise OutputError(f"{other} and {option} both write {path}; give them different files")


def _is_special(place: Path) -> bool:
    """Whether there is a device, a pipe or a socket, which is written to and not replaced."""
    return place.exists() and not place.is_file() and not place.is_dir()


def _resolved(place: Path) -> Path:
    """Return the path behind all symbolic links, whether or not there is anything yet."""
    target = Path(os.path.realpath(place))
    if target.is_symlink():
        raise OutputError(f"can't write {place}: its symbolic links lead in a circle; remove them")
    return target


def _check_parent(place: Path) -> None:
    parent = _resolved(place).parent
    if not parent.is_dir():
        raise OutputError(f"can't write {place}: there is no directory {parent}; make it first")
    _check_permission(place, parent)


def _check_permission(place: Path, directory: Path) -> None:
    if not os.access(directory, os.W_OK):
        raise OutputError(f"can't write {place}: no permission to write in {directory}")


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Give the path of a temporary file, which becomes `path` if all goes well.

    What a symbolic link points to is replaced, not the link. A device or a pipe is not replaced:
    its own path is given.

    Raises
    ------
    OutputError
        If it can't be written. Nothing is left behind then, nor if the body raises.
    """
    place = Path(path)
    check_writable(place)
    with _explained(place):
        if _is_special(place):
            yield place
            return
        target = _resolved(place)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    """Turn what the system says into an OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"can't write {place}: {error.strerror or error}") from error


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all as `new_file` does. Raises: OutputError."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, tree: Any) -> None:
    """Write a tree of JSON values as `write_text` does. Raises: OutputError."""
    write_text(path, json_text(tree))


@contextmanager
def fresh_directory(
    path: str | Path, names: Iterable[str], earlier: str | None = None
) -> Iterator[Path]:
    """Give a temporary directory, whose files become those of `path` if all goes well.

    Parameters
    ----------
    path : path
        A directory. If it is there already it stays the same directory, and its files are
        replaced one by one, but only if it holds nothing but files of these names.
    names : strings
        Of the files that the body makes.
    earlier : regular expression or None
        Of names that it gives files when it is asked for something else. Such files are removed.

    Raises
    ------
    OutputError
        If it can't be written. All is as it was then, as it is if the body raises.
    """
    place = Path(path)
    if place.exists() and not place.is_dir():
        raise OutputError(f"can't write {place}: it is a file; give the name of a directory")
    target = _resolved(place)
    there = target.is_dir()
    if there:
        _check_permission(place, target)
        ours = re.compile("|".join([*map(re.escape, names), *([earlier] if earlier else [])]))
        _check_replaceable(place, ours)
    else:
        _check_parent(place)
    with _explained(place):
        # In the directory itself if there is one, which may be a file system of its own.
        stage = Path(tempfile.mkdtemp(prefix=STAGE, dir=target if there else target.parent))
        try:
            fresh, old = stage / "new", stage / "old"
            fresh.mkdir()
            old.mkdir()
            yield fresh
            if there:
                _replace_files(target, fresh, old)
            else:
                fresh.rename(target)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


STAGE = ".mensa."
"""How the name of a temporary directory begins."""


def _replace_files(target: Path, fresh: Path, old: Path) -> None:
    """Let `target` have the files of `fresh` and no others, or all be as it was.

    `old` is for copies of those that there were.
    """
    names = sorted(entry.name for entry in fresh.iterdir())
    before = sorted(entry.name for entry in target.iterdir() if not entry.name.startswith(STAGE))
    for name in before:
        shutil.copy2(target / name, old / name)
    try:
        for name in names:
            (fresh / name).replace(target / name)
        for name in set(before).difference(names):
            (target / name).unlink()
    except BaseException:
        for name in names:
            if name not in before:
                (target / name).unlink(missing_ok=True)
        for name in before:
            (old / name).replace(target / name)
        raise


def _check_replaceable(place: Path, names: re.Pattern[str]) -> None:
    for entry in sorted(place.iterdir()):
        ours = names.fullmatch(entry.name) and entry.is_file() and not entry.is_symlink()
        if not ours and not entry.name.startswith(STAGE):  # one is left where a run was killed
            raise OutputError(
                f"can't write {place}: it holds {entry.name}, which this command did not make; "
                f"give a new or empty directory"
            )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
