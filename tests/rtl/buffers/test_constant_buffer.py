from __future__ import annotations

import random

import cocotb
import pytest

from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.buffers.constant_buffer import ConstantBuffer
from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES, CHANNEL_RECORD_USED_BYTES
from mensa.rtl.machine import KIB, Machine
from mensa.rtl.timing import RECORDS_LATENCY
from tests.rtl import bench
from tests.rtl.lockstep import SideBySide, play

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

MACHINES = {
    f"c{cols}_l{lanes}_b{port}": Machine(
        name="any",
        array=Systolic(rows=2, cols=cols, post_lanes=lanes),
        clock_hz=1,
        parameter_buffer_bytes=16 * KIB,
        activation_buffer_bytes=16 * KIB,
        constant_entries=4,
        port_bytes=port,
    )
    # Rows of an entry, of L records, of a beat's records; an L that is no power of two.
    for cols, lanes, port in (
        (8, 8, 16), (8, 2, 16), (8, 2, 4), (16, 2, 128), (12, 4, 32), (5, 2, 64), (9, 3, 8),
        (1, 1, 4), (16, 5, 128), (40, 3, 128),
    )
}  # fmt: skip
CYCLES = 1500


def test_constant_buffer():
    parts = {name: ConstantBuffer(machine) for name, machine in MACHINES.items()}
    bench.run(SideBySide(parts), __file__)


@cocotb.test()
async def lanes_get_their_channels_records_wherever_these_were_written(dut):
    assert {machine.constant_entry_rows for machine in MACHINES.values()} == {1, 2, 4}
    inputs: dict[str, list[int]] = {}
    expected: dict[str, list[tuple[int, list[bytes]]]] = {}
    for name, machine in MACHINES.items():
        beat, lanes, group = machine.beat_bytes, machine.lanes, machine.array.group
        pitch, entries = machine.constant_entry_bytes, machine.constant_entries
        content, wanted = bytearray(entries * pitch), expected.setdefault(name, [])
        given: dict[str, list[int]] = {}
        for cycle in range(CYCLES):
            entry, part = random.randrange(entries), random.randrange(machine.array.pace)
            address = random.randrange(len(content) // beat) * beat
            # What is written while it is read may be anything.
            valid = random.random() < 0.8 and address // pitch != entry
            mask, data = random.getrandbits(beat) | random.getrandbits(beat), random.randbytes(beat)
            records = [
                bytes(content[at : at + CHANNEL_RECORD_USED_BYTES])
                for channel in range(part * lanes, min(part * lanes + lanes, group))
                for at in [entry * pitch + channel * CHANNEL_RECORD_BYTES]
            ]
            wanted.append((cycle + RECORDS_LATENCY, records))
            for byte in range(beat):
                if valid and mask >> byte & 1:
                    content[address + byte] = data[byte]
            for member, value in (
                ("valid", int(valid)),
                ("address", address),
                ("data", int.from_bytes(data, "little")),
                ("mask", mask),
                ("entry", entry),
                ("part", part),
            ):
                if member != "part" or machine.array.pace > 1:
                    given.setdefault(member, []).append(value)
        inputs |= {f"{name}__{member}": values for member, values in given.items()}
    await bench.start(dut, **dict.fromkeys(inputs, 0))
    seen = await play(dut, CYCLES + RECORDS_LATENCY, inputs, [f"{n}__records" for n in MACHINES])
    for name, wanted in expected.items():
        for cycle, records in wanted:
            word = seen[f"{name}__records"][cycle]
            got = word.to_bytes(MACHINES[name].lanes * CHANNEL_RECORD_BYTES, "little")
            for lane, record in enumerate(records):
                start = lane * CHANNEL_RECORD_BYTES
                assert got[start : start + len(record)] == record, (name, cycle, lane)
