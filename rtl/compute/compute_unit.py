"""The compute unit: operand feed, array, vector unit and post-processor under one command."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from mensa.rtl import timing
from mensa.rtl.arrays.kind import decode_kind, kind_layout, kinds
from mensa.rtl.buffers.buffer import ReadPort, WritePort
from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES
from mensa.rtl.commands import (
    COUNTS,
    ENTRY_BITS,
    GROUP_COUNTS,
    MODE_COUNTS,
    REGISTER_NUMBER,
    Mode,
    Token,
    Unit,
    Width,
)
from mensa.rtl.compute import operand_feed
from mensa.rtl.compute.operand_feed import OperandFeed
from mensa.rtl.machine import Machine
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import later
from mensa.rtl.parts.unit import UnitFrontend, unit_members
from mensa.rtl.post import post_processor, vector_unit
from mensa.rtl.post.cell import cell
from mensa.rtl.post.cell.cell import Cell
from mensa.rtl.post.post_processor import PostProcessor
from mensa.rtl.post.softmax import reciprocal
from mensa.rtl.post.softmax import softmax as softmax_unit
from mensa.rtl.post.softmax.softmax import Softmax
from mensa.rtl.post.vector_unit import VectorUnit

__all__ = ["ComputeUnit"]


def _has_no_meaning(r: Any, modes: tuple[Mode, ...]) -> Value:
    """Whether a command's MODE is none of the machine's, or a number 0 that is at least 1."""

    def zero(names: tuple[str, ...]) -> Value:
        return Cat(~r[name.lower()].any() for name in names).any()

    found = ~r.mode.matches(*modes) | zero(COUNTS) | ((r.groups != 1) & zero(GROUP_COUNTS))
    for mode in modes:
        if mode in MODE_COUNTS:
            found |= (r.mode == mode) & zero(MODE_COUNTS[mode])
    return found


class ComputeUnit(wiring.Component):
    """Runs compute commands; `mensa.rtl.timing` says for how long, and which ones overlap.

    Parameters
    ----------
    machine : Machine
        Its configuration.

    Members
    -------
    command, reset, stop, available, take, give, start, done, idle, tag
        As of `UnitFrontend`.
    refused : Out(1)
        Strobe, two cycles after the start of a command with an unknown MODE or no turns of a loop.
    feeding : Out(1)
        The operand feed takes a step in this cycle.
    reads : Out(READS)
        It reads a word of parameters, or asks for one of activations.
    read_activation, read_parameter : Out(ReadPort)
        Operands.
    entry, part, records : Out(ENTRY_BITS), Out(range(machine.array.pace)), In(L x 16 bytes)
        The constant buffer, read for L channels.
    write : Out(WritePort)
        Results, to the activation buffer.
    """

    def __init__(self, machine: Machine):
        assert operand_feed.LATENCY == timing.FEED_LATENCY
        first_read = timing.start_cycle(0, 0, [1]) + timing.SETUP_CYCLES + 1
        assert first_read + operand_feed.READ_CYCLES == timing.SETTLED_AHEAD + 1
        assert vector_unit.LATENCY == timing.VECTOR_LATENCY
        assert cell.LATENCY == timing.CELL_LATENCY
        assert softmax_unit.LATENCY == timing.SOFTMAX_LATENCY
        assert reciprocal.LATENCY == timing.RECIPROCAL_CYCLES
        if machine.exponential_lanes:
            needed = softmax_unit.waits(machine.exponential_lanes)
            assert needed == timing.softmax_waits(machine.exponential_lanes)
        assert post_processor.LATENCY == timing.POST_LATENCY
        self._machine = machine
        super().__init__(
            {
                **unit_members(),
                "feeding": Out(1),
                "reads": Out(operand_feed.READS),
                "read_activation": Out(ReadPort(machine.row_bytes)),
                "read_parameter": Out(ReadPort(machine.parameter_row_bytes)),
                "entry": Out(ENTRY_BITS),
                "part": Out(range(machine.array.pace)),
                "records": In(8 * CHANNEL_RECORD_BYTES * machine.lanes),
                "write": Out(WritePort(machine.row_bytes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        machine = self._machine
        m.submodules.frontend = frontend = UnitFrontend(Unit.COMPUTE, timing.COMMANDS_IN_FLIGHT)
        m.submodules.feed = feed = OperandFeed(machine)
        m.submodules.array = array = machine.array.hardware()
        m.submodules.vector = vector = VectorUnit(machine.lanes, machine.table_step_bytes)
        m.submodules.post = post = PostProcessor(machine)
        own_modes = machine.array.own_modes
        # What is known of the command that started last, as soon as its registers are there.
        latest = Signal(kind_layout())
        is_cell, is_softmax = Signal(), Signal()
        m.d.sync += [is_cell.eq(latest.cell), is_softmax.eq(latest.softmax)]
        r = frontend.registers

        frontend.serve(m, self)
        frontend.refuse(m, self, _has_no_meaning(r, machine.modes))
        connect(m, flipped(self.read_activation), feed.read_activation)
        connect(m, flipped(self.read_parameter), feed.read_parameter)
        connect(m, flipped(self.write), post.write)
        m.d.comb += [
            self.done.eq(frontend.done),
            self.feeding.eq(feed.active),
            self.reads.eq(feed.reads),
            self.entry.eq(post.entry),
            self.part.eq(post.part),
            post.records.eq(self.records),
        ]

        # A command: one cycle of set-up, then the feed's steps. After the last one a command may
        # start beside those whose beats and results are still on their way: see `room_cycles`.
        fed = Signal()  # the last step was in the cycle before
        feed_is_free = Signal(init=1)  # as IDLE says, but undecoded: starts wait for it
        with m.FSM():
            with m.State("IDLE"), m.If(frontend.start):
                m.d.sync += feed_is_free.eq(0)
                m.next = "SETUP"
            with m.State("SETUP"):
                m.d.comb += [feed.start.eq(1), post.start.eq(1)]
                m.next = "FEED"
            with m.State("FEED"), m.If(~feed.active):
                m.d.comb += fed.eq(1)
                m.d.sync += feed_is_free.eq(1)
                m.next = "IDLE"
        # Of the coming command it must be known in the first cycle in which it is pending. Marks
        # of its own for the latest one stay where starts are decided.
        coming = Signal(kind_layout())
        arriving = frontend.arriving
        mode = arriving.value[: len(r.mode)]
        with m.If(frontend.start):
            m.d.sync += latest.eq(coming)
        with m.If(arriving.valid & (arriving.register == REGISTER_NUMBER[Unit.COMPUTE]["MODE"])):
            m.d.sync += [
                coming[name].eq(found) for name, found in decode_kind(mode, own_modes).items()
            ]
        with m.If(self.reset):  # all registers are 0
            m.d.sync += [
                coming[name].eq(Mode(0) in modes) for name, modes in kinds(own_modes).items()
            ]
        # Its last turn, from which on the array has given away its tiles, stays.
        clearance = machine.array.clearance
        spaced = Countdown(clearance.bit_length(), "spaced")
        with m.If(fed):
            m.d.sync += spaced.restart(clearance)
        with m.Else():
            m.d.sync += spaced.step(~spaced.last)
        array_is_free = coming.tiled | ~latest.tiled | spaced.last
        m.d.comb += frontend.ready.eq(
            feed_is_free & (frontend.idle | (array_is_free & ~latest.vector & ~coming.vector))
        )

        # Commands end a constant time after their last steps, and give SETTLED as long before.
        drains: list[tuple[Value, int]] = []
        for each in machine.modes:
            found, drain = r.mode == each, timing.drain_cycles(machine, each)
            if each.is_tiled and Width.INT32 in machine.widths:
                is_long = r.width == Width.INT32
                drains.append((found & is_long, timing.drain_cycles(machine, each, Width.INT32)))
                found &= ~is_long
            drains.append((found, drain))
        ends = Signal(max(drain for _, drain in drains))  # bit n: a command ends in n cycles
        settles = Signal.like(ends)  # bit n: it gives SETTLED then
        was_fed, latest_settles = Signal(), Signal()
        m.d.comb += [
            frontend.done.eq(ends[0]),
            self.give[Token.SETTLED].eq(settles[timing.SETTLED_AHEAD]),
        ]
        m.d.sync += [ends.eq(ends >> 1), settles.eq(settles >> 1), was_fed.eq(fed)]
        with m.If(frontend.start):
            m.d.sync += latest_settles.eq(frontend.signal[Token.SETTLED])
        for found, drain in drains:
            with m.If(was_fed & found):
                m.d.sync += [ends[drain - 3].eq(1), settles[drain - 3].eq(latest_settles)]

        connect(m, feed.activations, array.activations)
        connect(m, feed.parameters, array.parameters)
        m.d.comb += [
            vector.i.valid.eq(feed.vector.valid & ~is_cell & ~is_softmax),
            vector.i.payload.first.eq(feed.vector.payload.first),
            vector.i.payload.last.eq(feed.vector.payload.last),
            vector.i.payload.tap.eq(feed.vector.payload.tap),
            *(
                vector.i.payload.values[lane].eq(feed.vector.payload.values[lane])
                for lane in range(machine.lanes)
            ),
        ]
        m.d.comb += [
            vector.table.valid.eq(feed.table.valid & ~is_softmax),
            vector.table.payload.eq(feed.table.payload.as_value()),
        ]
        connect(m, feed.announce, post.announce)
        m.d.comb += [feed.registers.eq(r), feed.kind.eq(latest), post.registers.eq(r)]
        if Mode.FILTER in machine.modes:
            # From the cycle before a command's first operands on.
            filtering = later(m, r.mode == Mode.FILTER, timing.FEED_LATENCY, name="filtering")
            m.d.comb += array.filter.eq(filtering)
        m.d.comb += [
            vector.mode.eq(r.mode),
            vector.multiplier[0].eq(r.scale_0_multiplier),
            vector.multiplier[1].eq(r.scale_1_multiplier),
            vector.shift[0].eq(r.scale_0_shift),
            vector.shift[1].eq(r.scale_1_shift),
        ]
        others = [vector.o]
        if machine.state_lanes:
            m.submodules.cell = lstm = Cell(machine)
            m.d.comb += [
                lstm.mode.eq(r.mode),
                lstm.integer_bits.eq(r.state_integer_bits),
                lstm.i.valid.eq(feed.vector.valid & is_cell),
                lstm.i.payload.first.eq(feed.vector.payload.first),
                lstm.i.payload.last.eq(feed.vector.payload.last),
                *(
                    byte.eq(value)
                    for byte, value in zip(
                        lstm.i.payload.values, feed.vector.payload.values, strict=False
                    )
                ),
            ]
            others.append(lstm.o)
        if Mode.SOFTMAX in machine.modes:
            m.submodules.softmax = softmax = Softmax(machine)
            m.d.comb += [
                softmax.i.valid.eq(feed.vector.valid & is_softmax),
                softmax.table.valid.eq(feed.table.valid & is_softmax),
                softmax.table.payload.eq(feed.table.payload),
                post.row_multiplier.eq(softmax.multiplier),
                post.row_shift.eq(softmax.shift),
                post.row_wrapped.eq(softmax.wrapped),
                *(
                    softmax.i.payload[name].eq(feed.vector.payload[name])
                    for name in ("first", "last", "tap", "inside")
                ),
                *(
                    byte.eq(value)
                    for byte, value in zip(
                        softmax.i.payload.values, feed.vector.payload.values, strict=False
                    )
                ),
            ]
            others.append(softmax.o)
        # Vector modes run alone: no two of array and other units have results together.
        alone = Cat(other.valid for other in others).any()
        m.d.comb += [
            post.results.valid.eq(array.results.valid | alone),
            post.results.payload.row.eq(Mux(alone, 0, array.results.payload.row)),
            post.results.payload.last.eq(alone | array.results.payload.last),
            post.results.payload.alone.eq(alone | array.results.payload.alone),
            post.results.payload.values.eq(array.results.payload.values),
        ]
        for other in others:
            with m.If(other.valid):
                m.d.comb += [
                    value.eq(result)
                    for value, result in zip(
                        post.results.payload.values, other.payload, strict=False
                    )
                ]
        return m
