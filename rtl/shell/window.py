"""The address window: the pages of memory that the core may touch."""

from __future__ import annotations

from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from mensa.rtl.registers import PAGE_BITS

__all__ = ["WindowSignature", "is_inside"]


class WindowSignature(wiring.Signature):
    """Numbers of the first and the last page, both allowed; they keep still while a program runs.

    No burst leaves a page, so a burst is inside if its first byte is.
    """

    def __init__(self) -> None:
        super().__init__({"first": Out(32 - PAGE_BITS), "last": Out(32 - PAGE_BITS)})


def is_inside(window: wiring.PureInterface, address: Value) -> Value:
    """Whether a byte address lies in a window."""
    page = address[PAGE_BITS:]
    return (window.first <= page) & (page <= window.last)
