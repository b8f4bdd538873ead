from __future__ import annotations

import random

import cocotb
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import RisingEdge

from mensa.rtl.parts.strip_loop import StripLoop
from tests.rtl import bench

BITS = 7
WHOLE = (1, 3, 8)
"""Things in a strip: all of these, of which the widest gives the size its bits."""


class Loop(wiring.Component):
    """A strip loop on their own."""

    def __init__(self):
        super().__init__(
            {
                "restart": In(1),
                "things": In(BITS),
                "choice": In(range(len(WHOLE))),
                "step": In(1),
                "size": Out(range(max(WHOLE) + 1)),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        loop = StripLoop(BITS, max(WHOLE), "loop")
        whole = Signal.like(self.size)
        m.d.comb += [self.size.eq(loop.size), self.last.eq(loop.last)]
        with m.Switch(self.choice):
            for choice, number in enumerate(WHOLE):
                with m.Case(choice):
                    m.d.comb += whole.eq(number)
                    with m.If(self.restart):
                        m.d.sync += loop.restart(self.things, number)
        with m.If(self.step):
            m.d.sync += loop.step(whole)
        return m


def test_strip_loop():
    bench.run(Loop(), __file__)


@cocotb.test()
@cocotb.parametrize(choice=range(len(WHOLE)))
async def strips_are_whole_but_the_last_and_sum_to_all_things(dut, choice):
    await bench.start(dut, restart=0, step=0, things=0, choice=choice)
    whole = WHOLE[choice]
    for things in range(1, 1 << BITS):
        dut.restart.value, dut.things.value, dut.step.value = 1, things, 0
        await RisingEdge(dut.clk)
        dut.restart.value, dut.things.value = 0, random.randrange(1 << BITS)
        left, step = things, 0
        while left:
            step = random.random() < 0.7
            dut.step.value = step and left > whole
            await RisingEdge(dut.clk)
            assert int(dut.size.value) == min(left, whole), (things, left)
            assert int(dut.last.value) == (left <= whole), (things, left)
            left -= min(left, whole) if step else 0
