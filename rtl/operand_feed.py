"""The operand feed: fetches what the address generator asks for and hands it to the arithmetic."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.address_generator import AddressGenerator, beat_layout
from mensa.rtl.buffer import ReadPort
from mensa.rtl.commands import Mode, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.post_processor import announcement_layout
from mensa.rtl.unit import registers_layout

__all__ = ["LATENCY", "OperandFeed"]

LATENCY = 5
"""Cycles from a step of the loop nest to its operands: address generator 2, bounds 1, buffer 2."""


class OperandFeed(wiring.Component):
    """Reads activations and parameters, subtracts zero points, blanks what is padding.

    Latency is `LATENCY` cycles from a step of the loop nest, throughput one step a cycle.

    Parameters
    ----------
    machine : Machine
        Gives R, C and the word.

    Members
    -------
    start, registers, active
        As of `AddressGenerator`.
    read_activation, read_parameter : Out(ReadPort)
        To the buffers.
    activations : Out(stream of {lane, values: R x signed(9)}, always ready)
        For the array: the bytes of a chunk for one row.
    parameters : Out(stream of {first, last, values: C x signed(9)}, always ready)
        For the array: one value per column, zeros where a tile's last beat has no parameters.
    vector : Out(stream of {first, last, tap, values: C x signed(9)}, always ready)
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
                                "values": data.ArrayLayout(operand, machine.cols),
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
        vector = Signal()
        m.d.comb += vector.eq(r.mode >= Mode.MAX)

        m.submodules.generator = generator = AddressGenerator(machine)
        m.d.comb += [
            generator.start.eq(self.start),
            generator.registers.eq(r),
            self.active.eq(generator.active),
        ]
        beat = generator.o.payload

        m.d.comb += [
            self.announce.valid.eq(generator.o.valid & beat.announce),
            self.announce.payload.slot.eq(beat.slot),
            self.announce.payload.lane.eq(Mux(vector, 0, beat.lane)),
            self.announce.payload.lanes.eq(beat.lanes),
            self.announce.payload.address.eq(beat.out_address),
            self.announce.payload.entry.eq(beat.entry),
            self.announce.payload.channels.eq(beat.channels),
        ]

        # 3: which of the chunk's bytes, low to high - 1, lie inside the input row.
        asked = Signal(beat_layout(machine))
        asked_valid = Signal()
        size_shape = range(max(chunk, cols) + 1)
        low, high = Signal(size_shape), Signal(size_shape)
        room = Signal(signed(29))
        m.d.comb += room.eq(r.input_row_bytes - beat.x)
        m.d.sync += [asked.eq(beat), asked_valid.eq(generator.o.valid)]
        with m.If(beat.x < 0):
            m.d.sync += low.eq(Mux(-beat.x < beat.size, -beat.x, beat.size))
        with m.Else():
            m.d.sync += low.eq(0)
        with m.If(~beat.row_valid | ~beat.fetch_activation | (room <= 0)):
            m.d.sync += high.eq(0)
        with m.Else():
            m.d.sync += high.eq(Mux(room < beat.size, room, beat.size))

        m.d.comb += [
            self.read_activation.valid.eq(asked_valid & (low < high)),
            self.read_activation.address.eq(asked.address),
            self.read_activation.first.eq(asked.address + low),
            self.read_activation.last.eq(asked.address + high - 1),
            self.read_parameter.valid.eq(asked_valid & asked.fetch_parameter),
            self.read_parameter.address.eq(asked.parameter_address),
            self.read_parameter.first.eq(asked.parameter_address),
            self.read_parameter.last.eq(asked.parameter_address + (cols - 1)),
        ]

        # 4 and 5: the buffers read.
        for stage in range(2):
            later = Signal(beat_layout(machine), name=f"asked_{stage}")
            later_valid = Signal(name=f"asked_valid_{stage}")
            later_low = Signal(size_shape, name=f"low_{stage}")
            later_high = Signal(size_shape, name=f"high_{stage}")
            m.d.sync += [
                later.eq(asked),
                later_valid.eq(asked_valid),
                later_low.eq(low),
                later_high.eq(high),
            ]
            asked, asked_valid, low, high = later, later_valid, later_low, later_high

        zero_point = Signal(signed(8))
        outside = Signal(signed(9))  # what a byte outside the input counts as
        with m.If(r.mode == Mode.MAX):
            m.d.comb += outside.eq(-128)
        with m.Elif((r.mode == Mode.SCALED_SUM) & asked.tap):
            m.d.comb += zero_point.eq(r.act_zero_point_1)
        with m.Else():
            m.d.comb += zero_point.eq(r.act_zero_point)

        word = self.read_activation.data
        values = []
        for byte in range(max(chunk, cols)):
            value = Signal(signed(9), name=f"activation_{byte}")
            with m.If((low <= byte) & (byte < high)):
                m.d.comb += value.eq(word.word_select(byte, 8).as_signed() - zero_point)
            with m.Else():
                m.d.comb += value.eq(outside)
            values.append(value)

        m.d.comb += [
            self.activations.valid.eq(asked_valid & asked.fetch_activation & ~vector),
            self.activations.payload.lane.eq(asked.lane),
            self.vector.valid.eq(asked_valid & asked.fetch_activation & vector),
            self.vector.payload.first.eq(asked.first),
            self.vector.payload.last.eq(asked.last),
            self.vector.payload.tap.eq(asked.tap),
            self.parameters.valid.eq(asked_valid & ~vector & (asked.fetch_parameter | asked.last)),
            self.parameters.payload.first.eq(asked.first),
            self.parameters.payload.last.eq(asked.last),
        ]
        m.d.comb += [self.activations.payload.values[i].eq(values[i]) for i in range(chunk)]
        m.d.comb += [self.vector.payload.values[i].eq(values[i]) for i in range(cols)]

        depthwise = Signal()
        m.d.comb += depthwise.eq(r.mode == Mode.DEPTHWISE)
        for col in range(cols):
            value = self.read_parameter.data.word_select(col, 8).as_signed()
            seen = (asked.diagonal <= col) & (col < asked.diagonal + r.depth_multiplier)
            with m.If(asked.fetch_parameter & (~depthwise | seen)):
                m.d.comb += self.parameters.payload.values[col].eq(value - r.parameter_zero_point)
        return m
