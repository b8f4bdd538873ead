from __future__ import annotations

import random

import cocotb
import numpy as np
import pytest

from mensa.rtl.arrays.systolic.processing_elements import (
    ACCUMULATOR_BITS,
    OPERAND_BITS,
    ProcessingElements,
)
from tests.rtl import bench
from tests.rtl.arrays.work import random_operands
from tests.rtl.lockstep import SideBySide, pack, play, unpack

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SHAPES = ((1, 1), (2, 3), (3, 1), (8, 9))
CYCLES = 800


class Elements:
    """What the docstring says, an array for each register: [rows, cols]."""

    def __init__(self, rows: int, cols: int):
        names = (
            "a",
            "b",
            "left",
            "right",
            "product",
            "sum",
            "d",
            "first",
            "last",
            "shift",
            "filter",
        )
        self.now = {name: np.zeros((rows, cols), np.int32) for name in names}

    def step(self, edge: dict[str, np.ndarray]) -> None:
        now = self.now

        def above(name: str, first_row: object) -> np.ndarray:
            return np.vstack([np.array(first_row, np.int32).reshape(1, -1), now[name][:-1]])

        def left(name: str) -> np.ndarray:
            first_col = np.array(edge[name], np.int32).reshape(-1, 1)
            return np.hstack([first_col, now[name][:, :-1]])

        came = {name: above(name, edge[name]) for name in ("b", "first", "last", "filter")}
        came |= {name: left(name) for name in ("a", "shift")}
        drained = above("d", np.zeros(len(edge["b"])))
        tap = np.where(came["shift"] == 1, came["b"], now["a"])
        tap = np.where(came["last"] == 1, 0, tap)
        drain = np.where(now["shift"] == 1, drained, now["d"])
        drain = np.where(now["last"] == 1, now["sum"], drain)
        is_filter = now["filter"] == 1
        came["a"] = np.where(is_filter, tap, came["a"])
        base = np.where(is_filter, drained, now["sum"])
        drain = np.where(is_filter, now["sum"], drain)
        self.now = came | {
            "left": now["a"],
            "right": now["b"],
            "product": now["left"] * now["right"],
            "sum": np.where(now["first"] == 1, 0, base) + now["product"],  # wraps
            "d": drain,
        }


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "8"])
def test_a_shape_that_there_is_not_is_refused(wrong):
    with pytest.raises(TypeError, match="Rows must be a positive integer"):
        ProcessingElements(wrong, 8)
    with pytest.raises(TypeError, match="Columns must be a positive integer"):
        ProcessingElements(8, wrong)


def test_processing_elements():
    bench.run(
        SideBySide({f"elements_{r}x{c}": ProcessingElements(r, c) for r, c in SHAPES}),
        __file__,
    )


def marks(count: int, probability: float) -> np.ndarray:
    return np.array([int(random.random() < probability) for _ in range(count)])


@cocotb.test()
async def every_register_follows_its_recurrence(dut):
    rng = np.random.default_rng(random.getrandbits(32))
    inputs, outputs, expected = {}, [], {}
    for rows, cols in SHAPES:
        name = f"elements_{rows}x{cols}"
        elements = Elements(rows, cols)
        d = expected[name] = []
        given = {member: [] for member in ("filter", "a", "b", "first", "last", "shift")}
        is_filter = np.zeros(cols, int)
        for _ in range(CYCLES):
            is_filter = is_filter ^ marks(cols, 0.02)
            edge = {
                "filter": is_filter,
                "a": random_operands(rng, rows),
                "b": random_operands(rng, cols),
                "first": marks(cols, 0.1),
                "last": marks(cols, 0.1),
                "shift": marks(rows, 0.4),
            }
            d.append(elements.now["d"][-1].tolist())
            elements.step(edge)
            for member, values in edge.items():
                bits = OPERAND_BITS if member in "ab" else 1
                given[member].append(pack(map(int, values), bits))
        inputs |= {f"{name}__{member}": values for member, values in given.items()}
        outputs.append(f"{name}__d")
    await bench.start(dut, **dict.fromkeys(inputs, 0))
    seen = await play(dut, CYCLES, inputs, outputs)
    for rows, cols in SHAPES:
        name = f"elements_{rows}x{cols}"
        words = [unpack(word, ACCUMULATOR_BITS, cols) for word in seen[f"{name}__d"]]
        # From zeros, which is how a simulation starts.
        assert words == expected[name], name


@cocotb.test()
async def a_sum_beyond_32_bits_wraps(dut):
    products = (1 << 31) // 256**2 + 1  # one more than the first sum that doesn't fit
    smallest = [-256 & 0x1FF] * products
    inputs = {"a": smallest, "b": smallest, "first": [0, 0, 1], "last": [0] * (products + 2) + [1]}
    inputs = {f"elements_1x1__{name}": values for name, values in inputs.items()}
    zeros = [f"elements_{r}x{c}__{m}" for r, c in SHAPES for m in ("filter", "a", "b", "shift")]
    await bench.start(dut, **dict.fromkeys([*zeros, *inputs], 0))
    seen = await play(dut, products + 5, inputs, ["elements_1x1__d"])
    (total,) = unpack(seen["elements_1x1__d"][-1], ACCUMULATOR_BITS, 1)
    assert total == products * 256**2 - (1 << 32) < 0
