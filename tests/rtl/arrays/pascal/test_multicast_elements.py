from __future__ import annotations

import random

import cocotb
import numpy as np
import pytest

from mensa.rtl.arrays.pascal.multicast_elements import MulticastElements
from mensa.rtl.arrays.streams import ACCUMULATOR_BITS, OPERAND_BITS
from tests.rtl import bench
from tests.rtl.arrays.work import random_operands
from tests.rtl.lockstep import SideBySide, pack, play, unpack

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SHAPES = {f"elements_{r}x{c}": (r, c) for r, c in ((1, 1), (2, 3), (3, 1), (8, 9))}
MARKS = {"first": 0.1, "last": 0.1, "shift": 0.4}
CYCLES = 800


class Elements:
    """What the docstring says, an array for each register: [rows, cols]."""

    def __init__(self, rows: int, cols: int):
        names = ("left", "right", "product", "sum", "d")
        self.now = {name: np.zeros((rows, cols), np.int32) for name in names}

    def step(self, given: dict[str, np.ndarray]) -> None:
        now, (rows, cols) = self.now, self.now["d"].shape
        above = np.vstack([np.zeros((1, cols), np.int32), now["d"][:-1]])
        self.now = {
            "left": np.tile(given["a"][:, None], cols).astype(np.int32),
            "right": np.tile(given["b"], (rows, 1)).astype(np.int32),
            "product": now["left"] * now["right"],
            "sum": (0 if given["first"] else now["sum"]) + now["product"],  # wraps
            "d": now["sum"] if given["last"] else above if given["shift"] else now["d"],
        }


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "8"])
def test_a_shape_that_there_is_not_is_refused(wrong):
    with pytest.raises(TypeError, match="Rows must be a positive integer"):
        MulticastElements(wrong, 8)
    with pytest.raises(TypeError, match="Columns must be a positive integer"):
        MulticastElements(8, wrong)


def test_multicast_elements():
    parts = {name: MulticastElements(*shape) for name, shape in SHAPES.items()}
    bench.run(SideBySide(parts), __file__)


@cocotb.test()
async def every_register_follows_its_recurrence(dut):
    rng = np.random.default_rng(random.getrandbits(32))
    inputs, outputs, expected = {}, [], {}
    for name, (rows, cols) in SHAPES.items():
        elements = Elements(rows, cols)
        d = expected[name] = []
        given: dict[str, list[int]] = {}
        for _ in range(CYCLES):
            now = {
                "a": random_operands(rng, rows),
                "b": random_operands(rng, cols),
                **{mark: int(rng.random() < odds) for mark, odds in MARKS.items()},
            }
            d.append(elements.now["d"][-1].tolist())
            elements.step(now)
            for member, value in now.items():
                packed = value if isinstance(value, int) else pack(map(int, value), OPERAND_BITS)
                given.setdefault(member, []).append(packed)
        inputs |= {f"{name}__{member}": values for member, values in given.items()}
        outputs.append(f"{name}__d")
    await bench.start(dut, **dict.fromkeys(inputs, 0))
    seen = await play(dut, CYCLES, inputs, outputs)
    for name, (_, cols) in SHAPES.items():
        words = [unpack(word, ACCUMULATOR_BITS, cols) for word in seen[f"{name}__d"]]
        # From zeros, which is how a simulation starts.
        assert words == expected[name], name


@cocotb.test()
async def a_sum_beyond_32_bits_wraps(dut):
    products = (1 << 31) // 256**2 + 1  # one more than the first sum that doesn't fit
    smallest = [-256 & 0x1FF] * products
    inputs = {"a": smallest, "b": smallest, "first": [0, 0, 1], "last": [0] * (products + 2) + [1]}
    inputs = {f"elements_1x1__{name}": values for name, values in inputs.items()}
    zeros = [f"{name}__{member}" for name in SHAPES for member in ("a", "b", "shift", "last")]
    await bench.start(dut, **dict.fromkeys([*zeros, *inputs], 0))
    seen = await play(dut, products + 5, inputs, ["elements_1x1__d"])
    (total,) = unpack(seen["elements_1x1__d"][-1], ACCUMULATOR_BITS, 1)
    assert total == products * 256**2 - (1 << 32) < 0
