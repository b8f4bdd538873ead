"""Blocks of what is copied while it is computed: small ones that fill the array."""

from __future__ import annotations

import pytest

from mensa.rtl.machine import edge_tpu
from mensa.sched.lower.blocks import Axis, Cutter, Image
from mensa.sched.lower.buffer_plan import BufferPlan
from mensa.sched.lower.work import Home


def tiles(rectangles, pixels):
    packs = [(r.rows[1] - r.rows[0]) * -(-r.width // pixels) for r in rectangles]
    return sum(-(-each // edge_tpu.array.tile) for each in packs)


@pytest.mark.parametrize(
    ("size", "pixels"), [((48, 48), 8), ((64, 64), 8), ((56, 56), 1), ((30, 17), 1), ((5, 40), 1)]
)
def test_blocks_that_overlap_their_copies_take_no_more_tiles_than_the_whole(size, pixels):
    height, width = size
    home = Home(0, on_chip=True, moves=True)
    cutter = Cutter(
        edge_tpu,
        BufferPlan(),
        Axis(height, height),
        Axis(width, width),
        Image(home, height, width, 3, 3),
        Image(home, height, width, 3, 3),
    )
    blocks = list(cutter.rectangles("", overlap=True, pixels=pixels))
    rows = [block.rows for block in blocks]
    assert [first for first, _ in rows] == [0, *(last for _, last in rows[:-1])]
    assert rows[-1][1] == height
    (whole,) = cutter.rectangles("", overlap=False)
    assert tiles(blocks, pixels) == tiles([whole], pixels)
    assert len(blocks) > 1 or height * -(-width // pixels) <= 4 * edge_tpu.array.tile
