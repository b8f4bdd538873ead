from __future__ import annotations

import random

import cocotb
import numpy as np
import pytest

from mensa.golden.arithmetic.fixed_point import (
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    wrap32,
)
from mensa.rtl.commands import Mode
from mensa.rtl.post.vector_unit import LATENCY, VectorUnit
from tests.rtl import bench
from tests.rtl.lockstep import SideBySide, pack, play, unpack

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

LANES = 5
VECTOR_MODES = tuple(mode for mode in Mode if Mode.MAX <= mode <= Mode.TABLE)
STEPS = {"of_4": 4, "of_1": 1}  # bytes of a table that come at once
REDUCTIONS = 150


def test_lanes_must_be_a_positive_integer():
    for wrong in (0, -1, 1.0):
        with pytest.raises(TypeError, match="positive integer"):
            VectorUnit(wrong)


def test_vector_unit():
    bench.run(SideBySide({name: VectorUnit(LANES, step) for name, step in STEPS.items()}), __file__)


@cocotb.test()
@cocotb.parametrize(name=list(STEPS), mode=VECTOR_MODES, idle=[False, True])
async def reductions_equal_numpy_and_come_after_the_latency(dut, name, mode, idle):
    quiet = {f"{each}__{port}__valid": 0 for each in STEPS for port in ("i", "table")}
    await bench.start(dut, **quiet)
    for _ in range(5 if mode.is_scaled or mode == Mode.TABLE else 1):
        multipliers = [
            random.choice([0, 1, 1 << 30, (1 << 31) - 1, random.randrange(1 << 30, 1 << 31)])
            for _ in range(2)
        ]
        shifts = [random.choice([0, 1, 31, random.randrange(32)]) for _ in range(2)]
        getattr(dut, f"{name}__mode").value = mode
        getattr(dut, f"{name}__multiplier").value = pack(multipliers, 31)
        getattr(dut, f"{name}__shift").value = pack(shifts, 5)
        table = np.array([random.randrange(-128, 128) for _ in range(256)])
        if mode == Mode.TABLE:
            await load(dut, f"{name}__table", table, STEPS[name], idle)
        valid, payload, due = [], [], {}
        for _ in range(REDUCTIONS):
            taps = 2 if mode.has_operands else 1 if mode == Mode.TABLE else random.randrange(1, 12)
            low, high = (-128, 128) if mode.is_extremum or mode == Mode.TABLE else (-255, 256)
            values = np.array(
                [
                    [
                        random.choice([low, high - 1, random.randrange(low, high)])
                        for _ in range(LANES)
                    ]
                    for _ in range(taps)
                ]
            )
            for tap in range(taps):
                while idle and random.random() < 0.4:
                    valid.append(0)
                    payload.append(random.getrandbits(3 + 9 * LANES))
                marks = (tap == 0) | (tap == taps - 1) << 1 | (tap & 1) << 2
                valid.append(1)
                payload.append(marks | pack(map(int, values[tap]), 9) << 3)
            due[len(valid) - 1 + LATENCY] = list(reduce(mode, values, multipliers, shifts, table))
        seen = await play(
            dut,
            len(valid) + LATENCY + 2,
            {f"{name}__i__valid": valid, f"{name}__i__payload": payload},
            (f"{name}__o__valid", f"{name}__o__payload"),
        )
        results = {
            t: unpack(seen[f"{name}__o__payload"][t], 32, LANES)
            for t, v in enumerate(seen[f"{name}__o__valid"])
            if v
        }
        assert results == due, (multipliers, shifts)


async def load(dut, port, table, step, idle):
    """Bring a table's entries, `step` a cycle."""
    valid, payload = [], []
    for first in range(0, 256, step):
        while idle and random.random() < 0.2:
            valid.append(0)
            payload.append(random.getrandbits(8 * step))
        valid.append(1)
        payload.append(pack(map(int, table[first : first + step]), 8))
    valid.append(0)
    payload.append(0)
    ports = {f"{port}__valid": valid, f"{port}__payload": payload}
    await play(dut, len(valid), ports, (f"{port}__valid",))


def reduce(mode, values, multipliers, shifts, table):
    """A reduction over taps [taps, lanes]; operands are scaled as TFLite's ADD kernel does."""
    if mode == Mode.MAX:
        return values.max(axis=0)
    if mode == Mode.MIN:
        return values.min(axis=0)
    if mode == Mode.PRODUCT:
        return values.prod(axis=0)
    if mode == Mode.TABLE:
        return table[values[0] + 128]
    if mode == Mode.SUM:
        return values.sum(axis=0)
    scaled = rounding_divide_by_pot(
        saturating_rounding_doubling_high_mul(values << 20, np.array(multipliers)[:, None]),
        np.array(shifts)[:, None],
    )
    return wrap32(scaled[0] + scaled[1] if mode == Mode.SCALED_SUM else scaled[0] - scaled[1])
