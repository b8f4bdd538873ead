"""The pin wrapper reaches every port of a component by a few pins."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from mensa.rtl.fpga.pin_wrapper import PinWrapper


class Doubler(wiring.Component):
    """Doubles two numbers of a stream; its port `trace` is for nobody."""

    def __init__(self):
        numbers = stream.Signature(data.ArrayLayout(4, 2), always_ready=True)
        super().__init__({"i": In(numbers), "o": Out(numbers), "trace": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.trace.eq(1)
        m.d.comb += self.o.valid.eq(self.i.valid)
        m.d.comb += [self.o.payload[n].eq(self.i.payload[n] << 1) for n in range(2)]
        return m


def test_pin_wrapper_reaches_every_port_and_no_unused_one():
    wrapped = PinWrapper(Doubler(), unused=("trace",))
    assert wrapped.registers == 2 * (1 + 2 * 4)
    # Signature.flatten gives the payload before `valid`, and the chains begin with the first.
    bits = wrapped.registers // 2

    async def bench(ctx):
        for word in (0b1_0011_0101, 0b0_0110_0001):
            for place in range(bits):
                ctx.set(wrapped.i, word >> place & 1)
                await ctx.tick()
            ctx.set(wrapped.capture, 1)
            await ctx.tick()
            ctx.set(wrapped.capture, 0)
            seen = 0
            for place in range(bits):
                seen |= ctx.get(wrapped.o) << place
                await ctx.tick()
            low, high, valid = word & 15, word >> 4 & 15, word >> 8
            assert seen == (low << 1 & 15) | (high << 1 & 15) << 4 | valid << 8

    simulator = Simulator(wrapped)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
