"""What an exception means to whoever typed the command: an exit status and one line."""

from __future__ import annotations

import sys

from mensa.sched.cli.status import BAD_INPUT, CHECK_FAILED

__all__ = ["BAD_INPUT_ERRORS", "CHECK_FAILED_ERRORS", "exit_status", "message"]

BAD_INPUT_ERRORS = {
    "mensa.golden.error": ("GraphError",),
    "mensa.rtl.setting": ("MachineError",),
    "mensa.rtl.program": ("ProgramError",),
    "mensa.sched.engines": ("EngineError",),
    "mensa.sched.files": ("OutputError",),
    "mensa.sched.inputs": ("InputError",),
    "mensa.sched.lower.error": ("LoweringError",),
    "mensa.sched.placement.placement": ("PlacementError",),
    "mensa.sched.frames": ("FrameError",),
    "mensa.sched.journal": ("JournalError",),
    "mensa.sched.plots": ("PlotError",),
    "mensa.sched.sweep": ("SweepError",),
    "mensa.sched.cli.settings": ("SettingError",),
    "mensa.rtl.fpga.errors": ("SynthesisError",),
    "mensa.sim.energy.technology": ("TechnologyError",),
    "mensa.sim.host": ("HostConfigError",),
    "mensa.sim.memory": ("MemoryConfigError",),
    "mensa.sim.soc": ("SocError",),
    "mensa.sim.engines.verilator": ("ToolError",),
    "builtins": ("OSError", "MemoryError"),
}
"""Exceptions of exit status 2 by module. One that was never imported has raised none."""

CHECK_FAILED_ERRORS = {
    "mensa.rtl.fpga.errors": ("SynthesisToolError",),
    "mensa.sim.engines.rtl": ("RunError",),
}
"""The same of exit status 1."""


def exit_status(error: Exception) -> int | None:
    """Return the exit status that an exception stands for; None for a fault of ours."""
    if hasattr(error, "format_message"):  # typer's own
        return BAD_INPUT
    for status, table in ((CHECK_FAILED, CHECK_FAILED_ERRORS), (BAD_INPUT, BAD_INPUT_ERRORS)):
        for module, names in table.items():
            if module in sys.modules:
                kinds = tuple(getattr(sys.modules[module], name) for name in names)
                if isinstance(error, kinds):
                    return status
    return None


def message(error: Exception) -> str:
    """Return the line for an exception; typer's own have `format_message`."""
    usage = getattr(error, "format_message", None)
    if usage is not None:
        return f"{usage().rstrip('.')}; see mensa --help"
    if isinstance(error, MemoryError):
        return "there is not enough memory; use a smaller network, or fewer --steps"
    if isinstance(error, OSError) and error.filename is not None:
        return f"can't use {error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.strerror is not None:
        return f"can't write the output: {error.strerror}"
    return str(error)
