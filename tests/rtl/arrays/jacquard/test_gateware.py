from __future__ import annotations

import os

import cocotb
import pytest

from mensa.rtl.arrays.jacquard.gateware import JacquardArray
from mensa.rtl.arrays.jacquard.jacquard import Jacquard
from tests.rtl import bench
from tests.rtl.arrays.schedule import have_no_ready, leave_at_their_exact_cycles
from tests.rtl.lockstep import SideBySide

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

ARRAYS = {
    f"array_{rows}x{cols}_{wide}_{tile}_{pace}": Jacquard(
        rows=rows,
        cols=cols,
        reload_rows=wide,
        accumulators=tile,
        post_lanes=-(-cols // pace),
    )
    for rows, cols, wide, tile, pace in (
        (1, 1, 1, 2, 1), (1, 3, 1, 7, 3), (3, 1, 3, 5, 1), (2, 3, 1, 3, 1), (6, 3, 2, 9, 2),
        (9, 5, 1, 12, 1), (9, 5, 9, 33, 5), (4, 12, 4, 16, 1), (14, 2, 2, 20, 1),
        (16, 4, 16, 64, 1),
    )
}  # fmt: skip
LONG = os.environ.get("MENSA_REGRESS") == "1"


def test_jacquard_array():
    bench.run(SideBySide({name: JacquardArray(array) for name, array in ARRAYS.items()}), __file__)


@cocotb.test()
@cocotb.parametrize(idle=[False, True])
async def sums_of_tiles_and_filters_leave_at_their_exact_cycles(dut, idle):
    await leave_at_their_exact_cycles(
        dut, ARRAYS, idle=idle, tiles=60 if LONG else 24, filters=40 if LONG else 16
    )


@cocotb.test()
async def streams_have_no_ready_so_nothing_can_hold_the_array_up(dut):
    have_no_ready(dut, ARRAYS)
