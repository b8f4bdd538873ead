"""The Python face of the project: stable names for timing, running and sweeping networks.

docs/python.md is its page, whose examples are a test.
"""

from __future__ import annotations

from mensa.golden import load
from mensa.sched.frames import layers_table
from mensa.sched.lower import LoweringOptions, lower
from mensa.sched.placement import all_on, load_placement
from mensa.sched.placement.cell import find_system as system
from mensa.sched.run import Result
from mensa.sched.run import run_network as run
from mensa.sched.run import time_network as time
from mensa.sched.sweep import grid, sweep
from mensa.sim.report import LayerReport, Report

__all__ = [
    "LayerReport",
    "LoweringOptions",
    "Report",
    "Result",
    "all_on",
    "grid",
    "layers_table",
    "load",
    "load_placement",
    "lower",
    "run",
    "sweep",
    "system",
    "time",
]
