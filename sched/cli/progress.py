"""Progress on standard error: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["ProgressBar"]

PATIENCE_SECONDS = 2.0
"""Work that takes longer than this is said to be under way."""


class ProgressBar:
    """A context manager; call it with the pieces done, all pieces, and words about the next one."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> ProgressBar:
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn("dots" if self._console.encoding.startswith("utf") else "line"),
                BarColumn(30),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=1)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._timer is not None:
            self._timer.cancel()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Say what comes next."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, description=what)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(PATIENCE_SECONDS, _say, (done, total, what))
        self._timer.daemon = True
        self._timer.start()


def _say(done: int, total: int, what: str) -> None:
    print(f"mensa: {done} of {total} done, now {what} ...", file=sys.stderr, flush=True)
