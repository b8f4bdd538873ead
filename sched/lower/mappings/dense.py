"""Layers as convolutions of another shape, whose weights are zero where the layer has none.

An activation word is bytes that lie side by side. Where a layer sees only few of these, an array
that multiplies all of them is idle as often as it is fed; so a layer of few channels or narrow rows
can be quicker if more of what lies side by side is taken at once, products with zeros included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mensa.golden import ConvPlan

__all__ = ["Shape", "shapes_of"]

Weights = npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Shape:
    """A convolution that computes what a layer does.

    Attributes
    ----------
    plan : ConvPlan
        The convolution, with weights that have nothing but their shape.
    weights : callable
        Makes them.
    """

    plan: ConvPlan
    weights: Callable[[], Weights]

    def whole(self) -> ConvPlan:
        """The convolution with its weights."""
        return replace(self.plan, weights=self.weights())


def shapes_of(plan: ConvPlan, most_channels: int) -> Iterator[Shape]:
    """The convolutions that are worth a look.

    Parameters: the layer, and the most output channels of a depthwise one as a convolution.
    """
    shape = Shape(plan, lambda: plan.weights)
    if plan.kind == "depthwise":
        if plan.output_shape[3] > most_channels:
            return
        shape = _of_depthwise(plan)
        yield shape
    if plan.groups == 1 and plan.input_shape[0] == 1 and plan.kernel_h > 1:
        yield _of_rows(shape)


def _nothing(*shape: int) -> Weights:
    return np.broadcast_to(np.int8(0), shape)


def _of_depthwise(plan: ConvPlan) -> Shape:
    """Every output channel sees all inputs."""
    kernel_h, kernel_w, outputs = plan.weights.shape
    shape = outputs, kernel_h, kernel_w, plan.input_shape[3]

    def weights() -> Weights:
        dense = np.full(shape, plan.weight_zero_point, np.int8)
        channels = np.arange(outputs)
        dense[channels, :, :, channels // plan.depth_multiplier] = plan.weights.transpose(2, 0, 1)
        return dense

    return Shape(replace(plan, kind="conv", weights=_nothing(*shape), depth_multiplier=1), weights)


def _of_rows(layer: Shape) -> Shape:
    """Whole rows are pixels: those of an input row see, or are, the channels of one."""
    plan = layer.plan
    _, height, width, inputs = plan.input_shape
    _, out_height, out_width, outputs = plan.output_shape
    shape = out_width * outputs, 1, plan.kernel_h, width * inputs

    def weights() -> Weights:
        dense = np.full(
            (out_width, outputs, plan.kernel_h, width, inputs), plan.weight_zero_point, np.int8
        )
        own = layer.weights()
        for x in range(out_width):
            for tap in range(plan.kernel_w):
                at = x * plan.stride_w + tap * plan.dilation_w - plan.pad_left
                if 0 <= at < width:
                    dense[x, :, :, at] = own[:, :, tap]
        return dense.reshape(shape)

    rows = replace(
        plan,
        input_shape=(1, 1, height, width * inputs),
        output_shape=(1, 1, out_height, out_width * outputs),
        weights=_nothing(*shape),
        stride_h=1,
        stride_w=plan.stride_h,
        dilation_h=1,
        dilation_w=plan.dilation_h,
        pad_top=0,
        pad_left=plan.pad_top,
        bias=np.tile(plan.bias, out_width),
        multiplier=np.tile(plan.multiplier, out_width),
        shift=np.tile(plan.shift, out_width),
        scale=np.tile(plan.scale, out_width),
    )
    return Shape(rows, weights)
