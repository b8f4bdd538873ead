"""A Hypothesis strategy that draws small networks of the operators that the accelerators run."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

import mensa.golden as golden
from tests.golden.strategies import Draw, Layer

OPERATORS = (
    "ADD",
    "AVERAGE_POOL_2D",
    "CONV_2D",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "MAX_POOL_2D",
    "QUANTIZE",
    "RESHAPE",
    "SOFTMAX",
)


class _Network:
    """A network that grows, layer by layer, from its last tensor or an earlier one."""

    def __init__(self, d: Draw) -> None:
        self.d = d
        self.tensors = [d.builder.input(d.image(), scale=d.scale(-6, 0), zero_point=d.zero_point())]

    def tensor(self, index):
        return self.d.builder.build([]).tensors[index]

    def grow(self, op):
        d, builder = self.d, self.d.builder
        x = d.choice(self.tensors[-1], *self.tensors[-3:])
        shape, scale = self.tensor(x).shape, float(self.tensor(x).scale[0])
        if len(shape) == 2 and op not in ("ADD", "FULLY_CONNECTED", "QUANTIZE", "SOFTMAX"):
            op = "RESHAPE"
        self.tensors.append(getattr(self, "_" + op.lower())(builder, x, shape, scale))

    def _add(self, builder, x, shape, scale):
        d = self.d
        same = [y for y in self.tensors if self.tensor(y).shape == shape]
        y = d.choice(*same)
        if d.choice(True, False, False):
            content = d.values(d.choice(shape, shape[-1:]))
            y = builder.tensor(data=content, scale=d.scale(-6, 0), zero_point=d.zero_point())
        return builder.add(
            x, y, scale=2 * scale, zero_point=d.zero_point(), activation=d.activation()
        )

    def _pool(self, kind, x, shape):
        window, stride, _, padding = self.d.windows(shape[1:3], 4, dilated=False)
        return self.d.builder.pool2d(kind, x, window=window, stride=stride, padding=padding)

    def _average_pool_2d(self, builder, x, shape, scale):
        return self._pool("average", x, shape)

    def _max_pool_2d(self, builder, x, shape, scale):
        return self._pool("max", x, shape)

    def _conv_2d(self, builder, x, shape, scale):
        d = self.d
        kernel, stride, dilation, padding = d.windows(shape[1:3], 3)
        filters = (d.number(1, d.max_channels), *kernel, shape[3])
        bias, kinds = d.weights(filters, filters[0], math.prod(filters[1:]), scale)
        return builder.conv2d(
            x, d.values(filters), bias, stride=stride, dilation=dilation, padding=padding, **kinds
        )

    def _depthwise_conv_2d(self, builder, x, shape, scale):
        d = self.d
        kernel, stride, dilation, padding = d.windows(shape[1:3], 3)
        filters = (1, *kernel, shape[3] * d.choice(1, 1, 1, 2))
        bias, kinds = d.weights(filters, filters[3], math.prod(kernel), scale)
        return builder.depthwise_conv2d(
            x, d.values(filters), bias, stride=stride, dilation=dilation, padding=padding, **kinds
        )

    def _fully_connected(self, builder, x, shape, scale):
        d = self.d
        filters = (d.number(1, 2 * d.max_channels), shape[-1])
        bias, kinds = d.weights(filters, *filters, scale)
        return builder.fully_connected(x, d.values(filters), bias, keep_num_dims=True, **kinds)

    def _quantize(self, builder, x, shape, scale):
        d = self.d
        factor = 2.0 ** d.draw(st.floats(-2, 2, width=32))
        return builder.quantize(x, scale=scale * factor, zero_point=d.zero_point())

    def _reshape(self, builder, x, shape, scale):
        if len(shape) == 2:
            return builder.reshape(x, (1, shape[0], shape[1], 1))
        return builder.reshape(x, (shape[0], math.prod(shape[1:])))

    def _softmax(self, builder, x, shape, scale):
        return builder.softmax(x)


@st.composite
def networks(draw, max_layers=6, max_pixels=9, max_channels=12):
    """A strategy for `Layer`s that are networks of 2 to `max_layers` layers."""
    dtype = draw(st.sampled_from(["int8", "uint8"]))
    seed = draw(st.integers(0, 2**31 - 1))
    builder = golden.GraphBuilder("network", dtype)
    d = Draw(draw, builder, np.random.default_rng(seed), max_pixels, max_channels, False)
    network = _Network(d)
    ops = draw(st.lists(st.sampled_from(OPERATORS), min_size=2, max_size=max_layers))
    for op in ops:
        network.grow(op)
    outputs = [network.tensors[-1]]
    if d.choice(True, False, False):
        outputs.append(d.choice(*network.tensors[1:-1]))
    graph = builder.build(outputs)
    shapes = [list(graph.output_tensor(op).shape) for op in graph.operators]
    text = f"{dtype} {[op.op for op in graph.operators]} {graph.tensors[0].shape} -> {shapes}"
    return Layer(graph, seed, text)
