"""On-chip memories that give a word at any byte address, one read and one write a cycle."""

from __future__ import annotations

from functools import reduce
from itertools import combinations
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import BUFFER_ADDRESS_BITS
from mensa.rtl.parts.resetless import later, resetless

__all__ = ["BLOCK_RAM_ATTRIBUTES", "Buffer", "ReadPort", "WritePort"]

BLOCK_RAM_ATTRIBUTES = {"no_rw_check": 1, "ram_style": "block"}
"""Verilog attributes of a buffer's memories: block RAM, as it is.

Nothing asks for what a row gives while it is written, but without the first attribute yosys adds
registers and multiplexers so that it is what Verilog says. The second stands for Vivado too.
"""


class WritePort(wiring.Signature):
    """Writes bytes `first` to `last` (addresses) of a word that starts at `address`.

    `data` and `mask` belong to `address` and up; at most half a row, or an aligned part of a row.
    """

    def __init__(self, row_bytes: int):
        super().__init__(
            {
                "valid": Out(1),
                "address": Out(BUFFER_ADDRESS_BITS),
                "first": Out(BUFFER_ADDRESS_BITS),
                "last": Out(BUFFER_ADDRESS_BITS),
                "data": Out(8 * row_bytes),
                "mask": Out(row_bytes),
            }
        )


class ReadPort(wiring.Signature):
    """Reads the bytes `first` to `last` (addresses) of a word that starts at `address`.

    `data` comes `timing.READ_LATENCY` cycles later; bytes outside first to last are undefined.
    """

    def __init__(self, row_bytes: int):
        super().__init__(
            {
                "valid": Out(1),
                "address": Out(BUFFER_ADDRESS_BITS),
                "first": Out(BUFFER_ADDRESS_BITS),
                "last": Out(BUFFER_ADDRESS_BITS),
                "data": In(8 * row_bytes),
            }
        )


_SHIFTED = 128
"""Units of a value that a shifter turns. Of a longer one Amaranth, which follows every bit to every
other, would take minutes, so it is turned in a step for each bit of the distance."""


def _rotated_right(m: Module, value: Value, by: Value, unit: int) -> Value:
    """The value, rotated so that place `by`, in units of so many bits, comes first."""
    # Signals, because Amaranth builds an expression once for every part of it that is used.
    if len(value) // unit <= _SHIFTED:
        rotated = Signal(len(value))
        m.d.comb += rotated.eq(Cat(value, value) >> (by * unit))
        return rotated
    for bit, choice in enumerate(by):
        turned = Signal(len(value), name=f"turned_{bit}")
        m.d.comb += turned.eq(Mux(choice, value.rotate_right(unit << bit), value))
        value = turned
    return value


def _rotated_left(m: Module, value: Value, by: Value, unit: int) -> Value:
    """The value, rotated so that what is first comes to place `by`, in units of so many bits."""

    def backwards(value: Value) -> Value:
        return Cat(value[at : at + unit] for at in reversed(range(0, len(value), unit)))

    return backwards(_rotated_right(m, backwards(value), by, unit))


def _first(choices: list[tuple[Value, Value]]) -> Value:
    """The value of the first choice (condition, value) whose condition holds, or of the last."""
    *others, (_, chosen) = choices
    for condition, value in reversed(others):
        chosen = Mux(condition, value, chosen)
    return chosen


class Buffer(wiring.Component):
    """A byte-addressed memory of `banks` equal parts with several readers and writers.

    A physical row is two halves in memories of their own, so an access of up to half a row reaches
    any byte address. Every bank has one read and one write port: two readers, or two writers, of a
    bank in the same cycle are an error of the program. `conflict` reports it, and the one with the
    lower index wins, where both need the same half; else both are served. A byte written in
    cycle t is read by a read of cycle t + 1; what a read in cycle t gives for it is undefined.

    Between the ports and the memories is a register, behind it the choice of each memory's reader
    and writer: memories lie wide apart.

    Parameters
    ----------
    size_bytes : int
        All bytes; `banks` whole numbers of rows.
    row_bytes : int
        Bytes of a physical row, a power of two of at least 4.
    banks, readers, writers : int
        How many there are; banks a power of two.

    Members
    -------
    read_0, … : In(ReadPort(row_bytes))
        Readers.
    write_0, … : In(WritePort(row_bytes))
        Writers.
    conflict : Out(1)
        Two readers or two writers of the same half of a bank two cycles ago.
    """

    def __init__(
        self, size_bytes: int, row_bytes: int, *, banks: int = 1, readers: int = 1, writers: int = 1
    ):
        if row_bytes < 4 or row_bytes & (row_bytes - 1):
            raise ValueError(f"Row must be a power of two of at least 4 bytes, not {row_bytes!r}")
        if size_bytes <= 0 or size_bytes % (banks * row_bytes):
            raise ValueError(
                f"Size must be a multiple of {banks} banks x {row_bytes} bytes, not {size_bytes!r}"
            )
        self.size_bytes = size_bytes
        self.row_bytes = row_bytes
        self.banks = banks
        self._readers = readers
        self._writers = writers
        super().__init__(
            {f"read_{i}": In(ReadPort(row_bytes)) for i in range(readers)}
            | {f"write_{i}": In(WritePort(row_bytes)) for i in range(writers)}
            | {"conflict": Out(1)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        row_bytes, half = self.row_bytes, self.row_bytes // 2
        bank_rows = self.size_bytes // self.row_bytes // self.banks
        offset_bits = row_bytes.bit_length() - 1
        half_bits = offset_bits - 1
        conflicts = []

        def halves(port: Any, name: str) -> list[tuple[Signal, Signal, Signal]]:
            """For the even and the odd half: whether a port needed it, its bank, its row there."""
            needs = []
            for parity in (0, 1):
                first, last = port.first[half_bits:], port.last[half_bits:]
                row = Mux(first[0] == parity, first, last) >> 1
                need = Signal(name=f"{name}_need_{parity}")
                bank = resetless(range(max(self.banks, 2)), name=f"{name}_bank_{parity}")
                row_in_bank = resetless(range(max(bank_rows, 2)), name=f"{name}_row_{parity}")
                m.d.sync += [
                    need.eq(port.valid & ((first[0] == parity) | (last[0] == parity))),
                    bank.eq(row // bank_rows),
                    row_in_bank.eq(row % bank_rows),
                ]
                needs.append((need, bank, row_in_bank))
            return needs

        readers = [getattr(self, f"read_{i}") for i in range(self._readers)]
        writers = [getattr(self, f"write_{i}") for i in range(self._writers)]
        read_needs = [halves(port, f"read_{i}") for i, port in enumerate(readers)]
        write_needs = [halves(port, f"write_{i}") for i, port in enumerate(writers)]
        write_rows = []
        for port in writers:
            at = port.address[:offset_bits]
            write_rows.append(
                (
                    later(m, _rotated_left(m, port.data, at, 8)),
                    later(m, _rotated_left(m, port.mask, at, 1)),
                )
            )

        read_data: list[list[Value]] = [[], []]
        for parity in (0, 1):
            reads = [needs[parity] for needs in read_needs]
            writes = [needs[parity] for needs in write_needs]
            for bank in range(self.banks):
                mem = memory.Memory(
                    shape=8 * half, depth=bank_rows, init=[], attrs=BLOCK_RAM_ATTRIBUTES
                )
                m.submodules[f"bank_{bank}_{'odd' if parity else 'even'}"] = mem
                # Reads in every cycle: only then can a block RAM's own register take what it gives.
                read_port = mem.read_port()
                write_port = mem.write_port(granularity=8)
                read_data[parity].append(later(m, read_port.data))
                mine = [need & (in_bank == bank) for need, in_bank, _row in reads]
                m.d.comb += read_port.addr.eq(
                    _first([(here, row) for here, (_, _, row) in zip(mine, reads, strict=True)])
                )
                addresses, rows, masks = [], [], []
                for (need, in_bank, row), (row_data, mask) in zip(writes, write_rows, strict=True):
                    here = need & (in_bank == bank)
                    addresses.append((here, row))
                    rows.append((here, row_data.word_select(parity, 8 * half)))
                    masks.append((here, Mux(here, mask.word_select(parity, half), 0)))
                m.d.comb += [
                    write_port.addr.eq(_first(addresses)),
                    write_port.data.eq(_first(rows)),
                    write_port.en.eq(_first(masks)),
                ]
            for users in (reads, writes):
                for (need_a, bank_a, _), (need_b, bank_b, _) in combinations(users, 2):
                    conflicts.append(need_a & need_b & (bank_a == bank_b))
        m.d.sync += self.conflict.eq(Cat(conflicts).any())

        # Then a block RAM has the halves, and needs most of a cycle for it, up to its own register.
        # Meanwhile it is found out which memory holds the half where a word begins, and which the
        # other: a bit per memory and half. These are chosen then, and turned in the next cycle so
        # that the word's first byte comes first.
        for port, needs in zip(readers, read_needs, strict=True):
            begin = later(m, port.address[:offset_bits], 2)
            banks = [later(m, bank) for _need, bank, _row in needs]
            found = []
            for other in (0, 1):
                gated = []
                for parity in (0, 1):
                    for bank in range(self.banks):
                        is_it = later(m, (begin[-1] == parity ^ other) & (banks[parity] == bank))
                        gated.append(read_data[parity][bank] & is_it.replicate(8 * half))
                found.append(reduce(or_, gated))
            by = later(m, begin[:half_bits], 2)
            m.d.sync += port.data.eq(_rotated_right(m, later(m, Cat(found)), by, 8))
        return m
