"""Operators that are computed in stages, each of which is another operator's plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mensa.golden import AddPlan, Plan, RequantPlan
from mensa.golden.arithmetic.fixed_point import requantize_double
from mensa.golden.operators.addition import ADD_LEFT_SHIFT
from mensa.golden.operators.elementwise import MulPlan, PreluPlan
from mensa.golden.operators.lookup import TablePlan

__all__ = ["Stage", "stages_of"]

_HALF = 1 << 30
"""A multiplier of a half, which a shift by 1 makes up for."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One of them.

    Attributes
    ----------
    work : Plan
        What it computes.
    sources : tuple of int
        From what: the operator's operands are counted first, then the results of the stages.
    """

    work: Plan
    sources: tuple[int, ...]


def stages_of(work: Plan) -> tuple[Stage, ...]:
    """The stages of a plan, the last of which gives its results; one for most."""
    if type(work) in _STAGES:
        return _STAGES[type(work)](work)
    return (Stage(work, tuple(range(len(work.operands)))),)


def _prelu(plan: PreluPlan) -> tuple[Stage, ...]:
    """What is above zero by a table, what is below it times its slope, and the sum of the two.

    One of them is zero always, so both fit 8 bits when the sum does.
    """
    shape, zero = plan.output_shape, plan.output_zero_point
    x = np.arange(-128, 128, dtype=np.int64) - plan.zero_points[0]
    above = np.where(x >= 0, requantize_double(x, plan.multiplier, plan.shift), 0) + zero
    below_zero = RequantPlan(
        shape=shape,
        float_input=False,
        input_zero_point=0,
        output_zero_point=0,
        multiplier=_HALF,
        shift=1,
        output_scale=1.0,
        clamp_max=plan.zero_points[0],
    )
    below = MulPlan(
        input_shapes=plan.input_shapes,
        output_shape=shape,
        zero_points=plan.zero_points,
        output_zero_point=zero,
        multiplier=plan.alpha_multiplier,
        shift=plan.alpha_shift,
        clamp_min=-128,
        clamp_max=127,
    )
    total = AddPlan(
        input_shapes=(shape, shape),
        output_shape=shape,
        zero_points=(zero, zero),
        multipliers=(_HALF, _HALF),
        shifts=(0, 0),
        left_shift=ADD_LEFT_SHIFT,
        output_zero_point=zero,
        output_multiplier=_HALF,
        output_shift=2 - ADD_LEFT_SHIFT,  # a half twice, of each operand and of their sum
        clamp_min=-128,
        clamp_max=127,
        same_shape=True,
        constants=(None, None),
    )
    table = TablePlan(shape=shape, table=np.clip(above, -128, 127).astype(np.int8))
    return Stage(below_zero, (0,)), Stage(below, (2, 1)), Stage(table, (0,)), Stage(total, (3, 4))


_STAGES: Mapping[type[Plan], Callable[[Any], tuple[Stage, ...]]] = {PreluPlan: _prelu}
"""By the type of the plan."""
