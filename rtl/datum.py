"""Registers of the data path, which no reset reaches."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Signal

__all__ = ["datum"]


def datum(shape: Any = None, *, name: str | None = None) -> Signal:
    """Return a register that keeps its value when the core is reset.

    For what counts only while a mark beside it says so; the marks are reset. On an FPGA a reset is
    a net like any other, and one to every register of a pipeline would be the longest of all.
    """
    return Signal(shape, name=name, reset_less=True, src_loc_at=1)
