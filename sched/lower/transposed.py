"""Lowering TRANSPOSE_CONV: a convolution of its own for every comb of outputs, a stride apart.

Output rows whose distance from the first window is r modulo the stride see every stride-th tap from
the r-th on, and no other; so do columns. Such a comb is a plain convolution of stride 1 over the
input, with these taps in reverse order, whose outputs lie a stride apart. No product is with a zero
that was put between inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mensa.golden import ConvPlan
from mensa.golden.operators.transpose_conv import TransposeConvPlan
from mensa.sched.lower.convolution import Convolution, convolution_parts
from mensa.sched.lower.work import Home, LayerSite

__all__ = ["Comb", "combs_of", "transposed_parts"]


@dataclass(frozen=True)
class Comb:
    """Outputs a stride apart, in one direction.

    Attributes
    ----------
    first, outputs : int
        Its first output and how many it has, a stride apart.
    taps : tuple of int
        The taps that they see, in the order of the inputs; none for outputs that see none.
    padding : int
        Inputs by which the first output's window begins before the input; negative beyond its
        beginning.
    """

    first: int
    outputs: int
    taps: tuple[int, ...]
    padding: int


def combs_of(outputs: int, kernel: int, stride: int, padding: int) -> Iterator[Comb]:
    """The combs that have outputs.

    Parameters: size of the output, taps, stride and `padding` as of `TransposeConvPlan`.
    """
    for offset in range(stride):
        start = max(0, -(-(padding - offset) // stride))  # in inputs
        first = start * stride + offset - padding
        count = -(-(outputs - first) // stride)
        taps = tuple(reversed(range(offset, kernel, stride)))
        if count > 0:
            yield Comb(first, count, taps, max(len(taps), 1) - 1 - start)


def transposed_parts(
    plan: TransposeConvPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Convolution]:
    """The convolutions of all combs and images."""
    batch, height, width, channels = plan.input_shape
    _, out_height, out_width, out_channels = plan.output_shape
    _, kernel_h, kernel_w, _ = plan.weights.shape
    spread = plan.stride_w * out_channels, plan.stride_h * out_width * out_channels
    parts = []
    for y in combs_of(out_height, kernel_h, plan.stride_h, plan.pad_top):
        for x in combs_of(out_width, kernel_w, plan.stride_w, plan.pad_left):
            part = _convolution(plan, y, x)
            for image in range(batch):
                pixel = (image * out_height + y.first) * out_width + x.first
                source, target = sources[0], targets[0]
                source = replace(source, address=source.address + image * height * width * channels)
                target = replace(target, address=target.address + pixel * out_channels)
                parts += convolution_parts(part, site, [source], [target], spread)
    return parts


def _convolution(plan: TransposeConvPlan, y: Comb, x: Comb) -> ConvPlan:
    """What the outputs of a comb are of one image."""
    out_channels = plan.output_shape[3]
    if y.taps and x.taps:
        weights = plan.weights[:, y.taps][:, :, x.taps]
    else:  # nothing but the bias
        shape = (out_channels, max(1, len(y.taps)), max(1, len(x.taps)), plan.input_shape[3])
        weights = np.full(shape, plan.weight_zero_point, np.int8)
    return ConvPlan(
        kind="conv",
        input_shape=(1, *plan.input_shape[1:]),
        output_shape=(1, y.outputs, x.outputs, out_channels),
        weights=weights,
        bias=plan.bias,
        input_zero_point=plan.input_zero_point,
        weight_zero_point=plan.weight_zero_point,
        output_zero_point=plan.output_zero_point,
        multiplier=plan.multiplier,
        shift=plan.shift,
        requant="double",
        scale=np.zeros(out_channels),
        pad_top=y.padding,
        pad_left=x.padding,
        clamp_min=plan.clamp_min,
        clamp_max=plan.clamp_max,
    )
