"""LOG_SOFTMAX in fixed point, as TFLite's reference kernel and TFLM compute it (log_softmax.h).

Of float32 it is in `floats`.

A value in Qm.n is an integer in units of ``2**-n``; all are kept in int64 arrays of int32 values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    quantize_multiplier,
    requantize_double,
    rounding_divide_by_pot,
    wrap32,
)
from mensa.golden.arithmetic.fixed_point_functions import log_from_one
from mensa.golden.node import EIGHT_BIT, Node
from mensa.golden.operators.softmax import DIFFERENCE_BITS, SUM_BITS, exp_table, scaled_differences
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import kernel, planner, shapes

Int64Array = npt.NDArray[np.int64]

# Integer bits of the outputs, whose scale is 1/16.
_OUTPUT_BITS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class LogSoftmaxPlan(Plan):
    """LOG_SOFTMAX over the last dimension, with output scale 1/16 and zero point 127.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    multiplier, left_shift, diff_min, exp
        As in `SoftmaxPlan`.
    reverse_multiplier, reverse_shift : int
        Factor of `requantize_double` from units of ``2**-26`` to the input's scale.
    """

    shape: Shape
    multiplier: int
    left_shift: int
    diff_min: int
    exp: npt.NDArray[np.int32]
    reverse_multiplier: int
    reverse_shift: int


@shapes("LOG_SOFTMAX")
def _same(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


@planner("LOG_SOFTMAX")
def _log_softmax(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    require_kernel(
        node, data, rounding, tflm=("int8", "float32"), litert=("int8", "uint8", "float32")
    )
    node.quantized(data, EIGHT_BIT)
    node.quantized(output, EIGHT_BIT)
    node.same_type(data, output)
    node.shape(output, data.shape)
    node.require(len(data.shape) >= 1, "needs at least one dimension", data)
    node.require(
        node.zero_point(output) == 127 and float(output.scale[0]) == 1 / 16,
        "this operator gives scale 1/16 and zero point 127, or 255 of uint8",
        output,
    )
    multiplier, left_shift, diff_min = scaled_differences(node, data, 1.0)
    reverse = (1 << 31 - left_shift) / multiplier
    node.require(reverse < 1.0, "its scale is too small", data)
    reverse_multiplier, reverse_shift = quantize_multiplier(reverse)
    return LogSoftmaxPlan(
        shape=data.shape,
        multiplier=multiplier,
        left_shift=left_shift,
        diff_min=diff_min,
        exp=exp_table(multiplier, left_shift, diff_min),
        reverse_multiplier=reverse_multiplier,
        reverse_shift=reverse_shift,
    )


@kernel(LogSoftmaxPlan)
def log_softmax(plan: LogSoftmaxPlan, x: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Logarithm of the softmax of `x` over its last dimension.

    Parameters: int8 ``plan.shape``. Returns: the same.
    Raises: ValueError when a row's sum of exponentials does not fit its fixed-point format.
    """
    logits = x.reshape(plan.shape).astype(np.int64)
    difference = logits - logits.max(axis=-1, keepdims=True)
    exponential = rounding_divide_by_pot(plan.exp, SUM_BITS)[-difference]
    total = exponential.sum(axis=-1, keepdims=True)
    if np.any(total > INT32_MAX):
        raise ValueError(f"rows of {x.shape[-1]} elements are too long for this operator")
    logarithm = log_from_one(total, SUM_BITS, DIFFERENCE_BITS)
    lowest = requantize_double(
        wrap32(logarithm + INT32_MIN), plan.reverse_multiplier, plan.reverse_shift
    )
    counted = difference > np.maximum(plan.diff_min - 1, lowest)
    scaled = requantize_double(difference, plan.multiplier, plan.left_shift)
    fraction_bits = 31 - DIFFERENCE_BITS - _OUTPUT_BITS
    value = rounding_divide_by_pot(wrap32(scaled - logarithm), fraction_bits) + 127
    return np.where(counted, np.clip(value, -128, 127), -128).astype(np.int8)
