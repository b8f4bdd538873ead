"""The constant buffer: bias, multiplier and shift of the output channels."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl import timing
from mensa.rtl.buffers.buffer import BLOCK_RAM_ATTRIBUTES
from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES, CHANNEL_RECORD_USED_BYTES
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, ENTRY_BITS
from mensa.rtl.machine import Machine
from mensa.rtl.parts.resetless import later

__all__ = ["ConstantBuffer"]


class ConstantBuffer(wiring.Component):
    """Entries of a group's channel records; written by beats, read for L channels at a time.

    A record written in cycle t is read by a read of cycle t + 1. As in `mensa.rtl.buffers.buffer`,
    what comes is kept in registers before it goes to the memories.

    Parameters
    ----------
    machine : Machine
        Gives the group, L, the entries, their rows and the beat.

    Members
    -------
    valid, address, data, mask : In
        A beat to write: its byte address, a multiple of the beat; a bit per byte.
    entry, part : In(ENTRY_BITS), In(range(machine.array.pace))
        Entry to read, and which L of its channels.
    records : Out(L x 16 bytes)
        Their records, `timing.RECORDS_LATENCY` cycles later; bytes without meaning are 0.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "valid": In(1),
                "address": In(BUFFER_ADDRESS_BITS),
                "data": In(8 * machine.beat_bytes),
                "mask": In(machine.beat_bytes),
                "entry": In(ENTRY_BITS),
                "part": In(range(machine.array.pace)),
                "records": Out(8 * CHANNEL_RECORD_BYTES * machine.lanes),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        machine = self._machine
        beat, row = machine.beat_bytes, machine.constant_row_records
        rows = machine.constant_entry_rows
        pitch_bits = machine.constant_entry_bytes.bit_length() - 1
        m.submodules.memory = mem = memory.Memory(
            shape=8 * CHANNEL_RECORD_USED_BYTES * row,
            depth=machine.constant_entries * rows,
            init=[],
            attrs=BLOCK_RAM_ATTRIBUTES,
        )
        write, read = mem.write_port(granularity=8), mem.read_port()

        valid = Signal()
        m.d.sync += valid.eq(self.valid)
        beat_address, beat_data, beat_mask = (
            later(m, value) for value in (self.address, self.data, self.mask)
        )
        data, mask = [], []
        place = beat_address[:pitch_bits]  # of the beat within its entry, or within its row
        written, read_row = beat_address >> pitch_bits, self.entry
        if rows > 1:
            row_bits = (CHANNEL_RECORD_BYTES * row).bit_length() - 1
            written = Cat(place[row_bits:], written)[: len(write.addr)]
            place = place[:row_bits]
            in_row = (row // machine.lanes).bit_length() - 1
            read_row = (self.entry << (rows.bit_length() - 1)) + (self.part >> in_row)
        for col in range(row):
            for byte in range(CHANNEL_RECORD_USED_BYTES):
                position = CHANNEL_RECORD_BYTES * col + byte
                base, offset = position - position % beat, position % beat
                data.append(beat_data.word_select(offset, 8))
                mask.append(valid & (place == base) & beat_mask[offset])
        m.d.comb += [
            write.addr.eq(written),
            write.data.eq(Cat(*data)),
            write.en.eq(Cat(*mask)),
            read.addr.eq(later(m, read_row)),
        ]
        records, part = later(m, read.data), later(m, self.part, timing.RECORDS_LATENCY)
        used = 8 * CHANNEL_RECORD_USED_BYTES
        for lane in range(machine.lanes):
            columns = range(lane, row, machine.lanes)
            record = records.word_select(lane, used)
            if len(columns) > 1:
                which = part[: (len(columns) - 1).bit_length()]
                record = Array(records.word_select(col, used) for col in columns)[which]
            m.d.comb += self.records.word_select(lane, 8 * CHANNEL_RECORD_BYTES).eq(record)
        return m
