from __future__ import annotations

import random

import cocotb
import numpy as np
import pytest

from mensa.rtl.arrays.pavlov.streaming_elements import StreamingElements
from mensa.rtl.arrays.streams import ACCUMULATOR_BITS, OPERAND_BITS
from tests.rtl import bench
from tests.rtl.arrays.work import random_operands
from tests.rtl.lockstep import SideBySide, pack, play, unpack

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SHAPES = {f"elements_{count}": count for count in (1, 3, 64)}
MARKS = {"take": 0.8, "begin": 0.2}
CYCLES = 800


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "8"])
def test_a_count_that_there_is_not_is_refused(wrong):
    with pytest.raises(TypeError, match="Elements must be a positive integer"):
        StreamingElements(wrong)


def test_streaming_elements():
    parts = {name: StreamingElements(count) for name, count in SHAPES.items()}
    bench.run(SideBySide(parts), __file__)


@cocotb.test()
async def every_register_follows_its_recurrence(dut):
    rng = np.random.default_rng(random.getrandbits(32))
    inputs, expected = {}, {}
    for name, count in SHAPES.items():
        left, right, product, total = (np.zeros(count, np.int32) for _ in range(4))
        seen = expected[name] = []
        given: dict[str, list[int]] = {}
        for _ in range(CYCLES):
            now = {
                "activation": random_operands(rng, 1),
                "parameters": random_operands(rng, count),
                # Sums that are about to wrap, too.
                "kept": rng.choice([0, 1, -5, 2**31 - 9, -(2**31)], count),
                **{mark: int(rng.random() < odds) for mark, odds in MARKS.items()},
            }
            seen.append(total.tolist())
            if now["take"]:
                total = (now["kept"].astype(np.int32) if now["begin"] else total) + product
            product = left * right
            left = np.repeat(now["activation"], count).astype(np.int32)
            right = now["parameters"].astype(np.int32)
            for member, value in now.items():
                bits = ACCUMULATOR_BITS if member == "kept" else OPERAND_BITS
                packed = value if isinstance(value, int) else pack(map(int, value), bits)
                given.setdefault(member, []).append(packed)
        inputs |= {f"{name}__{member}": values for member, values in given.items()}
    await bench.start(dut, **dict.fromkeys(inputs, 0))
    outputs = await play(dut, CYCLES, inputs, [f"{name}__sums" for name in SHAPES])
    for name, count in SHAPES.items():
        words = [unpack(word, ACCUMULATOR_BITS, count) for word in outputs[f"{name}__sums"]]
        # From zeros, which is how a simulation starts.
        assert words == expected[name], name
