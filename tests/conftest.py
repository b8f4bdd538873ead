"""What every test needs: the package `tests` within reach of all processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Helpers are imported as tests.<folder>.<file> everywhere, also in cocotb's child process, which
# gets this path. It comes last: our `sched` must not stand before the standard library's.
sys.path.append(str(Path(__file__).parents[1]))

# The child processes of a testbench do not put their own folders first.
os.environ["PYTHONSAFEPATH"] = "1"
