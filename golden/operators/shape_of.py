"""SHAPE: the sizes of a tensor, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mensa.golden.node import Node
from mensa.golden.options import ShapeOptions
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes


@dataclass(frozen=True, kw_only=True, eq=False)
class ShapeOfPlan(Plan):
    """SHAPE of a tensor, of which only the shape counts.

    Parameters
    ----------
    input_shape : tuple of int
        What the output says.
    dtype : numpy.dtype
        Of the output.
    """

    raw = True

    input_shape: Shape
    dtype: np.dtype[Any]

    @property
    def operands(self) -> tuple[int, ...]:
        """None."""
        return ()


@shapes("SHAPE")
def _rank(node: Node) -> tuple[Shape, ...]:
    return ((len(node.input(0).shape),),)


@planner("SHAPE")
def _shape_of(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    known = ("INT32",) if rounding == "tflm" else ("INT32", "INT64")
    node.require(output.type_name in known, f"sizes can't be {output.type_name}", output)
    if rounding == "litert":
        wanted = node.options(ShapeOptions).out_type
        node.require(wanted == output.type_name, f"is not {wanted}", output)
    node.shape(output, _rank(node)[0])
    return ShapeOfPlan(input_shape=data.shape, dtype=output.dtype)


@kernel(ShapeOfPlan)
def shape_of(plan: ShapeOfPlan) -> Array:
    """Sizes of the dimensions. Returns: ``plan.dtype`` ``[dimensions]``."""
    return np.array(plan.input_shape, plan.dtype)
