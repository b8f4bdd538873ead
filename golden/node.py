"""An operator in its graph, with the checks that every kind of operator needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import INT32_MAX, INT32_MIN
from mensa.golden.error import GraphError
from mensa.golden.graph import Graph, Operator, Tensor
from mensa.golden.options import Options
from mensa.golden.plan import ZERO_POINT_SHIFT, Int8Array, Shape

EIGHT_BIT = (np.dtype(np.int8), np.dtype(np.uint8))
INT16 = (np.dtype(np.int16),)
QUANTIZED = (*EIGHT_BIT, *INT16)

AnyOptions = TypeVar("AnyOptions", bound=Options)


def to_int8(values: npt.NDArray[np.int8] | npt.NDArray[np.uint8]) -> Int8Array:
    """The same values in the int8 domain: uint8 ones minus 128."""
    if values.dtype == np.uint8:
        return (values ^ np.uint8(0x80)).view(np.int8)
    return values.view(np.int8)


def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Lowest and highest value of a quantised type, uint8 in the int8 domain."""
    bits = 8 * dtype.itemsize
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def scale_power(tensor: Tensor) -> int | None:
    """Which power of two the tensor's scale is, None where it is none (``CheckedLog2``)."""
    logarithm = np.log(tensor.scale[0]) * (np.float32(1) / np.log(np.float32(2)))
    nearest = np.rint(logarithm)
    return int(nearest) if abs(logarithm - nearest) < np.float32(1e-3) else None


@dataclass(frozen=True)
class Node:
    """An operator in its graph, with the checks that every operator needs."""

    graph: Graph
    operator: Operator

    def error(self, reason: str, tensor: Tensor | None = None) -> GraphError:
        """A GraphError that names this operator and `tensor`."""
        return GraphError(
            reason,
            operator=str(self.operator),
            tensor=None if tensor is None else str(tensor),
        )

    def require(self, condition: bool, reason: str, tensor: Tensor | None = None) -> None:
        """Raises `error` unless `condition`."""
        if not condition:
            raise self.error(reason, tensor)

    def input(self, position: int) -> Tensor:
        """Input number `position`, which must be there."""
        tensor = self.graph.input_tensor(self.operator, position)
        if tensor is None:
            raise self.error(f"input {position} is missing")
        return tensor

    def optional(self, position: int) -> Tensor | None:
        """Input number `position`, None when it is absent."""
        return self.graph.input_tensor(self.operator, position)

    def output(self) -> Tensor:
        """The operator's only output."""
        self.require(
            len(self.operator.outputs) == 1, f"has {len(self.operator.outputs)} outputs, wants 1"
        )
        return self.graph.output_tensor(self.operator)

    def outputs(self, count: int) -> tuple[Tensor, ...]:
        """The operator's outputs, which must be `count`."""
        self.require(
            len(self.operator.outputs) == count,
            f"has {len(self.operator.outputs)} outputs, wants {count}",
        )
        return tuple(self.graph.output_tensor(self.operator, i) for i in range(count))

    def first_output(self) -> Tensor | None:
        """The operator's first output, None when it is absent."""
        return self.graph.first_output(self.operator)

    def options(self, kind: type[AnyOptions]) -> AnyOptions:
        """The operator's options, which must be of class `kind`."""
        options = self.operator.options
        if not isinstance(options, kind):
            raise self.error(f"has {type(options).__name__}, wants {kind.__name__}")
        return options

    def eight_bit(self, tensor: Tensor) -> None:
        """Requires an int8 or uint8 tensor of one scale and a zero point in its range."""
        self.quantized(tensor, EIGHT_BIT)

    def quantized(self, tensor: Tensor, types: tuple[np.dtype[Any], ...] = QUANTIZED) -> None:
        """Requires a tensor of one of `types`, of one scale and a zero point in its range."""
        if tensor.dtype.kind == "f":
            raise self.error(
                f"{tensor.dtype} is not supported here: golden computes int8, uint8 and int16 "
                "networks",
                tensor,
            )
        names = " or ".join(str(kind) for kind in types)
        self.require(
            tensor.dtype in types,
            f"must be {names}, not {tensor.type_name or tensor.dtype}",
            tensor,
        )
        self.require(
            all(size > 0 for size in tensor.shape), f"is empty: {list(tensor.shape)}", tensor
        )
        self.require(
            tensor.scale.size == 1,
            f"must have one scale, not {tensor.scale.size}",
            tensor,
        )
        self.require(float(tensor.scale[0]) > 0.0, "its scale must be positive", tensor)
        self.zero_point(tensor)

    def zero_point(self, tensor: Tensor) -> int:
        """The (first) zero point in the int8 domain; of int16 tensors it must be 0."""
        value = int(tensor.zero_point[0])
        shifted = value + (ZERO_POINT_SHIFT if tensor.dtype == np.uint8 else 0)
        low, high = {2: (0, 0), 4: (INT32_MIN, INT32_MAX)}.get(tensor.dtype.itemsize, (-128, 127))
        self.require(
            low <= shifted <= high, f"zero point {value} does not fit {tensor.dtype}", tensor
        )
        return shifted

    def same_type(self, first: Tensor, second: Tensor) -> None:
        """Requires that both tensors have elements of one type."""
        self.require(
            first.dtype == second.dtype,
            f"is {second.dtype} but {first} is {first.dtype}",
            second,
        )

    def shape(self, tensor: Tensor, wanted: Shape) -> None:
        """Requires that `tensor` has the shape that the operator gives it."""
        self.require(
            tensor.shape == wanted,
            f"has shape {list(tensor.shape)}, the operator gives {list(wanted)}",
            tensor,
        )

    def constant(self, position: int, *kinds: type[np.generic]) -> npt.NDArray[Any]:
        """Elements of input number `position`, which must be a constant of one of `kinds`."""
        tensor = self.input(position)
        names = " or ".join(kind.__name__ for kind in kinds)
        self.require(
            tensor.dtype.type in kinds,
            f"must be {names}, not {tensor.type_name or tensor.dtype}",
            tensor,
        )
        if tensor.data is None:
            raise self.error("must be a constant", tensor)
        return tensor.data

    def integers(self, position: int) -> tuple[int, ...]:
        """Elements of input number `position`, which must be an int32 or int64 constant."""
        return tuple(int(v) for v in self.constant(position, np.int32, np.int64).ravel())

    def axis(self, axis: int, rank: int) -> int:
        """The dimension `axis` out of `rank`; a negative one counts from the last."""
        self.require(-rank <= axis < rank, f"dimension {axis} is not one of {rank}")
        return axis % rank

    def of_type(self, tensor: Tensor, *names: str) -> None:
        """Requires a tensor of one of NumPy's types of these `names`."""
        self.require(
            tensor.dtype.name in names,
            f"must be {' or '.join(names)}, not {tensor.type_name or tensor.dtype}",
            tensor,
        )

    def broadcast(self, first: Tensor, second: Tensor) -> Shape:
        """The shape that both tensors broadcast to."""
        try:
            return np.broadcast_shapes(first.shape, second.shape)
        except ValueError:
            raise self.error(
                f"shapes {list(first.shape)} and {list(second.shape)} do not broadcast", second
            ) from None

    def same_quantization(self, first: Tensor, second: Tensor) -> None:
        """Requires that both tensors have one type, scale and zero point."""
        self.same_type(first, second)
        self.require(
            np.array_equal(first.scale, second.scale)
            and np.array_equal(first.zero_point, second.zero_point),
            f"its scale and zero point differ from those of {first}",
            second,
        )

    def images(self, tensor: Tensor) -> tuple[int, int, int, int]:
        """Batch, height, width and channels of a tensor that must have these."""
        self.require(
            len(tensor.shape) == 4,
            f"must have shape [batch, height, width, channels], not {list(tensor.shape)}",
            tensor,
        )
        n, h, w, c = tensor.shape
        return n, h, w, c

    def clamp(self, activation: str, output: Tensor) -> tuple[int, int]:
        """Range of a fused activation (``CalculateActivationRangeQuantized``)."""
        scale = output.scale[0]
        zero_point = self.zero_point(output)

        def quantized(real: float) -> int:
            ratio = float(np.float32(real) / scale)
            rounded = math.copysign(math.floor(abs(ratio) + 0.5), ratio) if ratio else 0.0
            self.require(
                INT32_MIN <= rounded <= INT32_MAX,
                f"its scale {float(scale)!r} is too small for {activation}",
                output,
            )
            return zero_point + int(rounded)

        bounds: dict[str, tuple[float | None, float | None]] = {
            "NONE": (None, None),
            "RELU": (0.0, None),
            "RELU6": (0.0, 6.0),
            "RELU_N1_TO_1": (-1.0, 1.0),
        }
        self.require(activation in bounds, f"fused activation {activation} is not supported")
        low, high = bounds[activation]
        lowest, highest = limits(output.dtype)
        clamp_min = lowest if low is None else max(lowest, quantized(low))
        clamp_max = highest if high is None else min(highest, quantized(high))
        self.require(clamp_min <= clamp_max, f"{activation} leaves no value", output)
        return clamp_min, clamp_max
