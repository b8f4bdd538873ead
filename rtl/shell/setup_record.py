"""What the core knows of set-ups: whether the one that a program needs has ended well."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import SETUP_BITS
from mensa.rtl.parts.resetless import resetless

__all__ = ["SetupRecord"]


class SetupRecord(wiring.Component):
    """Remembers the set-up whose parameters lie in the buffers.

    That is the latest one, if it has ended well, no program has begun since that did not need it,
    and nothing was told to `forget` it.

    Members
    -------
    asked : In(24)
        The identifier in an arriving header.
    settled : Out(1)
        It is that of the set-up.
    begin : In(1)
        Strobe: a program begins.
    identifier, is_setup, needs_it : In(24), In(1), In(1)
        What its header says, and whether it needs the set-up that is there.
    ended : In(1)
        Strobe: it has ended well, and nothing is on its way.
    forget : In(1)
        Strobe.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "asked": In(SETUP_BITS),
                "settled": Out(1),
                "begin": In(1),
                "identifier": In(SETUP_BITS),
                "is_setup": In(1),
                "needs_it": In(1),
                "ended": In(1),
                "forget": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        latest = resetless(SETUP_BITS)
        running, valid = Signal(), Signal()  # it has begun; it has ended well
        m.d.comb += self.settled.eq(valid & (self.asked == latest))
        with m.If(self.begin):
            m.d.sync += [running.eq(self.is_setup), valid.eq(self.needs_it)]
            with m.If(self.is_setup):
                m.d.sync += latest.eq(self.identifier)
        with m.If(self.ended & running):
            m.d.sync += [running.eq(0), valid.eq(1)]
        with m.If(self.forget):
            m.d.sync += [running.eq(0), valid.eq(0)]
        return m
