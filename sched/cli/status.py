"""How a command ends: its exit status, by what went wrong. 0 is success."""

from __future__ import annotations

import contextlib
import sys

CHECK_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
"""What shells report of a program that was ended by Ctrl-C."""


def interrupted() -> int:
    """Say that the command was ended by Ctrl-C. Returns: the exit status of that."""
    with contextlib.suppress(OSError):  # nobody can be told
        print("mensa: error: interrupted", file=sys.stderr)
    return INTERRUPTED
