"""The `mensa` command before anything that its packages may lack is imported.

How it can end without them: exit status 2 is bad input, or a package that is missing, 130 Ctrl-C.
"""

from __future__ import annotations

import contextlib
import sys

BAD_INPUT = 2
INTERRUPTED = 130
"""What shells report of a program that was ended by Ctrl-C."""


def interrupted() -> int:
    """Say that the command was ended by Ctrl-C. Returns: the exit status of that."""
    with contextlib.suppress(OSError):  # nobody can be told
        print("mensa: error: interrupted", file=sys.stderr)
    return INTERRUPTED


def main() -> None:
    """Run the command line, or say how to install it."""
    try:
        from mensa.sched.cli import main as command_line

        command_line()
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith("mensa"):
            raise
        print(
            f"mensa: error: the command line needs the package {missing.name}, which is not "
            "installed; run: pip install 'mensa[sim]'",
            file=sys.stderr,
        )
        raise SystemExit(BAD_INPUT) from None
    except KeyboardInterrupt:
        raise SystemExit(interrupted()) from None
