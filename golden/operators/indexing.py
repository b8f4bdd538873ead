"""Operators that find places or take elements by place.

ARG_MAX, ARG_MIN, GATHER, GATHER_ND and EMBEDDING_LOOKUP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.graph import Tensor
from mensa.golden.node import Node
from mensa.golden.options import ArgMaxOptions, ArgMinOptions, GatherOptions
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

_INDEX_TYPES = (np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64))
# GATHER_ND of TFLM takes so many indices per element at most.
_TFLM_MAX_INDICES = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgPlan(Plan):
    """ARG_MAX or ARG_MIN: place of the largest or smallest element, the first of equals.

    Parameters
    ----------
    input_shape : tuple of int
        Of the elements.
    axis : int
        The dimension that is searched, which the output lacks.
    largest : bool
        Whether the largest is wanted.
    dtype : numpy.dtype
        Of the places.
    """

    raw = True

    input_shape: Shape
    axis: int
    largest: bool
    dtype: np.dtype[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class GatherPlan(Plan):
    """GATHER: slices of the input by their indices along one dimension.

    Parameters
    ----------
    input_shape, index_shape, output_shape : tuples of int
        The first `batch_dims` dimensions of both are the same and go together.
    axis, batch_dims : int
        The dimension that is indexed, ``batch_dims <= axis``.
    """

    raw = True

    input_shape: Shape
    index_shape: Shape
    output_shape: Shape
    axis: int
    batch_dims: int

    @property
    def operands(self) -> tuple[int, ...]:
        """The elements and the indices."""
        return (0, 1)

    @property
    def indices(self) -> dict[int, tuple[npt.ArrayLike, npt.ArrayLike]]:
        """Places along the dimension."""
        return {1: (0, self.input_shape[self.axis] - 1)}


@dataclass(frozen=True, kw_only=True, eq=False)
class GatherNdPlan(Plan):
    """GATHER_ND: slices of the input by indices along its first dimensions.

    Parameters
    ----------
    input_shape, index_shape, output_shape : tuples of int
        The last dimension of the indices counts those of one slice.
    rounding : "tflm" or "litert"
        TFLM lets an index run over its own dimension as long as the slice is inside the input.
    """

    raw = True

    input_shape: Shape
    index_shape: Shape
    output_shape: Shape
    rounding: Rounding

    @property
    def operands(self) -> tuple[int, ...]:
        """The elements and the indices."""
        return (0, 1)

    @property
    def indices(self) -> dict[int, tuple[npt.ArrayLike, npt.ArrayLike]]:
        """Places along the first dimensions."""
        return {1: (0, np.array(self.input_shape[: self.index_shape[-1]]) - 1)}


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingPlan(Plan):
    """EMBEDDING_LOOKUP: rows of a table by their indices.

    Parameters
    ----------
    table_shape, output_shape : tuples of int
        ``[rows, ...]`` and ``[indices, ...]``.
    scale : float32 array or None
        Of a table of int8 that becomes float32: one, or one per row.
    """

    raw = True

    table_shape: Shape
    output_shape: Shape
    scale: npt.NDArray[np.float32] | None

    @property
    def operands(self) -> tuple[int, ...]:
        """The indices and the table."""
        return (0, 1)

    @property
    def indices(self) -> dict[int, tuple[npt.ArrayLike, npt.ArrayLike]]:
        """Rows of the table."""
        return {0: (0, self.table_shape[0] - 1)}


# --- Preparing ---


def _arg_axis(node: Node) -> int:
    data, where = node.input(0), node.input(1)
    node.require(where.dtype.kind == "i" and where.size == 1, "must be one integer", where)
    if where.data is None:
        raise node.error("the dimension must be a constant", where)
    return node.axis(int(where.data.ravel()[0]), len(data.shape))


@shapes("ARG_MAX", "ARG_MIN")
def _arg_shape(node: Node) -> tuple[Shape, ...]:
    shape, axis = node.input(0).shape, _arg_axis(node)
    return ((*shape[:axis], *shape[axis + 1 :]),)


@planner("ARG_MAX", "ARG_MIN")
def _arg(node: Node, rounding: Rounding) -> Plan:
    largest = node.operator.op == "ARG_MAX"
    options: ArgMaxOptions | ArgMinOptions
    options = node.options(ArgMaxOptions) if largest else node.options(ArgMinOptions)
    data, output = node.input(0), node.output()
    # TFLM goes by the tensor.
    node.require(
        rounding == "tflm" or options.output_type == output.type_name,
        f"is not {options.output_type}",
        output,
    )
    known = ("float32", "int8") if rounding == "tflm" else ("float32", "int8", "uint8", "int32")
    node.require(data.dtype.name in known, f"can't search {data.type_name}", data)
    types = ("int32",) if rounding == "tflm" else ("int32", "int64")
    node.require(output.dtype.name in types, f"places can't be {output.type_name}", output)
    axis = _arg_axis(node)
    node.require(data.size > 0, "is empty", data)
    node.shape(output, _arg_shape(node)[0])
    return ArgPlan(input_shape=data.shape, axis=axis, largest=largest, dtype=output.dtype)


def _indices(node: Node, tensor: Tensor, rounding: Rounding) -> None:
    known = _INDEX_TYPES if rounding == "litert" else (np.dtype(np.int32),)
    node.require(tensor.dtype in known, f"indices can't be {tensor.type_name}", tensor)


def _elements(node: Node, tensor: Tensor, output: Tensor, rounding: Rounding) -> None:
    known = tensor.dtype.kind in "iufb" and tensor.dtype != np.float64
    if rounding == "tflm":
        known = tensor.dtype.name in ("float32", "int8")
    node.require(known, f"elements can't be {tensor.type_name}", tensor)
    node.same_type(tensor, output)
    node.require(tensor.size > 0, "is empty", tensor)


def _batch_dims(node: Node, axis: int) -> int:
    data, where = node.input(0), node.input(1)
    count = node.options(GatherOptions).batch_dims
    rank = len(where.shape)
    node.require(-rank <= count <= rank, f"there are no {count} dimensions in {rank}", where)
    count += rank if count < 0 else 0
    node.require(count <= axis, f"{count} batch dimensions, but dimension {axis} is indexed")
    node.require(
        data.shape[:count] == where.shape[:count],
        f"shapes {list(data.shape)} and {list(where.shape)} differ in their batches",
        where,
    )
    return count


@shapes("GATHER")
def _gather_shape(node: Node) -> tuple[Shape, ...]:
    data, where = node.input(0), node.input(1)
    axis = node.axis(node.options(GatherOptions).axis, len(data.shape))
    batch_dims = _batch_dims(node, axis)
    return ((*data.shape[:axis], *where.shape[batch_dims:], *data.shape[axis + 1 :]),)


@planner("GATHER")
def _gather(node: Node, rounding: Rounding) -> Plan:
    data, where, output = node.input(0), node.input(1), node.output()
    _elements(node, data, output, rounding)
    _indices(node, where, rounding)
    axis = node.axis(node.options(GatherOptions).axis, len(data.shape))
    node.shape(output, _gather_shape(node)[0])
    return GatherPlan(
        input_shape=data.shape,
        index_shape=where.shape,
        output_shape=output.shape,
        axis=axis,
        batch_dims=_batch_dims(node, axis),
    )


@shapes("GATHER_ND")
def _gather_nd_shape(node: Node) -> tuple[Shape, ...]:
    data, where = node.input(0), node.input(1)
    node.require(len(where.shape) > 0, "must be at least a vector", where)
    node.require(
        where.shape[-1] <= len(data.shape),
        f"{where.shape[-1]} indices for {len(data.shape)} dimensions",
        where,
    )
    return ((*where.shape[:-1], *data.shape[where.shape[-1] :]),)


@planner("GATHER_ND")
def _gather_nd(node: Node, rounding: Rounding) -> Plan:
    data, where, output = node.input(0), node.input(1), node.output()
    _elements(node, data, output, rounding)
    _indices(node, where, rounding)
    node.shape(output, _gather_nd_shape(node)[0])
    node.require(
        rounding == "litert" or where.shape[-1] <= _TFLM_MAX_INDICES,
        f"{where.shape[-1]} indices, TensorFlow Lite Micro takes {_TFLM_MAX_INDICES}",
        where,
    )
    return GatherNdPlan(
        input_shape=data.shape,
        index_shape=where.shape,
        output_shape=output.shape,
        rounding=rounding,
    )


@shapes("EMBEDDING_LOOKUP")
def _embedding_shape(node: Node) -> tuple[Shape, ...]:
    where, table = node.input(0), node.input(1)
    node.require(len(where.shape) == 1, f"must be a vector, not {list(where.shape)}", where)
    return ((where.shape[0], *table.shape[1:]),)


@planner("EMBEDDING_LOOKUP")
def _embedding(node: Node, rounding: Rounding) -> Plan:
    where, table, output = node.input(0), node.input(1), node.output()
    node.require(where.dtype == np.int32, f"indices can't be {where.type_name}", where)
    node.require(len(table.shape) >= 2, "must have at least two dimensions", table)
    node.require(table.size > 0, "is empty", table)
    node.shape(output, _embedding_shape(node)[0])
    scale = None
    if table.dtype == np.int8 and output.dtype == np.float32:
        node.require(table.scale.size > 0, "has no scale", table)
        node.require(not np.any(table.zero_point), "must have zero point 0", table)
        per_row = rounding == "litert" and table.quantized_dimension == 0
        node.require(table.scale.size == 1 or per_row, "must have one scale", table)
        scale = table.scale
    else:
        _elements(node, table, output, rounding)
    return EmbeddingPlan(table_shape=table.shape, output_shape=output.shape, scale=scale)


# --- Computing ---


@kernel(ArgPlan)
def arg(plan: ArgPlan, x: Array) -> Array:
    """Places along ``plan.axis``. Parameters: `x` of ``plan.input_shape``."""
    data: Array = x.reshape(plan.input_shape)
    if data.dtype.kind == "f":
        # NumPy would take the first NaN; the kernels take one only where there is nothing else.
        worst = -np.inf if plan.largest else np.inf
        missing = np.isnan(data)
        if np.any(missing):
            data = np.where(missing, worst, data)
            numbers = ~missing
            found = _best(data, plan)
            # A lone infinity of the worst kind still goes before a NaN.
            first = np.argmax(numbers, axis=plan.axis)
            is_worst = np.take_along_axis(data, np.expand_dims(found, plan.axis), plan.axis)
            chosen = np.where(np.squeeze(is_worst, plan.axis) == worst, first, found)
            return chosen.astype(plan.dtype)
    return _best(data, plan).astype(plan.dtype)


def _best(data: Array, plan: ArgPlan) -> npt.NDArray[np.intp]:
    search = np.argmax if plan.largest else np.argmin
    return np.asarray(search(data, axis=plan.axis))


def _require_inside(index: Array, size: int) -> None:
    if index.size and (int(index.min()) < 0 or int(index.max()) >= size):
        raise ValueError(f"an index is not from 0 to {size - 1}")


@kernel(GatherPlan)
def gather(plan: GatherPlan, x: Array, index: Array) -> Array:
    """Slices of `x`, which is of ``plan.input_shape``. Returns: of ``plan.output_shape``."""
    size = plan.input_shape[plan.axis]
    _require_inside(index, size)
    batch = math.prod(plan.input_shape[: plan.batch_dims])
    outer = math.prod(plan.input_shape[plan.batch_dims : plan.axis])
    data = x.reshape(batch, outer, size, math.prod(plan.input_shape[plan.axis + 1 :]))
    places = index.reshape(batch, math.prod(plan.index_shape[plan.batch_dims :]))
    out = np.stack([part[:, row] for part, row in zip(data, places, strict=True)])
    return out.reshape(plan.output_shape)


@kernel(GatherNdPlan)
def gather_nd(plan: GatherNdPlan, x: Array, index: Array) -> Array:
    """Slices of `x`, which is of ``plan.input_shape``. Returns: of ``plan.output_shape``."""
    depth = plan.index_shape[-1]
    slices = x.reshape(math.prod(plan.input_shape[:depth]), -1)
    places = index.reshape(math.prod(plan.index_shape[:-1]), depth).astype(np.int64)
    if plan.rounding == "litert" and places.size and int(places.min()) < 0:
        raise ValueError("an index is negative")
    steps = [math.prod(plan.input_shape[k + 1 : depth]) for k in range(depth)]
    flat = (places * np.array(steps, np.int64)).sum(axis=1)
    _require_inside(flat, len(slices))
    return np.reshape(slices[flat], plan.output_shape)


@kernel(EmbeddingPlan)
def embedding(plan: EmbeddingPlan, index: Array, table: Array) -> Array:
    """Rows of `table`, which is of ``plan.table_shape``. Returns: of ``plan.output_shape``."""
    rows = plan.table_shape[0]
    _require_inside(index, rows)
    places = index.ravel()
    taken = table.reshape(rows, -1)[places]
    if plan.scale is not None:
        scale = plan.scale if plan.scale.size == 1 else plan.scale[places][:, None]
        with np.errstate(over="ignore"):
            taken = np.multiply(taken, scale, dtype=np.float32)
    return np.reshape(taken, plan.output_shape)
