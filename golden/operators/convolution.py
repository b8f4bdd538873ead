"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED on 8-bit values: their plan, and how it is made.

`mensa.golden.operators.convolution_kernel` computes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mensa.golden.node import Node
from mensa.golden.operators.filters import (
    channel_multipliers,
    check_padded,
    connected_sizes,
    constant_bias,
    constant_weights,
    weight_zero_point,
    window_outputs,
)
from mensa.golden.options import (
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
)
from mensa.golden.plan import (
    Int8Array,
    Int32Array,
    Plan,
    Requant,
    Rounding,
    Shape,
)
from mensa.golden.registry import macs, planner, shapes


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


@shapes("CONV_2D", "DEPTHWISE_CONV_2D")
def _convolved(node: Node) -> tuple[Shape, ...]:
    depthwise = node.operator.op == "DEPTHWISE_CONV_2D"
    options: Conv2DOptions | DepthwiseConv2DOptions
    options = node.options(DepthwiseConv2DOptions) if depthwise else node.options(Conv2DOptions)
    n, h, w, _ = node.images(node.input(0))
    first, kh, kw, last = node.images(node.input(1))
    oh, _ = window_outputs(node, options.padding, h, kh, options.stride_h, options.dilation_h)
    ow, _ = window_outputs(node, options.padding, w, kw, options.stride_w, options.dilation_w)
    return ((n, oh, ow, last if depthwise else first),)


@macs("CONV_2D", "DEPTHWISE_CONV_2D")
def _taps(node: Node) -> int:
    weights, output = node.optional(1), node.first_output()
    if weights is None or output is None:
        return 0
    depthwise = node.operator.op == "DEPTHWISE_CONV_2D"
    return output.size * math.prod(weights.shape[1:3] if depthwise else weights.shape[1:])


@planner("CONV_2D")
def _conv(node: Node, rounding: Rounding) -> Plan:
    options = node.options(Conv2DOptions)
    data, output = node.input(0), node.output()
    node.eight_bit(data)
    node.eight_bit(output)
    node.same_type(data, output)
    values, weights = constant_weights(node, data, 0)
    n, h, w, c = node.images(data)
    oc, kh, kw, ic = node.images(weights)
    node.require(c % ic == 0, f"takes {ic} channels of {c}", weights)
    groups = c // ic
    node.require(oc % groups == 0, f"has {oc} channels in {groups} groups", weights)
    oh, pad_top = window_outputs(node, options.padding, h, kh, options.stride_h, options.dilation_h)
    ow, pad_left = window_outputs(
        node, options.padding, w, kw, options.stride_w, options.dilation_w
    )
    node.shape(output, (n, oh, ow, oc))
    reach = (kh - 1) * options.dilation_h + 1, (kw - 1) * options.dilation_w + 1
    check_padded(node, (oh, ow), reach, options, max(c, oc))
    multiplier, shift, scale = channel_multipliers(
        node, data, weights, output, oc, fused=data.dtype == np.uint8
    )
    clamp_min, clamp_max = node.clamp(options.activation, output)
    return ConvPlan(
        kind="conv",
        input_shape=data.shape,
        output_shape=output.shape,
        weights=values,
        bias=constant_bias(node, oc),
        groups=groups,
        input_zero_point=node.zero_point(data),
        weight_zero_point=weight_zero_point(node, weights, rounding == "litert"),
        output_zero_point=node.zero_point(output),
        multiplier=multiplier,
        shift=shift,
        requant="double",
        scale=scale,
        stride_h=options.stride_h,
        stride_w=options.stride_w,
        dilation_h=options.dilation_h,
        dilation_w=options.dilation_w,
        pad_top=pad_top,
        pad_left=pad_left,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
        unsigned=data.dtype == np.uint8,
    )


@planner("DEPTHWISE_CONV_2D")
def _depthwise(node: Node, rounding: Rounding) -> Plan:
    options = node.options(DepthwiseConv2DOptions)
    data, output = node.input(0), node.output()
    node.eight_bit(data)
    node.eight_bit(output)
    node.same_type(data, output)
    values, weights = constant_weights(node, data, 3)
    n, h, w, c = node.images(data)
    one, kh, kw, oc = node.images(weights)
    node.require(one == 1, f"must have shape [1, h, w, channels], not {[one, kh, kw, oc]}", weights)
    # The channels decide; a few old files leave the option 0.
    node.require(oc % c == 0, f"has {oc} channels for {c} of the input", weights)
    oh, pad_top = window_outputs(node, options.padding, h, kh, options.stride_h, options.dilation_h)
    ow, pad_left = window_outputs(
        node, options.padding, w, kw, options.stride_w, options.dilation_w
    )
    node.shape(output, (n, oh, ow, oc))
    reach = (kh - 1) * options.dilation_h + 1, (kw - 1) * options.dilation_w + 1
    check_padded(node, (oh, ow), reach, options, max(c, oc))
    multiplier, shift, scale = channel_multipliers(
        node, data, weights, output, oc, fused=data.dtype == np.uint8
    )
    clamp_min, clamp_max = node.clamp(options.activation, output)
    return ConvPlan(
        kind="depthwise",
        input_shape=data.shape,
        output_shape=output.shape,
        weights=values[0],
        bias=constant_bias(node, oc),
        depth_multiplier=oc // c,
        input_zero_point=node.zero_point(data),
        weight_zero_point=weight_zero_point(node, weights),
        output_zero_point=node.zero_point(output),
        multiplier=multiplier,
        shift=shift,
        requant="double",
        scale=scale,
        stride_h=options.stride_h,
        stride_w=options.stride_w,
        dilation_h=options.dilation_h,
        dilation_w=options.dilation_w,
        pad_top=pad_top,
        pad_left=pad_left,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
        unsigned=data.dtype == np.uint8,
    )


@shapes("FULLY_CONNECTED")
def _connected(node: Node) -> tuple[Shape, ...]:
    data, weights = node.input(0), node.input(1)
    node.require(
        len(weights.shape) == 2 and weights.shape[1] > 0,
        f"must have shape [outputs, inputs], not {list(weights.shape)}",
        weights,
    )
    outputs, depth = weights.shape
    if not node.options(FullyConnectedOptions).keep_num_dims:
        return ((data.size // depth, outputs),)
    node.require(
        data.shape[-1:] == (depth,), f"must have {depth} elements along its last dimension", data
    )
    return ((*data.shape[:-1], outputs),)


@macs("FULLY_CONNECTED")
def _products(node: Node) -> int:
    weights, output = node.optional(1), node.first_output()
    if weights is None or output is None or not weights.shape:
        return 0
    return output.size * weights.shape[-1]


@planner("FULLY_CONNECTED")
def _fully_connected(node: Node, rounding: Rounding) -> Plan:
    options = node.options(FullyConnectedOptions)
    node.require(
        options.weights_format == "DEFAULT",
        f"weights format {options.weights_format} is not supported",
    )
    data, output = node.input(0), node.output()
    node.eight_bit(data)
    node.eight_bit(output)
    node.same_type(data, output)
    values, weights = constant_weights(node, data, 0)
    rows, oc, ic = connected_sizes(node, data, weights, output, options)
    per_channel = weights.scale.size > 1
    multiplier, shift, scale = channel_multipliers(
        node, data, weights, output, oc, fused=not per_channel and rounding == "litert"
    )
    clamp_min, clamp_max = node.clamp(options.activation, output)
    requant: Requant = "float64" if rounding == "litert" else "double"
    return ConvPlan(
        kind="conv",
        input_shape=(1, 1, rows, ic),
        output_shape=(1, 1, rows, oc),
        weights=values.reshape(oc, 1, 1, ic),
        bias=constant_bias(node, oc),
        input_zero_point=node.zero_point(data),
        weight_zero_point=(
            weight_zero_point(node, weights) if per_channel else node.zero_point(weights)
        ),
        output_zero_point=node.zero_point(output),
        multiplier=multiplier,
        shift=shift,
        requant=requant,
        scale=scale,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
        unsigned=data.dtype == np.uint8,
    )
