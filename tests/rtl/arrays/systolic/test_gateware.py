from __future__ import annotations

import os

import cocotb
import pytest

from mensa.rtl.arrays.systolic.gateware import SystolicArray
from mensa.rtl.arrays.systolic.systolic import Systolic
from tests.rtl import bench
from tests.rtl.arrays.schedule import have_no_ready, leave_at_their_exact_cycles
from tests.rtl.lockstep import SideBySide

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

ARRAYS = {
    f"array_{rows}x{cols}_{pace}": Systolic(rows=rows, cols=cols, post_lanes=-(-cols // pace))
    for rows, cols, pace in (
        (1, 1, 1), (1, 3, 1), (1, 3, 3), (3, 1, 1), (2, 3, 1), (2, 3, 2),
        (5, 3, 1), (9, 5, 1), (9, 5, 5), (4, 12, 1), (4, 12, 3),
    )
}  # fmt: skip
LONG = os.environ.get("MENSA_REGRESS") == "1"


def test_systolic_array():
    bench.run(SideBySide({name: SystolicArray(array) for name, array in ARRAYS.items()}), __file__)


@cocotb.test()
@cocotb.parametrize(idle=[False, True])
async def sums_of_tiles_and_filters_leave_at_their_exact_cycles(dut, idle):
    await leave_at_their_exact_cycles(
        dut, ARRAYS, idle=idle, tiles=60 if LONG else 24, filters=40 if LONG else 16
    )


@cocotb.test()
async def streams_have_no_ready_so_nothing_can_hold_the_array_up(dut):
    have_no_ready(dut, ARRAYS)
