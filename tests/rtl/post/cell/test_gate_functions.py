from __future__ import annotations

import cocotb
import numpy as np
import pytest

from mensa.golden.arithmetic.gates import (
    MAX_INTEGER_BITS,
    fixed_point_sigmoid,
    fixed_point_tanh,
    interpolated_sigmoid,
    interpolated_tanh,
)
from mensa.rtl.post.cell.fixed_point import FixedPointFunction
from mensa.rtl.post.cell.interpolated import InterpolatedFunction
from tests.rtl import bench
from tests.rtl.lockstep import SideBySide, pack, play, unpack

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

LANES = 4
FUNCTIONS = {"interpolated": InterpolatedFunction, "fixed_point": FixedPointFunction}


def reference(name: str, tanh: bool, integer_bits: int) -> np.ndarray:
    """Golden's result of every int16 value from the lowest on."""
    if name == "interpolated":
        # In units of 2**(integer bits - 15).
        return interpolated_tanh(integer_bits - 15) if tanh else interpolated_sigmoid()
    return fixed_point_tanh(integer_bits) if tanh else fixed_point_sigmoid()


def test_gate_functions():
    bench.run(SideBySide({name: make(LANES) for name, make in FUNCTIONS.items()}), __file__)


@cocotb.test()
@cocotb.parametrize(
    (("name"), list(FUNCTIONS)),
    (
        ("tanh", "integer_bits"),
        [(False, 0), (False, 5), *((True, bits) for bits in range(MAX_INTEGER_BITS + 1))],
    ),
)
async def every_int16_value_is_as_golden_has_it(dut, name, tanh, integer_bits):
    await bench.start(dut)
    getattr(dut, f"{name}__tanh").value = int(tanh)
    getattr(dut, f"{name}__integer_bits").value = integer_bits
    values = np.arange(-(1 << 15), 1 << 15)
    np.random.default_rng(integer_bits).shuffle(values)
    words = values.reshape(-1, LANES)
    latency = FUNCTIONS[name].latency
    given = [pack(map(int, word), 16) for word in words] + [0] * latency
    seen = await play(dut, len(given), {f"{name}__i": given}, (f"{name}__o",))
    results = np.array([unpack(word, 16, LANES) for word in seen[f"{name}__o"][latency:]])
    wanted = reference(name, tanh, integer_bits)[words + (1 << 15)]
    assert np.array_equal(results, wanted)
