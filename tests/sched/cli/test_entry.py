"""Without the command line's packages the command says what to install."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
sys.modules["typer"] = None  # what an environment without it looks like to an import
from mensa.sched.cli.entry import main
main()
"""


def test_a_bare_installation_says_what_is_missing():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "typer" in done.stderr
    assert "pip install" in done.stderr
    assert not done.stdout


def test_a_package_that_one_command_lacks_is_named_too(tmp_path):
    script = SCRIPT.replace("typer", "amaranth")
    arguments = ["rtl", "edge_tpu", "-o", str(tmp_path / "hardware")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "needs the package amaranth" in done.stderr
    assert not list(tmp_path.iterdir())
