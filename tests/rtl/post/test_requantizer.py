from __future__ import annotations

import itertools
import random
from typing import Any

import cocotb
import numpy as np
from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.hdl import signed as signed_shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import ClockCycles, RisingEdge, Timer

from mensa.golden.arithmetic.fixed_point import requantize_double, requantize_single, wrap32
from mensa.rtl.commands import Rounding
from mensa.rtl.post.requantizer import LATENCY, Requantizer
from tests.rtl import bench
from tests.rtl.lockstep import SideBySide, pack, play, signed

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
SHIFTS = range(-31, 31)

# A power of two of each, so that bits of a counter choose them.
ACCUMULATORS = (
    *(INT32_MIN, INT32_MIN + 1, INT32_MAX, INT32_MAX - 1, -1, 0, 1, 2),
    *(-(1 << 30), 1 << 30, -(1 << 16), 3 << 15, 0x55555555, -0x2AAAAAAB, 127, -12345),
)
BIASES = (0, 1, -1, INT32_MIN, INT32_MAX, 1 << 30, -(1 << 20), 4711)
MULTIPLIERS = (0, 1, 1 << 30, (1 << 30) + 1, (1 << 31) - 1, 3 << 29, 0x5A827999, 0x12345)
SHIFT_CHOICES = (*SHIFTS, 0, -1)

WIDE = 17
"""Bits of the widest results; those of a byte are the rest of a test's."""

CLAMPS = {8: [(-128, 127), (-120, 125)], WIDE: [(-(1 << 16), (1 << 16) - 1), (-(1 << 15), 32767)]}
"""By bits of a result, what clamps to them."""

LANES = 4
BLOCK_CYCLES = 4096
CLOCK_NS = 10  # of bench.start
CORNER_CYCLES = len(ACCUMULATORS) * len(BIASES) * len(MULTIPLIERS) * len(SHIFT_CHOICES) // LANES
RANDOM_BLOCKS = 48
DIGEST_FACTOR = 0x9E3779B97F4A7C15
OFFSET = (1 << (WIDE - 1)) + 1


def golden(rounding: int, value, bias, multiplier, shift, zero_point: int, low: int, high: int):
    scale = requantize_double if rounding == Rounding.DOUBLE else requantize_single
    x = wrap32(np.asarray(value, np.int64) + bias)
    return np.clip(scale(x, multiplier, shift) + zero_point, low, high)


def rounded_down(
    rounding: int, value, bias, multiplier, shift, zero_point: int, low: int, high: int
):
    """Shifts to the right without rounding; in DOUBLE the product's high half is rounded first."""
    product = wrap32(np.asarray(value, np.int64) + bias) * multiplier
    half = 1 << 30 if rounding == Rounding.DOUBLE else 0
    return np.clip((product + half >> 31 >> -shift) + zero_point, low, high)


# What the sweep feeds to lane `n % LANES` as its value number n, in gateware and in NumPy.


def scramble(x: Any, salt: int, wrap: Any) -> Any:
    """Mixes 64 bits; works on Amaranth values and on uint64 arrays."""
    x = wrap((x + salt) * 0xBF58476D1CE4E5B9)
    x = wrap((x ^ (x >> 31)) * 0x94D049BB133111EB)
    return wrap(x ^ (x >> 29))


class Sweep(wiring.Component):
    """Requantisers that number their own inputs and digest their outputs.

    With `run` high, `LANES` values a cycle go in, those numbered `index` to `index + LANES - 1`.
    The digest of a lane is ``digest * DIGEST_FACTOR + output + OFFSET`` modulo 2**64, from 0.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "corners": In(1),
                "clear": In(1),
                "run": In(1),
                "rounding": In(1),
                "zero_point": In(signed_shape(8)),
                "clamp_min": In(WIDE),
                "clamp_max": In(WIDE),
                "index": Out(32),
            }
            | {f"digest_{lane}": Out(64) for lane in range(LANES)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()

        def wrap(value: Any) -> Signal:
            short = Signal(64)
            m.d.comb += short.eq(value)
            return short

        with m.If(self.run):
            m.d.sync += self.index.eq(self.index + LANES)
        with m.If(self.clear):
            m.d.sync += self.index.eq(0)
        m.submodules.unit = unit = Requantizer(LANES, WIDE)
        m.d.comb += [
            unit.i.valid.eq(self.run),
            unit.i.payload.scaling.rounding.eq(self.rounding),
            unit.i.payload.scaling.zero_point.eq(self.zero_point),
            unit.i.payload.scaling.clamp_min.eq(self.clamp_min),
            unit.i.payload.scaling.clamp_max.eq(self.clamp_max),
        ]
        for lane in range(LANES):
            index = Signal(32)
            m.d.comb += index.eq(self.index + lane)
            payload = unit.i.payload.lanes[lane]
            a, b, c = (scramble(index, salt, wrap) for salt in (1, 1 << 40, 1 << 50))
            right = Signal(5)
            near, wide = Signal(range(-64, 64)), Signal(6)
            m.d.comb += [
                right.eq(a[32:37]),
                wide.eq(Mux(c[32:38] < len(SHIFTS), c[32:38], c[32:38] - len(SHIFTS))),
                # Mostly shifts whose results are not all clamped.
                near.eq(right - 28 + c[38:41]),
            ]
            with m.If(self.corners):
                m.d.comb += [
                    payload.value.eq(Array(Const(v, 32) for v in ACCUMULATORS)[index[0:4]]),
                    payload.bias.eq(Array(Const(v, 32) for v in BIASES)[index[4:7]]),
                    payload.multiplier.eq(Array(Const(v, 31) for v in MULTIPLIERS)[index[7:10]]),
                    payload.shift.eq(Array(Const(v, 6) for v in SHIFT_CHOICES)[index[10:16]]),
                ]
            with m.Else():
                m.d.comb += [
                    # Small numbers as often as big ones; trailing zeros make ties.
                    payload.value.eq((a[:32].as_signed() >> right) & Mux(a[37], ~0xFF, ~0)),
                    payload.bias.eq(Mux(b[40:42] == 0, b[:32].as_signed() >> b[32:37], 0)),
                    payload.multiplier.eq(Mux(c[41:44] == 0, 1 << 30, c[:31] | c[44] << 30)),
                    payload.shift.eq(Mux((c[45:47] == 0) | (near < -31), wide - 31, near)),
                ]
            digest = getattr(self, f"digest_{lane}")
            with m.If(unit.o.valid):
                m.d.sync += digest.eq(digest * DIGEST_FACTOR + (unit.o.payload[lane] + OFFSET))
            with m.If(self.clear):
                m.d.sync += digest.eq(0)
        return m


def sweep_values(corners: bool, first: int, count: int) -> tuple[np.ndarray, ...]:
    """Return what the sweep feeds as values `first` and on: value, bias, multiplier, shift."""
    index = np.arange(first, first + count, dtype=np.uint64)
    if corners:
        place = index.astype(np.int64)
        return (
            np.array(ACCUMULATORS)[place & 15],
            np.array(BIASES)[place >> 4 & 7],
            np.array(MULTIPLIERS)[place >> 7 & 7],
            np.array(SHIFT_CHOICES)[place >> 10 & 63],
        )
    a, b, c = (
        scramble(index, np.uint64(salt), lambda x: x).astype(np.uint64)
        for salt in (1, 1 << 40, 1 << 50)
    )

    def bits(x: np.ndarray, low: int, high: int) -> np.ndarray:
        return (x >> np.uint64(low) & np.uint64((1 << (high - low)) - 1)).astype(np.int64)

    right = bits(a, 32, 37)
    wide = bits(c, 32, 38) % len(SHIFTS)
    near = right - 28 + bits(c, 38, 41)
    return (
        (wrap32(bits(a, 0, 32)) >> right) & np.where(bits(a, 37, 38), ~0xFF, ~0),
        np.where(bits(b, 40, 42) == 0, wrap32(bits(b, 0, 32)) >> bits(b, 32, 37), 0),
        np.where(bits(c, 41, 44) == 0, 1 << 30, bits(c, 0, 31) | bits(c, 44, 45) << 30),
        np.where((bits(c, 45, 47) == 0) | (near < -31), wide - 31, near),
    )


POWERS = np.ones(BLOCK_CYCLES + 1, np.uint64)
POWERS[1:] = np.cumprod(np.full(BLOCK_CYCLES, DIGEST_FACTOR, np.uint64))


def add_to_digests(digests: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """The digest of each lane after a block of outputs [BLOCK_CYCLES, LANES]."""
    terms = (outputs + OFFSET).astype(np.uint64) * POWERS[-2::-1, None]
    return digests * POWERS[-1] + terms.sum(axis=0, dtype=np.uint64)


def test_requantizer():
    parts = {f"of_{bits}": Requantizer(1, bits) for bits in CLAMPS}
    bench.run(SideBySide(parts | {"sweep": Sweep()}), __file__)


IDLE = dict.fromkeys((f"sweep__{n}" for n in ("corners", "clear", "run", "rounding")), 0)
IDLE |= {f"of_{bits}__i__valid": 0 for bits in CLAMPS}


@cocotb.test()
@cocotb.parametrize(idle=[False, True], bits=list(CLAMPS))
async def every_output_equals_golden_and_comes_after_the_latency(dut, idle, bits):
    """Roundings, zero points and clamps change from value to value."""
    cases = list(itertools.product(ACCUMULATORS, (0, -1), MULTIPLIERS, range(-31, 31, 6)))
    cases += [
        (
            random.randrange(-(1 << 20), 1 << 20),
            random.randrange(-(1 << 12), 1 << 12),
            random.randrange(1 << 30, 1 << 31),
            random.randrange(-16, -8),
        )
        for _ in range(1000)
    ]
    cases = [case for case in cases for _ in range(2)]
    random.shuffle(cases)
    valid, payload, due = [], [], {}
    for case in cases:
        while idle and random.random() < 0.4:
            valid.append(0)
            payload.append(random.getrandbits(146))
        rounding = random.choice(list(Rounding))
        low, high = random.choice([*CLAMPS[bits], (random.randrange(-128, 0), 100)])
        zero_point = random.randrange(-128, 129)
        # Of a shift to the right the remainder may be left away.
        wrapped = case[3] <= 0 and random.random() < 0.3
        scale = rounded_down if wrapped else golden
        expected = scale(rounding, *(np.array([c]) for c in case), zero_point, low, high)
        due[len(valid) + LATENCY] = int(expected[0])
        valid.append(1)
        value, bias, multiplier, shift = case
        scaling = rounding | wrapped << 1 | (zero_point & 511) << 2 | pack((low, high), WIDE) << 11
        lane = pack((value, bias), 32) | multiplier << 64 | (shift & 63) << 95
        payload.append(scaling | lane << 45)
    await bench.start(dut, **IDLE)
    one = f"of_{bits}"
    seen = await play(
        dut,
        len(valid) + LATENCY + 2,
        {f"{one}__i__valid": valid, f"{one}__i__payload": payload},
        (f"{one}__o__valid", f"{one}__o__payload"),
    )
    outputs = {
        t: signed(seen[f"{one}__o__payload"][t], bits)
        for t, v in enumerate(seen[f"{one}__o__valid"])
        if v
    }
    assert outputs == due


@cocotb.test()
@cocotb.parametrize(rounding=list(Rounding), corners=[True, False])
async def millions_of_values_equal_golden(dut, rounding, corners):
    await bench.start(dut, **IDLE)
    dut.sweep__rounding.value = rounding
    dut.sweep__corners.value = corners
    dut.sweep__clear.value = 1
    await RisingEdge(dut.clk)
    dut.sweep__clear.value = 0
    digests, clamped = np.zeros(LANES, np.uint64), []
    for block in range(CORNER_CYCLES // BLOCK_CYCLES if corners else RANDOM_BLOCKS):
        # The corners see every output as it is, and then moved and clamped as by an activation.
        settings = (0, -128, 127)
        if block % 4 == 3:
            clamp = random.choice([(random.randrange(-128, 0), 100), *CLAMPS[WIDE]])
            settings = (random.randrange(-128, 128), *clamp)
        for name, value in zip(("zero_point", "clamp_min", "clamp_max"), settings, strict=True):
            bits = 8 if name == "zero_point" else WIDE
            getattr(dut, f"sweep__{name}").value = value & ((1 << bits) - 1)
        dut.sweep__run.value = 1
        # Python sleeps through the block: waking for every cycle would take most of the time.
        await Timer(CLOCK_NS * BLOCK_CYCLES - CLOCK_NS // 2, "ns")
        await RisingEdge(dut.clk)
        dut.sweep__run.value = 0
        await ClockCycles(dut.clk, LATENCY + 2)
        first, count = block * BLOCK_CYCLES * LANES, BLOCK_CYCLES * LANES
        assert int(dut.sweep__index.value) == first + count
        values = sweep_values(corners, first, count)
        assert values[0].min() >= INT32_MIN
        assert values[0].max() <= INT32_MAX
        assert min(SHIFTS) <= values[3].min() <= values[3].max() <= max(SHIFTS)
        outputs = golden(rounding, *values, *settings).reshape(-1, LANES)
        clamped.append(np.mean((outputs == settings[1]) | (outputs == settings[2])))
        digests = add_to_digests(digests, outputs)
        for lane, digest in enumerate(digests):
            seen = int(getattr(dut, f"sweep__digest_{lane}").value)
            assert seen == digest, (
                f"an output of lane {lane} between values {first} and {first + count} is wrong"
            )
    assert corners or np.mean(clamped) < 0.7, "most outputs are clamped, so they say little"
