"""What one operator has to compute: everything that TFLite's Prepare functions work out.

A plan is all that is needed to evaluate an operator on int8 values: shapes, padding, zero
points, multipliers, clamps. Golden's kernels evaluate from it and the hardware compiler lowers
from the very same plan.

All values are in the int8 domain. Where a file has uint8 tensors, their data and zero points
are shifted by -128 (`ZERO_POINT_SHIFT`), which leaves every ``value - zero_point`` as it was.
Weights of uint8 files then have a zero point that need not be 0, and ``weight - zero_point``
needs 9 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

Rounding = Literal["tflm", "litert"]
Requant = Literal["double", "float64"]
Shape = tuple[int, ...]
Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]

#: What is added to uint8 values and zero points to bring them into the int8 domain.
ZERO_POINT_SHIFT = -128


class Plan:
    """What one operator has to compute; the base class of all plans.

    A plan's operands are int8 arrays, or of the file's own types where `raw` says so.
    """

    #: Whether the kernel takes and gives the file's own types: uint8 values are then not shifted.
    raw: ClassVar[bool] = False
    #: Whether the operator only says something about variables, so that a run computes nothing.
    declares: ClassVar[bool] = False

    @property
    def operands(self) -> tuple[int, ...]:
        """Positions of the operator's inputs that its kernel takes."""
        return (0,)

    @property
    def states(self) -> tuple[int, ...]:
        """Positions of those operands that are variable tensors, which the kernel gives anew."""
        return ()

    @property
    def indices(self) -> dict[int, tuple[npt.ArrayLike, npt.ArrayLike]]:
        """Positions of those operands that are indices, counts or lengths.

        With each come the least and the largest value that means something, which broadcast to
        the operand's shape.
        """
        return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvPlan(Plan):
    """CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED.

    ``accumulator[n, y, x, o] = bias[o] + sum over taps of (input - input_zero_point) *
    (weight - weight_zero_point)`` in wrapping int32, taps outside the input left out;
    ``output = clamp(requantise(accumulator) + output_zero_point)``.

    Parameters
    ----------
    kind : "conv" or "depthwise"
        A fully connected layer is a 1x1 "conv" whose batch rows are the pixels of one row.
    input_shape, output_shape : tuples of int
        ``[batch, height, width, channels]``; of a fully connected layer ``[1, 1, batch,
        features]``, whatever shapes its tensors have in the file.
    weights : int8 array
        conv: ``[output channels, kernel height, kernel width, input channels / groups]``;
        depthwise: ``[kernel height, kernel width, output channels]``.
    bias : int32 array ``[output channels]``
        Zeros where the file has none.
    groups : int
        Output channels of group g see the g-th share of the input channels; 1 for depthwise.
    depth_multiplier : int
        Depthwise: output channel o sees input channel ``o // depth_multiplier``; else 1.
    input_zero_point, weight_zero_point, output_zero_point : int
        In ``[-128, 127]``.
    multiplier, shift : int32 arrays ``[output channels]``
        Factor of `requantize_double`, positive shifts to the left.
    requant : "double" or "float64"
        Which function requantises: `requantize_double` with `multiplier` and `shift`, or
        `requantize_float64` with `scale`.
    scale : float64 array ``[output channels]``
        The real factor that `multiplier` and `shift` stand for.
    stride_h, stride_w, dilation_h, dilation_w : int
        In pixels of the input, at least 1.
    pad_top, pad_left : int
        Rows and columns of zero points before the input; those after it follow from the shapes.
    clamp_min, clamp_max : int
        The fused activation's range; ``clamp_min > clamp_max`` can't occur.
    unsigned : bool
        Whether the file has uint8 values: a very large result wraps when their zero point is added.
    """

    kind: Literal["conv", "depthwise"]
    input_shape: Shape
    output_shape: Shape
    weights: Int8Array
    bias: Int32Array
    groups: int = 1
    depth_multiplier: int = 1
    input_zero_point: int
    weight_zero_point: int
    output_zero_point: int
    multiplier: Int32Array
    shift: Int32Array
    requant: Requant
    scale: npt.NDArray[np.float64]
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    pad_top: int = 0
    pad_left: int = 0
    clamp_min: int = -128
    clamp_max: int = 127
    unsigned: bool = False

    @property
    def kernel_h(self) -> int:
        """Rows of taps."""
        return int(self.weights.shape[1 if self.kind == "conv" else 0])

    @property
    def kernel_w(self) -> int:
        """Columns of taps."""
        return int(self.weights.shape[2 if self.kind == "conv" else 1])

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padding included."""
        depth = self.weights.shape[3] if self.kind == "conv" else 1
        return math.prod(self.output_shape) * self.kernel_h * self.kernel_w * int(depth)


@dataclass(frozen=True, kw_only=True, eq=False)
class AddPlan(Plan):
    """ADD of two int8 tensors.

    ``scaled_i = requantise((input_i - zero_point_i) << left_shift, multiplier_i, shift_i)``;
    ``output = clamp(requantise(scaled_1 + scaled_2, output_multiplier, output_shift) +
    output_zero_point)``, all by `requantize_double`, shifts not positive.

    Parameters
    ----------
    input_shapes : two tuples of int
        As in the file; they broadcast to `output_shape`.
    same_shape : bool
        Whether both inputs have the output's shape, so that nothing is broadcast.
    constants : two int8 arrays or None
        The value of an input that is a constant of the file.
    zero_points, multipliers, shifts : two int each
        Of the inputs.
    left_shift : int
        Bits that both inputs gain before they are scaled.
    output_zero_point, output_multiplier, output_shift, clamp_min, clamp_max : int
        Of the output.
    """

    input_shapes: tuple[Shape, Shape]
    output_shape: Shape
    same_shape: bool
    constants: tuple[Int8Array | None, Int8Array | None]
    zero_points: tuple[int, int]
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    left_shift: int
    output_zero_point: int
    output_multiplier: int
    output_shift: int
    clamp_min: int
    clamp_max: int

    @property
    def operands(self) -> tuple[int, ...]:
        """Both inputs."""
        return (0, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolPlan(Plan):
    """AVERAGE_POOL_2D or MAX_POOL_2D; taps outside the input are left out and not counted.

    Parameters
    ----------
    kind : "average" or "max"
        What is taken of each window.
    input_shape, output_shape : tuples of int
        ``[batch, height, width, channels]``.
    filter_h, filter_w, stride_h, stride_w : int
        Of the window, in pixels, at least 1.
    pad_top, pad_left : int
        Rows and columns by which the first window reaches out of the input.
    round_half_up : bool
        How an average over n taps with sum S rounds. False (int8 files): half away from zero,
        ``sign(S) * ((|S| + n // 2) // n)``. True (uint8 files, whose kernel averages unsigned
        values): ``(S + 128 * n + n // 2) // n - 128``.
    clamp_min, clamp_max : int
        The fused activation's range.
    """

    kind: Literal["average", "max"]
    input_shape: Shape
    output_shape: Shape
    filter_h: int
    filter_w: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    round_half_up: bool
    clamp_min: int
    clamp_max: int


@dataclass(frozen=True, kw_only=True, eq=False)
class RequantPlan(Plan):
    """QUANTIZE: from one scale to another, or from float32.

    ``output = clamp(requantize_double(input - input_zero_point, multiplier, shift) +
    output_zero_point)``; from float, ``clamp(round(input / output_scale) + output_zero_point)``
    in float32, half away from zero, what int32 does not hold as ``-2**31``.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    float_input : bool
        Whether the input is float32; multiplier and shift are then 0.
    input_zero_point, output_zero_point, multiplier, shift, clamp_min, clamp_max : int
        As in `ConvPlan`, one for the whole tensor.
    output_scale : float
        Of the output tensor.
    unsigned : bool
        As in `ConvPlan`, of the output.
    """

    shape: Shape
    float_input: bool
    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int
    output_scale: float
    clamp_min: int = -128
    clamp_max: int = 127
    unsigned: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftmaxPlan(Plan):
    """SOFTMAX over the last dimension, with output scale 1/256 and zero point -128.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    multiplier, left_shift : int
        ``beta * input scale`` in units of ``2**-26``.
    diff_min : int
        An element further than this below its row's maximum gives 0 and does not count.
    exp : int32 array ``[256]``
        ``exp[d]`` is the exponential of an element d below its row's maximum, in units of
        ``2**-31``; 0 where d is further than `diff_min`.
    """

    shape: Shape
    multiplier: int
    left_shift: int
    diff_min: int
    exp: Int32Array


@dataclass(frozen=True, kw_only=True, eq=False)
class ReshapePlan(Plan):
    """RESHAPE: the same elements in the same order.

    Parameters
    ----------
    input_shape, output_shape : tuples of int
        With equal numbers of elements.
    """

    raw = True

    input_shape: Shape
    output_shape: Shape
