"""SQUARED_DIFFERENCE of quantised tensors and of plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import wrap32
from mensa.golden.node import Node
from mensa.golden.operators.elementwise import ScaledPlan, scaled, scaled_pairs, tensors_of
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class SquaredDifferencePlan(ScaledPlan):
    """SQUARED_DIFFERENCE of quantised tensors: what is rescaled at last is the squared difference.

    ``output = clamp(requantise((scaled_1 - scaled_2)**2, output_multiplier, output_shift) +
    output_zero_point)``; of TFLM, the output's shift may be to the left.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainSquaredDifferencePlan(Plan):
    """SQUARED_DIFFERENCE of numbers that are not quantised; integers wrap.

    Parameters
    ----------
    output_shape : tuple of int
        What the inputs broadcast to.
    """

    raw = True

    output_shape: Shape

    @property
    def operands(self) -> tuple[int, ...]:
        """Both inputs."""
        return (0, 1)


@shapes("SQUARED_DIFFERENCE")
def _broadcast(node: Node) -> tuple[Shape, ...]:
    return (node.broadcast(node.input(0), node.input(1)),)


@planner("SQUARED_DIFFERENCE")
def _squared_difference(node: Node, rounding: Rounding) -> Plan:
    first, _, output = tensors = tensors_of(node)
    plain = ("int32", "float32")
    require_kernel(node, first, rounding, tflm=("int8", "int16", *plain), litert=("int8", *plain))
    if first.dtype.name in plain:
        return PlainSquaredDifferencePlan(output_shape=output.shape)
    for tensor in tensors:
        node.quantized(tensor)
    # Squares of what is shifted so far fit 32 bits.
    left_shift = 7 if first.dtype == np.int8 else 0
    if rounding == "litert":
        # LiteRT shifts it in single precision, and aborts where that does not hold it.
        largest = float(np.finfo(np.float32).max) / (1 << 2 * left_shift)
        node.require(float(output.scale[0]) <= largest, "its scale is too large", output)
    fields = scaled(node, tensors, left_shift, "NONE", power=2, enlarges=rounding == "tflm")
    return SquaredDifferencePlan(**fields)


def _square(first: Int64Array, second: Int64Array) -> Int64Array:
    return wrap32((first - second) ** 2)


@kernel(SquaredDifferencePlan)
def squared_difference(plan: SquaredDifferencePlan, first: Array, second: Array) -> Array:
    """Squared differences. Parameters: ``plan.input_shapes``. Returns: the output's shape."""
    return scaled_pairs(plan, _square, first, second)


@kernel(PlainSquaredDifferencePlan)
def plain_squared_difference(
    plan: PlainSquaredDifferencePlan, first: Array, second: Array
) -> Array:
    """Squared differences of two arrays that broadcast to ``plan.output_shape``."""
    with np.errstate(all="ignore"):
        result: Array = np.square(first - second)
    return result
