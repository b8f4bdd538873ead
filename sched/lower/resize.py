"""Lowering RESIZE_BILINEAR: depthwise convolutions of combs of outputs.

Where the ratio of the sizes is simple, such as a power of two, few different pairs of weights occur
along a dimension, each for outputs that lie evenly spaced: a comb. Outputs of a comb of rows and a
comb of columns are a depthwise convolution of up to 2 x 2 taps, all channels with the same weights,
a byte each when the common power of two is taken out. Their sum is requantised by a power of two,
which is exact.

Combs of columns that lie side by side may be computed together, as a plain convolution whose output
channels are those of all of them, with zeros for what a channel does not see: more products, but
fewer commands, and outputs that are stored in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mensa.golden import ConvPlan
from mensa.golden.operators.resize import BilinearPlan, Positions
from mensa.rtl.commands import Mode
from mensa.rtl.timing import SETUP_CYCLES, drain_cycles
from mensa.sched.lower.convolution import Convolution, convolution_parts
from mensa.sched.lower.work import Home, LayerSite

__all__ = ["MOST_PARTS", "Bundle", "Comb", "bundles_of", "combs_of", "parts_of", "resize_parts"]

MOST_PARTS = 1024
"""Convolutions that a resize may become."""

_UNIT_BITS = 10
"""Weights are taken for integers in units of ``2**-10``."""

_MOST_WEIGHT = 255
"""What a parameter of 8 bits and its zero point can say."""

_LOWEST = -128

_PIECE_CYCLES = 8
"""What a short row of a store takes, about."""


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


@dataclass(frozen=True)
class Bundle:
    """Combs that lie side by side: outputs of one after another, then the next of each.

    Attributes
    ----------
    combs : tuple of Comb
        With the same spacing, step and number of outputs, each beginning one after the one before.
    """

    combs: tuple[Comb, ...]

    @property
    def head(self) -> Comb:
        """The first one."""
        return self.combs[0]

    @property
    def start(self) -> int:
        """The first input that any of the first outputs sees."""
        return min(comb.start for comb in self.combs)

    @property
    def taps(self) -> int:
        """Inputs that they see together."""
        return max(comb.start + len(comb.weights) for comb in self.combs) - self.start

    def weights(self) -> npt.NDArray[np.int64]:
        """Of each comb's outputs and each of the taps: ``[combs, taps]``."""
        table = np.zeros((len(self.combs), self.taps), np.int64)
        for row, comb in zip(table, self.combs, strict=True):
            at = comb.start - self.start
            row[at : at + len(comb.weights)] = comb.weights
        return table


def bundles_of(combs: list[Comb]) -> list[Bundle]:
    """Combs of a whole period of outputs together where there are such, the others by themselves.

    Of those that have an output more than others that one becomes a comb of its own.
    """
    found = []
    rest = {comb.first: comb for comb in combs}
    for comb in sorted(combs, key=lambda each: each.first):
        together = [rest.get(first) for first in range(comb.first, comb.first + comb.spacing)]
        alike = [
            each
            for each in together
            if each is not None and (each.spacing, each.step) == (comb.spacing, comb.step)
        ]
        if comb.first not in rest or comb.spacing == 1 or len(alike) < comb.spacing:
            continue
        outputs = min(each.outputs for each in alike)
        if outputs == 1:
            continue
        for each in alike:
            del rest[each.first]
            if each.outputs > outputs:
                more = replace(
                    each,
                    first=each.first + outputs * each.spacing,
                    start=each.start + outputs * each.step,
                    outputs=each.outputs - outputs,
                )
                rest[more.first] = more
        found.append(Bundle(tuple(replace(each, outputs=outputs) for each in alike)))
    return found + [Bundle((comb,)) for _, comb in sorted(rest.items())]


@lru_cache(maxsize=64)
def parts_of(plan: BilinearPlan) -> tuple[tuple[Comb, Bundle], ...] | None:
    """Combs of rows, each with bundles of combs of columns; None where it can't be."""
    rows, columns = combs_of(plan.rows), combs_of(plan.columns)
    if rows is None or columns is None or len(rows) * len(columns) > MOST_PARTS:
        return None
    bundles = bundles_of(columns)
    parts: list[tuple[Comb, Bundle]] = []
    for y in rows:
        for bundle in bundles:
            if shares_of(y, bundle)[0].max() <= _MOST_WEIGHT:
                parts.append((y, bundle))
            else:
                parts += [(y, Bundle((comb,))) for comb in bundle.combs]
    if any(shares_of(y, x)[0].max() > _MOST_WEIGHT for y, x in parts):
        return None
    return tuple(parts)


def shares_of(y: Comb, x: Bundle) -> tuple[npt.NDArray[np.int64], int]:
    """Weights ``[combs, rows, columns]`` of the taps without their common power of two, and the
    exponent of two that the sum of a comb's is."""
    weights = np.array(y.weights)[None, :, None] * x.weights()[:, None, :]
    common = int(np.gcd.reduce(weights, axis=None))
    power = common & -common
    return weights // power, 2 * _UNIT_BITS - (power.bit_length() - 1)


def resize_parts(
    plan: BilinearPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Convolution]:
    """The convolutions of all parts and all images."""
    pairs = parts_of(plan)
    assert pairs is not None, "restrict_resize said no"
    parts = []
    for y, bundle in pairs:
        split = len(bundle.combs) == 1 or not _together(plan, y, bundle, site, targets[0])
        for x in (Bundle((comb,)) for comb in bundle.combs) if split else (bundle,):
            parts += _parts(plan, y, x, site, sources[0], targets[0])
    return parts


def _together(plan: BilinearPlan, y: Comb, x: Bundle, site: LayerSite, target: Home) -> bool:
    """Whether a convolution with zeros takes fewer cycles than a depthwise one for each comb.

    By estimates: what the array is fed, parameters by the beat; and of outputs that are streamed
    a burst for every piece of them.
    """
    machine, channels, count = site.machine, plan.input_shape[3], len(x.combs)
    array = machine.array
    pixels, taps = y.outputs * x.head.outputs, len(y.weights) * x.taps
    tiles = -(-pixels // array.tile) * -(-count * channels // array.group)
    dense = tiles * len(y.weights) * max(array.spacing, x.taps * channels)
    dense += count * channels * channels * taps // machine.beat_bytes
    alone = SETUP_CYCLES + drain_cycles(machine, Mode.DEPTHWISE)
    sparse = count * (alone + pixels * -(-channels // machine.lanes))
    if not target.on_chip:
        sparse += _PIECE_CYCLES * count * pixels
        dense += count * pixels * channels // machine.beat_bytes
    return dense < sparse


def _parts(
    plan: BilinearPlan, y: Comb, x: Bundle, site: LayerSite, source: Home, target: Home
) -> list[Convolution]:
    """The convolutions of one comb of rows and one bundle of columns, for all images."""
    batch, height, width, channels = plan.input_shape
    _, out_height, out_width, _ = plan.output_shape
    spread = x.head.spacing * channels, y.spacing * out_width * channels
    part = _convolution(plan, y, x)
    parts = []
    for image in range(batch):
        pixel = (image * out_height + y.first) * out_width + x.head.first
        parts += convolution_parts(
            part,
            site,
            [replace(source, address=source.address + image * height * width * channels)],
            [replace(target, address=target.address + pixel * channels)],
            spread,
        )
    return parts


def _convolution(plan: BilinearPlan, y: Comb, x: Bundle) -> ConvPlan:
    """What one comb of rows and a bundle of columns computes of one image.

    A bundle's outputs are channels of one pixel. Files of uint8 round halves up, which is away from
    zero for sums without the zero point.
    """
    channels, count = plan.input_shape[3], len(x.combs)
    outputs = count * channels
    shares, exponent = shares_of(y, x)
    unsigned = plan.rows.weight.dtype.kind == "f"
    offset = -_LOWEST << exponent if unsigned else 0
    if count == 1:
        weights = np.repeat(shares[0][:, :, None], channels, axis=2)
    else:
        each = np.arange(channels)
        weights = np.zeros((count, channels, *shares.shape[1:], channels), np.int64)
        weights[:, each, :, :, each] = shares  # each channel sees its own
        weights = weights.reshape(outputs, *shares.shape[1:], channels)
    return ConvPlan(
        kind="depthwise" if count == 1 else "conv",
        input_shape=(1, *plan.input_shape[1:]),
        output_shape=(1, y.outputs, x.head.outputs, outputs),
        weights=(weights + _LOWEST).astype(np.int8),
        weight_zero_point=_LOWEST,
        bias=np.full(outputs, offset, np.int32),
        input_zero_point=0,
        output_zero_point=_LOWEST if unsigned else 0,
        multiplier=np.zeros(outputs, np.int32),
        shift=np.zeros(outputs, np.int32),
        requant="float64",
        scale=np.full(outputs, 2.0**-exponent),
        stride_h=y.step,
        stride_w=x.head.step,
        pad_top=-y.start,
        pad_left=-x.start,
    )
