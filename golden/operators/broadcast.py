"""BROADCAST_TO: a tensor repeated along dimensions that it lacks or has once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mensa.golden.node import Node
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

# BROADCAST_TO of TFLM takes so many dimensions at most.
_TFLM_MAX_RANK = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class BroadcastPlan(Plan):
    """BROADCAST_TO.

    Parameters
    ----------
    output_shape : tuple of int
        What the tensor is broadcast to.
    """

    raw = True

    output_shape: Shape


@shapes("BROADCAST_TO")
def _broadcast_shape(node: Node) -> tuple[Shape, ...]:
    shape, wanted = node.input(0).shape, node.integers(1)
    node.require(len(node.input(1).shape) == 1, "must be a vector", node.input(1))
    fits = len(shape) <= len(wanted) and all(
        size in (1, target) for size, target in zip(reversed(shape), reversed(wanted), strict=False)
    )
    node.require(
        fits and min(wanted, default=0) >= 0,
        f"{list(shape)} can't be broadcast to {list(wanted)}",
        node.input(0),
    )
    return (wanted,)


@planner("BROADCAST_TO")
def _broadcast(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    node.same_type(data, output)
    node.require(data.dtype.kind in "iufb", f"{data.type_name} is not supported", data)
    node.shape(output, _broadcast_shape(node)[0])
    node.require(
        rounding == "litert" or len(output.shape) <= _TFLM_MAX_RANK,
        f"{len(output.shape)} dimensions, TensorFlow Lite Micro takes {_TFLM_MAX_RANK}",
        output,
    )
    return BroadcastPlan(output_shape=output.shape)


@kernel(BroadcastPlan)
def broadcast(plan: BroadcastPlan, x: Array) -> Array:
    """`x`, repeated. Returns: ``plan.output_shape``."""
    return np.broadcast_to(x, plan.output_shape).copy()
