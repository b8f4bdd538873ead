"""Constants of 4 bits: two to a byte in a file, an int8 element each in a graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.error import GraphError
from mensa.golden.graph import Graph, Operator, Tensor
from mensa.golden.plan import Int8Array, Rounding
from mensa.golden.schema import INT4

#: By operator, the position of the input that may be int4, and by oracle the types that the first
#: input may have then. Most kernels that are not listed refuse int4; some take its bytes for
#: elements.
TAKEN: dict[str, tuple[int, dict[Rounding, tuple[str, ...]]]] = {
    "CONV_2D": (1, {"tflm": ("int8",), "litert": ("int8", "int16")}),
    "DEPTHWISE_CONV_2D": (1, {"tflm": ("int8",), "litert": ("int8",)}),
    "DEQUANTIZE": (0, {"litert": ("int4",)}),
    "FULLY_CONNECTED": (1, {"tflm": ("int8",), "litert": ("int8", "int16")}),
}
_LOWEST, _HIGHEST = -8, 7


def check_int4(graph: Graph, operator: Operator, rounding: Rounding) -> None:
    """Checks that inputs of int4 are where the oracle's kernel takes such.

    Raises: GraphError that names the operator and the tensor.
    """
    taking, types = TAKEN.get(operator.op, (-1, {}))
    first = graph.input_tensor(operator, 0)
    taken = first is not None and _kind(first) in types.get(rounding, ())
    for position, index in enumerate(operator.inputs):
        if index < 0 or graph.tensors[index].type_name != INT4:
            continue
        tensor, reason = graph.tensors[index], None
        if position != taking or not taken:
            reason = "can't be int4 here"
        elif rounding == "tflm" and operator.op == "FULLY_CONNECTED" and tensor.scale.size > 1:
            reason = "TFLM wants one scale for int4 weights of this operator"
        if reason is not None:
            raise GraphError(reason, operator=str(operator), tensor=str(tensor))


def _kind(tensor: Tensor) -> str:
    """The name of a tensor's type in `TAKEN`."""
    return "int4" if tensor.type_name == INT4 else tensor.dtype.name


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
