"""Which tensors of a network are only used as indices, and of what."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden import Graph, Operator, Tensor, plan

__all__ = ["Range", "index_ranges"]

Range = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Least and largest value, which broadcast to the tensor's shape."""

_MOVING = (
    "BROADCAST_TO",
    "CAST",
    "CONCATENATION",
    "EXPAND_DIMS",
    "PACK",
    "RESHAPE",
    "REVERSE_V2",
    "SLICE",
    "SPLIT",
    "SPLIT_V",
    "SQUEEZE",
    "STRIDED_SLICE",
    "TILE",
    "TRANSPOSE",
    "UNPACK",
)
"""Operators whose outputs hold numbers of their inputs and no others."""

_LIMITS = np.iinfo(np.int64)


def index_ranges(graph: Graph, rounding: str | None = None) -> dict[int, Range]:
    """What the values of tensors must be so that they are inside what they index.

    Parameters
    ----------
    graph : Graph
        The network.
    rounding : "tflm", "litert" or None
        Whose arithmetic is meant; None is the graph's default.

    Returns
    -------
    dict
        Ranges by tensor index, of the integer tensors that operators use as indices, lengths or
        counts and for nothing else, be it after they were moved.

    Raises
    ------
    mensa.golden.GraphError
        If golden can't compute an operator that reads an integer tensor.
    """
    # None where a tensor is used for something else, too.
    found: dict[int, Range | None] = {}
    for operator in reversed(graph.operators):
        for position, index in enumerate(operator.inputs):
            if index < 0 or not _may_index(graph.tensors[index]):
                continue
            if operator.op in _MOVING:
                uses = _uses_when_moved(graph, operator, found)
            else:
                uses = [_use(graph, operator, position, rounding)]
            for use in uses:
                found[index] = _both(found[index], use) if index in found else use
    return {index: use for index, use in found.items() if use is not None}


def _may_index(tensor: Tensor) -> bool:
    return tensor.dtype.kind == "i" and tensor.data is None and not tensor.scale.size


def _use(graph: Graph, operator: Operator, position: int, rounding: str | None) -> Range | None:
    use = plan(graph, operator, rounding).indices.get(position)
    return None if use is None else (np.asarray(use[0]), np.asarray(use[1]))


def _uses_when_moved(
    graph: Graph, operator: Operator, found: dict[int, Range | None]
) -> list[Range | None]:
    """How the outputs of an operator that moves numbers are used, those that are."""
    uses: list[Range | None] = []
    for index in operator.outputs:
        use = found.get(index)
        if use is not None:
            # Where each number goes is not followed: it must be inside everywhere.
            uses.append((use[0].max(initial=_LIMITS.min), use[1].min(initial=_LIMITS.max)))
        elif index in found or not _may_index(graph.tensors[index]):
            uses.append(None)
    return uses


def _both(one: Range | None, other: Range | None) -> Range | None:
    if one is None or other is None:
        return None
    return np.maximum(one[0], other[0]), np.minimum(one[1], other[1])
