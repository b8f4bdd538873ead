"""The memory for parameters: a buffer, or the registers of an array's elements."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from mensa.rtl.buffers.buffer import BLOCK_RAM_ATTRIBUTES, Buffer, ReadPort, WritePort
from mensa.rtl.machine import Machine
from mensa.rtl.parts.resetless import later

__all__ = ["RegisterStore", "parameter_memory"]


def parameter_memory(machine: Machine) -> Buffer | RegisterStore:
    """Return a machine's memory for parameters: one reader of a word, one writer of beats."""
    if machine.array.store_bytes:
        registers = machine.array.store_bytes // machine.array.group
        pieces = machine.table_step_bytes, machine.exponential_step_bytes
        return RegisterStore(machine.array.group, registers, machine.beat_bytes, pieces)
    return Buffer(machine.parameter_bytes, machine.row_bytes)


class RegisterStore(wiring.Component):
    """N elements' registers; byte address a is register a // N of element a mod N.

    It stands where other machines have a parameter buffer, with the ports and the latencies of a
    `Buffer`. A word, one register of every element, begins at a multiple of N, so nothing is turned
    on its way, and registers can lie beside their element. A read that begins within a word is that
    of a table, which goes elsewhere: at a multiple of a piece's size, so many bytes are given.

    Parameters
    ----------
    elements, registers, beat_bytes : int
        N, the registers of each, and the bytes of a beat: powers of two, N x registers at least two
        beats.
    pieces : collection of int
        Bytes that are read at once of a table: powers of two.

    Members
    -------
    read_0, write_0 : In(ReadPort), In(WritePort)
        A word; a beat. Rows have N bytes, or a beat's if these are more.
    """

    def __init__(self, elements: int, registers: int, beat_bytes: int, pieces: Collection[int]):
        self._word_bytes, self._beat_bytes = elements, beat_bytes
        self._pieces = sorted({piece for piece in pieces if piece < elements}, reverse=True)
        self._nbytes = elements * registers
        self.row_bytes = max(elements, beat_bytes)
        super().__init__(
            {
                "read_0": In(ReadPort(self.row_bytes)),
                "write_0": In(WritePort(self.row_bytes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        row, word, beat = self.row_bytes, self._word_bytes, self._beat_bytes
        row_bits, word_bits = row.bit_length() - 1, word.bit_length() - 1
        m.submodules.registers = registers = memory.Memory(
            shape=8 * row, depth=self._nbytes // row, init=[], attrs=BLOCK_RAM_ATTRIBUTES
        )
        write, read = registers.write_port(granularity=8), registers.read_port()

        # As in a buffer, what comes is kept in registers before it goes to the memory.
        written, valid = self.write_0, Signal()
        m.d.sync += valid.eq(written.valid)
        here = later(m, written.address[:row_bits], name="write_place")
        mask = later(m, written.mask[:beat], name="mask")
        data = later(m, written.data[: 8 * beat], name="data")
        m.d.comb += [
            write.addr.eq(later(m, written.address >> row_bits, name="write_row")),
            write.data.eq(data.replicate(row // beat)),
        ]
        for place in range(0, row, beat):
            enables = write.en[place : place + beat]
            m.d.comb += enables.eq(Mux(valid & (here == place), mask, 0))

        # The address, the memory, its register, the word of the row, the piece of the word.
        address = self.read_0.address
        m.d.comb += read.addr.eq(later(m, address >> row_bits, name="read_row"))
        found = later(m, read.data, name="found")
        chosen = found
        if row > word:
            which = later(m, address[word_bits:row_bits], 3, name="which")
            chosen = found.word_select(which, 8 * word)
        chosen = later(m, chosen, name="chosen")
        given = chosen
        for piece in self._pieces:
            place = later(m, address[piece.bit_length() - 1 : word_bits], 4, name=f"place_{piece}")
            given = Cat(chosen.word_select(place, 8 * piece), given[8 * piece :])
        m.d.comb += self.read_0.data.eq(later(m, given, name="given"))
        return m
