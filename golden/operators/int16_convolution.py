"""Convolutions of int16 activations with int8 weights ("16x8").

CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED and TRANSPOSE_CONV. The accelerators multiply 9 bits
by 9 and run none of these: they have plans of their own, apart from those that hardware is made
from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    requantize_double,
    requantize_float64,
    requantize_int64,
    wrap32,
)
from mensa.golden.graph import Tensor
from mensa.golden.node import INT16, Node
from mensa.golden.operators.filters import (
    channel_multipliers,
    check_padded,
    connected_sizes,
    constant_weights,
    transposed_windows,
    weight_zero_point,
    window_outputs,
)
from mensa.golden.options import (
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
    TransposeConvOptions,
)
from mensa.golden.plan import Int8Array, Int32Array, Plan, Rounding, Shape
from mensa.golden.registry import kernel, planner

Int16Array = npt.NDArray[np.int16]
Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
Int16Requant = Literal["int64", "double", "float64"]

# Elements of the sums that a convolution works on at a time.
_BLOCK = 1 << 18


@dataclass(frozen=True, kw_only=True, eq=False)
class Int16ConvPlan(Plan):
    """CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED of int16 activations.

    ``sum[n, y, x, o] = bias[o] + sum over taps of input * (weight - weight_zero_point)``, taps
    outside the input left out; ``output = clamp(requantise(sum))``. All zero points of
    activations are 0.

    Parameters
    ----------
    input_shape, output_shape : tuples of int
        ``[batch, height, width, channels]``; of a fully connected layer ``[1, 1, rows,
        features]``.
    weights : int8 array ``[output channels, kernel height, kernel width, input channels / groups]``
        A depthwise layer has as many groups as input channels.
    bias : int64 array ``[output channels]``
        Zeros where the file has none.
    groups : int
        Output channels of group g see the g-th share of the input channels.
    weight_zero_point : int
        Of all weights.
    requant : "int64", "double" or "float64"
        What the sums are added up in and scaled by: int64 and `requantize_int64`, wrapping int32
        and `requantize_double`, or `requantize_float64` with `scale`, of sums that wrap only
        with `int32_sums`.
    int32_sums : bool
        Whether sums wrap to 32 bits.
    multiplier, shift, scale : arrays ``[output channels]``
        As in `ConvPlan`.
    stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, clamp_min, clamp_max : int
        As in `ConvPlan`.
    stretch_h, stretch_w : int
        How far apart the input's pixels stand, with zeros between them: the strides of a
        transposed convolution, which is a convolution of such an input with turned weights.
    """

    input_shape: Shape
    output_shape: Shape
    weights: Int8Array
    bias: Int64Array
    groups: int = 1
    weight_zero_point: int = 0
    requant: Int16Requant
    int32_sums: bool
    multiplier: Int32Array
    shift: Int32Array
    scale: Float64Array
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    pad_top: int = 0
    pad_left: int = 0
    stretch_h: int = 1
    stretch_w: int = 1
    clamp_min: int
    clamp_max: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Int16TransposeConvPlan(Int16ConvPlan):
    """TRANSPOSE_CONV of int16 activations, as a convolution of a stretched input."""

    @property
    def operands(self) -> tuple[int, ...]:
        """The input comes after the output's shape and the weights."""
        return (2,)


def _data_and_output(node: Node, position: int = 0) -> tuple[Tensor, Tensor]:
    """Input number `position` and the output, both int16."""
    data, output = node.input(position), node.output()
    node.quantized(data, INT16)
    node.quantized(output, INT16)
    return data, output


def _bias(
    node: Node, position: int, channels: int, kinds: tuple[type[np.generic], ...]
) -> tuple[Int64Array, np.dtype[np.generic] | None]:
    """The bias that is input number `position`, and its type; zeros and None without one."""
    tensor = node.optional(position)
    if tensor is None:
        return np.zeros(channels, np.int64), None
    data = node.constant(position, *kinds)
    node.require(data.size == channels, f"bias has {data.size} elements, wants {channels}", tensor)
    return data.reshape(channels).astype(np.int64), tensor.dtype


def _sums(
    node: Node, rounding: Rounding, position: int, channels: int, bias_type: str
) -> tuple[Int64Array, bool]:
    """The bias, and whether sums are added up in 32 bits.

    TFLM goes by the bias that there is and, without one, by the option `bias_type`; LiteRT goes
    by the option alone, and would take an int32 bias for int64 without it.
    """
    node.require(
        bias_type in ("FLOAT32", "INT32", "INT64"), f"a bias of type {bias_type} is not supported"
    )
    kinds: tuple[type[np.generic], ...] = (np.int64,)
    if rounding == "tflm":
        kinds = (np.int32, np.int64)
    elif bias_type == "INT32":
        kinds = (np.int32,)
    bias, found = _bias(node, position, channels, kinds)
    if rounding == "tflm" and found is not None:
        return bias, found == np.int32
    return bias, bias_type == "INT32"


@planner("CONV_2D", "DEPTHWISE_CONV_2D", types=("int16",))
def _conv(node: Node, rounding: Rounding) -> Plan:
    depthwise = node.operator.op == "DEPTHWISE_CONV_2D"
    options: Conv2DOptions | DepthwiseConv2DOptions
    options = node.options(DepthwiseConv2DOptions) if depthwise else node.options(Conv2DOptions)
    data, output = _data_and_output(node)
    values, weights = constant_weights(node, data, 3 if depthwise else 0)
    n, h, w, c = node.images(data)
    if depthwise:
        one, kh, kw, oc = node.images(weights)
        node.require(
            one == 1, f"must have shape [1, h, w, channels], not {list(weights.shape)}", weights
        )
        node.require(oc % c == 0, f"has {oc} channels for {c} of the input", weights)
        values, groups = values.transpose(3, 1, 2, 0), c
        bias, int32_sums = _bias(node, 2, oc, (np.int64,))[0], False
    else:
        assert isinstance(options, Conv2DOptions)
        oc, kh, kw, ic = node.images(weights)
        node.require(c % ic == 0, f"takes {ic} channels of {c}", weights)
        groups = c // ic
        node.require(oc % groups == 0, f"has {oc} channels in {groups} groups", weights)
        bias, int32_sums = _sums(node, rounding, 2, oc, options.quantized_bias_type)
    oh, pad_top = window_outputs(node, options.padding, h, kh, options.stride_h, options.dilation_h)
    ow, pad_left = window_outputs(
        node, options.padding, w, kw, options.stride_w, options.dilation_w
    )
    node.shape(output, (n, oh, ow, oc))
    reach = (kh - 1) * options.dilation_h + 1, (kw - 1) * options.dilation_w + 1
    check_padded(node, (oh, ow), reach, options, max(c, oc))
    requant: Int16Requant = "double" if int32_sums else "int64"
    multiplier, shift, scale = channel_multipliers(node, data, weights, output, oc, fused=False)
    clamp_min, clamp_max = node.clamp(options.activation, output)
    return Int16ConvPlan(
        input_shape=data.shape,
        output_shape=output.shape,
        weights=values,
        bias=bias,
        groups=groups,
        weight_zero_point=weight_zero_point(node, weights, rounding == "litert" and not depthwise),
        requant=requant,
        int32_sums=int32_sums,
        multiplier=multiplier,
        shift=shift,
        scale=scale,
        stride_h=options.stride_h,
        stride_w=options.stride_w,
        dilation_h=options.dilation_h,
        dilation_w=options.dilation_w,
        pad_top=pad_top,
        pad_left=pad_left,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


@planner("FULLY_CONNECTED", types=("int16",))
def _fully_connected(node: Node, rounding: Rounding) -> Plan:
    options = node.options(FullyConnectedOptions)
    node.require(
        options.weights_format == "DEFAULT",
        f"weights format {options.weights_format} is not supported",
    )
    data, output = _data_and_output(node)
    values, weights = constant_weights(node, data, 0)
    rows, oc, ic = connected_sizes(node, data, weights, output, options)
    bias, int32_sums = _sums(node, rounding, 2, oc, options.quantized_bias_type)
    per_channel = weights.scale.size > 1
    requant: Int16Requant = "double" if int32_sums else "int64"
    if rounding == "litert":
        requant = "float64"
    multiplier, shift, scale = channel_multipliers(
        node, data, weights, output, oc, fused=not per_channel and rounding == "litert"
    )
    clamp_min, clamp_max = node.clamp(options.activation, output)
    return Int16ConvPlan(
        input_shape=(1, 1, rows, ic),
        output_shape=(1, 1, rows, oc),
        weights=values.reshape(oc, 1, 1, ic),
        bias=bias,
        weight_zero_point=(
            weight_zero_point(node, weights) if per_channel else node.zero_point(weights)
        ),
        requant=requant,
        int32_sums=int32_sums,
        multiplier=multiplier,
        shift=shift,
        scale=scale,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


@planner("TRANSPOSE_CONV", types=("int16",))
def _transpose_conv(node: Node, rounding: Rounding) -> Plan:
    options = node.options(TransposeConvOptions)
    data, output = _data_and_output(node, 2)
    node.shape(output, tuple(int(size) for size in node.constant(0, np.int32)))
    values, weights = constant_weights(node, data, 0)
    oc, pad_top, pad_left = transposed_windows(node, data, weights, output, options)
    _, kh, kw, _ = weights.shape
    if rounding == "tflm":
        # Old files have a bias of 16 bits.
        bias, int32_sums = _bias(node, 3, oc, (np.int16, np.int64))[0], False
    else:
        bias, int32_sums = _sums(node, rounding, 3, oc, options.quantized_bias_type)
    requant: Int16Requant = "double" if int32_sums else "int64"
    multiplier, shift, scale = channel_multipliers(node, data, weights, output, oc, fused=False)
    clamp_min, clamp_max = node.clamp(options.activation, output)
    return Int16TransposeConvPlan(
        input_shape=data.shape,
        output_shape=output.shape,
        weights=values[:, ::-1, ::-1],
        bias=bias,
        weight_zero_point=weight_zero_point(node, weights),
        requant=requant,
        int32_sums=int32_sums,
        multiplier=multiplier,
        shift=shift,
        scale=scale,
        pad_top=kh - 1 - pad_top,
        pad_left=kw - 1 - pad_left,
        stretch_h=options.stride_h,
        stretch_w=options.stride_w,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


def _padded(plan: Int16ConvPlan, image: Int16Array) -> Int16Array:
    """One image, its pixels stretched apart, with the zeros around it that its windows reach."""
    _, oh, ow, _ = plan.output_shape
    _, kh, kw, _ = plan.weights.shape
    h, w, c = image.shape
    rows, columns = (h - 1) * plan.stretch_h + 1, (w - 1) * plan.stretch_w + 1
    reach_h = (oh - 1) * plan.stride_h + (kh - 1) * plan.dilation_h + 1
    reach_w = (ow - 1) * plan.stride_w + (kw - 1) * plan.dilation_w + 1
    shape = max(reach_h, plan.pad_top + rows), max(reach_w, plan.pad_left + columns), c
    out = np.zeros(shape, np.int16)
    inside = out[plan.pad_top : plan.pad_top + rows, plan.pad_left : plan.pad_left + columns]
    inside[:: plan.stretch_h, :: plan.stretch_w] = image
    return out


def _blocks(plan: Int16ConvPlan, image: Int16Array) -> Iterator[tuple[slice, Int64Array]]:
    """Some rows of the output at a time, and their sums without the bias.

    A product has less than 24 bits, so float64 holds the sum of any number of them that fit in
    memory, in whatever order they are added.
    """
    padded = _padded(plan, image)
    _, oh, ow, oc = plan.output_shape
    _, kh, kw, ic = plan.weights.shape
    weights = plan.weights.astype(np.float64) - plan.weight_zero_point
    # [kernel height, kernel width, groups, input channels, output channels] of one group each.
    factors = weights.reshape(plan.groups, -1, kh, kw, ic).transpose(2, 3, 0, 4, 1)
    rows = max(1, _BLOCK // (ow * max(oc, padded.shape[2])))
    for top in range(0, oh, rows):
        count = min(rows, oh - top)
        total = np.zeros((count * ow, plan.groups, oc // plan.groups))
        for v in range(kh):
            for u in range(kw):
                y, x = top * plan.stride_h + v * plan.dilation_h, u * plan.dilation_w
                seen = padded[
                    y : y + (count - 1) * plan.stride_h + 1 : plan.stride_h,
                    x : x + (ow - 1) * plan.stride_w + 1 : plan.stride_w,
                ].astype(np.float64)
                pixels = seen.reshape(count * ow, plan.groups, ic)
                if ic == 1:
                    total += pixels * factors[v, u, :, 0]
                    continue
                for group in range(plan.groups):
                    total[:, group] += pixels[:, group] @ factors[v, u, group]
        yield slice(top, top + count), total.reshape(count, ow, oc).astype(np.int64)


@kernel(Int16ConvPlan)
@kernel(Int16TransposeConvPlan)
def convolve(plan: Int16ConvPlan, x: Int16Array) -> Int16Array:
    """Output of the layer. Parameters: int16 ``plan.input_shape``. Returns: the output's shape."""
    out = np.empty(plan.output_shape, np.int16)
    for image, result in zip(x.reshape(plan.input_shape), out, strict=True):
        for rows, total in _blocks(plan, image):
            sums = wrap32(total + plan.bias) if plan.int32_sums else total + plan.bias
            if plan.requant == "float64":
                scaled = requantize_float64(sums, plan.scale)
            elif plan.requant == "double":
                scaled = requantize_double(sums, plan.multiplier, plan.shift)
            else:
                scaled = requantize_int64(sums, plan.multiplier, plan.shift)
            result[rows] = np.clip(scaled, plan.clamp_min, plan.clamp_max)
    return out
