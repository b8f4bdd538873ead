from __future__ import annotations

import random

import cocotb
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import RisingEdge

from mensa.rtl.parts.countdown import Countdown
from tests.rtl import bench

BITS = 4


class Loop(wiring.Component):
    """A countdown on its own."""

    def __init__(self):
        super().__init__(
            {
                "restart": In(1),
                "turns": In(BITS),
                "step": In(1),
                "last": Out(1),
                "ending": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        loop = Countdown(BITS, "loop")
        m.d.comb += [self.last.eq(loop.last), self.ending.eq(loop.ending)]
        with m.If(self.restart):
            m.d.sync += loop.restart(self.turns)
        with m.Else():
            m.d.sync += loop.step(self.step)
        return m


def test_countdown():
    bench.run(Loop(), __file__)


@cocotb.test()
async def the_last_turn_of_every_loop_is_marked_and_that_it_ends_one_turn_before(dut):
    await bench.start(dut, restart=0, step=0, turns=0)
    for turns in range(1, 1 << BITS):
        dut.restart.value, dut.turns.value = 1, turns
        await RisingEdge(dut.clk)
        dut.restart.value = 0
        turn = 1
        for _ in range(200):
            step = turn < turns and random.random() < 0.5
            dut.step.value = step
            await RisingEdge(dut.clk)
            assert int(dut.last.value) == (turn == turns), (turn, turns)
            assert int(dut.ending.value) == (turn >= turns - 1), (turn, turns)
            turn += step
        assert turn == turns
