from __future__ import annotations

import random
from dataclasses import dataclass

import bench
import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from lockstep import pack

from mensa.golden.fixed_point import requantize_double, requantize_single, wrap32
from mensa.rtl.address_generator import result_slots
from mensa.rtl.commands import Rounding, Unit
from mensa.rtl.machine import CHANNEL_RECORD_BYTES, KIB, Machine
from mensa.rtl.post_processor import LATENCY, PostProcessor, announcement_layout
from mensa.rtl.unit import registers_layout

MACHINE = Machine(
    name="machine",
    rows=5,
    cols=3,
    clock_hz=1,
    parameter_buffer_bytes=1 * KIB,
    activation_buffer_bytes=1 * KIB,
    constant_entries=8,
)
TILES = 80


@dataclass
class Settings:
    """The registers that matter; records [entry, column] are (bias, multiplier, shift)."""

    uniform: int
    rounding: int
    zero_point: int
    low: int
    high: int
    single: tuple[int, int, int]
    records: list[list[tuple[int, int, int]]]

    @classmethod
    def random(cls, uniform: int, rounding: int) -> Settings:
        def scale():
            shift = random.choice([random.randrange(-31, 31), random.randrange(-18, -8)])
            return random.randrange(-(1 << 16), 1 << 16), random.randrange(1 << 31), shift

        return cls(
            uniform,
            rounding,
            random.randrange(-128, 128),
            random.choice([-128, random.randrange(-128, 0)]),
            random.choice([127, random.randrange(0, 128)]),
            scale(),
            [[scale() for _ in range(MACHINE.cols)] for _ in range(MACHINE.constant_entries)],
        )

    def registers(self) -> int:
        bias, multiplier, shift = self.single
        layout = registers_layout(Unit.COMPUTE)
        fields = {
            "uniform": self.uniform,
            "rounding": self.rounding,
            "out_zero_point": self.zero_point,
            "clamp_min": self.low,
            "clamp_max": self.high,
            "bias": bias,
            "multiplier": multiplier,
            "shift": shift,
        }
        return layout.const(fields).as_value().value

    def entry(self, number: int) -> int:
        """The bytes of an entry; those without meaning are random."""
        data = b"".join(
            bias.to_bytes(4, "little", signed=True)
            + multiplier.to_bytes(4, "little")
            + shift.to_bytes(1, "little", signed=True)
            + random.randbytes(CHANNEL_RECORD_BYTES - 9)
            for bias, multiplier, shift in self.records[number]
        )
        return int.from_bytes(data, "little")

    def outputs(self, sums: list[int], entry: int, count: int) -> bytes:
        scales = [self.single] * count if self.uniform else self.records[entry][:count]
        bias, multiplier, shift = (np.array(x) for x in zip(*scales, strict=True))
        x = wrap32(np.array(sums[:count]) + bias)
        scale = requantize_double if self.rounding == Rounding.DOUBLE else requantize_single
        y = np.clip(scale(x, multiplier, shift) + self.zero_point, self.low, self.high)
        return y.astype(np.int8).tobytes()


def test_post_processor():
    bench.run(PostProcessor(MACHINE), __file__)


@cocotb.test()
@cocotb.parametrize(
    array=[True, False], idle=[False, True], uniform=[0, 1], rounding=list(Rounding)
)
async def rows_are_written_where_they_were_announced_and_others_dropped(
    dut, array, idle, uniform, rounding
):
    """With `array` tiles come last row first; else each result is a tile, as in vector modes."""
    rows, cols, slots = MACHINE.rows, MACHINE.cols, result_slots(MACHINE)
    settings = Settings.random(uniform, rounding)
    told: dict[int, dict[str, int]] = {}
    results: dict[int, tuple[int, int, list[int]]] = {}
    writes: dict[int, tuple[int, bytes]] = {}
    announcing = 0  # first cycle free for announcements
    resulting = 0
    ends: list[int] = []
    for tile in range(TILES):
        lanes = random.choice([rows, random.randrange(1, rows + 1)]) if array else 1
        # A slot may be announced again after the tile that had it.
        if tile >= slots:
            announcing = max(announcing, ends[tile - slots] + 1)
        where = []
        entry, channels = random.randrange(MACHINE.constant_entries), random.randrange(1, cols + 1)
        for lane in range(lanes):
            announcing += random.randrange(3) if idle else 0
            address = random.randrange((1 << 28) - cols)
            where.append(address)
            told[announcing] = {
                "slot": tile % slots,
                "lane": lane,
                "lanes": lanes,
                "address": address,
                "entry": entry,
                "channels": channels,
            }
            announcing += 1
        resulting = max(resulting, announcing) + (random.randrange(3 * rows) if idle else 0)
        for row in reversed(range(rows if array else 1)):
            span = random.choice([1 << 31, 1 << 16, 1 << 10])
            sums = [random.randrange(-span, span) for _ in range(cols)]
            results[resulting] = row, row == 0, sums
            if row < lanes:
                data = settings.outputs(sums, entry, channels)
                writes[resulting + LATENCY] = where[row], data
            resulting += 1
        ends.append(resulting - 1)

    await bench.start(dut, announce__valid=0, results__valid=0)
    dut.registers.value = settings.registers()
    layout = announcement_layout(MACHINE)
    row_bits = (rows - 1).bit_length()
    for cycle in range(max(results) + LATENCY + 3):
        dut.announce__valid.value = cycle in told
        if cycle in told:
            dut.announce__payload.value = layout.const(told[cycle]).as_value().value
        dut.results__valid.value = cycle in results
        row, last, sums = results.get(cycle, (0, 1, [0] * cols))
        dut.results__payload.value = pack(sums, 32) << row_bits + 1 | last << row_bits | row
        await RisingEdge(dut.clk)
        # The constant buffer answers a cycle later.
        dut.records.value = settings.entry(int(dut.entry.value) % MACHINE.constant_entries)
        assert int(dut.write__valid.value) == (cycle in writes), cycle
        if cycle in writes:
            address, data = writes[cycle]
            assert int(dut.write__address.value) == int(dut.write__first.value) == address
            assert int(dut.write__last.value) == address + len(data) - 1
            assert int(dut.write__mask.value) == (1 << len(data)) - 1
            word = int(dut.write__data.value).to_bytes(MACHINE.row_bytes, "little")
            assert word[: len(data)] == data, (cycle, word)
