"""The `mensa` command before anything that its packages may lack is imported."""

from __future__ import annotations

import sys

BAD_INPUT = 2
INTERRUPTED = 130


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
        print("mensa: error: interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
