"""LOGICAL_AND, LOGICAL_OR and LOGICAL_NOT of bools."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.node import Node
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import kernel, planner, shapes

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class LogicalPlan(Plan):
    """LOGICAL_AND, LOGICAL_OR or LOGICAL_NOT.

    Parameters
    ----------
    op : str
        The operator's name.
    output_shape : tuple of int
        What the inputs broadcast to.
    """

    raw = True

    op: str
    output_shape: Shape

    @property
    def operands(self) -> tuple[int, ...]:
        """Both inputs, or the only one of LOGICAL_NOT."""
        return (0,) if self.op == "LOGICAL_NOT" else (0, 1)


@shapes("LOGICAL_NOT")
def _same(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


@shapes("LOGICAL_AND", "LOGICAL_OR")
def _broadcast(node: Node) -> tuple[Shape, ...]:
    return (node.broadcast(node.input(0), node.input(1)),)


@planner("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT")
def _logical(node: Node, rounding: Rounding) -> Plan:
    op, output = node.operator.op, node.output()
    alone = op == "LOGICAL_NOT"
    for tensor in (node.input(0), *(() if alone else (node.input(1),)), output):
        # TFLM takes other types for bytes of bools, without a look at their size.
        node.require(tensor.dtype == np.bool_, f"must be bool, not {tensor.type_name}", tensor)
    node.shape(output, (_same(node) if alone else _broadcast(node))[0])
    return LogicalPlan(op=op, output_shape=output.shape)


@kernel(LogicalPlan)
def logical(plan: LogicalPlan, *operands: BoolArray) -> BoolArray:
    """The bools of ``plan.output_shape``. Parameters: bools that broadcast to it."""
    if plan.op == "LOGICAL_NOT":
        return np.logical_not(*operands)
    return (np.logical_and if plan.op == "LOGICAL_AND" else np.logical_or)(*operands)
