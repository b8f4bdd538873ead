from __future__ import annotations

import os

import cocotb
import pytest

from mensa.rtl.arrays.pavlov.gateware import PavlovArray
from mensa.rtl.arrays.pavlov.pavlov import Pavlov
from tests.rtl import bench
from tests.rtl.arrays.schedule import have_no_ready, leave_at_their_exact_cycles
from tests.rtl.lockstep import SideBySide

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

ARRAYS = {
    f"array_{rows}x{cols}_{kept}": Pavlov(
        rows=rows, cols=cols, accumulators=kept, post_lanes=lanes
    )
    for rows, cols, kept, lanes in (
        (1, 1, 2, None), (1, 4, 3, 2), (4, 1, 16, 4), (2, 8, 5, 16), (8, 8, 64, None),
        (4, 2, 7, 3),
    )
}  # fmt: skip
LONG = os.environ.get("MENSA_REGRESS") == "1"


def test_pavlov_array():
    bench.run(SideBySide({name: PavlovArray(array) for name, array in ARRAYS.items()}), __file__)


@cocotb.test()
@cocotb.parametrize(idle=[False, True])
async def sums_leave_at_their_exact_cycles_also_those_that_were_kept(dut, idle):
    await leave_at_their_exact_cycles(dut, ARRAYS, idle=idle, tiles=240 if LONG else 96)


@cocotb.test()
async def streams_have_no_ready_so_nothing_can_hold_the_array_up(dut):
    have_no_ready(dut, ARRAYS)
