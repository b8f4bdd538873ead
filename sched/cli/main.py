"""Running the command line: from arguments to an exit status.

Everything that can go wrong is an exception of the package that knows, and is turned into one line
and an exit status here, in `invoke`: 0 is success, 1 a check that failed, 2 bad input, 130 Ctrl-C.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from mensa.sched.cli.app import app
from mensa.sched.cli.errors import exit_status, message
from mensa.sched.cli.status import INTERRUPTED, interrupted

__all__ = ["invoke", "main"]

STDOUT = 1
"""File descriptor; typer may have wrapped the file."""


def invoke(arguments: Sequence[str]) -> int:
    """Run `mensa` with these arguments. Returns: the exit status."""
    _prepare_streams()
    try:
        status = _commands().main(list(arguments), standalone_mode=False, prog_name="mensa")
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        # Typer and rich turn the one into the other, with status 1.
        if not any(isinstance(each, BrokenPipeError) for each in (error, error.__context__)):
            raise
        _forget_output()
        return 0  # the reader has seen enough
    except Exception as error:
        if isinstance(error, typer.Abort) and isinstance(error.__cause__, KeyboardInterrupt):
            status = INTERRUPTED  # as older versions of typer put it
        else:
            return _failed(error)
    if status == INTERRUPTED:
        return interrupted()
    return status if isinstance(status, int) else 0


@functools.cache
def _commands() -> Any:
    """Return the tree of commands, which takes typer longer to make than most of them to run."""
    return typer.main.get_command(app)


def _prepare_streams() -> None:
    """Let text be printed in any encoding, and to nowhere where a stream is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _forget_output() -> None:
    """Send what is left to be printed nowhere; the interpreter would try again as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)


def _failed(error: Exception) -> int:
    """Say what went wrong. Returns: the exit status; raises a fault of ours again."""
    status = exit_status(error)
    if status is None:
        raise error
    try:
        sys.stdout.flush()
    except OSError:
        _forget_output()
    _say(message(error))
    return status


def _say(text: str) -> None:
    """Print one line on standard error."""
    from mensa.golden.error import printable

    with contextlib.suppress(OSError):  # nobody can be told
        print(f"mensa: error: {printable(text)}", file=sys.stderr)


def main() -> None:
    """Entry point of the command `mensa`."""
    sys.exit(invoke(sys.argv[1:]))
