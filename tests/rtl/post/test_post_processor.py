from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from mensa.golden.arithmetic.fixed_point import requantize_double, requantize_single, wrap32
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES
from mensa.rtl.commands import Mode, Rounding, Unit
from mensa.rtl.machine import KIB, Machine
from mensa.rtl.parts.unit import registers_layout
from mensa.rtl.post.post_processor import (
    LATENCY,
    PostProcessor,
    announcement_layout,
    places_in_flight,
    tiles_in_flight,
)
from mensa.rtl.timing import COMMANDS_IN_FLIGHT, RECORDS_LATENCY
from tests.rtl import bench
from tests.rtl.lockstep import Port, SideBySide, pack

MACHINES = {
    f"lanes_{lanes}": Machine(
        name=f"lanes_{lanes}",
        array=Systolic(rows=5, cols=3, post_lanes=lanes),
        clock_hz=1,
        parameter_buffer_bytes=1 * KIB,
        activation_buffer_bytes=1 * KIB,
        constant_entries=8,
    )
    for lanes in (1, 2, 3)
}
COMMANDS = 24


@dataclass
class Settings:
    """The registers that matter; records [entry, column] are (bias, multiplier, shift)."""

    mode: Mode
    uniform: int
    rounding: int
    zero_point: int
    low: int
    high: int
    single: tuple[int, int, int]
    records: list[list[tuple[int, int, int]]]

    @classmethod
    def random(cls, mode: Mode, records: list[list[tuple[int, int, int]]]) -> Settings:
        return cls(
            mode,
            random.randrange(2),
            random.randrange(2),
            random.randrange(-128, 128),
            random.choice([-128, random.randrange(-128, 0)]),
            random.choice([127, random.randrange(0, 128)]),
            random_scale(),
            records,
        )

    def registers(self) -> int:
        bias, multiplier, shift = self.single
        layout = registers_layout(Unit.COMPUTE)
        fields = {
            "mode": self.mode,
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

    def outputs(self, sums: list[int], entry: int, count: int) -> bytes:
        scales = [self.single] * count if self.uniform else self.records[entry][:count]
        bias, multiplier, shift = (np.array(x) for x in zip(*scales, strict=True))
        x = wrap32(np.array(sums[:count]) + bias)
        scale = requantize_double if self.rounding == Rounding.DOUBLE else requantize_single
        y = np.clip(scale(x, multiplier, shift) + self.zero_point, self.low, self.high)
        return y.astype(np.int8).tobytes()


def random_scale() -> tuple[int, int, int]:
    shift = random.choice([random.randrange(-31, 31), random.randrange(-18, -8)])
    return random.randrange(-(1 << 16), 1 << 16), random.randrange(1 << 31), shift


def entry_bytes(records: list[tuple[int, int, int]]) -> int:
    """The bytes of an entry; those without meaning are random."""
    data = b"".join(
        bias.to_bytes(4, "little", signed=True)
        + multiplier.to_bytes(4, "little")
        + shift.to_bytes(1, "little", signed=True)
        + random.randbytes(CHANNEL_RECORD_BYTES - 9)
        for bias, multiplier, shift in records
    )
    return int.from_bytes(data, "little")


def test_post_processor():
    bench.run(SideBySide({name: PostProcessor(m) for name, m in MACHINES.items()}), __file__)


@cocotb.test()
@cocotb.parametrize(
    name=list(MACHINES),
    modes=[[Mode.CONV, Mode.DEPTHWISE], [Mode.FILTER, Mode.SUM]],
    idle=[False, True],
)
async def rows_are_written_where_they_were_announced_as_their_command_says(dut, name, modes, idle):
    """In tiled modes a tile's rows come last row first, and those beyond its lanes are dropped; in
    others every result is a tile. As many commands are inside as may be."""
    machine = MACHINES[name]
    rows, cols, tiled = machine.array.tile, machine.array.group, modes[0].is_tiled
    records = [[random_scale() for _ in range(cols)] for _ in range(machine.constant_entries)]
    begins: dict[int, Settings] = {}
    told: dict[int, dict[str, int]] = {}
    results: dict[int, tuple[int, int, list[int]]] = {}
    writes: dict[int, tuple[int, bytes]] = {}
    announcing = 0  # first cycle free for announcements
    resulting = 0
    ends: list[int] = []  # of commands
    inside: deque[tuple[int, int]] = deque()  # of tiles: last result, results announced
    for number in range(COMMANDS):
        settings = Settings.random(random.choice(modes), records)
        if number >= COMMANDS_IN_FLIGHT:
            announcing = max(announcing, ends[number - COMMANDS_IN_FLIGHT] + 1)
        begins[announcing] = settings
        announcing += 2
        for _ in range(random.randrange(1, 4 if tiled else 12)):
            lanes = random.choice([rows, random.randrange(1, rows + 1)]) if tiled else 1
            # There is room for so many tiles and results.
            while inside and (
                len(inside) == tiles_in_flight(machine) * (1 if tiled else rows + 1)
                or sum(n for _, n in inside) + lanes > places_in_flight(machine)
            ):
                announcing = max(announcing, inside.popleft()[0] + 1)
            where = []
            entry = random.randrange(len(records))
            channels = random.randrange(1, machine.group_channels(modes[0]) + 1)
            for lane in range(lanes):
                announcing += random.randrange(3) if idle else 0
                address = random.randrange((1 << 28) - cols)
                where.append(address)
                told[announcing] = {
                    "first": lane == 0,
                    "lanes": lanes,
                    "address": address,
                    "entry": entry,
                    "channels": channels,
                }
                announcing += 1
            # Late, so that much is inside.
            resulting = max(resulting, announcing + 1 + (random.randrange(40) if idle else 30))
            for row in reversed(range(rows if tiled else 1)):
                span = random.choice([1 << 31, 1 << 16, 1 << 10])
                sums = [random.randrange(-span, span) for _ in range(cols)]
                results[resulting] = row, row == 0, sums
                if row < lanes:
                    data = settings.outputs(sums, entry, channels)
                    for part in range(0, channels, machine.lanes):
                        at = resulting + LATENCY + part // machine.lanes
                        writes[at] = where[row] + part, data[part : part + machine.lanes]
                resulting += machine.array.pace if tiled else 1
            inside.append((resulting - 1, lanes))
        ends.append(resulting + LATENCY)

    quiet = ("start", "announce__valid", "results__valid")
    await bench.start(dut, **{f"{each}__{port}": 0 for each in MACHINES for port in quiet})
    dut, clk = Port(dut, name), dut.clk
    layout = announcement_layout(machine)
    row_bits = (rows - 1).bit_length()
    answers = deque([0] * (RECORDS_LATENCY - 1))  # of the constant buffer
    for cycle in range(max(results) + LATENCY + machine.array.pace + 2):
        dut.start.value = cycle in begins
        if cycle in begins:
            dut.registers.value = begins[cycle].registers()
        dut.announce__valid.value = cycle in told
        if cycle in told:
            dut.announce__payload.value = layout.const(told[cycle]).as_value().value
        dut.results__valid.value = cycle in results
        row, last, sums = results.get(cycle, (0, 1, [0] * cols))
        dut.results__payload.value = (
            pack(sums, 32) << row_bits + 2 | (not tiled) << row_bits + 1 | last << row_bits | row
        )
        await RisingEdge(clk)
        entry, first = int(dut.entry.value) % len(records), 0
        if machine.array.pace > 1:
            first = int(dut.part.value) * machine.lanes
        # Lanes without a channel get anything.
        asked = [*records[entry], *records[entry]][first : first + machine.lanes]
        answers.append(entry_bytes(asked))
        dut.records.value = answers.popleft()
        assert int(dut.write__valid.value) == (cycle in writes), cycle
        if cycle in writes:
            address, data = writes[cycle]
            assert int(dut.write__address.value) == int(dut.write__first.value) == address
            assert int(dut.write__last.value) == address + len(data) - 1
            assert int(dut.write__mask.value) == (1 << len(data)) - 1
            word = int(dut.write__data.value).to_bytes(machine.row_bytes, "little")
            assert word[: len(data)] == data, (cycle, word)
