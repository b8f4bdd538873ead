"""The post-processor: from a row of sums to bytes in the activation buffer."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl import requantizer
from mensa.rtl.address_generator import result_slots
from mensa.rtl.buffer import WritePort
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Unit
from mensa.rtl.machine import CHANNEL_RECORD_BYTES, Machine
from mensa.rtl.unit import registers_layout

__all__ = ["LATENCY", "PostProcessor", "announcement_layout"]

LATENCY = 2 + requantizer.LATENCY
"""Cycles from a row of sums on `results` to its write: two to look up where it goes and its
channels' records, then the requantiser."""


def announcement_layout(machine: Machine) -> data.StructLayout:
    """Where the result of one array row will go; told before it comes."""
    return data.StructLayout(
        {
            "slot": range(result_slots(machine)),
            "lane": range(machine.array.tile),
            "lanes": range(machine.array.tile + 1),
            "address": BUFFER_ADDRESS_BITS,
            "entry": 12,
            "channels": 8,
        }
    )


class PostProcessor(wiring.Component):
    """Requantises rows of C sums and writes each to the address announced for it.

    Tiles take result slots in turn; the rows of a tile may come in any order. A row that was not
    announced (beyond the pixels of the last tile) is dropped. Latency is `LATENCY` cycles,
    throughput one row a cycle.

    Parameters
    ----------
    machine : Machine
        Gives R, C and the word.

    Members
    -------
    registers : In(registers_layout(Unit.COMPUTE))
        The command; constant while its results are inside.
    announce : In(stream of announcement_layout(machine), always ready)
        One per row of a tile, before its results.
    results : In(stream of {row, last, values: C x signed(32)}, always ready)
        `last` marks the last row of a tile, with which its slot ends.
    entry : Out(12)
        Entry of the constant buffer to read.
    records : In(C x 16 bytes)
        Its channel records, in the next cycle.
    write : Out(WritePort)
        To the activation buffer.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "registers": In(registers_layout(Unit.COMPUTE)),
                "announce": In(stream.Signature(announcement_layout(machine), always_ready=True)),
                "results": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "row": range(machine.array.tile),
                                "last": 1,
                                "values": data.ArrayLayout(signed(32), machine.cols),
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "entry": Out(12),
                "records": In(8 * CHANNEL_RECORD_BYTES * machine.cols),
                "write": Out(WritePort(machine.row_bytes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows, cols = self._machine.array.tile, self._machine.array.group
        slots = result_slots(self._machine)
        row_bits = (rows - 1).bit_length()
        r = self.registers

        where_layout = data.StructLayout(
            {"address": BUFFER_ADDRESS_BITS, "entry": 12, "channels": 8}
        )
        m.submodules.where = where = memory.Memory(
            shape=where_layout, depth=slots << row_bits, init=[]
        )
        m.submodules.lanes = lanes = memory.Memory(shape=range(rows + 1), depth=slots, init=[])
        where_write, where_read = where.write_port(), where.read_port()
        lanes_write, lanes_read = lanes.write_port(), lanes.read_port(domain="comb")
        told = self.announce.payload
        m.d.comb += [
            where_write.en.eq(self.announce.valid),
            where_write.addr.eq(Cat(told.lane, told.slot)),
            where_write.data.address.eq(told.address),
            where_write.data.entry.eq(told.entry),
            where_write.data.channels.eq(told.channels),
            lanes_write.en.eq(self.announce.valid),
            lanes_write.addr.eq(told.slot),
            lanes_write.data.eq(told.lanes),
        ]

        # 1: where the row goes.
        slot = Signal(range(slots))
        result = self.results.payload
        sums_1 = Signal(data.ArrayLayout(signed(32), cols))
        valid_1 = Signal()
        m.d.comb += [
            where_read.addr.eq(Cat(result.row, slot)),
            where_read.en.eq(self.results.valid),
            lanes_read.addr.eq(slot),
        ]
        with m.If(self.results.valid & result.last):
            m.d.sync += slot.eq(slot + 1)
        m.d.sync += [
            valid_1.eq(self.results.valid & (result.row < lanes_read.data)),
            sums_1.eq(result.values),
        ]

        # 2: the records of its channels.
        m.d.comb += self.entry.eq(where_read.data.entry)
        sums_2 = Signal.like(sums_1)
        valid = Signal()
        target = Signal(where_layout)
        m.d.sync += [valid.eq(valid_1), sums_2.eq(sums_1), target.eq(where_read.data)]

        # 3 to 8: requantise.
        out = []
        for lane in range(cols):
            m.submodules[f"requantizer_{lane}"] = lane_unit = requantizer.Requantizer()
            record = self.records.word_select(lane, 8 * CHANNEL_RECORD_BYTES)
            m.d.comb += [
                lane_unit.rounding.eq(r.rounding),
                lane_unit.zero_point.eq(r.out_zero_point),
                lane_unit.clamp_min.eq(r.clamp_min),
                lane_unit.clamp_max.eq(r.clamp_max),
                lane_unit.i.valid.eq(valid),
                lane_unit.i.payload.value.eq(sums_2[lane]),
                lane_unit.i.payload.bias.eq(Mux(r.uniform, r.bias, record[0:32].as_signed())),
                lane_unit.i.payload.multiplier.eq(Mux(r.uniform, r.multiplier, record[32:63])),
                lane_unit.i.payload.shift.eq(Mux(r.uniform, r.shift, record[64:70].as_signed())),
            ]
            out.append(lane_unit.o.payload)
        for stage in range(requantizer.LATENCY):
            later = Signal(where_layout, name=f"target_{stage}")
            m.d.sync += later.eq(target)
            target = later

        m.d.comb += [
            self.write.valid.eq(lane_unit.o.valid),
            self.write.address.eq(target.address),
            self.write.first.eq(target.address),
            self.write.last.eq(target.address + target.channels - 1),
            self.write.data.eq(Cat(*out)),
            self.write.mask.eq((Const(1, cols + 1) << target.channels) - 1),
        ]
        return m
