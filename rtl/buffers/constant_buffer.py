"""The constant buffer: bias, multiplier and shift of the output channels."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.buffers.buffer import BLOCK_RAM_ATTRIBUTES
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, ENTRY_BITS
from mensa.rtl.machine import CHANNEL_RECORD_BYTES, CHANNEL_RECORD_USED_BYTES, Machine
from mensa.rtl.parts.resetless import later

__all__ = ["ConstantBuffer"]


class ConstantBuffer(wiring.Component):
    """Entries of C channel records; written by beats, read an entry at a time.

    A record written in cycle t is read by a read of cycle t + 1. As in `mensa.rtl.buffers.buffer`,
    what comes is kept in registers before it goes to the memories.

    Parameters
    ----------
    machine : Machine
        Gives C, the entries and the beat.

    Members
    -------
    valid, address, data, mask : In
        A beat to write: its byte address, a multiple of the beat; a bit per byte.
    entry : In(ENTRY_BITS)
        Entry to read.
    records : Out(C x 16 bytes)
        Its records, `timing.RECORDS_LATENCY` cycles later; bytes without meaning are 0.
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
                "records": Out(8 * CHANNEL_RECORD_BYTES * machine.array.group),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        machine = self._machine
        beat = machine.beat_bytes
        pitch_bits = machine.constant_entry_bytes.bit_length() - 1
        m.submodules.memory = mem = memory.Memory(
            shape=8 * CHANNEL_RECORD_USED_BYTES * machine.array.group,
            depth=machine.constant_entries,
            init=[],
            attrs=BLOCK_RAM_ATTRIBUTES,
        )
        write, read = mem.write_port(granularity=8), mem.read_port()

        valid = Signal()
        m.d.sync += valid.eq(self.valid)
        beat_address, beat_data, beat_mask, entry = (
            later(m, value) for value in (self.address, self.data, self.mask, self.entry)
        )
        data, mask = [], []
        place = beat_address[:pitch_bits]  # of the beat within its entry
        for col in range(machine.array.group):
            for byte in range(CHANNEL_RECORD_USED_BYTES):
                position = CHANNEL_RECORD_BYTES * col + byte
                base, offset = position - position % beat, position % beat
                data.append(beat_data.word_select(offset, 8))
                mask.append(valid & (place == base) & beat_mask[offset])
        m.d.comb += [
            write.addr.eq(beat_address >> pitch_bits),
            write.data.eq(Cat(*data)),
            write.en.eq(Cat(*mask)),
            read.addr.eq(entry),
        ]
        records = later(m, read.data)
        for col in range(machine.array.group):
            record = records.word_select(col, 8 * CHANNEL_RECORD_USED_BYTES)
            m.d.comb += self.records.word_select(col, 8 * CHANNEL_RECORD_BYTES).eq(record)
        return m
