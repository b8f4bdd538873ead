from __future__ import annotations

import os
import random
from dataclasses import dataclass

import bench
import cocotb
import numpy as np
import pytest
from lockstep import SideBySide, pack, play, unpack

from mensa.rtl.array_shape import output_stationary
from mensa.rtl.systolic_array import SystolicArray

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SHAPES = ((1, 1), (1, 3), (3, 1), (2, 2), (5, 3), (4, 12), (8, 8))
TILES = 60 if os.environ.get("MENSA_REGRESS") == "1" else 24
OPERAND_BITS = 9


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


class Schedule:
    """Puts tiles onto the array's inputs as early as its contract allows, or with bubbles."""

    def __init__(self, rows: int, cols: int, tiles: list[Tile], rng: random.Random | None):
        self.words: dict[int, int] = {}
        self.beats: dict[int, int] = {}
        self.results: dict[int, tuple[int, np.ndarray | None]] = {}
        cycle, latest = 0, -rows
        for tile in tiles:
            pixels = len(tile.activations)
            starts, length = [], 0
            for size in tile.chunks:
                length += rng.randrange(4) if rng else 0
                starts.append(length)
                length += max(pixels, size)
            last = starts[-1] + tile.chunks[-1] - 1
            cycle = max(cycle, latest + rows - last)
            done = 0
            for start, size in zip(starts, tile.chunks, strict=True):
                for pixel in range(pixels):
                    values = tile.activations[pixel, done : done + size]
                    word = pack(map(int, values), OPERAND_BITS)
                    self.words[cycle + start + pixel] = word << (rows - 1).bit_length() | pixel
                for beat in range(size):
                    marks = (done + beat == 0) | (start + beat == last) << 1
                    values = pack(map(int, tile.parameters[done + beat]), OPERAND_BITS)
                    self.beats[cycle + start + beat] = values << 2 | marks
                done += size
            latest = cycle + last
            sums = tile.sums()
            for row in range(rows):
                at = latest + output_stationary(rows, cols).latency - row
                assert at not in self.results
                self.results[at] = row, sums[row] if row < pixels else None
            cycle += length + (rng.randrange(2 * rows) if rng else 0)
        self.cycles = max(self.results) + 2


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "8"])
def test_a_shape_that_no_array_has_is_refused(wrong):
    with pytest.raises(TypeError, match="a positive integer"):
        SystolicArray(wrong, 8)
    with pytest.raises(TypeError, match="a positive integer"):
        SystolicArray(8, wrong)


def test_systolic_array():
    bench.run(
        SideBySide({f"array_{r}x{c}": SystolicArray(r, c) for r, c in SHAPES}),
        __file__,
    )


@cocotb.test()
@cocotb.parametrize(idle=[False, True])
async def results_are_the_matrix_products_at_their_exact_cycles(dut, idle):
    rng = np.random.default_rng(random.getrandbits(32))
    pauses = random.Random(random.getrandbits(32)) if idle else None
    inputs, outputs, schedules = {}, [], {}
    for rows, cols in SHAPES:
        name = f"array_{rows}x{cols}"
        tiles = [random_tile(rng, rows, cols) for _ in range(TILES)]
        plan = schedules[name] = Schedule(rows, cols, tiles, pauses)
        for port, items in (("activations", plan.words), ("parameters", plan.beats)):
            inputs[f"{name}__{port}__valid"] = [int(t in items) for t in range(plan.cycles)]
            # What stands on a stream without a transfer means nothing.
            noise = random.getrandbits(OPERAND_BITS * max(rows, cols))
            width = 9 * rows + (rows - 1).bit_length() if port == "activations" else 9 * cols + 2
            noise &= (1 << width) - 1
            inputs[f"{name}__{port}__payload"] = [items.get(t, noise) for t in range(plan.cycles)]
        outputs += [f"{name}__results__valid", f"{name}__results__payload"]
    cycles = max(plan.cycles for plan in schedules.values())
    await bench.start(dut, **dict.fromkeys(inputs, 0))
    seen = await play(dut, cycles, inputs, outputs)

    for rows, cols in SHAPES:
        name = f"array_{rows}x{cols}"
        plan = schedules[name]
        valid = seen[f"{name}__results__valid"]
        assert [t for t, v in enumerate(valid) if v] == sorted(plan.results), name
        row_bits = (rows - 1).bit_length()
        for t, (row, sums) in plan.results.items():
            word = seen[f"{name}__results__payload"][t]
            assert word & ((1 << row_bits) - 1) == row, (name, t)
            assert word >> row_bits & 1 == (row == 0), (name, t)
            if sums is not None:
                assert unpack(word >> row_bits + 1, 32, cols) == list(sums), (name, t, row)


@cocotb.test()
async def streams_have_no_ready_so_nothing_can_hold_the_array_up(dut):
    for rows, cols in SHAPES:
        for port in ("activations", "parameters", "results"):
            stream = f"array_{rows}x{cols}__{port}"
            assert hasattr(dut, f"{stream}__valid")
            assert not hasattr(dut, f"{stream}__ready")
