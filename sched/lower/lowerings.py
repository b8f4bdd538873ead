"""Which lowering makes the blocks of which plan.

A lowering is a function of one file, of the same form for all: what is computed, on what, where the
operands and the results are. Convolutions are the exception, since their parameters are laid out
only when it is known which of them stay on chip (`convolution.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mensa.golden import AddPlan, Plan, PoolPlan, RequantPlan
from mensa.golden.operators.resize import NearestPlan
from mensa.golden.operators.shape_ops import (
    ConcatPlan,
    PadPlan,
    RearrangePlan,
    SlicePlan,
    SplitPlan,
    TilePlan,
)
from mensa.golden.operators.space_batch import BatchToSpacePlan, SpaceToBatchPlan
from mensa.sched.lower.elementwise import lower_add, lower_quantize
from mensa.sched.lower.move_blocks import lower_move
from mensa.sched.lower.pool import lower_pool
from mensa.sched.lower.work import Block, Home, LayerSite

__all__ = ["LOWERINGS", "Lowering"]

Lowering = Callable[[Any, LayerSite, Sequence[Home], Sequence[Home]], list[Block]]
"""Of a plan, the site of its layer, and where its operands and its results are.

Raises: LoweringError if the layer can't be cut into blocks that fit the machine's buffers.
"""

LOWERINGS: Mapping[type[Plan], Lowering] = {
    AddPlan: lower_add,
    BatchToSpacePlan: lower_move,
    ConcatPlan: lower_move,
    NearestPlan: lower_move,
    PadPlan: lower_move,
    PoolPlan: lower_pool,
    RearrangePlan: lower_move,
    RequantPlan: lower_quantize,
    SlicePlan: lower_move,
    SpaceToBatchPlan: lower_move,
    SplitPlan: lower_move,
    TilePlan: lower_move,
}
"""By the type of the plan."""
