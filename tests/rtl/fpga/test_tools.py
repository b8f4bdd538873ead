"""The tools of synthesis are watched: their steps are told, and why they end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mensa.rtl.fpga.errors import SynthesisToolError
from mensa.rtl.fpga.tools import run_tool


def run_in_its_place(code, seconds, tmp_path):
    """Run Python code in the place of a tool. Returns: what it said."""
    (tmp_path / "fake_tool.py").write_text(f"def run(argv):\n    {code}\n")
    said = []
    environment = os.environ.get("PYTHONPATH", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{environment}")
        run_tool("fake_tool", "run", [], tmp_path / "log", seconds, said.append)
    return said


def test_the_steps_of_the_tools_are_told(tmp_path):
    lines = [
        "2.1. Executing HIERARCHY pass (managing design hierarchy).",
        "2.1.1. Executing something deeper",
        "Info: Packing LUTs..",
        "Info:     at iteration #3, type ALL: wirelen solved = 1",
        "anything else",
    ]
    said = run_in_its_place(f"print({chr(10).join(lines)!r})", 600, tmp_path)
    steps = [each.removeprefix("fake-tool: ") for each in said]
    assert steps == ["fake-tool", "HIERARCHY", "Packing LUTs", "placing, iteration 3"]


def test_a_tool_that_takes_too_long_is_stopped_and_named(tmp_path):
    with pytest.raises(SynthesisToolError, match=r"fake-tool ran out of time; .*--timeout"):
        run_in_its_place("import time; time.sleep(60)", 0.5, tmp_path)


def test_a_tool_that_fails_is_named_with_what_it_said(tmp_path):
    with pytest.raises(SynthesisToolError, match=r"fake-tool failed: ERROR: no such thing"):
        run_in_its_place("print('ERROR: no such thing'); print('bye'); return 3", 600, tmp_path)
    (tmp_path / "log").write_text("ERROR: only told the log\n")
    with pytest.raises(SynthesisToolError, match=r"fake-tool failed: ERROR: only told the log"):
        run_in_its_place("print('bye'); return 3", 600, tmp_path)


def test_a_tool_ends_with_whoever_started_it(tmp_path):
    wait = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    (tmp_path / "fake_tool.py").write_text(f"def run(argv):\n    {wait}\n")
    start = (
        "import pathlib; from mensa.rtl.fpga.tools import run_tool; "
        f"run_tool('fake_tool', 'run', [], pathlib.Path({str(tmp_path / 'log')!r}), 60, print)"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    with subprocess.Popen(
        [sys.executable, "-c", start], env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        pid = waited_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        os.kill(int(pid), 0)  # it runs
        parent.kill()
    assert waited_for(lambda: not runs(int(pid)))


def runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that nobody has waited for yet is a zombie.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def waited_for(condition):
    """What a condition gives as soon as it is true."""
    for _ in range(300):
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise TimeoutError("it never came true")
