"""The `mensa` command before anything that its packages may lack is imported.

How it can end without them: exit status 2 is bad input, or a package that is missing, 130 Ctrl-C.
"""

from __future__ import annotations

import sys

from mensa.sched.cli.status import BAD_INPUT, interrupted


def main() -> None:
    """Run the command line, or say how to install it."""
    try:
        from mensa.sched.cli.main import main as command_line

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
