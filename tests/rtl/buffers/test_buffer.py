from __future__ import annotations

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from mensa.rtl.buffers.buffer import Buffer
from mensa.rtl.timing import READ_LATENCY
from tests.rtl import bench
from tests.rtl.lockstep import SideBySide

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SHAPES = {
    # name: size, row, banks, readers, writers. Rows a bank need not be a power of two.
    "activation": (2 * 12 * 16, 16, 2, 2, 2),
    "parameter": (16 * 8, 8, 1, 1, 1),
    "one_row": (4 * 4, 4, 4, 1, 2),
    "long_rows": (2 * 3 * 256, 256, 2, 1, 2),  # turned in steps
}
CYCLES = 3000


@pytest.mark.parametrize(
    ("size", "row", "banks"), [(64, 3, 1), (64, 2, 1), (0, 8, 1), (60, 8, 1), (48, 8, 4)]
)
def test_a_size_that_is_no_whole_number_of_rows_is_refused(size, row, banks):
    with pytest.raises(ValueError, match="must be"):
        Buffer(size, row, banks=banks)


def test_buffer():
    bench.run(
        SideBySide(
            {
                name: Buffer(size, row, banks=banks, readers=readers, writers=writers)
                for name, (size, row, banks, readers, writers) in SHAPES.items()
            }
        ),
        __file__,
    )


def ports():
    for name, (*_, readers, writers) in SHAPES.items():
        yield from ((name, "read", i) for i in range(readers))
        yield from ((name, "write", i) for i in range(writers))


def halves(address: int, last: int, row: int) -> set[int]:
    """The half rows that an access needs: which memories, and where."""
    return set(range(address // (row // 2), last // (row // 2) + 1))


@cocotb.test()
@cocotb.parametrize(name=list(SHAPES), idle=[False, True])
async def reads_give_what_was_written_at_any_address_and_conflicts_are_told(dut, name, idle):
    size, row, banks, readers, writers = SHAPES[name]
    half, bank_bytes = row // 2, size // banks
    await bench.start(dut, **{f"{n}__{kind}_{i}__valid": 0 for n, kind, i in ports()})

    def member(kind, i, field):
        return getattr(dut, f"{name}__{kind}_{i}__{field}")

    def memory_of(place: int) -> tuple[int, int]:
        return place * half // bank_bytes, place % 2

    content: list[int | None] = [None] * size
    due: dict[int, list[tuple[int, int, list[int | None]]]] = {}
    conflicts = reads = 0
    before = conflict = False
    for cycle in range(CYCLES):
        taken: dict[tuple[str, int, int], int] = {}
        told, before, conflict = before, conflict, False
        losing: dict[tuple[str, int], set[tuple[int, int]]] = {}
        access: dict[tuple[str, int], tuple[int, int, int, int, int]] = {}
        for kind, count in (("write", writers), ("read", readers)):
            for i in range(count):
                valid = not (idle and random.random() < 0.5)
                member(kind, i, "valid").value = valid
                if random.random() < 0.2:  # an aligned part of a row
                    length = random.choice([n for n in (half // 2, half, row) if n])
                    first = address = random.randrange(size // length) * length
                    last = address + length - 1
                else:
                    length = random.randrange(1, half + 1)
                    first = random.randrange(size - length + 1)
                    last = first + length - 1
                    # The word may begin before the bytes that are asked for, even outside.
                    address = first - random.randrange(half - length + 1)
                data, mask = random.getrandbits(8 * row), random.getrandbits(row)
                offset = first - address
                mask &= ((1 << length) - 1) << offset
                for field, value in (("address", address), ("first", first), ("last", last)):
                    member(kind, i, field).value = value & ((1 << 28) - 1)
                if kind == "write":
                    member(kind, i, "data").value = data
                    member(kind, i, "mask").value = mask
                if not valid:
                    continue
                access[kind, i] = address, first, last, data, mask
                lost = losing[kind, i] = set()
                for memory in {memory_of(h) for h in halves(first, last, row)}:
                    if (kind, *memory) in taken:
                        conflict = True
                        lost.add(memory)
                    taken[(kind, *memory)] = i
        # Reads see what was there; a byte written in this very cycle may be old or new.
        written: dict[int, int] = {}
        for (kind, i), (address, first, last, data, mask) in access.items():
            if kind == "write":
                for at in range(first, last + 1):
                    lane = at - address
                    if mask >> lane & 1 and memory_of(at // half) not in losing[kind, i]:
                        written[at] = data >> 8 * lane & 255
        for (kind, i), (address, first, last, _, _) in access.items():
            if kind == "read":
                bytes_due = [
                    None
                    if at in written or memory_of(at // half) in losing[kind, i]
                    else content[at]
                    for at in range(first, last + 1)
                ]
                due.setdefault(cycle + READ_LATENCY, []).append((i, first - address, bytes_due))
        await RisingEdge(dut.clk)
        assert int(getattr(dut, f"{name}__conflict").value) == told, cycle
        conflicts += conflict
        for i, offset, bytes_due in due.pop(cycle, ()):
            word = int(member("read", i, "data").value) >> 8 * offset
            for place, byte in enumerate(bytes_due):
                if byte is not None:
                    reads += 1
                    assert word >> 8 * place & 255 == byte, (cycle, i, place)
        for at, byte in written.items():
            content[at] = byte
    assert reads > CYCLES / 4
    assert (conflicts > 0) == (readers > 1 or writers > 1)
