"""TOPK_V2: the largest elements of every row, and their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.node import Node
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

_ELEMENTS = ("int8", "uint8", "int16", "int32", "int64", "float32")


@dataclass(frozen=True, kw_only=True, eq=False)
class TopKPlan(Plan):
    """TOPK_V2 along the last dimension: the largest first, of equals the first.

    Parameters
    ----------
    input_shape : tuple of int
        ``[..., row]``.
    k : int
        How many of each row.
    dtype : numpy.dtype
        Of the places.
    computed : bool
        Whether the number is an operand: it must be `k` then, for which the outputs have room.
    """

    raw = True

    input_shape: Shape
    k: int
    dtype: np.dtype[Any]
    computed: bool

    @property
    def operands(self) -> tuple[int, ...]:
        """The elements, and the number where it is no constant."""
        return (0, 1) if self.computed else (0,)

    @property
    def indices(self) -> dict[int, tuple[npt.ArrayLike, npt.ArrayLike]]:
        """The number, which is known."""
        return {1: (self.k, self.k)}


def _output_shape(node: Node, k: int) -> Shape:
    data = node.input(0)
    node.require(len(data.shape) >= 1, "must have at least one dimension", data)
    # LiteRT takes a number below zero for none.
    k = max(0, k)
    node.require(k <= data.shape[-1], f"has rows of {data.shape[-1]}, {k} are wanted", data)
    return (*data.shape[:-1], k)


@shapes("TOPK_V2")
def _top_k_shapes(node: Node) -> tuple[Shape, ...]:
    values = node.constant(1, np.int32, np.int16)
    node.require(values.size == 1, "must be one number", node.input(1))
    return (_output_shape(node, int(values.ravel()[0])),) * 2


@planner("TOPK_V2")
def _top_k(node: Node, rounding: Rounding) -> Plan:
    data, count = node.input(0), node.input(1)
    largest, where = node.outputs(2)
    require_kernel(node, data, rounding, tflm=(), litert=_ELEMENTS)
    node.same_type(data, largest)
    node.of_type(count, "int32", "int16")
    node.require(count.size == 1, "must be one number", count)
    node.of_type(where, "int32", "int16")
    node.require(len(largest.shape) >= 1, "must have at least one dimension", largest)
    computed = count.data is None
    shape = _output_shape(node, largest.shape[-1]) if computed else _top_k_shapes(node)[0]
    for output in (largest, where):
        node.shape(output, shape)
    node.require(
        data.shape[-1] - 1 <= np.iinfo(where.dtype).max,
        f"places in rows of {data.shape[-1]} do not fit {where.dtype}",
        where,
    )
    return TopKPlan(input_shape=data.shape, k=shape[-1], dtype=where.dtype, computed=computed)


@kernel(TopKPlan)
def top_k(plan: TopKPlan, x: Array, k: Array | None = None) -> tuple[Array, Array]:
    """The largest elements of `x` and their places. Returns: two of ``[..., plan.k]``."""
    if k is not None and max(0, int(k.ravel()[0])) != plan.k:
        raise ValueError(f"{int(k.ravel()[0])} are wanted, the outputs have room for {plan.k}")
    # A sort with it has no defined result in C++.
    if x.dtype.kind == "f" and np.any(np.isnan(x)):
        raise ValueError("a number is missing (NaN): it is neither larger nor smaller than others")
    data: Array = x.reshape(plan.input_shape)
    # From the other end, so that of equals the first is the last of an ascending order.
    order = np.argsort(data[..., ::-1], axis=-1, kind="stable")[..., ::-1][..., : plan.k]
    where = plan.input_shape[-1] - 1 - order
    return np.take_along_axis(data, where, axis=-1), where.astype(plan.dtype)
