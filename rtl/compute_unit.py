"""The compute unit: operand feed, array, vector unit and post-processor under one command."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from mensa.rtl import operand_feed, post_processor, timing, vector_unit
from mensa.rtl.buffer import ReadPort, WritePort
from mensa.rtl.commands import TAG_BITS, Keep, Mode, Unit
from mensa.rtl.machine import CHANNEL_RECORD_BYTES, Machine
from mensa.rtl.operand_feed import OperandFeed
from mensa.rtl.post_processor import PostProcessor
from mensa.rtl.systolic_array import SystolicArray
from mensa.rtl.unit import TOKEN_COUNT, CommandSignature, UnitFrontend
from mensa.rtl.vector_unit import VectorUnit

__all__ = ["ComputeUnit"]


class ComputeUnit(wiring.Component):
    """Runs compute commands one after another; `mensa.rtl.timing` says for how long.

    Parameters
    ----------
    machine : Machine
        Its configuration.

    Members
    -------
    command, reset, available, take, give, start, done, idle, tag
        As of `UnitFrontend`.
    feeding : Out(1)
        The operand feed takes a step in this cycle.
    read_activation, read_parameter : Out(ReadPort)
        Operands.
    entry, records : Out(12), In(C x 16 bytes)
        The constant buffer, read in one cycle.
    write : Out(WritePort)
        Results, to the activation buffer.
    """

    def __init__(self, machine: Machine):
        assert operand_feed.LATENCY == timing.FEED_LATENCY
        assert vector_unit.LATENCY == timing.VECTOR_LATENCY
        assert post_processor.LATENCY == timing.POST_LATENCY
        self._machine = machine
        super().__init__(
            {
                "command": In(CommandSignature()),
                "reset": In(1),
                "available": In(TOKEN_COUNT),
                "take": Out(TOKEN_COUNT),
                "give": Out(TOKEN_COUNT),
                "start": Out(1),
                "done": Out(1),
                "idle": Out(1),
                "tag": Out(TAG_BITS),
                "feeding": Out(1),
                "read_activation": Out(ReadPort(machine.row_bytes)),
                "read_parameter": Out(ReadPort(machine.row_bytes)),
                "entry": Out(12),
                "records": In(8 * CHANNEL_RECORD_BYTES * machine.cols),
                "write": Out(WritePort(machine.row_bytes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        machine = self._machine
        m.submodules.frontend = frontend = UnitFrontend(Unit.COMPUTE)
        m.submodules.feed = feed = OperandFeed(machine)
        m.submodules.array = array = SystolicArray(machine.rows, machine.cols)
        m.submodules.vector = vector = VectorUnit(machine.cols)
        m.submodules.post = post = PostProcessor(machine)
        r = frontend.registers

        connect(m, flipped(self.command), frontend.command)
        connect(m, flipped(self.read_activation), feed.read_activation)
        connect(m, flipped(self.read_parameter), feed.read_parameter)
        connect(m, flipped(self.write), post.write)
        m.d.comb += [
            frontend.reset.eq(self.reset),
            frontend.available.eq(self.available),
            self.take.eq(frontend.take),
            self.give.eq(frontend.give),
            self.start.eq(frontend.start),
            self.done.eq(frontend.done),
            self.idle.eq(frontend.idle),
            self.tag.eq(frontend.tag),
            self.feeding.eq(feed.active),
            self.entry.eq(post.entry),
            post.records.eq(self.records),
        ]

        # A command: one cycle of set-up, the feed's steps, then the drain, counted down.
        drains = {
            name: timing.drain_cycles(machine, mode, keep)
            for name, mode, keep in (
                ("vector", Mode.SUM, 0),
                ("keep", Mode.CONV, Keep.UNDRAINED),
                ("array", Mode.CONV, 0),
            )
        }
        drain = Signal(range(max(drains.values())))
        with m.FSM():
            with m.State("IDLE"), m.If(frontend.start):
                m.next = "SETUP"
            with m.State("SETUP"):
                m.d.comb += feed.start.eq(1)
                m.next = "FEED"
            with m.State("FEED"):
                with m.If(r.mode >= Mode.MAX):
                    m.d.sync += drain.eq(drains["vector"] - 2)
                with m.Elif(r.keep[1]):
                    m.d.sync += drain.eq(drains["keep"] - 2)
                with m.Else():
                    m.d.sync += drain.eq(drains["array"] - 2)
                with m.If(~feed.active):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.sync += drain.eq(drain - 1)
                with m.If(drain == 0):
                    m.d.comb += frontend.done.eq(1)
                    m.next = "IDLE"

        connect(m, feed.activations, array.activations)
        connect(m, feed.parameters, array.parameters)
        connect(m, feed.vector, vector.i)
        connect(m, feed.announce, post.announce)
        m.d.comb += [
            feed.registers.eq(r),
            post.registers.eq(r),
            vector.mode.eq(r.mode),
            vector.multiplier[0].eq(r.scale_0_multiplier),
            vector.multiplier[1].eq(r.scale_1_multiplier),
            vector.shift[0].eq(r.scale_0_shift),
            vector.shift[1].eq(r.scale_1_shift),
            # One command at a time: the array and the vector unit never have results together.
            post.results.valid.eq(array.results.valid | vector.o.valid),
            post.results.payload.row.eq(Mux(vector.o.valid, 0, array.results.payload.row)),
            post.results.payload.last.eq(vector.o.valid | array.results.payload.last),
            post.results.payload.values.eq(
                Mux(vector.o.valid, vector.o.payload, array.results.payload.values)
            ),
        ]
        return m
