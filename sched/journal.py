"""The journal of a sweep: its rows in a file, line by line, so that none is computed twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from mensa import golden, rtl, sched, sim

__all__ = ["Journal", "JournalError"]


def _source_digest() -> str:
    """Of all that is installed of this project: another version may give other rows."""
    digest = hashlib.sha256()
    for package in (golden, rtl, sim, sched):
        folder = Path(package.__file__ or "").parent
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".toml"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


class JournalError(ValueError):
    """A journal that can't be gone on with; the message says why and what to do."""


class Journal:
    """Rows by network and settings; a context manager.

    The first line says which sweep it is: this project and the networks by their content, and all
    else that the rows depend on. Each other line is a row. A last line that was
    cut off is of no account.

    Parameters
    ----------
    path : path or None
        The file, which is made if there is none; None keeps nothing.
    about : mapping
        What the rows depend on besides the networks and the settings; JSON values.
    models : list of Path
        The networks.
    """

    def __init__(
        self, path: str | Path | None, about: Mapping[str, Any], models: Sequence[Path]
    ) -> None:
        self._path = None if path is None else Path(path)
        digests = {str(each): hashlib.sha256(each.read_bytes()).hexdigest() for each in models}
        self._header = {"source": _source_digest(), "networks": digests, **about}
        self._rows: dict[str, dict[str, Any]] = {}
        self._file: TextIO | None = None

    def __enter__(self) -> Journal:
        """Read what is there. Raises: JournalError if it is another sweep's; OSError."""
        if self._path is None:
            return self
        content = self._path.read_bytes() if self._path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole:
            self._take(whole.splitlines())
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        self._file = self._path.open("a", encoding="utf-8")
        if not whole:
            self._file.write(self._line(self._header))
            self._file.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def get(self, model: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row of a network and settings; None if it isn't there."""
        return self._rows.get(self._key(model, settings))

    def add(self, model: Path, settings: Mapping[str, Any], row: dict[str, Any]) -> None:
        """Keep a row."""
        if self._file is not None:
            self._file.write(self._line([self._key(model, settings), row]))
            self._file.flush()

    def _take(self, lines: Sequence[bytes]) -> None:
        try:
            header, *rows = (json.loads(line) for line in lines)
            found = {key: dict(row) for key, row in rows}
        except (ValueError, TypeError) as error:
            raise JournalError(f"{self._path} is no journal of a sweep: {error}") from error
        if header != json.loads(self._line(self._header)):
            raise JournalError(
                f"{self._path} is the journal of another sweep, or of other networks; remove it, "
                "or name another output"
            )
        self._rows = found

    @staticmethod
    def _key(model: Path, settings: Mapping[str, Any]) -> str:
        values = sorted((name, repr(value)) for name, value in settings.items())
        return json.dumps([str(model), values], allow_nan=False)

    @staticmethod
    def _line(value: Any) -> str:
        return json.dumps(value, allow_nan=False) + "\n"
