"""Lowering RESIZE_BILINEAR: depthwise convolutions of combs of outputs.

Where the ratio of the sizes is simple, such as a power of two, few different pairs of weights occur
along a dimension, each for outputs that lie evenly spaced: a comb. Outputs of a comb of rows and a
comb of columns are a depthwise convolution of up to 2 x 2 taps, all channels with the same weights,
a byte each when the common power of two is taken out. Their sum is requantised by a power of two,
which is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mensa.golden import ConvPlan
from mensa.golden.operators.resize import BilinearPlan, Positions
from mensa.sched.lower.convolution import Convolution, convolution_parts
from mensa.sched.lower.work import Home, LayerSite

__all__ = ["MOST_PARTS", "parts_of", "resize_parts", "shares_of"]

MOST_PARTS = 1024
"""Convolutions that a resize may become."""

_UNIT_BITS = 10
"""Weights are taken for integers in units of ``2**-10``."""

_MOST_WEIGHT = 255
"""What a parameter of 8 bits and its zero point can say."""

_LOWEST = -128


@dataclass(frozen=True)
class Comb:
    """Evenly spaced outputs with the same weights, along one dimension.

    Attributes
    ----------
    first, spacing, outputs : int
        The first one, from one to the next, and how many.
    start, step : int
        The first tap's input of the first one, and inputs from one output's to the next's.
    weights : tuple of int
        Of its one or two taps, in units of ``2**-10``.
    """

    first: int
    spacing: int
    outputs: int
    start: int
    step: int
    weights: tuple[int, ...]


def combs_of(positions: Positions) -> list[Comb] | None:
    """The combs of one dimension; None if a weight is no integer of the unit."""
    one = 1 << _UNIT_BITS
    weight = np.asarray(positions.weight, np.float64)
    if positions.weight.dtype.kind == "f":
        weight = weight * one
    if np.any(weight != np.floor(weight)):
        return None
    kinds: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for output, (low, high, share) in enumerate(
        zip(positions.lower.tolist(), positions.upper.tolist(), weight.tolist(), strict=True)
    ):
        upper = int(share)
        if low == high or upper == 0:
            kinds.setdefault((one,), []).append((output, low))
        else:
            kinds.setdefault((one - upper, upper), []).append((output, low))
    return [comb for weights, outputs in kinds.items() for comb in _evenly_spaced(weights, outputs)]


def _evenly_spaced(weights: tuple[int, ...], outputs: list[tuple[int, int]]) -> Iterator[Comb]:
    """As few combs as a greedy choice gives."""
    at = 0
    while at < len(outputs):
        first, start = outputs[at]
        count, spacing, step = 1, 1, 1
        if at + 1 < len(outputs):
            spacing, step = outputs[at + 1][0] - first, outputs[at + 1][1] - start
            while (
                step >= 0
                and at + count < len(outputs)
                and outputs[at + count] == (first + count * spacing, start + count * step)
            ):
                count += 1
        if count == 1:
            spacing = step = 1
        yield Comb(first, spacing, count, start, step, weights)
        at += count


@lru_cache(maxsize=64)
def parts_of(plan: BilinearPlan) -> tuple[tuple[Comb, Comb], ...] | None:
    """Pairs of combs of rows and of columns; None where it can't be."""
    rows, columns = combs_of(plan.rows), combs_of(plan.columns)
    if rows is None or columns is None or len(rows) * len(columns) > MOST_PARTS:
        return None
    parts = tuple((y, x) for y in rows for x in columns)
    if any(shares_of(y, x)[0].max() > _MOST_WEIGHT for y, x in parts):
        return None
    return parts


def shares_of(y: Comb, x: Comb) -> tuple[npt.NDArray[np.int64], int]:
    """Weights ``[rows, columns]`` of the taps without their common power of two, and the exponent
    of two that their sum is."""
    weights = np.outer(y.weights, x.weights).astype(np.int64)
    common = int(np.gcd.reduce(weights, axis=None))
    power = common & -common
    return weights // power, 2 * _UNIT_BITS - (power.bit_length() - 1)


def resize_parts(
    plan: BilinearPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Convolution]:
    """The convolutions of all pairs of combs and all images."""
    batch, height, width, channels = plan.input_shape
    _, out_height, out_width, _ = plan.output_shape
    pairs = parts_of(plan)
    assert pairs is not None, "restrict_resize said no"
    parts = []
    for y, x in pairs:
        part = _convolution(plan, y, x)
        spread = x.spacing * channels, y.spacing * out_width * channels
        for image in range(batch):
            pixel = (image * out_height + y.first) * out_width + x.first
            source, target = sources[0], targets[0]
            source = replace(source, address=source.address + image * height * width * channels)
            target = replace(target, address=target.address + pixel * channels)
            parts += convolution_parts(part, site, [source], [target], spread)
    return parts


def _convolution(plan: BilinearPlan, y: Comb, x: Comb) -> ConvPlan:
    """What a pair of combs computes of one image.

    Files of uint8 round halves up, which is away from zero for sums without the zero point.
    """
    channels = plan.input_shape[3]
    shares, exponent = shares_of(y, x)
    unsigned = plan.rows.weight.dtype.kind == "f"
    offset = -_LOWEST << exponent if unsigned else 0
    return ConvPlan(
        kind="depthwise",
        input_shape=(1, *plan.input_shape[1:]),
        output_shape=(1, y.outputs, x.outputs, channels),
        weights=np.repeat((shares + _LOWEST)[:, :, None], channels, axis=2).astype(np.int8),
        weight_zero_point=_LOWEST,
        bias=np.full(channels, offset, np.int32),
        input_zero_point=0,
        output_zero_point=_LOWEST if unsigned else 0,
        multiplier=np.zeros(channels, np.int32),
        shift=np.zeros(channels, np.int32),
        requant="float64",
        scale=np.full(channels, 2.0**-exponent),
        stride_h=y.step,
        stride_w=x.step,
        pad_top=-y.start,
        pad_left=-x.start,
    )
