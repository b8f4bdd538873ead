"""What every test needs: helper modules within reach, and a stated seed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Test modules import their helpers (`bench`) by plain name, here as in cocotb's child process.
sys.path.append(str(Path(__file__).parent / "rtl"))

# The child processes of a testbench must not find our `sched` before the standard library's.
os.environ["PYTHONSAFEPATH"] = "1"
