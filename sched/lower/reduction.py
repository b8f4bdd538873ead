"""Lowering MEAN and SUM: sums over dimensions that follow each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mensa.golden.operators.reduce import ReducePlan
from mensa.rtl.commands import Mode, Rounding, Unit, compute_registers, register
from mensa.sched.lower.elementwise import vector_blocks
from mensa.sched.lower.pool import Window, window_blocks
from mensa.sched.lower.work import Block, Home, LayerSite

__all__ = ["MOST_TAPS", "as_image", "lower_reduce"]

MOST_TAPS = register(Unit.COMPUTE, "INPUT_ROWS").most
"""Elements of a sum at most."""


def as_image(plan: ReducePlan) -> tuple[int, int, int] | None:
    """The input as images of one column: their number, height and channels.

    A sum is over all of an image's rows. None if the dimensions that are added up do not follow
    each other.
    """
    shape, axes = plan.input_shape, plan.axes
    if not axes:
        return math.prod(shape), 1, 1
    first, last = axes[0], axes[-1]
    if any(shape[axis] != 1 for axis in range(first, last + 1) if axis not in axes):
        return None
    return math.prod(shape[:first]), plan.count, math.prod(shape[last + 1 :])


def lower_reduce(
    plan: ReducePlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Block]:
    """The blocks of a MEAN or SUM, a pool whose windows are whole images."""
    image = as_image(plan)
    assert image is not None, "restrict_reduction said no"
    registers = compute_registers(
        MODE=Mode.SUM,
        ACT_ZERO_POINT=plan.input_zero_point,
        BIAS=0,
        MULTIPLIER=plan.multiplier,
        SHIFT=plan.shift,
        ROUNDING=Rounding.DOUBLE,
        OUT_ZERO_POINT=plan.output_zero_point,
        CLAMP_MIN=-128,
        CLAMP_MAX=127,
    )
    number, height, channels = image
    if height == 1:  # nothing is added up: requantise
        size = number * channels
        single = registers | compute_registers(KERNEL_H=1)
        return vector_blocks(single, site, size, sources, targets[0])
    # All images are one, whose windows follow each other.
    window = Window(
        input_shape=(1, number * height, 1, channels),
        output_shape=(1, number, 1, channels),
        kernel=(height, 1),
        stride=(height, 1),
    )
    return window_blocks(window, lambda taps: registers, site, sources[0], targets[0])
