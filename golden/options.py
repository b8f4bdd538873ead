"""Options of the operators, as in the .tflite schema.

Every class is one table of the schema's ``BuiltinOptions`` union. A field's metadata says where
it stands in that table, so that the reader and the writer both work from these definitions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

PADDINGS = ("SAME", "VALID")
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
WEIGHTS_FORMATS = ("DEFAULT", "SHUFFLED4x16INT8")


def _int(slot: int, default: int = 0) -> Any:
    return field(default=default, metadata={"slot": slot, "kind": "int32"})


def _float(slot: int, default: float = 0.0) -> Any:
    return field(default=default, metadata={"slot": slot, "kind": "float32"})


def _bool(slot: int, default: bool = False) -> Any:
    return field(default=default, metadata={"slot": slot, "kind": "bool"})


def _enum(slot: int, names: tuple[str, ...]) -> Any:
    return field(default=names[0], metadata={"slot": slot, "kind": "enum", "names": names})


def _ints(slot: int) -> Any:
    return field(default=(), metadata={"slot": slot, "kind": "int32s"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of one operator; the base class of all of them."""

    #: Number of the table in the schema's union, 0 for operators without one.
    union_type: ClassVar[int] = 0


@dataclass(frozen=True, kw_only=True)
class NoOptions(Options):
    """An operator without options, or one whose options golden does not read."""


@dataclass(frozen=True, kw_only=True)
class Conv2DOptions(Options):
    """CONV_2D: strides and dilations count pixels of the input."""

    union_type: ClassVar[int] = 1
    padding: str = _enum(0, PADDINGS)
    stride_w: int = _int(1)
    stride_h: int = _int(2)
    activation: str = _enum(3, ACTIVATIONS)
    dilation_w: int = _int(4, 1)
    dilation_h: int = _int(5, 1)


@dataclass(frozen=True, kw_only=True)
class DepthwiseConv2DOptions(Options):
    """DEPTHWISE_CONV_2D: as CONV_2D, and how many outputs each input channel gives."""

    union_type: ClassVar[int] = 2
    padding: str = _enum(0, PADDINGS)
    stride_w: int = _int(1)
    stride_h: int = _int(2)
    depth_multiplier: int = _int(3)
    activation: str = _enum(4, ACTIVATIONS)
    dilation_w: int = _int(5, 1)
    dilation_h: int = _int(6, 1)


@dataclass(frozen=True, kw_only=True)
class Pool2DOptions(Options):
    """AVERAGE_POOL_2D and MAX_POOL_2D."""

    union_type: ClassVar[int] = 5
    padding: str = _enum(0, PADDINGS)
    stride_w: int = _int(1)
    stride_h: int = _int(2)
    filter_w: int = _int(3)
    filter_h: int = _int(4)
    activation: str = _enum(5, ACTIVATIONS)


@dataclass(frozen=True, kw_only=True)
class FullyConnectedOptions(Options):
    """FULLY_CONNECTED."""

    union_type: ClassVar[int] = 8
    activation: str = _enum(0, ACTIVATIONS)
    weights_format: str = _enum(1, WEIGHTS_FORMATS)
    keep_num_dims: bool = _bool(2)
    asymmetric_quantize_inputs: bool = _bool(3)


@dataclass(frozen=True, kw_only=True)
class SoftmaxOptions(Options):
    """SOFTMAX: the factor `beta` stands before the exponent."""

    union_type: ClassVar[int] = 9
    beta: float = _float(0)


@dataclass(frozen=True, kw_only=True)
class AddOptions(Options):
    """ADD."""

    union_type: ClassVar[int] = 11
    activation: str = _enum(0, ACTIVATIONS)
    pot_scale_int16: bool = _bool(1, True)


@dataclass(frozen=True, kw_only=True)
class ReshapeOptions(Options):
    """RESHAPE: the new shape, unless a second input gives it; -1 stands for what is left."""

    union_type: ClassVar[int] = 17
    new_shape: tuple[int, ...] = _ints(0)


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(Options):
    """QUANTIZE."""

    union_type: ClassVar[int] = 89


#: Options class of every operator that golden reads and writes.
OPTIONS: dict[str, type[Options]] = {
    "ADD": AddOptions,
    "AVERAGE_POOL_2D": Pool2DOptions,
    "CONV_2D": Conv2DOptions,
    "DEPTHWISE_CONV_2D": DepthwiseConv2DOptions,
    "FULLY_CONNECTED": FullyConnectedOptions,
    "MAX_POOL_2D": Pool2DOptions,
    "QUANTIZE": QuantizeOptions,
    "RESHAPE": ReshapeOptions,
    "SOFTMAX": SoftmaxOptions,
}
