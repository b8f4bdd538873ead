"""Operators that are computed in stages, each of which has a plan of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mensa.golden import AddPlan, ConvPlan, Plan, RequantPlan, Tensor
from mensa.golden.arithmetic.fixed_point import requantize_double
from mensa.golden.operators.addition import ADD_LEFT_SHIFT
from mensa.golden.operators.computed_weights import ComputedWeightsPlan
from mensa.golden.operators.elementwise import MulPlan, PreluPlan
from mensa.golden.operators.lookup import TablePlan
from mensa.golden.operators.lstm import LstmPlan
from mensa.golden.operators.matmul import MatMulPlan
from mensa.golden.operators.shape_ops import RearrangePlan
from mensa.rtl.machine import Machine
from mensa.sched.lower.lstm_stages import LstmInputsPlan, LstmStepsPlan
from mensa.sched.lower.lstm_sums import spills
from mensa.sched.lower.products import ProductsPlan, WordsPlan

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
    result_bytes : callable or None
        What its result takes, for a machine; None if it is as large as the operator's.
    in_memory : bool
        Whether its result must be in memory.
    """

    work: Plan
    sources: tuple[int, ...]
    result_bytes: Callable[[Machine], int] | None = None
    in_memory: bool = False


def stages_of(
    work: Plan, operands: Sequence[Tensor], machine: Machine | None = None
) -> tuple[Stage, ...]:
    """The stages of a plan, the last of which gives its results; one for most.

    Parameters: `operands` as the graph has them; `machine` is what runs it, which doesn't matter
    for what the stages compute together.
    """
    if isinstance(work, LstmPlan) and machine is not None and spills(work, machine):
        inputs = LstmInputsPlan(layer=work)
        steps = LstmStepsPlan(layer=work)
        return Stage(inputs, (0,), inputs.nbytes, in_memory=True), Stage(steps, (1, 2, 3))
    if type(work) in _STAGES:
        stages = _STAGES[type(work)](work, operands)
        if stages is not None:
            return stages
    return (Stage(work, tuple(range(len(work.operands)))),)


def _prelu(plan: PreluPlan, operands: Sequence[Tensor]) -> tuple[Stage, ...]:
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


def _matmul(plan: MatMulPlan, operands: Sequence[Tensor]) -> tuple[Stage, ...]:
    """The first operand's matrices turned if need be, the second's as words, and the products."""
    (*batches, rows, outputs) = plan.output_shape
    shapes = [
        (*shape[:-2], shape[-1], shape[-2]) if adjoint else shape
        for shape, adjoint in zip(plan.input_shapes, plan.adjoints, strict=True)
    ]
    depth = shapes[0][-1]
    firsts, seconds = (np.arange(math.prod(shape[:-2])).reshape(shape[:-2]) for shape in shapes)
    pairs = [
        (int(first), int(second))
        for first, second in zip(
            np.broadcast_to(firsts, batches).ravel(),
            np.broadcast_to(seconds, batches).ravel(),
            strict=True,
        )
    ]
    if seconds.size == 1:  # rows of all matrices are those of one
        rows, pairs = rows * firsts.size, [(0, 0)]
    layer = ConvPlan(
        kind="conv",
        input_shape=(1, 1, rows, depth),
        output_shape=(1, 1, rows, outputs),
        weights=np.zeros((outputs, 1, 1, depth), np.int8),
        bias=np.zeros(outputs, np.int32),
        input_zero_point=plan.zero_points[0],
        weight_zero_point=plan.zero_points[1],
        output_zero_point=plan.output_zero_point,
        multiplier=np.full(outputs, plan.multiplier, np.int32),
        shift=np.full(outputs, plan.shift, np.int32),
        requant="double",
        scale=np.zeros(outputs),
    )
    stages = []
    first = 0
    if plan.adjoints[0]:
        turned = RearrangePlan(
            split_shape=(firsts.size, depth, shapes[0][-2]),
            permutation=(0, 2, 1),
            output_shape=shapes[0],
        )
        size = math.prod(shapes[0])
        first = 2
        stages.append(Stage(turned, (0,), lambda machine: size))
    data = operands[1].data
    if data is not None:
        matrices = data.reshape(-1, *plan.input_shapes[1][-2:])
        layers = tuple(
            replace(layer, weights=(matrix if plan.adjoints[1] else matrix.T)[:, None, None])
            for matrix in matrices
        )
        return *stages, Stage(ProductsPlan(layers=layers, pairs=tuple(pairs)), (first,))
    words = WordsPlan(
        matrices=seconds.size, inputs=depth, outputs=outputs, inputs_last=plan.adjoints[1]
    )
    products = ProductsPlan(layers=(layer,), pairs=tuple(pairs), words=words)
    return *stages, *_with_words(words, products, first, 2 + len(stages))


def _with_words(
    words: WordsPlan, products: ProductsPlan, first: int, second: int
) -> tuple[Stage, Stage]:
    """Two stages: operand 1 as words, whose place as a source is `second`, and the products."""
    return (
        Stage(words, (1,), words.nbytes, in_memory=True),
        Stage(products, (first, second)),
    )


def _computed_weights(
    plan: ComputedWeightsPlan, operands: Sequence[Tensor]
) -> tuple[Stage, ...] | None:
    """The weights as words, and the layer; None for those that are not plain convolutions."""
    layer = plan.layer
    if not isinstance(layer, ConvPlan) or layer.kind != "conv" or layer.groups > 1:
        return None
    outputs = layer.output_shape[3]
    words = WordsPlan(matrices=1, inputs=layer.weights[0].size, outputs=outputs, inputs_last=True)
    products = ProductsPlan(layers=(layer,), pairs=((0, 0),), words=words)
    return _with_words(words, products, 0, 2)


_STAGES: Mapping[type[Plan], Callable[[Any, Sequence[Tensor]], tuple[Stage, ...] | None]] = {
    ComputedWeightsPlan: _computed_weights,
    MatMulPlan: _matmul,
    PreluPlan: _prelu,
}
"""By the type of the plan; None if it has none."""
