"""CUMSUM: sums of all elements up to each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mensa.golden.arithmetic.fixed_point import quantize_multiplier, requantize_double, wrap32
from mensa.golden.node import Node, limits
from mensa.golden.options import CumsumOptions
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

# Sums of int8 elements have so many bits below those of an element, and one less after the
# multiplication by a half that the kernel begins with.
_LEFT_SHIFT = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class CumsumPlan(Plan):
    """CUMSUM of numbers that are not quantised; integers wrap.

    Parameters
    ----------
    axis : int
        The dimension that is summed over.
    exclusive, reverse : bool
        Whether a sum leaves its own element out, and whether it runs from the end.
    """

    raw = True

    axis: int
    exclusive: bool
    reverse: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedCumsumPlan(CumsumPlan):
    """CUMSUM of int8 elements.

    With ``x = (input - input_zero_point) << left_shift``, ``output = clamp(requantize_double(sum,
    multiplier, shift) + output_zero_point)``, the sum in wrapping int32. It starts from the x of
    an input of 0, and not of the zero point.

    Parameters
    ----------
    left_shift, input_zero_point, output_zero_point, multiplier, shift : int
        As above; the shift is not positive.
    """

    left_shift: int
    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int


@shapes("CUMSUM")
def _same(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


def _axis(node: Node) -> int:
    values = node.constant(1, np.int32)
    node.require(values.size == 1, "must be one number", node.input(1))
    return node.axis(int(values.ravel()[0]), len(node.input(0).shape))


@planner("CUMSUM")
def _cumsum(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    options = node.options(CumsumOptions)
    require_kernel(
        *(node, data, rounding), tflm=("int8", "float32"), litert=("int32", "int64", "float32")
    )
    node.same_type(data, output)
    node.shape(output, data.shape)
    axis = _axis(node)
    if data.dtype != np.int8:
        return CumsumPlan(axis=axis, exclusive=options.exclusive, reverse=options.reverse)
    node.eight_bit(data)
    node.eight_bit(output)
    # In double precision, as the kernel does it.
    unit = 2.0 * float(data.scale[0]) / ((1 << _LEFT_SHIFT) * float(output.scale[0]))
    node.require(unit < 1.0, "its scale is too small for the input's", output)
    multiplier, shift = quantize_multiplier(unit)
    node.require(shift <= 0, "its scale is too small for the input's", output)
    return QuantizedCumsumPlan(
        axis=axis,
        exclusive=options.exclusive,
        reverse=options.reverse,
        left_shift=_LEFT_SHIFT - 1,
        input_zero_point=node.zero_point(data),
        output_zero_point=node.zero_point(output),
        multiplier=multiplier,
        shift=shift,
    )


def _sums(plan: CumsumPlan, x: Array, start: int) -> Array:
    """The sums of `x`, all of which begin with `start`."""
    turned = np.flip(x, plan.axis) if plan.reverse else x
    first = [(0, 0)] * x.ndim
    first[plan.axis] = (1, 0)
    # The kernels add up one after another, and the first to a zero that is not negative.
    sums = np.cumsum(np.pad(turned, first, constant_values=start), axis=plan.axis, dtype=x.dtype)
    chosen = [slice(None)] * x.ndim
    chosen[plan.axis] = slice(0, -1) if plan.exclusive else slice(1, None)
    kept = sums[tuple(chosen)]
    return np.ascontiguousarray(np.flip(kept, plan.axis) if plan.reverse else kept)


@kernel(CumsumPlan)
def cumsum(plan: CumsumPlan, x: Array) -> Array:
    """Sums along ``plan.axis``. Returns: shape and type of `x`."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _sums(plan, x, 0)


@kernel(QuantizedCumsumPlan)
def quantized_cumsum(plan: QuantizedCumsumPlan, x: Array) -> Array:
    """Sums along ``plan.axis``. Parameters: int8. Returns: int8, the same shape."""
    values = (x.astype(np.int64) - plan.input_zero_point) << plan.left_shift
    total = wrap32(_sums(plan, values, -plan.input_zero_point << plan.left_shift))
    value = requantize_double(total, plan.multiplier, plan.shift) + plan.output_zero_point
    return np.clip(value, *limits(x.dtype)).astype(np.int8)
