"""SOFTMAX in fixed point, as TFLite's reference kernel and TFLM compute it (softmax.h).

A value in Qm.n is an integer in units of ``2**-n``; all are kept in int64 arrays of int32 values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    INT32_MAX,
    quantize_multiplier,
    requantize_double,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from mensa.golden.arithmetic.fixed_point_functions import (
    exp_on_negative_values,
    leading_zeros,
    one_over_one_plus,
)
from mensa.golden.graph import Tensor
from mensa.golden.node import Node
from mensa.golden.options import SoftmaxOptions
from mensa.golden.plan import Int32Array, Plan, Rounding, Shape
from mensa.golden.registry import kernel, planner

#: Integer bits of the scaled differences: they are Q5.26.
DIFFERENCE_BITS = 5
#: Integer bits of the sum of exponentials: it is Q12.19.
SUM_BITS = 12


def scaled_differences(node: Node, data: Tensor, beta: float) -> tuple[int, int, int]:
    """Multiplier, left shift and `diff_min` of a `SoftmaxPlan`. Raises: GraphError."""
    fraction_bits = 31 - DIFFERENCE_BITS
    real = min(beta * float(data.scale[0]) * (1 << fraction_bits), float((1 << 31) - 1))
    node.require(real > 1.0, f"beta {beta!r} or this scale is too small", data)
    multiplier, left_shift = quantize_multiplier(real)
    radius = math.floor(((1 << DIFFERENCE_BITS) - 1) * (1 << fraction_bits) / (1 << left_shift))
    return multiplier, left_shift, -radius


def exp_table(multiplier: int, left_shift: int, diff_min: int) -> npt.NDArray[np.int32]:
    """Exponential of each difference 0 to -255, in Q0.31; 0 below `diff_min`. Shape [256]."""
    difference = -np.arange(256, dtype=np.int64)
    scaled = requantize_double(difference, multiplier, left_shift)
    # Differences below diff_min would wrap; they are never used.
    scaled = np.where(difference >= diff_min, scaled, 0)
    table = np.where(difference >= diff_min, exp_on_negative_values(scaled, DIFFERENCE_BITS), 0)
    return table.astype(np.int32)


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftmaxPlan(Plan):
    """SOFTMAX over the last dimension, with output scale 1/256 and zero point -128.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    multiplier, left_shift : int
        ``beta * input scale`` in units of ``2**-26``.
    diff_min : int
        An element further than this below its row's maximum gives 0 and does not count.
    exp : int32 array ``[256]``
        ``exp[d]`` is the exponential of an element d below its row's maximum, in units of
        ``2**-31``; 0 where d is further than `diff_min`.
    """

    shape: Shape
    multiplier: int
    left_shift: int
    diff_min: int
    exp: Int32Array


@planner("SOFTMAX")
def _softmax(node: Node, rounding: Rounding) -> Plan:
    options = node.options(SoftmaxOptions)
    data, output = node.input(0), node.output()
    node.eight_bit(data)
    node.eight_bit(output)
    node.same_type(data, output)
    node.shape(output, data.shape)
    node.require(len(data.shape) >= 1, "softmax needs at least one dimension", data)
    # The kernel's result is in units of 1/256 from the lowest value, whatever the file says.
    if output.dtype == np.int8:
        node.require(
            node.zero_point(output) == -128
            and abs(float(output.scale[0]) - 1 / 256) <= 0.001 / 256,
            "a softmax gives scale 1/256 and zero point -128",
            output,
        )
    multiplier, left_shift, diff_min = scaled_differences(
        node, data, float(np.float32(options.beta))
    )
    return SoftmaxPlan(
        shape=data.shape,
        multiplier=multiplier,
        left_shift=left_shift,
        diff_min=diff_min,
        exp=exp_table(multiplier, left_shift, diff_min),
    )


@kernel(SoftmaxPlan)
def softmax(plan: SoftmaxPlan, x: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Softmax of `x` over its last dimension. Parameters: int8 ``plan.shape``. Returns: the same.

    Raises: ValueError when a row's sum of exponentials does not fit its fixed-point format.
    """
    logits = x.reshape(plan.shape).astype(np.int64)
    difference = logits.max(axis=-1, keepdims=True) - logits
    exponential = plan.exp.astype(np.int64)[difference]
    # diff_min is at most 0, so the maximum itself always counts and no sum is 0.
    counted = difference <= -plan.diff_min
    addends = np.where(counted, rounding_divide_by_pot(exponential, SUM_BITS), 0)
    total = addends.sum(axis=-1, keepdims=True)
    if np.any(total > INT32_MAX):
        raise ValueError(f"rows of {x.shape[-1]} elements are too long for this softmax")
    zeros = leading_zeros(total)
    over_unit = SUM_BITS - zeros
    mantissa = (total << zeros) - (1 << 31)
    scale = one_over_one_plus(mantissa)
    exponent = over_unit + 31 - 8
    value = (
        rounding_divide_by_pot(saturating_rounding_doubling_high_mul(scale, exponential), exponent)
        - 128
    )
    return np.where(counted, np.clip(value, -128, 127), -128).astype(np.int8)
