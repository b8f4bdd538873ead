from __future__ import annotations

import random

import cocotb
import numpy as np
import pytest

from mensa.rtl.arrays.jacquard.reducing_elements import ReducingElements
from mensa.rtl.arrays.streams import ACCUMULATOR_BITS, OPERAND_BITS
from tests.rtl import bench
from tests.rtl.arrays.work import random_operands
from tests.rtl.lockstep import SideBySide, pack, play, unpack

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SHAPES = ((1, 1, 1, 2), (2, 3, 1, 5), (5, 2, 5, 3), (7, 4, 1, 5), (8, 3, 4, 1))
"""Rows, columns, parameter rows, words."""
CYCLES = 600


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "8"])
@pytest.mark.parametrize("place", range(4))
def test_a_shape_that_there_is_not_is_refused(place, wrong):
    shape = [4, 4, 2, 3]
    shape[place] = wrong
    name = ("Rows", "Columns", "Parameter rows", "Words")[place]
    with pytest.raises(TypeError, match=f"{name} must be a positive integer"):
        ReducingElements(*shape)


def name_of(shape: tuple[int, ...]) -> str:
    return "elements_" + "_".join(map(str, shape))


def test_reducing_elements():
    parts = {name_of(shape): ReducingElements(*shape) for shape in SHAPES}
    bench.run(SideBySide(parts), __file__)


class Places:
    """What the docstring says: activations and parameters [places, columns]."""

    def __init__(self, rows: int, cols: int, parameter_rows: int, words: int):
        self.rows, self.parameter_rows = rows, parameter_rows
        self.activations = np.zeros((2 * rows, cols), int)
        self.parameters = np.zeros((2 * rows, cols), int)

    def sums(self, turn: int) -> list[int]:
        part = slice(0, self.rows) if turn else slice(self.rows, None)
        return [int(each) for each in (self.activations[part] * self.parameters[part]).sum(0)]

    def step(self, given: dict[str, np.ndarray]) -> None:
        before = self.activations
        after = before.copy()
        if given["move"]:
            following = np.vstack([before[1:], np.zeros_like(before[:1])])
            for place, source in enumerate(given["source"]):
                after[place] = given["stream"][source - 1] if source else following[place]
        elif given["load"]:
            after[self.rows :] = given["word"][:, None]
        self.activations = after
        if given["clear"]:
            self.parameters = np.zeros_like(self.parameters)
            return
        parameters = self.parameters.copy()
        if given["swap"]:
            parameters[self.rows :] = self.parameters[: self.rows]
        for place in np.flatnonzero(given["hold"]):
            parameters[place] = given["beat"][place % self.rows % self.parameter_rows]
        self.parameters = parameters


def drawn(rows: int, cols: int, parameter_rows: int, words: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(random.getrandbits(32))

    marks = {"load": 0.4, "move": 0.4, "swap": 0.1, "clear": 0.03, "turn": 0.4}
    return {
        **{name: int(rng.random() < odds) for name, odds in marks.items()},
        "word": random_operands(rng, rows),
        "stream": random_operands(rng, words, cols),
        "source": rng.choice([0, 0, *range(1, words + 1)], 2 * rows),
        "beat": random_operands(rng, parameter_rows, cols),
        "hold": (rng.random(2 * rows) < 0.2).astype(int),
    }


@cocotb.test()
async def sums_are_those_of_the_places(dut):
    inputs, outputs, expected = {}, [], {}
    for shape in SHAPES:
        rows, _, _, words = shape
        name, places = name_of(shape), Places(*shape)
        late = 2 + (rows - 1).bit_length()
        sums = expected[name] = [None] * late
        given: dict[str, list[int]] = {}
        for _ in range(CYCLES):
            now = drawn(*shape)
            sums.append(places.sums(now["turn"]))
            places.step(now)
            for member, value in now.items():
                bits = {"source": words.bit_length(), "hold": 1}.get(member, OPERAND_BITS)
                packed = value if isinstance(value, int) else pack(map(int, value.flat), bits)
                given.setdefault(member, []).append(packed)
        inputs |= {f"{name}__{member}": values for member, values in given.items()}
        outputs.append(f"{name}__sums")
    await bench.start(dut, **dict.fromkeys(inputs, 0))
    seen = await play(dut, CYCLES, inputs, outputs)
    for shape in SHAPES:
        name = name_of(shape)
        for cycle, wanted in enumerate(expected[name][:CYCLES]):
            if wanted is not None:  # before, there is what the registers began with
                word = seen[f"{name}__sums"][cycle]
                assert unpack(word, ACCUMULATOR_BITS, shape[1]) == wanted, (name, cycle)
