"""SELECT and SELECT_V2: elements of one tensor or of another, as bools say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mensa.golden.graph import Tensor
from mensa.golden.node import Node
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

_TFLM = ("float32", "int8", "int16")
_LITERT = (
    *("bool", "int8", "uint8", "int16", "uint16", "float16", "int32", "uint32", "float32"),
    *("int64", "uint64", "float64"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class SelectPlan(Plan):
    """SELECT or SELECT_V2: the second input where the first is true, else the third.

    Parameters
    ----------
    condition_shape : tuple of int
        The first input's shape, with dimensions of size 1 behind it where it counts slices.
    output_shape : tuple of int
        What all three broadcast to; scales play no part.
    """

    raw = True

    condition_shape: Shape
    output_shape: Shape

    @property
    def operands(self) -> tuple[int, ...]:
        """The bools and both tensors."""
        return (0, 1, 2)


def _condition_shape(node: Node) -> Shape:
    """The bools' shape: of SELECT the tensors' own, or [], or one bool for each slice."""
    condition, first = node.input(0), node.input(1)
    if node.operator.op == "SELECT_V2" or condition.shape in ((), first.shape):
        return condition.shape
    node.require(
        first.shape[:1] == condition.shape,
        f"must have shape {list(first.shape)}, {list(first.shape[:1])} or []",
        condition,
    )
    return (*condition.shape, *(1 for _ in first.shape[1:]))


def _single(*tensors: Tensor) -> bool:
    return all(tensor.size == 1 for tensor in tensors)


@shapes("SELECT", "SELECT_V2", like=1)
def _selected(node: Node) -> tuple[Shape, ...]:
    condition, first, second = (node.input(position) for position in range(3))
    if node.operator.op == "SELECT":
        node.shape(second, first.shape)
        _condition_shape(node)
        shape = first.shape
    else:
        shape = _broadcast(node)
    # LiteRT's kernels keep what the file says where all have one element, whatever its rank.
    if node.operator.outputs and _single(condition, first, second, node.output()):
        shape = node.output().shape
    return (shape,)


def _broadcast(node: Node) -> Shape:
    condition, first, second = (node.input(position) for position in range(3))
    shape = node.broadcast(first, second)
    try:
        return np.broadcast_shapes(condition.shape, shape)
    except ValueError:
        raise node.error(
            f"shapes {list(condition.shape)} and {list(shape)} do not broadcast", condition
        ) from None


@planner("SELECT", "SELECT_V2")
def _select(node: Node, rounding: Rounding) -> Plan:
    condition, first, second = (node.input(position) for position in range(3))
    output = node.output()
    node.require(condition.dtype == np.bool_, f"must be bool, not {condition.type_name}", condition)
    tflm = _TFLM if node.operator.op == "SELECT_V2" else ()
    require_kernel(node, first, rounding, tflm=tflm, litert=_LITERT)
    node.same_type(first, second)
    node.same_type(first, output)
    if _single(condition, first, second, output):
        return SelectPlan(condition_shape=(), output_shape=output.shape)
    node.shape(output, _selected(node)[0])
    return SelectPlan(condition_shape=_condition_shape(node), output_shape=output.shape)


@kernel(SelectPlan)
def select(plan: SelectPlan, condition: Array, first: Array, second: Array) -> Array:
    """Elements of `first` and `second`, of ``plan.output_shape``."""
    return np.where(condition.reshape(plan.condition_shape), first, second)
