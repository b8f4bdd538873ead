from __future__ import annotations

import os

import cocotb
import pytest

from mensa.rtl.arrays.pascal.gateware import PascalArray
from mensa.rtl.arrays.pascal.pascal import Pascal
from tests.rtl import bench
from tests.rtl.arrays.schedule import have_no_ready, leave_at_their_exact_cycles
from tests.rtl.lockstep import SideBySide

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

ARRAYS = {
    f"array_{rows}x{cols}_{pace}": Pascal(rows=rows, cols=cols, post_lanes=-(-cols // pace))
    for rows, cols, pace in (
        (1, 1, 1), (1, 3, 3), (2, 3, 1), (3, 1, 1), (3, 4, 2), (5, 9, 1), (8, 8, 1), (4, 12, 3),
        (13, 2, 2),
    )
}  # fmt: skip
LONG = os.environ.get("MENSA_REGRESS") == "1"


def test_pascal_array():
    bench.run(SideBySide({name: PascalArray(array) for name, array in ARRAYS.items()}), __file__)


@cocotb.test()
@cocotb.parametrize(idle=[False, True])
async def sums_of_tiles_leave_at_their_exact_cycles(dut, idle):
    await leave_at_their_exact_cycles(dut, ARRAYS, idle=idle, tiles=120 if LONG else 48)


@cocotb.test()
async def streams_have_no_ready_so_nothing_can_hold_the_array_up(dut):
    have_no_ready(dut, ARRAYS)
