"""Constants of 4 bits: two to a byte in a file, an int8 element each in a graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .error import GraphError
from .graph import Graph, Operator, Tensor
from .plan import Int8Array, Rounding
from .schema import INT4

# By oracle and operator, the number of the input that may have elements of 4 bits.
_WEIGHTS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1}
_TAKEN = {"tflm": _WEIGHTS, "litert": _WEIGHTS}
_LOWEST, _HIGHEST = -8, 7


def misplaced(graph: Graph, operator: Operator, rounding: Rounding) -> Tensor | None:
    """A tensor of int4 where the oracle's kernel takes none, None where all is well."""
    taken = _TAKEN[rounding].get(operator.op)
    for position, index in enumerate(operator.inputs):
        if index >= 0 and graph.tensors[index].type_name == INT4 and position != taken:
            return graph.tensors[index]
    return None


def unpack(raw: npt.NDArray[Any], shape: tuple[int, ...], where: str) -> Int8Array:
    """Elements of a file's bytes, of every two the first in the low half.

    Raises: GraphError, which names the tensor as `where`, for too many or too few bytes.
    """
    count = math.prod(shape)
    wanted = -(-count // 2)
    if raw.size != wanted:
        raise GraphError(
            f"its buffer has {raw.size} bytes, shape {list(shape)} of int4 needs {wanted}",
            tensor=where,
        )
    packed = raw.view(np.int8)
    pairs = np.stack([(packed << 4) >> 4, packed >> 4], axis=-1)
    return np.ascontiguousarray(pairs.reshape(-1)[:count].reshape(shape))


def pack(tensor: Tensor) -> npt.NDArray[np.uint8]:
    """The bytes of a constant in a file. Raises: GraphError for an element of more than 4 bits."""
    assert tensor.data is not None
    flat = tensor.data.reshape(-1)
    if flat.size and not (flat.min() >= _LOWEST and flat.max() <= _HIGHEST):
        raise GraphError(f"int4 holds {_LOWEST} to {_HIGHEST}", tensor=str(tensor))
    halves = np.zeros(flat.size + flat.size % 2, np.uint8)
    halves[: flat.size] = flat.view(np.uint8) & 0xF
    return halves[::2] | (halves[1::2] << np.uint8(4))
