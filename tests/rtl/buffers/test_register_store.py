from __future__ import annotations

import random

import cocotb
import pytest

from mensa.rtl.buffers.register_store import RegisterStore
from mensa.rtl.timing import READ_LATENCY
from tests.rtl import bench
from tests.rtl.lockstep import SideBySide, play

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SHAPES = {
    # name: elements, registers, bytes of a beat, of pieces.
    "paper": (64, 32, 256, (4, 8)),
    "narrow": (64, 16, 8, (4, 64)),
    "one": (1, 64, 4, (1, 1)),
    "alike": (16, 8, 16, (4, 16)),
    "many": (128, 8, 64, (4, 32)),
}
CYCLES = 3000


def test_register_store():
    bench.run(SideBySide({n: RegisterStore(*shape) for n, shape in SHAPES.items()}), __file__)


def reads_of(word: int, pieces: tuple[int, ...], at: int) -> int:
    """Bytes that a read at an address gives: a word, or what of a table is read at once."""
    return max(size for size in (word, *pieces) if size <= word and at % size == 0)


@cocotb.test()
async def reads_give_what_was_written_before_at_the_latency_of_a_buffer(dut):
    inputs: dict[str, list[int]] = {}
    expected: dict[str, dict[int, bytes]] = {}
    for name, (word, registers, beat, pieces) in SHAPES.items():
        size, content = word * registers, bytearray(word * registers)
        reads = expected[name] = {}
        given: dict[str, list[int]] = {}
        for cycle in range(CYCLES):
            unit = random.choice([word, *(piece for piece in pieces if piece < word)])
            at = random.choice([random.randrange(size // unit), size // unit - 1]) * unit
            # A byte written in this cycle may be anything to this cycle's read.
            nbytes = reads_of(word, pieces, at)
            place = random.randrange(size // beat) * beat
            valid = random.random() < 0.7 and not (place < at + nbytes and at < place + beat)
            mask, data = random.getrandbits(beat), random.randbytes(beat)
            if random.random() < 0.5:
                mask = (1 << beat) - 1
            reads[cycle + READ_LATENCY] = bytes(content[at : at + nbytes])
            for byte in range(beat):
                if valid and mask >> byte & 1:
                    content[place + byte] = data[byte]
            for member, value in (
                ("read_0__valid", 1),
                ("read_0__address", at),
                ("write_0__valid", int(valid)),
                ("write_0__address", place),
                ("write_0__mask", mask),
                ("write_0__data", int.from_bytes(data, "little")),
            ):
                given.setdefault(member, []).append(value)
        inputs |= {f"{name}__{member}": values for member, values in given.items()}
    await bench.start(dut, **dict.fromkeys(inputs, 0))
    seen = await play(dut, CYCLES + READ_LATENCY, inputs, [f"{n}__read_0__data" for n in SHAPES])
    for name, reads in expected.items():
        for cycle, wanted in reads.items():
            word = seen[f"{name}__read_0__data"][cycle]
            got = (word & ((1 << 8 * len(wanted)) - 1)).to_bytes(len(wanted), "little")
            assert got == wanted, (name, cycle)
