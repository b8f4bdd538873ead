"""What layers with weights have in common: windows, weights, biases, requantisation factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import quantize_multipliers
from mensa.golden.graph import Tensor
from mensa.golden.node import EIGHT_BIT, Node, to_int8
from mensa.golden.options import FullyConnectedOptions, TransposeConvOptions
from mensa.golden.plan import Int8Array, Int32Array

# Elements of an image with its padding: kernels hold one image at a time.
_MAX_PADDED = 1 << 26


def window_outputs(
    node: Node, padding: str, size: int, window: int, stride: int, dilation: int
) -> tuple[int, int]:
    """Outputs along one dimension and padding before it (``ComputeOutSize``, padding.h)."""
    node.require(
        stride > 0 and dilation > 0 and window > 0,
        f"stride {stride}, dilation {dilation} and window {window} must be positive",
    )
    effective = (window - 1) * dilation + 1
    outputs = -(-size // stride) if padding == "SAME" else -(-(size - effective + 1) // stride)
    node.require(
        outputs > 0, f"a window of {effective} pixels does not fit an input of {size} pixels"
    )
    reach = (outputs - 1) * stride + effective
    node.require(reach <= _MAX_PADDED, f"a window of {effective} pixels is beyond any input")
    return outputs, max(0, reach - size) // 2


def check_padded(
    node: Node, outputs: tuple[int, int], window: tuple[int, int], options: Any, channels: int
) -> None:
    """Requires that one image with its padding is of a size that the kernels can hold."""
    rows = (outputs[0] - 1) * options.stride_h + window[0]
    cols = (outputs[1] - 1) * options.stride_w + window[1]
    node.require(
        rows * cols * channels <= _MAX_PADDED,
        f"an input of {rows} x {cols} x {channels} with its padding is too large",
    )


def connected_sizes(
    node: Node, data: Tensor, weights: Tensor, output: Tensor, options: FullyConnectedOptions
) -> tuple[int, int, int]:
    """Rows, outputs and inputs of a fully connected layer, which its tensors must agree on."""
    node.require(
        len(weights.shape) == 2,
        f"must have shape [outputs, inputs], not {list(weights.shape)}",
        weights,
    )
    oc, ic = weights.shape
    node.require(data.size % ic == 0, f"has {data.size} elements, not a multiple of {ic}", data)
    rows = data.size // ic
    wanted = (*data.shape[:-1], oc) if options.keep_num_dims else (rows, oc)
    node.require(
        output.size == rows * oc and output.shape[-1:] == (oc,),
        f"has shape {list(output.shape)}, the operator gives {list(wanted)}",
        output,
    )
    return rows, oc, ic


def transposed_windows(
    node: Node, data: Tensor, weights: Tensor, output: Tensor, options: TransposeConvOptions
) -> tuple[int, int, int]:
    """Output channels of a TRANSPOSE_CONV, and rows and columns that its padding cuts off.

    Its tensors must agree.
    """
    n, h, w, c = node.images(data)
    oc, kh, kw, ic = node.images(weights)
    node.require(ic == c, f"takes {ic} channels of {c}", weights)
    batch, oh, ow, channels = node.images(output)
    node.require(
        (batch, channels) == (n, oc), f"has shape {list(output.shape)}, wants {n} x {oc}", output
    )
    # The input is what the forward convolution of the output would give.
    rows, pad_top = window_outputs(node, options.padding, oh, kh, options.stride_h, 1)
    columns, pad_left = window_outputs(node, options.padding, ow, kw, options.stride_w, 1)
    node.require(
        (h, w) == (rows, columns),
        f"has {h} x {w} pixels, the output's shape asks for {rows} x {columns}",
        data,
    )
    check_padded(node, (h, w), (kh, kw), options, max(c, oc))
    return oc, pad_top, pad_left


def constant_weights(node: Node, data: Tensor, dimension: int) -> tuple[Int8Array, Tensor]:
    """Constant 8-bit weights in the int8 domain, scaled per tensor or along `dimension`.

    They have the data's type, or are int8 where the data is int16.
    """
    weights = node.input(1)
    node.require(
        weights.dtype in EIGHT_BIT,
        f"weights of type {weights.type_name or weights.dtype} are not supported",
        weights,
    )
    if weights.data is None:
        raise node.error("weights must be a constant", weights)
    if data.dtype == np.int16:
        node.require(weights.dtype == np.int8, "weights of int16 data must be int8", weights)
    else:
        node.same_type(data, weights)
    node.require(all(size > 0 for size in weights.shape), "is empty", weights)
    channels = weights.shape[dimension] if len(weights.shape) > dimension else 0
    node.require(
        weights.scale.size == 1
        or (
            weights.scale.size == channels
            and weights.quantized_dimension == dimension
            and weights.dtype == np.int8
        ),
        f"must have one scale or, in an int8 network, one per output channel: has "
        f"{weights.scale.size} along dimension {weights.quantized_dimension}",
        weights,
    )
    return to_int8(weights.data), weights


def constant_bias(node: Node, channels: int, position: int = 2) -> Int32Array:
    """The int32 bias that is input number `position`, zeros where there is none."""
    bias = node.optional(position)
    if bias is None:
        return np.zeros(channels, np.int32)
    node.require(
        bias.dtype == np.int32, f"bias must be int32, not {bias.type_name or bias.dtype}", bias
    )
    if bias.data is None:
        raise node.error("bias must be a constant", bias)
    node.require(bias.size == channels, f"bias has {bias.size} elements, wants {channels}", bias)
    return bias.data.reshape(channels).astype(np.int32)


def channel_multipliers(
    node: Node, data: Tensor, weights: Tensor, output: Tensor, channels: int, fused: bool
) -> tuple[Int32Array, Int32Array, npt.NDArray[np.float64]]:
    """Requantisation factors: multiplier, shift, and the double that they stand for.

    int8 convolutions and per-channel layers multiply the scales as doubles
    (``PopulateConvolutionQuantizationParams``); with `fused`, the scales of input and weights
    are multiplied as floats first (``GetQuantizedConvolutionMultipler``).
    """
    scale_in, scale_out = data.scale[0], float(output.scale[0])
    if fused:
        product = (scale_in * weights.scale).astype(np.float64)
    else:
        product = float(scale_in) * weights.scale.astype(np.float64)
    real = np.broadcast_to(product / scale_out, (channels,))
    multiplier, shift = quantize_multipliers(real)
    exact = float(scale_in) * weights.scale.astype(np.float64) / scale_out
    return multiplier, shift, np.broadcast_to(exact, (channels,)).copy()


def weight_zero_point(node: Node, weights: Tensor, refused: bool = False) -> int:
    """Zero point of all weights in the int8 domain.

    TFLite's int8 kernels with one factor per channel take it as 0 whatever the file says (its
    converter never writes another); with `refused` they do not load such a file at all.
    """
    if weights.dtype == np.int8:
        node.require(
            not (refused and np.any(weights.zero_point)),
            "int8 weights must have zero point 0",
            weights,
        )
        return 0
    return node.zero_point(weights)
