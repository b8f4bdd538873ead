from __future__ import annotations

import os
import random
from dataclasses import dataclass

import cocotb
import numpy as np
import pytest

from mensa.rtl.arrays.filter.filter_stream import filter_feed_cycles, filter_stream, filter_taps
from mensa.rtl.arrays.streams import OPERAND_BITS
from mensa.rtl.arrays.systolic.gateware import SystolicArray
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.commands import Mode
from tests.rtl import bench
from tests.rtl.lockstep import SideBySide, pack, play, unpack

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SHAPES = {
    f"array_{rows}x{cols}_{pace}": (rows, cols, pace)
    for rows, cols, pace in (
        (1, 1, 1), (1, 3, 1), (1, 3, 3), (3, 1, 1), (2, 3, 1), (2, 3, 2),
        (5, 3, 1), (9, 5, 1), (9, 5, 5), (4, 12, 1), (4, 12, 3),
    )
}  # fmt: skip
ALONE = None
"""The row of a result that is no tile's."""
LONG = os.environ.get("MENSA_REGRESS") == "1"
TILES = 60 if LONG else 24
FILTERS = 40 if LONG else 16


def array_of(rows, cols, pace):
    return Systolic(rows=rows, cols=cols, post_lanes=-(-cols // pace))


@dataclass
class Tile:
    """A tile: activations [pixels, reduction], parameters [reduction, columns], chunk sizes."""

    activations: np.ndarray
    parameters: np.ndarray
    chunks: list[int]

    def sums(self) -> np.ndarray:
        return self.activations @ self.parameters


def random_tile(rng: np.random.Generator, rows: int, cols: int) -> Tile:
    pixels = int(rng.choice([rows, rng.integers(1, rows + 1)]))
    chunks = [int(rng.choice([rows, rng.integers(1, rows + 1)])) for _ in range(rng.integers(1, 5))]
    span = int(rng.choice([1, 255]))  # 255 * 255 is the largest product of int8 minus zero point
    return Tile(
        rng.integers(-span, span + 1, (pixels, sum(chunks))),
        rng.integers(-span, span + 1, (sum(chunks), cols)),
        chunks,
    )


@dataclass
class Filter:
    """Depthwise work: taps [groups, tap rows, taps, columns], input rows [groups, rows, bytes]."""

    command: dict[str, int]
    taps: np.ndarray
    rows: np.ndarray

    def sums(self, group: int) -> np.ndarray:
        """[output rows, pixels, columns], written down as depthwise convolution is defined."""
        c, cols = self.command, self.taps.shape[-1]
        height = c["PIXELS"] // c["OUT_WIDTH"]
        sums = np.zeros((height, c["OUT_WIDTH"], cols), int)
        for y, x, ky, kx in np.ndindex(height, c["OUT_WIDTH"], c["KERNEL_H"], c["KERNEL_W"]):
            row = y * c["PIXEL_Y_STEP"] + ky * c["TAP_Y_STEP"]
            at = x * c["PIXEL_X_STEP"] + kx * c["TAP_X_STEP"]
            sums[y, x] += self.taps[group, ky, kx] * self.rows[group, row, at : at + cols]
        return sums


def random_filter(rng: np.random.Generator, rows: int, cols: int) -> Filter:
    while True:
        height, width, kernel_h, kernel_w = (int(n) for n in rng.integers(1, 5, 4))
        channels = int(rng.choice([cols, 1]))  # of a pixel; a word is cols bytes
        command = {
            "PIXELS": height * width,
            "OUT_WIDTH": width,
            "PIXEL_X_STEP": int(rng.integers(1, 4)) * int(rng.choice([cols, channels])),
            "PIXEL_Y_STEP": int(rng.integers(1, 4)),
            "KERNEL_H": kernel_h,
            "KERNEL_W": kernel_w,
            "TAP_X_STEP": channels * int(rng.integers(1, 3)),
            "TAP_Y_STEP": int(rng.integers(1, 3)),
            "GROUPS": int(rng.integers(1, 4)),
        }
        stream = filter_stream(rows, command, row_step=0)
        if stream:
            break
    command |= stream
    row_bytes = (width - 1) * command["PIXEL_X_STEP"] + (kernel_w - 1) * command["TAP_X_STEP"]
    span = int(rng.choice([1, 255]))
    return Filter(
        command,
        rng.integers(-span, span + 1, (command["GROUPS"], kernel_h, kernel_w, cols)),
        rng.integers(-span, span + 1, (command["GROUPS"], stream["STREAM_ROWS"], row_bytes + cols)),
    )


class Schedule:
    """Puts tiles and filters onto the array's inputs as early as its contract allows, or with
    bubbles."""

    def __init__(self, rows: int, cols: int, pace: int, rng: random.Random | None):
        self.shape = rows, cols
        self.array = array_of(rows, cols, pace)
        self.rng = rng
        self.words: dict[int, int] = {}
        self.beats: dict[int, int] = {}
        self.filter: list[int] = []  # by cycle
        self.latest = {False: -cols * rows, True: -4}  # last beat of a tile, of a filter
        self.results: dict[int, tuple[int | None, np.ndarray | None]] = {}

    @property
    def cycles(self) -> int:
        return max(self.results) + 2

    def bubble(self, most: int) -> int:
        return self.rng.randrange(most) if self.rng else 0

    def settle(self, is_filter: bool) -> None:
        """As soon as it may, the array becomes what `is_filter` says, a cycle ahead."""
        tile, word = self.latest[False], self.latest[True]
        room = tile + self.array.spacing + 3 if is_filter else word + 4
        change = max(room, tile, word, 0) + self.bubble(3)
        self.filter += [int(word > tile)] * (change - len(self.filter)) + [int(is_filter)]

    def beat(self, cycle: int, values: np.ndarray, **marks: int) -> None:
        assert cycle not in self.beats
        rows = self.shape[0]
        word, place = 0, 0
        fields = {"first": 1, "last": 1, "clear": 1, "tap": 1, "row": (rows - 1).bit_length()}
        for name, bits in fields.items():
            word |= marks.get(name, random.getrandbits(bits) if bits else 0) << place
            place += bits
        self.beats[cycle] = word | pack(map(int, values), OPERAND_BITS) << place

    def tiles(self, tiles: list[Tile]) -> None:
        rows, _ = self.shape
        self.settle(False)
        cycle = len(self.filter)
        latest = cycle - self.array.spacing
        for tile in tiles:
            pixels = len(tile.activations)
            starts, length = [], 0
            for size in tile.chunks:
                length += self.bubble(4)
                starts.append(length)
                length += max(pixels, size)
            last = starts[-1] + tile.chunks[-1] - 1
            cycle = max(cycle, latest + self.array.spacing - last)
            done = 0
            for start, size in zip(starts, tile.chunks, strict=True):
                for pixel in range(pixels):
                    values = tile.activations[pixel, done : done + size]
                    word = pack(map(int, values), OPERAND_BITS)
                    self.words[cycle + start + pixel] = word << (rows - 1).bit_length() | pixel
                for beat in range(size):
                    self.beat(
                        cycle + start + beat,
                        tile.parameters[done + beat],
                        first=int(done + beat == 0),
                        last=int(start + beat == last),
                    )
                done += size
            latest = self.latest[False] = cycle + last
            sums = tile.sums()
            for row in range(rows):
                at = latest + self.array.latency(Mode.CONV) - row * self.array.pace
                assert at not in self.results
                self.results[at] = row, sums[row] if row < pixels else None
            cycle += length + self.bubble(2 * rows)

    def filters(self, filters: list[Filter]) -> None:
        rows, cols = self.shape
        self.settle(True)
        cycle = len(self.filter)
        for work in filters:
            c, before = work.command, cycle
            columns = np.arange(cols)
            for group in range(c["GROUPS"]):
                sums = work.sums(group)
                self.beat(cycle, columns, clear=1, tap=0, last=0)
                cycle += 1
                taps = work.taps[group].reshape(-1, cols)
                for row, values in zip(filter_taps(c), taps, strict=True):
                    self.beat(cycle, values, clear=0, tap=1, row=row, last=0)
                    cycle += 1
                # The words of each input row, and which of them completes which pixel.
                offsets = [
                    position * c["STREAM_STEP"] + tap * c["TAP_X_STEP"]
                    for position in range(c["STREAM_COLUMNS"])
                    for tap in range(c["STREAM_TAPS"])
                ]
                pixels = {
                    c["STREAM_FIRST"] + x * c["STREAM_RESULT_STEP"]: x
                    for x in range(c["OUT_WIDTH"])
                }
                for y, row_bytes in enumerate(work.rows[group]):
                    out_y, between = divmod(y - c["STREAM_FIRST_ROW"], c["PIXEL_Y_STEP"])
                    for number, offset in enumerate(offsets):
                        complete = out_y >= 0 and between == 0 and number in pixels
                        values = row_bytes[offset : offset + cols]
                        self.beat(cycle, values, clear=0, tap=0, last=int(complete))
                        if complete:
                            at = cycle + self.array.latency(Mode.FILTER)
                            assert at not in self.results
                            self.results[at] = ALONE, sums[out_y, pixels[number]]
                        cycle += 1
            assert cycle - before == filter_feed_cycles(c)
            self.latest[True] = cycle - 1
            cycle += self.bubble(2 * rows)


def test_systolic_array():
    bench.run(
        SideBySide({name: SystolicArray(array_of(*shape)) for name, shape in SHAPES.items()}),
        __file__,
    )


@cocotb.test()
@cocotb.parametrize(idle=[False, True])
async def sums_of_tiles_and_filters_leave_at_their_exact_cycles(dut, idle):
    rng = np.random.default_rng(random.getrandbits(32))
    pauses = random.Random(random.getrandbits(32)) if idle else None
    inputs, outputs, schedules = {}, [], {}
    for name, (rows, cols, pace) in SHAPES.items():
        plan = schedules[name] = Schedule(rows, cols, pace, pauses)
        for _ in range(3):
            plan.tiles([random_tile(rng, rows, cols) for _ in range(TILES // 3)])
            plan.filters([random_filter(rng, rows, cols) for _ in range(FILTERS // 4)])
        plan.filters([random_filter(rng, rows, cols)])
        plan.tiles([random_tile(rng, rows, cols)])
        inputs[f"{name}__filter"] = plan.filter
        for port, items in (("activations", plan.words), ("parameters", plan.beats)):
            inputs[f"{name}__{port}__valid"] = [int(t in items) for t in range(plan.cycles)]
            # What stands on a stream without a transfer means nothing.
            noise = random.getrandbits(OPERAND_BITS * max(rows, cols))
            row_bits = (rows - 1).bit_length()
            width = 9 * rows + row_bits if port == "activations" else 9 * cols + 4 + row_bits
            noise &= (1 << width) - 1
            inputs[f"{name}__{port}__payload"] = [items.get(t, noise) for t in range(plan.cycles)]
        outputs += [f"{name}__results__valid", f"{name}__results__payload"]
    cycles = max(plan.cycles for plan in schedules.values())
    await bench.start(dut, **dict.fromkeys(inputs, 0))
    seen = await play(dut, cycles, inputs, outputs)

    for name, (rows, cols, _) in SHAPES.items():
        plan = schedules[name]
        valid = seen[f"{name}__results__valid"]
        assert [t for t, v in enumerate(valid) if v] == sorted(plan.results), name
        row_bits = (rows - 1).bit_length()
        for t, (row, sums) in plan.results.items():
            word = seen[f"{name}__results__payload"][t]
            alone, row = row is ALONE, row or 0
            assert word & ((1 << row_bits) - 1) == row, (name, t)
            assert word >> row_bits & 1 == (row == 0), (name, t)
            assert word >> row_bits + 1 & 1 == alone, (name, t)
            if sums is not None:
                assert unpack(word >> row_bits + 2, 32, cols) == list(sums), (name, t, row)


@cocotb.test()
async def streams_have_no_ready_so_nothing_can_hold_the_array_up(dut):
    for name in SHAPES:
        for port in ("activations", "parameters", "results"):
            stream = f"{name}__{port}"
            assert hasattr(dut, f"{stream}__valid")
            assert not hasattr(dut, f"{stream}__ready")
