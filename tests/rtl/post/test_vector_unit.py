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
from tests.rtl.lockstep import pack, play, unpack

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

LANES = 5
VECTOR_MODES = (Mode.MAX, Mode.SUM, Mode.SCALED_SUM)
REDUCTIONS = 150


def test_lanes_must_be_a_positive_integer():
    for wrong in (0, -1, 1.0):
        with pytest.raises(TypeError, match="positive integer"):
            VectorUnit(wrong)


def test_vector_unit():
    bench.run(VectorUnit(LANES), __file__)


@cocotb.test()
@cocotb.parametrize(mode=VECTOR_MODES, idle=[False, True])
async def reductions_equal_numpy_and_come_after_the_latency(dut, mode, idle):
    await bench.start(dut, i__valid=0)
    for _ in range(5 if mode == Mode.SCALED_SUM else 1):
        multipliers = [
            random.choice([0, 1, 1 << 30, (1 << 31) - 1, random.randrange(1 << 30, 1 << 31)])
            for _ in range(2)
        ]
        shifts = [random.choice([0, 1, 31, random.randrange(32)]) for _ in range(2)]
        dut.mode.value = mode
        dut.multiplier.value = pack(multipliers, 31)
        dut.shift.value = pack(shifts, 5)
        valid, payload, due = [], [], {}
        for _ in range(REDUCTIONS):
            taps = 2 if mode == Mode.SCALED_SUM else random.randrange(1, 12)
            low, high = (-128, 128) if mode == Mode.MAX else (-255, 256)
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
            due[len(valid) - 1 + LATENCY] = list(reduce(mode, values, multipliers, shifts))
        seen = await play(
            dut,
            len(valid) + LATENCY + 2,
            {"i__valid": valid, "i__payload": payload},
            ("o__valid", "o__payload"),
        )
        results = {
            t: unpack(seen["o__payload"][t], 32, LANES) for t, v in enumerate(seen["o__valid"]) if v
        }
        assert results == due, (multipliers, shifts)


def reduce(mode, values, multipliers, shifts):
    """A reduction over taps [taps, lanes]; SCALED_SUM as TFLite's ADD kernel scales its inputs."""
    if mode == Mode.MAX:
        return values.max(axis=0)
    if mode == Mode.SUM:
        return values.sum(axis=0)
    scaled = rounding_divide_by_pot(
        saturating_rounding_doubling_high_mul(values << 20, np.array(multipliers)[:, None]),
        np.array(shifts)[:, None],
    )
    return wrap32(scaled.sum(axis=0))
