"""Factors for the hardware's requantiser, and the proof that they are right.

LiteRT's FULLY_CONNECTED rounds ``double(sum) * scale`` once. The hardware rounds
``sum * multiplier / 2**k`` once. On the sums that can occur and after the clamp to 8 bits both
are staircases of at most 255 steps, so they are equal if every step is at the same sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mensa.golden import ConvPlan
from mensa.golden.arithmetic.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    requantize_float64,
    requantize_single,
)
from mensa.rtl.commands import Rounding

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

_NEIGHBOURS = (0, 1, -1, 2, -2, 3, -3, 4, -4)
"""Distances from the nearest multiplier that are tried."""

_SEARCH = 4
"""A step of the float staircase is within so many sums of where real arithmetic puts it."""


@dataclass(frozen=True, eq=False)
class Requantisation:
    """Factors of every output channel, for the constant buffer.

    Attributes
    ----------
    multiplier, shift : int64 arrays
        One element per output channel; a positive shift is to the left.
    rounding : Rounding
        How the requantiser rounds.
    """

    multiplier: Int64
    shift: Int64
    rounding: Rounding


def requantisation(plan: ConvPlan, *, any_weights: bool = False) -> Requantisation | None:
    """The factors of a layer; None if none are equal to what the plan says.

    Parameters: with `any_weights` they must be right for all weights, not for the plan's.
    """
    if plan.requant == "double":
        return Requantisation(
            plan.multiplier.astype(np.int64), plan.shift.astype(np.int64), Rounding.DOUBLE
        )
    low, high = sum_range(plan)
    if any_weights:
        ends = [
            sum_range(replace(plan, weights=np.full_like(plan.weights, value)))
            for value in (-128, 127)
        ]
        low = np.minimum(*(each[0] for each in ends))
        high = np.maximum(*(each[1] for each in ends))
    found = single_rounding(
        plan.scale, low, high, plan.output_zero_point, plan.clamp_min, plan.clamp_max
    )
    return None if found is None else Requantisation(*found, Rounding.SINGLE)


def sum_range(plan: ConvPlan) -> tuple[Int64, Int64]:
    """The smallest and the largest sum, bias included, of each output channel."""
    weights = plan.weights.astype(np.int64) - plan.weight_zero_point
    weights = (
        weights.reshape(len(plan.bias), -1)
        if plan.kind == "conv"
        else weights.reshape(-1, len(plan.bias)).T
    )
    ends = [weights * (value - plan.input_zero_point) for value in (-128, 127)]
    low = plan.bias + np.minimum(0, np.minimum(*ends)).sum(axis=1)
    high = plan.bias + np.maximum(0, np.maximum(*ends)).sum(axis=1)
    return low, high


def single_rounding(
    scale: Float64, low: Int64, high: Int64, zero_point: int, clamp_min: int, clamp_max: int
) -> tuple[Int64, Int64] | None:
    """Multipliers and shifts whose single rounding equals `requantize_float64` by `scale`.

    Parameters
    ----------
    scale : float64 array
        One factor per channel.
    low, high : int64 arrays
        The smallest and the largest sum that can occur in each channel.
    zero_point, clamp_min, clamp_max : int
        What follows the rounding.

    Returns
    -------
    two int64 arrays or None
        Equal to the float function on every sum from low to high of every channel; None if for
        some channel no multiplier near the factor is.
    """
    if np.any(low < INT32_MIN) or np.any(high > INT32_MAX) or np.any(scale <= 0):
        return None
    if np.any(np.maximum(-low, high) * scale >= INT32_MAX):
        return None
    fraction, exponent = np.frexp(scale)
    nearest = np.floor(fraction * (1 << 31) + 0.5).astype(np.int64)
    shift = exponent.astype(np.int64)
    if np.any(shift < -31) or np.any(np.maximum(-low, high) << np.maximum(shift, 0) > INT32_MAX):
        return None
    multiplier = np.zeros_like(nearest)
    open_channels = np.ones(len(scale), bool)
    for distance in _NEIGHBOURS:
        candidate = np.clip(nearest + distance, 0, INT32_MAX)
        equal = _same_staircase(
            scale, candidate, shift, low, high, zero_point, clamp_min, clamp_max
        )
        chosen = open_channels & equal
        multiplier[chosen] = candidate[chosen]
        open_channels &= ~equal
        if not open_channels.any():
            return multiplier, shift
    return None


def _same_staircase(
    scale: Float64,
    multiplier: Int64,
    shift: Int64,
    low: Int64,
    high: Int64,
    zero_point: int,
    clamp_min: int,
    clamp_max: int,
) -> npt.NDArray[np.bool_]:
    """Per channel, whether both functions agree on every sum from low to high.

    Both rise with the sum. So they agree if they do at both ends, and if at every sum where the
    first one steps up to a value, the second one steps up to it too.
    """
    scale, multiplier, shift = scale[:, None], multiplier[:, None], shift[:, None]
    low, high = low[:, None], high[:, None]

    def wanted(sums: Int64) -> Int64:
        result: Int64 = requantize_float64(sums, scale) + zero_point
        return np.clip(result, clamp_min, clamp_max)

    def given(sums: Int64) -> Int64:
        result: Int64 = requantize_single(sums, multiplier, shift) + zero_point
        return np.clip(result, clamp_min, clamp_max)

    agree = (wanted(low) == given(low)) & (wanted(high) == given(high))
    values = np.arange(clamp_min + 1, clamp_max + 1, dtype=np.int64)[None, :]
    real = np.round((values - zero_point - 0.5) / scale)  # where real arithmetic has the step up
    about: Int64 = np.clip(real, low - _SEARCH, high + _SEARCH).astype(np.int64)
    found = (wanted(low) >= values) | (wanted(high) < values)  # there is no step up to this value
    for distance in range(-_SEARCH, _SEARCH + 1):
        here = np.clip(about + distance, low + 1, np.maximum(high, low + 1))
        step = (wanted(here) >= values) & (wanted(here - 1) < values)
        agree = agree & (~step | ((given(here) >= values) & (given(here - 1) < values)))
        found |= step
    result: npt.NDArray[np.bool_] = (agree & found).all(axis=1)
    return result
