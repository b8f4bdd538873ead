"""LOGICAL_AND, LOGICAL_OR and LOGICAL_NOT of bools."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.node import Place
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
def _same(place: Place) -> tuple[Shape, ...]:
    return (place.input(0).shape,)


@shapes("LOGICAL_AND", "LOGICAL_OR")
def _broadcast(place: Place) -> tuple[Shape, ...]:
    return (place.broadcast(place.input(0), place.input(1)),)


@planner("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT")
def _logical(place: Place, rounding: Rounding) -> Plan:
    op, output = place.operator.op, place.output()
    alone = op == "LOGICAL_NOT"
    for tensor in (place.input(0), *(() if alone else (place.input(1),)), output):
        # TFLM takes other types for bytes of bools, without a look at their size.
        place.require(tensor.dtype == np.bool_, f"must be bool, not {tensor.type_name}", tensor)
    place.shape(output, (_same(place) if alone else _broadcast(place))[0])
    return LogicalPlan(op=op, output_shape=output.shape)


@kernel(LogicalPlan)
def logical(plan: LogicalPlan, *operands: BoolArray) -> BoolArray:
    """The bools of ``plan.output_shape``. Parameters: bools that broadcast to it."""
    if plan.op == "LOGICAL_NOT":
        return np.logical_not(*operands)
    return (np.logical_and if plan.op == "LOGICAL_AND" else np.logical_or)(*operands)
