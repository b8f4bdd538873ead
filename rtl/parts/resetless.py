"""Registers of the data path, which no reset reaches, and of the marks beside it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value

__all__ = ["later", "marked", "resetless"]


def resetless(shape: Any = None, *, name: str | None = None) -> Signal:
    """Return a register that keeps its value when the core is reset.

    For what counts only while a mark beside it says so; the marks are reset. On an FPGA a reset is
    a net like any other, and one to every register of a pipeline would be the longest of all.
    """
    return Signal(shape, name=name, reset_less=True, src_loc_at=1)


def later(m: Module, value: Any, cycles: int = 1, *, name: str = "later") -> Any:
    """Return a value, or a view of one, as it was `cycles` ago: a `resetless` register a cycle."""
    for cycle in range(cycles):
        before, value = value, Signal.like(value, name=f"{name}_{cycle}", reset_less=True)
        m.d.sync += value.eq(before)
    return value


def marked(m: Module, marks: Value, cycles: int = 1, *, name: str = "marked") -> Value:
    """Return marks as they were `cycles` ago: registers that a reset clears."""
    for cycle in range(cycles):
        before, marks = marks, Signal(len(marks), name=f"{name}_{cycle}")
        m.d.sync += marks.eq(before)
    return marks
