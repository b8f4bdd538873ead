"""The operand feed: fetches what the address generator asks for and hands it to the arithmetic."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl import timing
from mensa.rtl.arrays.nest import POSITION_BITS, size_shape
from mensa.rtl.buffers.buffer import ReadPort
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Mode, Unit
from mensa.rtl.compute import address_generator
from mensa.rtl.compute.address_generator import AddressGenerator
from mensa.rtl.machine import Machine
from mensa.rtl.parts.resetless import later, resetless
from mensa.rtl.parts.unit import is_tiled, is_vector, registers_layout
from mensa.rtl.post.post_processor import announcement_layout

__all__ = ["LATENCY", "OperandFeed"]

BOUNDS_CYCLES = 3

LATENCY = address_generator.LATENCY + BOUNDS_CYCLES + timing.READ_LATENCY + 1
"""Cycles from a step of the loop nest to its operands: address generator, bounds, buffer, zero
points."""


class OperandFeed(wiring.Component):
    """Reads activations and parameters, subtracts zero points, blanks what is padding.

    Latency is `LATENCY` cycles from a step of the loop nest, throughput one step a cycle.

    Parameters
    ----------
    machine : Machine
        Gives R, C, L and the word.

    Members
    -------
    start, active
        As of `AddressGenerator`.
    registers : In(registers_layout(Unit.COMPUTE))
        The command, from its start until three cycles after its last step; then another one's, if
        both are tiled, else until `LATENCY` cycles after it.
    read_activation, read_parameter : Out(ReadPort)
        To the buffers.
    activations : Out(stream of {lane, values: R x signed(9)}, always ready)
        For the array: the bytes of a chunk for one row.
    parameters : Out(stream of {first, last, clear, tap, row, values: C x signed(9)}, always ready)
        For the array: one value per column, zeros where a tile's last beat has no parameters. In
        mode FILTER: a beat that clears the taps, the tap of array row `row`, or a word of
        activations, `last` if a result is complete with it.
    vector : Out(stream of {first, last, tap, values: L x signed(9)}, always ready)
        For the vector unit: the bytes of a tap.
    announce : Out(stream of announcement_layout(machine), always ready)
        For the post-processor: where a lane's result goes.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        operand = signed(9)
        super().__init__(
            {
                "start": In(1),
                "registers": In(registers_layout(Unit.COMPUTE)),
                "active": Out(1),
                "read_activation": Out(ReadPort(machine.row_bytes)),
                "read_parameter": Out(ReadPort(machine.row_bytes)),
                "activations": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "lane": range(machine.array.tile),
                                "values": data.ArrayLayout(operand, machine.array.chunk),
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "parameters": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "first": 1,
                                "last": 1,
                                "clear": 1,
                                "tap": 1,
                                "row": range(machine.rows),
                                "values": data.ArrayLayout(operand, machine.cols),
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "vector": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "first": 1,
                                "last": 1,
                                "tap": 1,
                                "values": data.ArrayLayout(operand, machine.lanes),
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "announce": Out(stream.Signature(announcement_layout(machine), always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        machine = self._machine
        chunk, cols = machine.array.chunk, machine.array.group
        r = self.registers
        # The mode, decoded into registers: they drive much, and it is cycles until a beat comes.
        vector, tiled, is_filter, is_max, is_scaled_sum = (Signal() for _ in range(5))
        m.d.sync += [
            vector.eq(is_vector(r.mode)),
            tiled.eq(is_tiled(r.mode)),
            is_filter.eq(r.mode == Mode.FILTER),
            is_max.eq(r.mode == Mode.MAX),
            is_scaled_sum.eq(r.mode == Mode.SCALED_SUM),
        ]
        # What the buffers' bytes need of a tiled command comes as late as its beats do: the next
        # command's registers may be there before its last ones.
        delay = BOUNDS_CYCLES + timing.READ_LATENCY
        is_depthwise = later(m, r.mode == Mode.DEPTHWISE, delay, name="is_depthwise")
        depth_multiplier = later(m, r.depth_multiplier, delay, name="depth_multiplier")
        act_zero_point = later(m, r.act_zero_point, delay, name="act_zero_point")
        parameter_zero_point = later(m, r.parameter_zero_point, delay, name="parameter_zero_point")

        m.submodules.generator = generator = AddressGenerator(machine)
        m.d.comb += [
            generator.start.eq(self.start),
            generator.registers.eq(r),
            self.active.eq(generator.active),
        ]
        beat = generator.o.payload

        m.d.comb += [
            self.announce.valid.eq(generator.o.valid & beat.announce),
            self.announce.payload.first.eq(~beat.lane.any()),
            self.announce.payload.lanes.eq(beat.lanes),
            self.announce.payload.address.eq(beat.out_address),
            self.announce.payload.entry.eq(beat.entry),
            self.announce.payload.channels.eq(beat.channels),
        ]

        # What goes along with a beat, n cycles after the address generator gave it.
        asked, valid = [beat], [generator.o.valid]
        for stage in range(1, BOUNDS_CYCLES + timing.READ_LATENCY + 1):
            asked.append(later(m, asked[-1], name=f"asked_{stage}"))
            valid.append(Signal(name=f"valid_{stage}"))
            m.d.sync += valid[-1].eq(valid[-2])

        # Bounds: which of the chunk's bytes, low to high - 1, lie inside the input row. 1: how far
        # it lies from the row's ends.
        before, room = resetless(signed(POSITION_BITS + 1)), resetless(signed(POSITION_BITS + 1))
        there = Signal()
        m.d.sync += [
            before.eq(-beat.x),
            room.eq(r.input_row_bytes - beat.x),
            there.eq(generator.o.valid & beat.fetch_activation & beat.row_valid),
        ]
        # 2: cut to the chunk.
        low, high = resetless(size_shape(machine.array)), resetless(size_shape(machine.array))
        with m.If(before < 0):
            m.d.sync += low.eq(0)
        with m.Else():
            m.d.sync += low.eq(Mux(before < asked[1].size, before, asked[1].size))
        with m.If(~there | (room < 0)):
            m.d.sync += high.eq(0)
        with m.Else():
            m.d.sync += high.eq(Mux(room < asked[1].size, room, asked[1].size))
        # 3: as addresses, and as a mask.
        inside = resetless(max(chunk, cols))
        reads = Signal()
        first, last = resetless(BUFFER_ADDRESS_BITS), resetless(BUFFER_ADDRESS_BITS)
        parameter_last = resetless(BUFFER_ADDRESS_BITS)
        m.d.sync += [
            reads.eq(low < high),
            first.eq(asked[2].address + low),
            last.eq(asked[2].address + high - 1),
            parameter_last.eq(
                asked[2].parameter_address + Mux(is_filter, machine.lanes - 1, cols - 1)
            ),
        ]
        m.d.sync += [inside[byte].eq((low <= byte) & (byte < high)) for byte in range(len(inside))]
        m.d.comb += [
            self.read_activation.valid.eq(reads),
            self.read_activation.address.eq(asked[3].address),
            self.read_activation.first.eq(first),
            self.read_activation.last.eq(last),
            self.read_parameter.valid.eq(valid[3] & asked[3].fetch_parameter),
            self.read_parameter.address.eq(asked[3].parameter_address),
            self.read_parameter.first.eq(asked[3].parameter_address),
            self.read_parameter.last.eq(parameter_last),
        ]

        # The buffers read.
        inside = later(m, inside, timing.READ_LATENCY, name="inside")

        # What to do with their bytes, a cycle before these come.
        coming = asked[-2]
        diagonal_end = Signal(9)
        m.d.sync += diagonal_end.eq(asked[-3].diagonal + depth_multiplier)
        zero_point = Signal(signed(8))
        blank = Signal(cols)  # columns that see no parameter
        with m.If(is_max):
            m.d.sync += zero_point.eq(0)
        with m.Elif(is_scaled_sum & coming.operand):
            m.d.sync += zero_point.eq(r.act_zero_point_1)
        with m.Else():
            m.d.sync += zero_point.eq(act_zero_point)
        for col in range(cols):
            seen = (coming.diagonal <= col) & (col < diagonal_end)
            m.d.sync += blank[col].eq(~coming.fetch_parameter | (is_depthwise & ~seen))

        # Zero points.
        here, here_valid = asked[-1], valid[-1]
        outside = Mux(is_max, -128, 0)  # what a byte outside the input counts as
        word = resetless(data.ArrayLayout(signed(9), len(inside)))
        for byte in range(len(inside)):
            value = self.read_activation.data.word_select(byte, 8).as_signed()
            m.d.sync += word[byte].eq(Mux(inside[byte], value - zero_point, outside))
        weights = resetless(data.ArrayLayout(signed(9), cols))
        for col in range(cols):
            value = self.read_parameter.data.word_select(col, 8).as_signed()
            m.d.sync += weights[col].eq(Mux(blank[col], 0, value - parameter_zero_point))
        operands = later(m, here, name="operands")
        has_parameters = Mux(is_filter, 1, tiled & (here.fetch_parameter | here.last))
        m.d.sync += [
            self.activations.valid.eq(here_valid & here.fetch_activation & tiled),
            self.vector.valid.eq(here_valid & here.fetch_activation & vector),
            self.parameters.valid.eq(here_valid & has_parameters),
            self.parameters.payload.clear.eq(is_filter & here.clear),
            self.parameters.payload.tap.eq(is_filter & here.fetch_parameter),
        ]
        m.d.comb += [
            self.activations.payload.lane.eq(operands.lane),
            self.vector.payload.first.eq(operands.first),
            self.vector.payload.last.eq(operands.last),
            self.vector.payload.tap.eq(operands.operand),
            self.parameters.payload.first.eq(operands.first),
            self.parameters.payload.last.eq(operands.last),
            self.parameters.payload.row.eq(operands.lane),
        ]
        passes = Signal()  # activations take the parameters' way
        m.d.sync += passes.eq(is_filter & here.fetch_activation)
        for col in range(cols):
            m.d.comb += self.parameters.payload.values[col].eq(Mux(passes, word[col], weights[col]))
        m.d.comb += [self.activations.payload.values[i].eq(word[i]) for i in range(chunk)]
        m.d.comb += [self.vector.payload.values[i].eq(word[i]) for i in range(machine.lanes)]
        return m
