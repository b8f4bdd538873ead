from __future__ import annotations

import random

import bench
import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from lockstep import play, signed

from mensa.rtl.systolic_array import ProcessingElement

OPERANDS = (0, 1, -1, 255, -255, -256, 127, -128)
PASSED_ON = ("a", "b", "first", "last", "shift")
INPUTS = (*(f"{name}_in" for name in PASSED_ON), "d_in", "filter")


def test_processing_element():
    bench.run(ProcessingElement(), __file__)


@cocotb.test()
@cocotb.parametrize(idle=[False, True])
async def sums_grow_drain_and_pass_on_as_the_recurrence_says(dut, idle):
    def operand():
        if idle and random.random() < 0.5:
            return 0
        return random.choice([random.choice(OPERANDS), random.randrange(-256, 256)])

    cycles = 4000
    a, b = ([operand() for _ in range(cycles)] for _ in range(2))
    first, last, shift = (
        [int(random.random() < p) for _ in range(cycles)] for p in (0.1, 0.1, 0.4)
    )
    first[0] = last[2] = 1
    d = [random.getrandbits(32) for _ in range(cycles)]
    given = dict(zip(INPUTS, (a, b, first, last, shift, d, [0] * cycles), strict=True))
    await bench.start(dut, **dict.fromkeys(INPUTS, 0))
    driven = given | {"a_in": [v & 0x1FF for v in a], "b_in": [v & 0x1FF for v in b]}
    outputs = [f"{name}_out" for name in (*PASSED_ON, "d")]
    seen = await play(dut, cycles, driven, outputs)

    sums = [0]  # of each cycle: with its product, two cycles later
    for t in range(cycles):
        sums.append(signed((0 if first[t] else sums[-1]) + a[t] * b[t], 32))
    drain = 0
    for t in range(2, cycles - 1):
        if last[t]:
            drain = sums[t - 1]
        elif shift[t]:
            drain = signed(d[t], 32)
        assert signed(seen["d_out"][t + 1], 32) == drain, t
        for name in PASSED_ON:
            assert seen[f"{name}_out"][t + 1] == driven[f"{name}_in"][t], (name, t)


@cocotb.test()
async def as_a_filter_it_adds_its_tap_times_what_comes_from_above(dut):
    cycles = 4000
    b = [
        random.choice([random.choice(OPERANDS), random.randrange(-256, 256)]) for _ in range(cycles)
    ]
    clear, hold = ([int(random.random() < p) for _ in range(cycles)] for p in (0.05, 0.2))
    d = [random.getrandbits(32) for _ in range(cycles)]
    noise = [random.getrandbits(9) for _ in range(cycles)]
    given = {
        "filter": [1] * cycles,
        "a_in": noise,
        "b_in": [v & 0x1FF for v in b],
        "first_in": clear,
        "last_in": [v & 1 for v in noise],
        "shift_in": hold,
        "d_in": d,
    }
    await bench.start(dut, **dict.fromkeys(INPUTS, 0))
    seen = await play(dut, cycles, given, ["b_out", "d_out", "first_out", "last_out", "shift_out"])

    taps, held = [], 0  # of each cycle
    for t in range(cycles):
        taps.append(held)
        held = 0 if clear[t] else b[t] if hold[t] else held
    for t in range(cycles - 3):
        total = (0 if clear[t] else d[t + 1]) + taps[t] * b[t]
        assert signed(seen["d_out"][t + 3], 32) == signed(total, 32), t
        for name in ("b", "first", "last", "shift"):
            assert seen[f"{name}_out"][t + 1] == given[f"{name}_in"][t], (name, t)


@cocotb.test()
async def a_sum_beyond_32_bits_wraps(dut):
    await bench.start(dut, **dict.fromkeys(INPUTS, 0))
    dut.a_in.value = dut.b_in.value = -256 & 0x1FF
    dut.first_in.value = 1
    await RisingEdge(dut.clk)
    dut.first_in.value = 0
    products = (1 << 31) // 256**2 + 1  # one more than the first sum that doesn't fit
    await ClockCycles(dut.clk, products - 1)
    dut.a_in.value = 0
    await RisingEdge(dut.clk)
    dut.last_in.value = 1
    await RisingEdge(dut.clk)
    dut.last_in.value = 0
    await RisingEdge(dut.clk)
    assert signed(int(dut.d_out.value), 32) == signed(products * 256**2, 32) < 0
