"""Options of the operators, as in the .tflite schema.

Every class is one table of the schema's ``BuiltinOptions`` union. A field's metadata says where
it stands in that table, so that the reader and the writer both work from these definitions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from mensa.golden.schema import TENSOR_TYPES

PADDINGS = ("SAME", "VALID")
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
MIRROR_PAD_MODES = ("REFLECT", "SYMMETRIC")
WEIGHTS_FORMATS = ("DEFAULT", "SHUFFLED4x16INT8")
#: Types of elements, by the schema's number.
TYPE_NAMES = tuple(name for _, (name, _) in sorted(TENSOR_TYPES.items()))


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


def _text(slot: int) -> Any:
    return field(default="", metadata={"slot": slot, "kind": "text"})


def _bytes(slot: int) -> Any:
    return field(default=b"", metadata={"slot": slot, "kind": "bytes"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of one operator; the base class of all of them."""

    #: Number of the table in the schema's union, 0 for operators without one.
    union_type: ClassVar[int] = 0
    #: Fields that have another value where a file has no table than where the table lacks them.
    without_table: ClassVar[dict[str, Any]] = {}
    #: Where an operator has that number; the table is in the next slot.
    union_slot: ClassVar[int] = 3


@dataclass(frozen=True, kw_only=True)
class NoOptions(Options):
    """An operator without options, or one whose options golden does not read."""


@dataclass(frozen=True, kw_only=True)
class Conv2DOptions(Options):
    """CONV_2D: strides and dilations count pixels of the input.

    `quantized_bias_type` says what sums of int16 activations are added up in, INT32 or INT64;
    FLOAT32 leaves it open.
    """

    union_type: ClassVar[int] = 1
    padding: str = _enum(0, PADDINGS)
    stride_w: int = _int(1)
    stride_h: int = _int(2)
    activation: str = _enum(3, ACTIVATIONS)
    dilation_w: int = _int(4, 1)
    dilation_h: int = _int(5, 1)
    quantized_bias_type: str = _enum(6, TYPE_NAMES)


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
    """FULLY_CONNECTED; `quantized_bias_type` as in CONV_2D."""

    union_type: ClassVar[int] = 8
    activation: str = _enum(0, ACTIVATIONS)
    weights_format: str = _enum(1, WEIGHTS_FORMATS)
    keep_num_dims: bool = _bool(2)
    asymmetric_quantize_inputs: bool = _bool(3)
    quantized_bias_type: str = _enum(4, TYPE_NAMES)


@dataclass(frozen=True, kw_only=True)
class SoftmaxOptions(Options):
    """SOFTMAX: the factor `beta` stands before the exponent."""

    union_type: ClassVar[int] = 9
    beta: float = _float(0)


@dataclass(frozen=True, kw_only=True)
class AddOptions(Options):
    """ADD."""

    union_type: ClassVar[int] = 11
    without_table: ClassVar[dict[str, Any]] = {"pot_scale_int16": False}
    activation: str = _enum(0, ACTIVATIONS)
    pot_scale_int16: bool = _bool(1, True)


@dataclass(frozen=True, kw_only=True)
class ReshapeOptions(Options):
    """RESHAPE: the new shape, unless a second input gives it; -1 stands for what is left."""

    union_type: ClassVar[int] = 17
    new_shape: tuple[int, ...] = _ints(0)


@dataclass(frozen=True, kw_only=True)
class UnidirectionalSequenceLSTMOptions(Options):
    """UNIDIRECTIONAL_SEQUENCE_LSTM: a clip of 0 is none; with `time_major`, time comes first."""

    union_type: ClassVar[int] = 71
    activation: str = _enum(0, ACTIVATIONS)
    cell_clip: float = _float(1)
    proj_clip: float = _float(2)
    time_major: bool = _bool(3)
    asymmetric_quantize_inputs: bool = _bool(4)
    diagonal_recurrent_tensors: bool = _bool(5)


@dataclass(frozen=True, kw_only=True)
class CallOnceOptions(Options):
    """CALL_ONCE: the subgraph that the first run calls, 1 for ``graph.subgraphs[0]``."""

    union_type: ClassVar[int] = 103
    init_subgraph_index: int = _int(0)


@dataclass(frozen=True, kw_only=True)
class VarHandleOptions(Options):
    """VAR_HANDLE: the variable's name."""

    union_type: ClassVar[int] = 111
    container: str = _text(0)
    shared_name: str = _text(1)


@dataclass(frozen=True, kw_only=True)
class ReadVariableOptions(Options):
    """READ_VARIABLE."""

    union_type: ClassVar[int] = 112


@dataclass(frozen=True, kw_only=True)
class AssignVariableOptions(Options):
    """ASSIGN_VARIABLE."""

    union_type: ClassVar[int] = 113


@dataclass(frozen=True, kw_only=True)
class StableHLOCompositeOptions(Options):
    """STABLEHLO_COMPOSITE: its name, and the subgraph of the file that it stands for.

    Its attributes are a flexbuffer.
    """

    union_type: ClassVar[int] = 21
    union_slot: ClassVar[int] = 11
    name: str = _text(0)
    decomposition_subgraph_index: int = _int(1)
    composite_attributes: bytes = _bytes(2)


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(Options):
    """QUANTIZE."""

    union_type: ClassVar[int] = 89


@dataclass(frozen=True, kw_only=True)
class ConcatenationOptions(Options):
    """CONCATENATION: a negative `axis` counts from the last dimension."""

    union_type: ClassVar[int] = 10
    axis: int = _int(0)
    activation: str = _enum(1, ACTIVATIONS)


@dataclass(frozen=True, kw_only=True)
class L2NormOptions(Options):
    """L2_NORMALIZATION."""

    union_type: ClassVar[int] = 12
    activation: str = _enum(0, ACTIVATIONS)


@dataclass(frozen=True, kw_only=True)
class ResizeBilinearOptions(Options):
    """RESIZE_BILINEAR; slots 0 and 1 are of old versions."""

    union_type: ClassVar[int] = 15
    align_corners: bool = _bool(2)
    half_pixel_centers: bool = _bool(3)


@dataclass(frozen=True, kw_only=True)
class SpaceToDepthOptions(Options):
    """SPACE_TO_DEPTH: the block's height and width in pixels."""

    union_type: ClassVar[int] = 19
    block_size: int = _int(0)


@dataclass(frozen=True, kw_only=True)
class MulOptions(Options):
    """MUL."""

    union_type: ClassVar[int] = 21
    activation: str = _enum(0, ACTIVATIONS)


@dataclass(frozen=True, kw_only=True)
class PadOptions(Options):
    """PAD."""

    union_type: ClassVar[int] = 22


@dataclass(frozen=True, kw_only=True)
class TransposeOptions(Options):
    """TRANSPOSE."""

    union_type: ClassVar[int] = 26


@dataclass(frozen=True, kw_only=True)
class ReducerOptions(Options):
    """MEAN, SUM and the other reductions: whether a reduced dimension stays, with size 1."""

    union_type: ClassVar[int] = 27
    keep_dims: bool = _bool(0)


@dataclass(frozen=True, kw_only=True)
class SubOptions(Options):
    """SUB."""

    union_type: ClassVar[int] = 28
    without_table: ClassVar[dict[str, Any]] = {"pot_scale_int16": False}
    activation: str = _enum(0, ACTIVATIONS)
    pot_scale_int16: bool = _bool(1, True)


@dataclass(frozen=True, kw_only=True)
class SqueezeOptions(Options):
    """SQUEEZE: the dimensions to leave out, none for all of size 1."""

    union_type: ClassVar[int] = 30
    squeeze_dims: tuple[int, ...] = _ints(0)


@dataclass(frozen=True, kw_only=True)
class StridedSliceOptions(Options):
    """STRIDED_SLICE: bit i of a mask is about dimension i of the slice."""

    union_type: ClassVar[int] = 32
    begin_mask: int = _int(0)
    end_mask: int = _int(1)
    ellipsis_mask: int = _int(2)
    new_axis_mask: int = _int(3)
    shrink_axis_mask: int = _int(4)
    offset: bool = _bool(5)


@dataclass(frozen=True, kw_only=True)
class SplitOptions(Options):
    """SPLIT: into how many equal parts."""

    union_type: ClassVar[int] = 35
    num_splits: int = _int(0)


@dataclass(frozen=True, kw_only=True)
class MaximumMinimumOptions(Options):
    """MAXIMUM and MINIMUM."""

    union_type: ClassVar[int] = 39


@dataclass(frozen=True, kw_only=True)
class PadV2Options(Options):
    """PADV2."""

    union_type: ClassVar[int] = 43


@dataclass(frozen=True, kw_only=True)
class SliceOptions(Options):
    """SLICE."""

    union_type: ClassVar[int] = 48


@dataclass(frozen=True, kw_only=True)
class TransposeConvOptions(Options):
    """TRANSPOSE_CONV: strides count pixels of the output; `quantized_bias_type` as in CONV_2D."""

    union_type: ClassVar[int] = 49
    padding: str = _enum(0, PADDINGS)
    stride_w: int = _int(1)
    stride_h: int = _int(2)
    activation: str = _enum(3, ACTIVATIONS)
    quantized_bias_type: str = _enum(4, TYPE_NAMES)


@dataclass(frozen=True, kw_only=True)
class TileOptions(Options):
    """TILE."""

    union_type: ClassVar[int] = 51


@dataclass(frozen=True, kw_only=True)
class ExpandDimsOptions(Options):
    """EXPAND_DIMS."""

    union_type: ClassVar[int] = 52


@dataclass(frozen=True, kw_only=True)
class PackOptions(Options):
    """PACK: how many inputs, and which dimension of the output counts them."""

    union_type: ClassVar[int] = 59
    values_count: int = _int(0)
    axis: int = _int(1)


@dataclass(frozen=True, kw_only=True)
class UnpackOptions(Options):
    """UNPACK: how many outputs, and which dimension of the input counts them."""

    union_type: ClassVar[int] = 64
    num: int = _int(0)
    axis: int = _int(1)


@dataclass(frozen=True, kw_only=True)
class ResizeNearestNeighborOptions(Options):
    """RESIZE_NEAREST_NEIGHBOR."""

    union_type: ClassVar[int] = 74
    align_corners: bool = _bool(0)
    half_pixel_centers: bool = _bool(1)


@dataclass(frozen=True, kw_only=True)
class LeakyReluOptions(Options):
    """LEAKY_RELU: the slope below zero."""

    union_type: ClassVar[int] = 75
    alpha: float = _float(0)


@dataclass(frozen=True, kw_only=True)
class MirrorPadOptions(Options):
    """MIRROR_PAD: REFLECT leaves the border's own elements out, SYMMETRIC repeats them."""

    union_type: ClassVar[int] = 77
    without_table: ClassVar[dict[str, Any]] = {"mode": "SYMMETRIC"}
    mode: str = _enum(0, MIRROR_PAD_MODES)


@dataclass(frozen=True, kw_only=True)
class SplitVOptions(Options):
    """SPLIT_V: into how many parts, whose sizes are an input."""

    union_type: ClassVar[int] = 79
    num_splits: int = _int(0)


@dataclass(frozen=True, kw_only=True)
class HardSwishOptions(Options):
    """HARD_SWISH."""

    union_type: ClassVar[int] = 91


@dataclass(frozen=True, kw_only=True)
class DepthToSpaceOptions(Options):
    """DEPTH_TO_SPACE: the block's height and width in pixels."""

    union_type: ClassVar[int] = 94
    block_size: int = _int(0)


@dataclass(frozen=True, kw_only=True)
class BatchMatMulOptions(Options):
    """BATCH_MATMUL: whether the last two dimensions of an operand are swapped first."""

    union_type: ClassVar[int] = 101
    adj_x: bool = _bool(0)
    adj_y: bool = _bool(1)
    asymmetric_quantize_inputs: bool = _bool(2)


@dataclass(frozen=True, kw_only=True)
class BatchToSpaceNDOptions(Options):
    """BATCH_TO_SPACE_ND."""

    union_type: ClassVar[int] = 24


@dataclass(frozen=True, kw_only=True)
class SpaceToBatchNDOptions(Options):
    """SPACE_TO_BATCH_ND."""

    union_type: ClassVar[int] = 25


@dataclass(frozen=True, kw_only=True)
class TopKV2Options(Options):
    """TOPK_V2."""

    union_type: ClassVar[int] = 34


@dataclass(frozen=True, kw_only=True)
class ReverseV2Options(Options):
    """REVERSE_V2."""

    union_type: ClassVar[int] = 81


@dataclass(frozen=True, kw_only=True)
class ReverseSequenceOptions(Options):
    """REVERSE_SEQUENCE: the dimension of a sequence's steps, and the one that counts sequences."""

    union_type: ClassVar[int] = 87
    seq_dim: int = _int(0)
    batch_dim: int = _int(1)


@dataclass(frozen=True, kw_only=True)
class ScatterNdOptions(Options):
    """SCATTER_ND."""

    union_type: ClassVar[int] = 97


@dataclass(frozen=True, kw_only=True)
class CumsumOptions(Options):
    """CUMSUM: whether a sum leaves its own element out, and whether it runs from the end."""

    union_type: ClassVar[int] = 102
    exclusive: bool = _bool(0)
    reverse: bool = _bool(1)


@dataclass(frozen=True, kw_only=True)
class BroadcastToOptions(Options):
    """BROADCAST_TO."""

    union_type: ClassVar[int] = 104


@dataclass(frozen=True, kw_only=True)
class DynamicUpdateSliceOptions(Options):
    """DYNAMIC_UPDATE_SLICE."""

    union_type: ClassVar[int] = 117


@dataclass(frozen=True, kw_only=True)
class SVDFOptions(Options):
    """SVDF: how many filters make one unit."""

    union_type: ClassVar[int] = 6
    rank: int = _int(0)
    activation: str = _enum(1, ACTIVATIONS)
    asymmetric_quantize_inputs: bool = _bool(2)


@dataclass(frozen=True, kw_only=True)
class GatherOptions(Options):
    """GATHER: the dimension that is indexed, and how many first ones go with the indices'."""

    union_type: ClassVar[int] = 23
    axis: int = _int(0)
    batch_dims: int = _int(1)


@dataclass(frozen=True, kw_only=True)
class DivOptions(Options):
    """DIV."""

    union_type: ClassVar[int] = 29
    activation: str = _enum(0, ACTIVATIONS)


@dataclass(frozen=True, kw_only=True)
class ExpOptions(Options):
    """EXP."""

    union_type: ClassVar[int] = 33


@dataclass(frozen=True, kw_only=True)
class CastOptions(Options):
    """CAST: both types again, which the tensors themselves say."""

    union_type: ClassVar[int] = 37
    in_data_type: str = _enum(0, TYPE_NAMES)
    out_data_type: str = _enum(1, TYPE_NAMES)


@dataclass(frozen=True, kw_only=True)
class DequantizeOptions(Options):
    """DEQUANTIZE."""

    union_type: ClassVar[int] = 38


@dataclass(frozen=True, kw_only=True)
class ArgMaxOptions(Options):
    """ARG_MAX: the type of the places."""

    union_type: ClassVar[int] = 40
    output_type: str = _enum(0, TYPE_NAMES)


@dataclass(frozen=True, kw_only=True)
class ArgMinOptions(Options):
    """ARG_MIN: the type of the places."""

    union_type: ClassVar[int] = 57
    output_type: str = _enum(0, TYPE_NAMES)


@dataclass(frozen=True, kw_only=True)
class FloorDivOptions(Options):
    """FLOOR_DIV."""

    union_type: ClassVar[int] = 65


@dataclass(frozen=True, kw_only=True)
class GatherNdOptions(Options):
    """GATHER_ND."""

    union_type: ClassVar[int] = 83


@dataclass(frozen=True, kw_only=True)
class ShapeOptions(Options):
    """SHAPE: the type of the sizes."""

    union_type: ClassVar[int] = 55
    out_type: str = _enum(0, TYPE_NAMES)


@dataclass(frozen=True, kw_only=True)
class LogSoftmaxOptions(Options):
    """LOG_SOFTMAX."""

    union_type: ClassVar[int] = 36


@dataclass(frozen=True, kw_only=True)
class LessOptions(Options):
    """LESS."""

    union_type: ClassVar[int] = 41


@dataclass(frozen=True, kw_only=True)
class NegOptions(Options):
    """NEG."""

    union_type: ClassVar[int] = 42


@dataclass(frozen=True, kw_only=True)
class GreaterOptions(Options):
    """GREATER."""

    union_type: ClassVar[int] = 44


@dataclass(frozen=True, kw_only=True)
class GreaterEqualOptions(Options):
    """GREATER_EQUAL."""

    union_type: ClassVar[int] = 45


@dataclass(frozen=True, kw_only=True)
class LessEqualOptions(Options):
    """LESS_EQUAL."""

    union_type: ClassVar[int] = 46


@dataclass(frozen=True, kw_only=True)
class SelectOptions(Options):
    """SELECT."""

    union_type: ClassVar[int] = 47


@dataclass(frozen=True, kw_only=True)
class EqualOptions(Options):
    """EQUAL."""

    union_type: ClassVar[int] = 53


@dataclass(frozen=True, kw_only=True)
class NotEqualOptions(Options):
    """NOT_EQUAL."""

    union_type: ClassVar[int] = 54


@dataclass(frozen=True, kw_only=True)
class LogicalOrOptions(Options):
    """LOGICAL_OR."""

    union_type: ClassVar[int] = 60


@dataclass(frozen=True, kw_only=True)
class LogicalAndOptions(Options):
    """LOGICAL_AND."""

    union_type: ClassVar[int] = 62


@dataclass(frozen=True, kw_only=True)
class LogicalNotOptions(Options):
    """LOGICAL_NOT."""

    union_type: ClassVar[int] = 63


@dataclass(frozen=True, kw_only=True)
class SquareOptions(Options):
    """SQUARE."""

    union_type: ClassVar[int] = 66


@dataclass(frozen=True, kw_only=True)
class SquaredDifferenceOptions(Options):
    """SQUARED_DIFFERENCE."""

    union_type: ClassVar[int] = 76


@dataclass(frozen=True, kw_only=True)
class AbsOptions(Options):
    """ABS."""

    union_type: ClassVar[int] = 78


@dataclass(frozen=True, kw_only=True)
class SelectV2Options(Options):
    """SELECT_V2."""

    union_type: ClassVar[int] = 98


@dataclass(frozen=True, kw_only=True)
class GeluOptions(Options):
    """GELU: whether the normal distribution is approximated by a hyperbolic tangent."""

    union_type: ClassVar[int] = 116
    approximate: bool = _bool(0)


@dataclass(frozen=True, kw_only=True)
class SignOptions(Options):
    """SIGN."""

    union_type: ClassVar[int] = 123


#: Options class of every operator that golden reads and writes.
OPTIONS: dict[str, type[Options]] = {
    "ABS": AbsOptions,
    "ADD": AddOptions,
    "ARG_MAX": ArgMaxOptions,
    "ARG_MIN": ArgMinOptions,
    "ASSIGN_VARIABLE": AssignVariableOptions,
    "AVERAGE_POOL_2D": Pool2DOptions,
    "BATCH_MATMUL": BatchMatMulOptions,
    "BATCH_TO_SPACE_ND": BatchToSpaceNDOptions,
    "BROADCAST_TO": BroadcastToOptions,
    "CALL_ONCE": CallOnceOptions,
    "CAST": CastOptions,
    "CEIL": NoOptions,
    "CONCATENATION": ConcatenationOptions,
    "CONV_2D": Conv2DOptions,
    "CUMSUM": CumsumOptions,
    "DEPTHWISE_CONV_2D": DepthwiseConv2DOptions,
    "DEPTH_TO_SPACE": DepthToSpaceOptions,
    "DEQUANTIZE": DequantizeOptions,
    "DIV": DivOptions,
    "DYNAMIC_UPDATE_SLICE": DynamicUpdateSliceOptions,
    "ELU": NoOptions,
    "EMBEDDING_LOOKUP": NoOptions,
    "EQUAL": EqualOptions,
    "EXP": ExpOptions,
    "EXPAND_DIMS": ExpandDimsOptions,
    "FLOOR": NoOptions,
    "FLOOR_DIV": FloorDivOptions,
    "FULLY_CONNECTED": FullyConnectedOptions,
    "GATHER": GatherOptions,
    "GATHER_ND": GatherNdOptions,
    "GELU": GeluOptions,
    "GREATER": GreaterOptions,
    "GREATER_EQUAL": GreaterEqualOptions,
    "HARD_SWISH": HardSwishOptions,
    "L2_NORMALIZATION": L2NormOptions,
    "LEAKY_RELU": LeakyReluOptions,
    "LESS": LessOptions,
    "LESS_EQUAL": LessEqualOptions,
    "LOGICAL_AND": LogicalAndOptions,
    "LOGICAL_NOT": LogicalNotOptions,
    "LOGICAL_OR": LogicalOrOptions,
    "LOGISTIC": NoOptions,
    "LOG_SOFTMAX": LogSoftmaxOptions,
    "MAXIMUM": MaximumMinimumOptions,
    "MAX_POOL_2D": Pool2DOptions,
    "MEAN": ReducerOptions,
    "MINIMUM": MaximumMinimumOptions,
    "MIRROR_PAD": MirrorPadOptions,
    "MUL": MulOptions,
    "NEG": NegOptions,
    "NOT_EQUAL": NotEqualOptions,
    "PACK": PackOptions,
    "PAD": PadOptions,
    "PADV2": PadV2Options,
    "PRELU": NoOptions,
    "QUANTIZE": QuantizeOptions,
    "READ_VARIABLE": ReadVariableOptions,
    "REDUCE_ALL": ReducerOptions,
    "REDUCE_ANY": ReducerOptions,
    "REDUCE_MAX": ReducerOptions,
    "REDUCE_MIN": ReducerOptions,
    "RELU": NoOptions,
    "RELU6": NoOptions,
    "RELU_0_TO_1": NoOptions,
    "RELU_N1_TO_1": NoOptions,
    "RESHAPE": ReshapeOptions,
    "RESIZE_BILINEAR": ResizeBilinearOptions,
    "RESIZE_NEAREST_NEIGHBOR": ResizeNearestNeighborOptions,
    "REVERSE_SEQUENCE": ReverseSequenceOptions,
    "REVERSE_V2": ReverseV2Options,
    "ROUND": NoOptions,
    "RSQRT": NoOptions,
    "SCATTER_ND": ScatterNdOptions,
    "SELECT": SelectOptions,
    "SELECT_V2": SelectV2Options,
    "SHAPE": ShapeOptions,
    "SIGN": SignOptions,
    "SLICE": SliceOptions,
    "SOFTMAX": SoftmaxOptions,
    "SPACE_TO_BATCH_ND": SpaceToBatchNDOptions,
    "SPACE_TO_DEPTH": SpaceToDepthOptions,
    "SPLIT": SplitOptions,
    "SPLIT_V": SplitVOptions,
    "SQRT": NoOptions,
    "SQUARE": SquareOptions,
    "SQUARED_DIFFERENCE": SquaredDifferenceOptions,
    "SQUEEZE": SqueezeOptions,
    "STABLEHLO_COMPOSITE": StableHLOCompositeOptions,
    "STRIDED_SLICE": StridedSliceOptions,
    "SUB": SubOptions,
    "SUM": ReducerOptions,
    "SVDF": SVDFOptions,
    "TANH": NoOptions,
    "TILE": TileOptions,
    "TOPK_V2": TopKV2Options,
    "TRANSPOSE": TransposeOptions,
    "TRANSPOSE_CONV": TransposeConvOptions,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": UnidirectionalSequenceLSTMOptions,
    "UNPACK": UnpackOptions,
    "VAR_HANDLE": VarHandleOptions,
}
