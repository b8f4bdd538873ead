"""Rows of logits through the softmax unit, and its reciprocal alone, against golden."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import cocotb
import numpy as np
import pytest

from mensa.golden import SoftmaxPlan
from mensa.golden.arithmetic.fixed_point import requantize_double
from mensa.golden.arithmetic.fixed_point_functions import one_over_one_plus
from mensa.golden.operators.softmax import exp_table, softmax
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.machine import KIB, Machine
from mensa.rtl.post.softmax.reciprocal import LATENCY as RECIPROCAL_LATENCY
from mensa.rtl.post.softmax.reciprocal import Reciprocal
from mensa.rtl.post.softmax.softmax import LATENCY, Softmax, waits
from tests.rtl import bench
from tests.rtl.lockstep import SideBySide, pack, play, unpack

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

TABLES, ROWS = 6, 10
PORTS = ("o__valid", "o__payload", "multiplier", "shift", "wrapped")

MACHINES = {
    f"lanes_{lanes}": Machine(
        name="of the unit",
        array=Systolic(rows=1, cols=cols),
        clock_hz=1,
        parameter_buffer_bytes=4 * KIB,
        activation_buffer_bytes=4 * KIB,
        activation_banks=2,
        softmax_lanes=lanes,
    )
    for lanes, cols in ((1, 4), (5, 9), (16, 64))
}


def test_softmax():
    units: dict[str, Any] = {name: Softmax(machine) for name, machine in MACHINES.items()}
    bench.run(SideBySide(units | {"reciprocal": Reciprocal()}), __file__)


def test_a_machine_without_the_unit_has_none():
    narrow = MACHINES["lanes_5"].replace(cols=3, softmax_lanes=2)
    for machine in (narrow, MACHINES["lanes_5"].replace(softmax_lanes=0)):
        assert machine.exponential_lanes == 0
        with pytest.raises(ValueError, match="has no softmax unit"):
            Softmax(machine)


def random_plan() -> SoftmaxPlan:
    """A softmax of one row, of any scale that its logits may have."""
    multiplier, left = random.randrange(1 << 30, 1 << 31), random.randrange(18, 27)
    diff_min = -int(31 * 2**26 / 2**left)
    return SoftmaxPlan(
        shape=(1,),
        multiplier=multiplier,
        left_shift=left,
        diff_min=diff_min,
        exp=exp_table(multiplier, left, diff_min),
    )


Beats = list[tuple[int, int]]
"""Valid and payload, cycle by cycle."""


def pauses(idle: bool, bits: int) -> Beats:
    """Cycles with nothing in them."""
    count = random.choice([0, 0, 1, 2]) if idle else 0
    return [(0, random.getrandbits(bits)) for _ in range(count)]


def table_beats(plan: SoftmaxPlan, step: int, idle: bool) -> Beats:
    # -2 stands for what is too far away to count.
    counted = np.arange(plan.exp.size) <= -plan.diff_min
    content = np.where(counted, plan.exp, -2).astype("<i4").tobytes()
    beats: Beats = []
    for at in range(0, len(content), step):
        beats += pauses(idle, 8 * step)
        beats.append((1, int.from_bytes(content[at : at + step], "little")))
    return beats


def row_beats(row: np.ndarray, lanes: int, idle: bool) -> tuple[Beats, list[int]]:
    """Three passes of a row. Returns: its beats, and in which of them the last pass's words are."""
    bits = 3 + 9 * lanes
    beats: Beats = []
    results = []
    for turn in range(3):
        for at in range(0, row.size, lanes):
            beats += pauses(idle, bits)
            values = list(map(int, row[at : at + lanes]))
            inside = (1 << len(values)) - 1
            values += [random.randrange(-128, 128) for _ in range(lanes - len(values))]
            ends = turn == 2 or (turn == 1 and at + lanes >= row.size)
            marks = (at == 0) | ends << 1 | (turn == 1) << 2 | inside << 3
            results += [len(beats)] if turn == 2 else []
            beats.append((1, marks | pack(values, 8) << (3 + lanes)))
        if turn < 2:
            beats += [(0, random.getrandbits(bits)) for _ in range(waits(lanes)[turn])]
    return beats, results


@cocotb.test()
@cocotb.parametrize(name=list(MACHINES), idle=[False, True])
async def rows_are_as_golden_has_them(dut, name, idle):
    lanes, step = MACHINES[name].exponential_lanes, MACHINES[name].exponential_step_bytes
    await bench.start(dut, **{f"{name}__{port}__valid": 0 for port in ("i", "table")})
    for _ in range(TABLES):
        plan = random_plan()
        table = table_beats(plan, step, idle)
        beats: Beats = [(0, 0)] * len(table)
        due = []
        for _ in range(ROWS):
            row = random_row(lanes)
            passes, results = row_beats(row, lanes, idle)
            due.append((row, [len(beats) + at + LATENCY for at in results]))
            beats += passes
        seen = await play(
            dut,
            len(beats) + LATENCY + 2,
            {
                f"{name}__table__valid": [valid for valid, _ in table],
                f"{name}__table__payload": [payload for _, payload in table],
                f"{name}__i__valid": [valid for valid, _ in beats],
                f"{name}__i__payload": [payload for _, payload in beats],
            },
            [f"{name}__{port}" for port in PORTS],
        )
        there = [cycle for cycle, valid in enumerate(seen[f"{name}__o__valid"]) if valid]
        assert there == [cycle for _, cycles in due for cycle in cycles]
        for row, cycles in due:
            words = [unpack(seen[f"{name}__o__payload"][cycle], 32, lanes) for cycle in cycles]
            exponentials = np.concatenate(words)
            assert not exponentials[row.size :].any()
            multiplier = seen[f"{name}__multiplier"][cycles[0]]
            assert multiplier == seen[f"{name}__multiplier"][cycles[-1]]
            (shift,) = unpack(seen[f"{name}__shift"][cycles[-1]], 6, 1)
            shares = requantize_double(exponentials[: row.size], multiplier, shift)
            if seen[f"{name}__wrapped"][cycles[-1]]:
                products = exponentials[: row.size] * multiplier
                shares = ((products + (1 << 30)) >> (31 - shift)) + 1
            wanted = softmax(dataclasses.replace(plan, shape=row.shape), row.astype(np.int8))
            assert np.array_equal(np.clip(shares - 128, -128, 127), wanted)


def random_row(lanes: int) -> np.ndarray:
    """Logits near one another, or far."""
    size = random.choice([1, random.randrange(1, 4 * lanes), 300, random.randrange(512, 3000)])
    spread = random.choice([1, 3, 20, 256])
    low = random.randrange(-128, 129 - spread)
    return np.array([random.randrange(low, low + spread) for _ in range(size)])


@cocotb.test()
async def reciprocals_are_as_golden_has_them(dut):
    await bench.start(dut, reciprocal__start=0)
    totals = [1 << bit for bit in range(19, 31)] + [(1 << bit) - 1 for bit in range(20, 32)]
    totals += [random.randrange(1 << 19, 1 << random.randrange(20, 32)) for _ in range(100)]
    cycles = RECIPROCAL_LATENCY + 1
    seen = await play(
        dut,
        cycles * len(totals) + 1,
        {
            "reciprocal__start": [int(n == 0) for _ in totals for n in range(cycles)],
            "reciprocal__total": [total for total in totals for _ in range(cycles)],
        },
        ("reciprocal__multiplier", "reciprocal__shift", "reciprocal__wrapped"),
    )
    for number, total in enumerate(totals):
        at = number * cycles + RECIPROCAL_LATENCY
        zeros = 32 - total.bit_length()
        wanted = int(one_over_one_plus(np.array((total << zeros) - (1 << 31))))
        assert seen["reciprocal__multiplier"][at] == wanted
        (shift,) = unpack(seen["reciprocal__shift"][at], 6, 1)
        assert (-shift, seen["reciprocal__wrapped"][at]) == ((35 - zeros) % 32, zeros < 4)
