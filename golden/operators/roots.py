"""EXP, SQRT and RSQRT of quantised tensors, each as a table of all its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    quantize_multiplier,
    requantize_double,
    to_int32,
    wrap32,
)
from mensa.golden.arithmetic.fixed_point_functions import inverse_square_root
from mensa.golden.arithmetic.interpolation import Floats, interpolate, interpolation_table
from mensa.golden.graph import Tensor
from mensa.golden.node import Node, limits
from mensa.golden.operators.floats import expf
from mensa.golden.operators.lookup import TablePlan, entries_of, in_single_precision, table_plan
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding
from mensa.golden.registry import Array, kernel, planner

Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

_TYPES = (np.dtype(np.int8), np.dtype(np.int16))
# Bits that RSQRT's kernel gains for a root before it is scaled.
_ROOT_BITS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class RootPlan(TablePlan):
    """SQRT or RSQRT, which stop at a number below zero.

    Parameters
    ----------
    shape, table
        As in `TablePlan`; what is below `zero_point` does not matter.
    zero_point : int
        Of the input.
    """

    zero_point: int


@kernel(RootPlan)
def root(plan: RootPlan, x: Array) -> Array:
    """The table's entry of each element. Raises: ValueError for one below zero."""
    if x.size and int(x.min()) < plan.zero_point:
        raise ValueError("the root of a number below zero")
    return entries_of(plan.table, x)


def _data_and_output(node: Node) -> tuple[Tensor, Tensor]:
    data, output = node.input(0), node.output()
    node.quantized(data, _TYPES)
    node.quantized(output, _TYPES)
    node.same_type(data, output)
    node.shape(output, data.shape)
    return data, output


def _stored(data: Tensor) -> Int64Array:
    low, high = limits(data.dtype)
    return np.arange(low, high + 1, dtype=np.int64)


def _interpolated(data: Tensor, output: Tensor, function: Callable[[Floats], Floats]) -> Int64Array:
    """Results of every int16 value by LiteRT's table of 513 entries."""
    return interpolate(interpolation_table(function, data.scale[0], output.scale[0]), _stored(data))


def _root_plan(node: Node, data: Tensor, values: Int64Array) -> RootPlan:
    table = table_plan(data, values).table
    return RootPlan(shape=data.shape, table=table, zero_point=node.zero_point(data))


@planner("EXP", types=("int8", "int16"))
def _exp(node: Node, rounding: Rounding) -> Plan:
    require_kernel(node, node.input(0), rounding, tflm=(), litert=("int8", "int16"))
    data, output = _data_and_output(node)
    if data.dtype == np.int16:
        return table_plan(data, _interpolated(data, output, expf))
    return in_single_precision(node, data, output, expf)


@planner("SQRT", types=("int8", "int16"))
def _sqrt(node: Node, rounding: Rounding) -> Plan:
    require_kernel(node, node.input(0), rounding, tflm=(), litert=("int8", "int16"))
    data, output = _data_and_output(node)
    difference = np.maximum(_stored(data) - node.zero_point(data), 0).astype(np.float32)
    quotient = np.sqrt(data.scale[0] * difference) / output.scale[0]
    return _root_plan(node, data, wrap32(to_int32(quotient) + node.zero_point(output)))


@planner("RSQRT", types=("int8", "int16"))
def _rsqrt(node: Node, rounding: Rounding) -> Plan:
    data, output = _data_and_output(node)
    highest = limits(data.dtype)[1]
    if data.dtype == np.int16 and rounding == "litert":

        def function(x: Floats) -> Floats:
            inside = np.maximum(x, np.finfo(np.float32).tiny)
            root: Floats = np.float32(1) / np.sqrt(inside)
            return np.where(x <= 0, np.float32(highest) * output.scale[0], root)

        return _root_plan(node, data, _interpolated(data, output, function))
    value = np.maximum(_stored(data) - node.zero_point(data), 0)
    # LiteRT multiplies in single precision, which may not hold it, and TFLM in double.
    kind = np.float32 if rounding == "litert" else np.float64
    with np.errstate(divide="ignore", under="ignore"):
        ratio = 1.0 / np.float64(np.sqrt(kind(data.scale[0])) * kind(output.scale[0]))
    multiplier, shift = quantize_multiplier(float(ratio))
    inverse, inverse_shift = inverse_square_root(value)
    unit = requantize_double(1, inverse, inverse_shift + _ROOT_BITS)
    scaled = requantize_double(unit, multiplier, shift - _ROOT_BITS) + node.zero_point(output)
    return _root_plan(node, data, np.where(value == 0, highest, scaled))
