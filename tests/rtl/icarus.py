"""Icarus Verilog, a simulator that knows unknown values."""

import shutil
import subprocess

import pytest

LANGUAGES = ("2001", "2005", "2009", "2012")
"""Verilog's of 2001 and 2005, SystemVerilog's of 2009 and 2012."""


def check_tools():
    """Fail the test if there is no Icarus."""
    if shutil.which("iverilog") is None:
        pytest.fail("iverilog is not installed: apt install iverilog", pytrace=False)


def compile_verilog(sources, model, *arguments, language="2005"):
    """Compile Verilog without a warning. Parameters: paths, and of what is made, too."""
    check_tools()
    options = [f"-g{language}", "-Wall", "-Wno-timescale", *arguments, "-o", str(model)]
    assert _run(["iverilog", *options, *map(str, sources)], model.parent) == ""


def run_model(model, *arguments):
    """Run what was compiled, where it is. Returns: what it printed."""
    return _run(["vvp", "-n", str(model), *arguments], model.parent)


def _run(command, folder):
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout
