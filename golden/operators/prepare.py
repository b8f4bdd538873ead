"""Making plans: what the Prepare functions of TFLite's kernels compute, operator by operator."""

from __future__ import annotations

import math

import numpy as np

from mensa.golden.arithmetic.fixed_point import quantize_multiplier
from mensa.golden.graph import Tensor
from mensa.golden.node import Place, to_int8
from mensa.golden.operators.filters import (
    channel_multipliers,
    check_padded,
    constant_bias,
    constant_weights,
    weight_zero_point,
    window_outputs,
)
from mensa.golden.operators.softmax import exp_table, scaled_differences
from mensa.golden.options import (
    AddOptions,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
    Pool2DOptions,
    ReshapeOptions,
    SoftmaxOptions,
)
from mensa.golden.plan import (
    AddPlan,
    ConvPlan,
    Int8Array,
    Plan,
    PoolPlan,
    Requant,
    RequantPlan,
    ReshapePlan,
    Rounding,
    Shape,
    SoftmaxPlan,
)
from mensa.golden.registry import planner, shapes

# Taps along one dimension of a pool's window.
_MAX_POOL_WINDOW = 1 << 16

#: ADD gives its inputs this many more bits before it scales them (add.cc).
ADD_LEFT_SHIFT = 20


@shapes("CONV_2D", "DEPTHWISE_CONV_2D")
def _convolved(place: Place) -> tuple[Shape, ...]:
    depthwise = place.operator.op == "DEPTHWISE_CONV_2D"
    options: Conv2DOptions | DepthwiseConv2DOptions
    options = place.options(DepthwiseConv2DOptions) if depthwise else place.options(Conv2DOptions)
    n, h, w, _ = place.images(place.input(0))
    first, kh, kw, last = place.images(place.input(1))
    oh, _ = window_outputs(place, options.padding, h, kh, options.stride_h, options.dilation_h)
    ow, _ = window_outputs(place, options.padding, w, kw, options.stride_w, options.dilation_w)
    return ((n, oh, ow, last if depthwise else first),)


@planner("CONV_2D")
def _conv(place: Place, rounding: Rounding) -> Plan:
    options = place.options(Conv2DOptions)
    data, output = place.input(0), place.output()
    place.eight_bit(data)
    place.eight_bit(output)
    place.same_type(data, output)
    values, weights = constant_weights(place, data, 0)
    n, h, w, c = place.images(data)
    oc, kh, kw, ic = place.images(weights)
    place.require(c % ic == 0, f"takes {ic} channels of {c}", weights)
    groups = c // ic
    place.require(oc % groups == 0, f"has {oc} channels in {groups} groups", weights)
    oh, pad_top = window_outputs(
        place, options.padding, h, kh, options.stride_h, options.dilation_h
    )
    ow, pad_left = window_outputs(
        place, options.padding, w, kw, options.stride_w, options.dilation_w
    )
    place.shape(output, (n, oh, ow, oc))
    reach = (kh - 1) * options.dilation_h + 1, (kw - 1) * options.dilation_w + 1
    check_padded(place, (oh, ow), reach, options, max(c, oc))
    multiplier, shift, scale = channel_multipliers(
        place, data, weights, output, oc, fused=data.dtype == np.uint8
    )
    clamp_min, clamp_max = place.clamp(options.activation, output)
    return ConvPlan(
        kind="conv",
        input_shape=data.shape,
        output_shape=output.shape,
        weights=values,
        bias=constant_bias(place, oc),
        groups=groups,
        input_zero_point=place.zero_point(data),
        weight_zero_point=weight_zero_point(place, weights, rounding == "litert"),
        output_zero_point=place.zero_point(output),
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
def _depthwise(place: Place, rounding: Rounding) -> Plan:
    options = place.options(DepthwiseConv2DOptions)
    data, output = place.input(0), place.output()
    place.eight_bit(data)
    place.eight_bit(output)
    place.same_type(data, output)
    values, weights = constant_weights(place, data, 3)
    n, h, w, c = place.images(data)
    one, kh, kw, oc = place.images(weights)
    place.require(
        one == 1, f"must have shape [1, h, w, channels], not {[one, kh, kw, oc]}", weights
    )
    # The channels decide; a few old files leave the option 0.
    place.require(oc % c == 0, f"has {oc} channels for {c} of the input", weights)
    oh, pad_top = window_outputs(
        place, options.padding, h, kh, options.stride_h, options.dilation_h
    )
    ow, pad_left = window_outputs(
        place, options.padding, w, kw, options.stride_w, options.dilation_w
    )
    place.shape(output, (n, oh, ow, oc))
    reach = (kh - 1) * options.dilation_h + 1, (kw - 1) * options.dilation_w + 1
    check_padded(place, (oh, ow), reach, options, max(c, oc))
    multiplier, shift, scale = channel_multipliers(
        place, data, weights, output, oc, fused=data.dtype == np.uint8
    )
    clamp_min, clamp_max = place.clamp(options.activation, output)
    return ConvPlan(
        kind="depthwise",
        input_shape=data.shape,
        output_shape=output.shape,
        weights=values[0],
        bias=constant_bias(place, oc),
        depth_multiplier=oc // c,
        input_zero_point=place.zero_point(data),
        weight_zero_point=weight_zero_point(place, weights),
        output_zero_point=place.zero_point(output),
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
def _connected(place: Place) -> tuple[Shape, ...]:
    data, weights = place.input(0), place.input(1)
    place.require(
        len(weights.shape) == 2 and weights.shape[1] > 0,
        f"must have shape [outputs, inputs], not {list(weights.shape)}",
        weights,
    )
    outputs, depth = weights.shape
    if not place.options(FullyConnectedOptions).keep_num_dims:
        return ((data.size // depth, outputs),)
    place.require(
        data.shape[-1:] == (depth,), f"must have {depth} elements along its last dimension", data
    )
    return ((*data.shape[:-1], outputs),)


@planner("FULLY_CONNECTED")
def _fully_connected(place: Place, rounding: Rounding) -> Plan:
    options = place.options(FullyConnectedOptions)
    place.require(
        options.weights_format == "DEFAULT",
        f"weights format {options.weights_format} is not supported",
    )
    data, output = place.input(0), place.output()
    place.eight_bit(data)
    place.eight_bit(output)
    place.same_type(data, output)
    values, weights = constant_weights(place, data, 0)
    place.require(
        len(weights.shape) == 2,
        f"must have shape [outputs, inputs], not {list(weights.shape)}",
        weights,
    )
    oc, ic = weights.shape
    place.require(data.size % ic == 0, f"has {data.size} elements, not a multiple of {ic}", data)
    rows = data.size // ic
    wanted = (*data.shape[:-1], oc) if options.keep_num_dims else (rows, oc)
    place.require(
        output.size == rows * oc and output.shape[-1:] == (oc,),
        f"has shape {list(output.shape)}, the operator gives {list(wanted)}",
        output,
    )
    per_channel = weights.scale.size > 1
    multiplier, shift, scale = channel_multipliers(
        place, data, weights, output, oc, fused=not per_channel and rounding == "litert"
    )
    clamp_min, clamp_max = place.clamp(options.activation, output)
    requant: Requant = "float64" if rounding == "litert" else "double"
    return ConvPlan(
        kind="conv",
        input_shape=(1, 1, rows, ic),
        output_shape=(1, 1, rows, oc),
        weights=values.reshape(oc, 1, 1, ic),
        bias=constant_bias(place, oc),
        input_zero_point=place.zero_point(data),
        weight_zero_point=(
            weight_zero_point(place, weights) if per_channel else place.zero_point(weights)
        ),
        output_zero_point=place.zero_point(output),
        multiplier=multiplier,
        shift=shift,
        requant=requant,
        scale=scale,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
        unsigned=data.dtype == np.uint8,
    )


@planner("ADD")
def _add(place: Place, rounding: Rounding) -> Plan:
    options = place.options(AddOptions)
    first, second, output = place.input(0), place.input(1), place.output()
    for tensor in (first, second, output):
        place.eight_bit(tensor)
    place.same_type(first, second)
    place.same_type(first, output)
    place.shape(output, place.broadcast(first, second))
    scales = float(first.scale[0]), float(second.scale[0])
    twice = 2.0 * max(scales)
    factors = [quantize_multiplier(scale / twice) for scale in scales]
    last, last_shift = quantize_multiplier(twice / ((1 << ADD_LEFT_SHIFT) * float(output.scale[0])))
    place.require(last_shift <= 0, "its scale is too small for that of the inputs", output)
    clamp_min, clamp_max = place.clamp(options.activation, output)

    def constant(tensor: Tensor) -> Int8Array | None:
        return None if tensor.data is None else to_int8(tensor.data)

    return AddPlan(
        input_shapes=(first.shape, second.shape),
        output_shape=output.shape,
        same_shape=first.shape == second.shape,
        constants=(constant(first), constant(second)),
        zero_points=(place.zero_point(first), place.zero_point(second)),
        multipliers=(factors[0][0], factors[1][0]),
        shifts=(factors[0][1], factors[1][1]),
        left_shift=ADD_LEFT_SHIFT,
        output_zero_point=place.zero_point(output),
        output_multiplier=last,
        output_shift=last_shift,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


@shapes("AVERAGE_POOL_2D", "MAX_POOL_2D")
def _pooled(place: Place) -> tuple[Shape, ...]:
    options = place.options(Pool2DOptions)
    n, h, w, c = place.images(place.input(0))
    oh, _ = window_outputs(place, options.padding, h, options.filter_h, options.stride_h, 1)
    ow, _ = window_outputs(place, options.padding, w, options.filter_w, options.stride_w, 1)
    return ((n, oh, ow, c),)


@planner("AVERAGE_POOL_2D", "MAX_POOL_2D")
def _pool(place: Place, rounding: Rounding) -> Plan:
    options = place.options(Pool2DOptions)
    data, output = place.input(0), place.output()
    place.eight_bit(data)
    place.eight_bit(output)
    place.same_type(data, output)
    n, h, w, c = place.images(data)
    oh, pad_top = window_outputs(place, options.padding, h, options.filter_h, options.stride_h, 1)
    ow, pad_left = window_outputs(place, options.padding, w, options.filter_w, options.stride_w, 1)
    place.shape(output, (n, oh, ow, c))
    place.require(
        max(options.filter_h, options.filter_w) <= _MAX_POOL_WINDOW,
        f"a window of {options.filter_h} x {options.filter_w} is too large",
    )
    check_padded(place, (oh, ow), (options.filter_h, options.filter_w), options, c)
    clamp_min, clamp_max = place.clamp(options.activation, output)
    return PoolPlan(
        kind="average" if place.operator.op == "AVERAGE_POOL_2D" else "max",
        input_shape=data.shape,
        output_shape=output.shape,
        filter_h=options.filter_h,
        filter_w=options.filter_w,
        stride_h=options.stride_h,
        stride_w=options.stride_w,
        pad_top=pad_top,
        pad_left=pad_left,
        round_half_up=data.dtype == np.uint8,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


@shapes("QUANTIZE")
def _quantized(place: Place) -> tuple[Shape, ...]:
    return (place.input(0).shape,)


@planner("QUANTIZE")
def _quantize(place: Place, rounding: Rounding) -> Plan:
    data, output = place.input(0), place.output()
    place.eight_bit(output)
    place.shape(output, data.shape)
    if data.dtype == np.float32:
        return RequantPlan(
            shape=data.shape,
            float_input=True,
            input_zero_point=0,
            output_zero_point=place.zero_point(output),
            multiplier=0,
            shift=0,
            output_scale=float(output.scale[0]),
            unsigned=output.dtype == np.uint8,
        )
    place.eight_bit(data)
    real = float(data.scale[0]) / float(output.scale[0])
    multiplier, shift = quantize_multiplier(real)
    return RequantPlan(
        shape=data.shape,
        float_input=False,
        input_zero_point=place.zero_point(data),
        output_zero_point=place.zero_point(output),
        multiplier=multiplier,
        shift=shift,
        output_scale=float(output.scale[0]),
        unsigned=output.dtype == np.uint8,
    )


@planner("SOFTMAX")
def _softmax(place: Place, rounding: Rounding) -> Plan:
    options = place.options(SoftmaxOptions)
    data, output = place.input(0), place.output()
    place.eight_bit(data)
    place.eight_bit(output)
    place.same_type(data, output)
    place.shape(output, data.shape)
    place.require(len(data.shape) >= 1, "softmax needs at least one dimension", data)
    # The kernel's result is in units of 1/256 from the lowest value, whatever the file says.
    if output.dtype == np.int8:
        place.require(
            place.zero_point(output) == -128
            and abs(float(output.scale[0]) - 1 / 256) <= 0.001 / 256,
            "a softmax gives scale 1/256 and zero point -128",
            output,
        )
    multiplier, left_shift, diff_min = scaled_differences(
        place, data, float(np.float32(options.beta))
    )
    return SoftmaxPlan(
        shape=data.shape,
        multiplier=multiplier,
        left_shift=left_shift,
        diff_min=diff_min,
        exp=exp_table(multiplier, left_shift, diff_min),
    )


def _new_shape(place: Place) -> Shape | None:
    """The shape that a RESHAPE is asked for, None where only the file's output says it.

    As LiteRT has it: a vector of int32 as second input counts before the option, and without
    either the only element becomes a scalar; anything else as second input LiteRT does not read.
    """
    data, wanted = place.input(0), place.optional(1)
    options = place.operator.options
    given = options.new_shape if isinstance(options, ReshapeOptions) else ()
    vector = wanted is not None and wanted.dtype == np.int32 and len(wanted.shape) == 1
    if given and not vector:
        # Old files mean a scalar by [0].
        shape = () if given == (0,) else given
    elif data.size == 1 and not vector:
        shape = ()
    elif wanted is not None:
        place.require(wanted.data is not None, "the new shape must be a constant", wanted)
        shape = tuple(int(size) for size in place.constant(1, np.int32, np.int64).ravel())
    else:
        return None
    if shape.count(-1) == 1:
        rest = -math.prod(shape)
        place.require(rest > 0 and data.size % rest == 0, f"can't become {list(shape)}", data)
        shape = tuple(data.size // rest if size == -1 else size for size in shape)
    place.require(
        min(shape, default=0) >= 0 and data.size == math.prod(shape),
        f"{data.size} elements can't become {list(shape)}",
        data,
    )
    return shape


@shapes("RESHAPE")
def _reshaped(place: Place) -> tuple[Shape, ...]:
    shape = _new_shape(place)
    if shape is None:
        raise place.error("nothing says what the new shape is")
    return (shape,)


@planner("RESHAPE")
def _reshape(place: Place, rounding: Rounding) -> Plan:
    data, output = place.input(0), place.output()
    place.same_type(data, output)
    shape = _new_shape(place)
    if shape is not None:
        place.shape(output, shape)
    place.require(
        data.size == output.size, f"{data.size} elements can't become {list(output.shape)}", data
    )
    return ReshapePlan(input_shape=data.shape, output_shape=output.shape)
