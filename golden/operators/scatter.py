"""Operators that put elements at places that are computed: SCATTER_ND, DYNAMIC_UPDATE_SLICE."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.node import Node
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

_SCATTERED = ("int8", "uint8", "int32", "int64", "bool", "float32")
_TFLM_UPDATED = ("int8", "int16", "int32", "float32")
_UPDATED = (*_TFLM_UPDATED, "uint8", "uint16", "uint32", "int64", "bool", "float16")
# DYNAMIC_UPDATE_SLICE of TFLM takes so many dimensions at most.
_TFLM_MAX_RANK = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class ScatterPlan(Plan):
    """SCATTER_ND: zeros, and slices added to them at their indices.

    Parameters
    ----------
    index_shape, output_shape : tuples of int
        The last dimension of the indices counts those of one slice, along the first dimensions
        of the output.
    """

    raw = True

    index_shape: Shape
    output_shape: Shape

    @property
    def operands(self) -> tuple[int, ...]:
        """The indices and the slices."""
        return (0, 1)

    @property
    def indices(self) -> dict[int, tuple[npt.ArrayLike, npt.ArrayLike]]:
        """Places along the first dimensions."""
        return {0: (0, np.array(self.output_shape[: self.index_shape[-1]]) - 1)}


@dataclass(frozen=True, kw_only=True, eq=False)
class UpdatePlan(Plan):
    """DYNAMIC_UPDATE_SLICE: a tensor with a part of it replaced.

    Parameters
    ----------
    shape, update_shape : tuples of int
        Of the tensor and of the part, which is not larger in any dimension.
    """

    raw = True

    shape: Shape
    update_shape: Shape

    @property
    def operands(self) -> tuple[int, ...]:
        """The tensor, the part, and where it starts."""
        return (0, 1, 2)

    @property
    def room(self) -> npt.NDArray[np.int64]:
        """How far each dimension's start may be from 0 so that the part fits."""
        return np.array(self.shape, np.int64) - np.array(self.update_shape, np.int64)

    @property
    def indices(self) -> dict[int, tuple[npt.ArrayLike, npt.ArrayLike]]:
        """Where the part fits."""
        return {2: (0, self.room)}


@shapes("SCATTER_ND")
def _scatter_shape(node: Node) -> tuple[Shape, ...]:
    where, updates, size = node.input(0), node.input(1), node.input(2)
    shape = tuple(int(v) for v in node.constant(2, np.int32).ravel())
    node.require(len(size.shape) == 1, "must be a vector", size)
    node.require(min(shape, default=1) > 0, f"{list(shape)} has no elements", size)
    for tensor in (where, updates):
        node.require(len(tensor.shape) >= 1, "must be at least a vector", tensor)
    depth = where.shape[-1]
    node.require(depth <= len(shape), f"{depth} indices for {len(shape)} dimensions", where)
    node.shape(updates, (*where.shape[:-1], *shape[depth:]))
    return (shape,)


@planner("SCATTER_ND")
def _scatter(node: Node, rounding: Rounding) -> Plan:
    where, updates, output = node.input(0), node.input(1), node.output()
    require_kernel(node, updates, rounding, tflm=(), litert=_SCATTERED)
    node.of_type(where, "int32")
    node.same_type(updates, output)
    node.shape(output, _scatter_shape(node)[0])
    return ScatterPlan(index_shape=where.shape, output_shape=output.shape)


@kernel(ScatterPlan)
def scatter(plan: ScatterPlan, index: Array, updates: Array) -> Array:
    """Sums of the slices at each place, integers wrapping. Returns: ``plan.output_shape``."""
    depth = plan.index_shape[-1]
    sizes = plan.output_shape[:depth]
    places = index.reshape(math.prod(plan.index_shape[:-1]), depth).astype(np.int64)
    outside = np.any((places < 0) | (places >= np.array(sizes, np.int64)), axis=1)
    if np.any(outside):
        first = places[np.argmax(outside)]
        raise ValueError(f"index {first.tolist()} is outside of {list(sizes)}")
    steps = [math.prod(sizes[k + 1 :]) for k in range(depth)]
    flat = (places * np.array(steps, np.int64)).sum(axis=1)
    slices = math.prod(sizes)
    out = np.zeros((slices, math.prod(plan.output_shape[depth:])), updates.dtype)
    # One after another: floats are rounded after each sum.
    with np.errstate(over="ignore", invalid="ignore"):
        np.add.at(out, flat, updates.reshape(len(places), out.shape[1]))
    return out.reshape(plan.output_shape)


@shapes("DYNAMIC_UPDATE_SLICE")
def _update_shape(node: Node) -> tuple[Shape, ...]:
    data, update, start = node.input(0), node.input(1), node.input(2)
    node.require(
        len(update.shape) == len(data.shape)
        and all(part <= whole for part, whole in zip(update.shape, data.shape, strict=True)),
        f"{list(update.shape)} is not a part of {list(data.shape)}",
        update,
    )
    node.shape(start, (len(data.shape),))
    return (data.shape,)


@planner("DYNAMIC_UPDATE_SLICE")
def _update(node: Node, rounding: Rounding) -> Plan:
    data, update, start, output = node.input(0), node.input(1), node.input(2), node.output()
    require_kernel(node, data, rounding, tflm=_TFLM_UPDATED, litert=_UPDATED)
    node.require(
        rounding == "litert" or len(data.shape) <= _TFLM_MAX_RANK,
        f"{len(data.shape)} dimensions, TensorFlow Lite Micro takes {_TFLM_MAX_RANK}",
        data,
    )
    for tensor in (update, output):
        node.same_type(data, tensor)
    node.of_type(start, "int32", "int64")
    node.shape(output, _update_shape(node)[0])
    return UpdatePlan(shape=data.shape, update_shape=update.shape)


@kernel(UpdatePlan)
def update_slice(plan: UpdatePlan, x: Array, update: Array, start: Array) -> Array:
    """`x` with `update` from `start` on, or from as near as it fits. Returns: ``plan.shape``."""
    first = np.clip(start.astype(np.int64), 0, plan.room).tolist()
    out: Array = x.reshape(plan.shape).copy()
    part = tuple(slice(at, at + size) for at, size in zip(first, plan.update_shape, strict=True))
    out[part] = update.reshape(plan.update_shape)
    return out
