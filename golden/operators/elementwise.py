"""Operators on two tensors, element by element: SUB, MUL, MAXIMUM, MINIMUM, PRELU.

ADD of 8-bit tensors, which the accelerators run, is in `addition`; ADD of int16 tensors is here,
and ADD, SUB and MUL of tensors that are not quantised.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    quantize_multiplier,
    requantize_double,
    rounding_divide_by_pot,
    scale_ratio,
)
from mensa.golden.graph import Tensor
from mensa.golden.node import EIGHT_BIT, INT16, Node, limits, scale_power
from mensa.golden.operators.floats import clamp
from mensa.golden.options import AddOptions, MulOptions, SubOptions
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

Int64Array = npt.NDArray[np.int64]

# From this many outputs on, all pairs of 8-bit values are computed once and then looked up.
_TABLE_FROM = 1 << 17
#: Types of tensors that are not quantised and can be added, subtracted and multiplied.
PLAIN = (np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.int64))


class _Pairwise(Plan):
    """A plan of two operands."""

    @property
    def operands(self) -> tuple[int, ...]:
        """Both inputs."""
        return (0, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaledPlan(_Pairwise):
    """Sum or difference of two quantised tensors whose scales differ.

    ``scaled_i = requantise((input_i - zero_point_i) << left_shift, multiplier_i, shift_i)``;
    ``output = clamp(requantise(scaled_1 +- scaled_2, output_multiplier, output_shift) +
    output_zero_point)``, all by `requantize_double`, shifts not positive.

    Parameters
    ----------
    input_shapes, output_shape, zero_points, multipliers, shifts, left_shift, output_zero_point,
    output_multiplier, output_shift, clamp_min, clamp_max
        As in `AddPlan`.
    """

    input_shapes: tuple[Shape, Shape]
    output_shape: Shape
    zero_points: tuple[int, int]
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    left_shift: int
    output_zero_point: int
    output_multiplier: int
    output_shift: int
    clamp_min: int
    clamp_max: int


@dataclass(frozen=True, kw_only=True, eq=False)
class SubPlan(ScaledPlan):
    """SUB of two quantised tensors, int8 or int16."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Int16AddPlan(ScaledPlan):
    """ADD of two int16 tensors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PowerPlan(_Pairwise):
    """ADD or SUB of int16 tensors whose scales are powers of two, as LiteRT computes it.

    ``output = clamp(round(input_1 / 2**shift_1) + sign * round(input_2 / 2**shift_2))``, halves
    away from zero.

    Parameters
    ----------
    output_shape : tuple of int
        What the inputs broadcast to.
    sign : 1 or -1
        For ADD or SUB.
    shifts : two int
        Of the inputs, to the right; one of them is 0.
    clamp_min, clamp_max : int
        The fused activation's range.
    """

    output_shape: Shape
    sign: int
    shifts: tuple[int, int]
    clamp_min: int
    clamp_max: int


@dataclass(frozen=True, kw_only=True, eq=False)
class MulPlan(_Pairwise):
    """MUL of two quantised tensors, int8 or int16.

    ``output = clamp(requantize_double((input_1 - zero_point_1) * (input_2 - zero_point_2),
    multiplier, shift) + output_zero_point)``.

    Parameters
    ----------
    input_shapes, output_shape : tuples of int
        The inputs broadcast to the output.
    zero_points, output_zero_point, multiplier, shift, clamp_min, clamp_max : int
        Of the inputs and the output.
    """

    input_shapes: tuple[Shape, Shape]
    output_shape: Shape
    zero_points: tuple[int, int]
    output_zero_point: int
    multiplier: int
    shift: int
    clamp_min: int
    clamp_max: int


@dataclass(frozen=True, kw_only=True, eq=False)
class PreluPlan(_Pairwise):
    """PRELU: the second input is the slope of each element below zero.

    With ``x = input - zero_point``, ``output = clamp(y + output_zero_point)`` where y is
    ``requantize_double(x, multiplier, shift)`` for x not below 0, else
    ``requantize_double(x * (alpha - alpha_zero_point), alpha_multiplier, alpha_shift)``.

    Parameters
    ----------
    input_shapes, output_shape : tuples of int
        The slopes broadcast to the input's and output's shape.
    zero_points, output_zero_point : int
        Of input, slopes and output.
    multiplier, shift, alpha_multiplier, alpha_shift : int
        Requantisation at and above, and below zero.
    """

    input_shapes: tuple[Shape, Shape]
    output_shape: Shape
    zero_points: tuple[int, int]
    output_zero_point: int
    multiplier: int
    shift: int
    alpha_multiplier: int
    alpha_shift: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ExtremumPlan(_Pairwise):
    """MAXIMUM or MINIMUM of two tensors of one type; scales play no part.

    Parameters
    ----------
    kind : "maximum" or "minimum"
        Which of the two elements is taken.
    output_shape : tuple of int
        What the inputs broadcast to.
    """

    kind: Literal["maximum", "minimum"]
    output_shape: Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class ArithmeticPlan(_Pairwise):
    """ADD, SUB or MUL of tensors that are not quantised; integers wrap.

    Parameters
    ----------
    kind : "add", "subtract" or "multiply"
        The operation.
    output_shape : tuple of int
        What the inputs broadcast to.
    low, high : numbers of the tensors' type
        The fused activation's range. Without an activation, the type's range: infinities
        become the largest finite number.
    """

    raw = True

    kind: Literal["add", "subtract", "multiply"]
    output_shape: Shape
    low: np.generic
    high: np.generic


_BINARY = ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM")


@shapes(*_BINARY)
def _broadcast(node: Node) -> tuple[Shape, ...]:
    return (node.broadcast(node.input(0), node.input(1)),)


@shapes("PRELU")
def _first(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


def tensors_of(node: Node) -> tuple[Tensor, Tensor, Tensor]:
    """Both inputs and the output: of one type, and of shapes that fit."""
    first, second, output = node.input(0), node.input(1), node.output()
    node.same_type(first, second)
    node.same_type(first, output)
    node.shape(output, node.broadcast(first, second))
    return first, second, output


def _quantized(node: Node, tensors: tuple[Tensor, Tensor, Tensor], rounding: Rounding) -> None:
    for tensor in tensors:
        node.quantized(tensor)
        node.require(
            rounding == "litert" or tensor.dtype != np.uint8, "TFLM has no uint8 kernel", tensor
        )


def arithmetic(node: Node, rounding: Rounding) -> ArithmeticPlan:
    """Plan of ADD, SUB or MUL of tensors that are not quantised."""
    first, _, output = tensors_of(node)
    node.require(first.dtype in PLAIN, f"{first.dtype} is not supported", first)
    options = node.operator.options
    assert isinstance(options, AddOptions | SubOptions | MulOptions)
    kind = first.dtype.type
    info: Any = np.finfo(kind) if first.dtype.kind == "f" else np.iinfo(kind)
    ranges: dict[str, tuple[Any, Any]] = {
        "NONE": (info.min, info.max),
        "RELU": (0, info.max),
        "RELU6": (0, 6),
        "RELU_N1_TO_1": (-1, 1),
    }
    activation = options.activation
    if node.operator.op == "ADD" and rounding == "tflm" and first.dtype == np.int32:
        # TFLM takes no notice of it.
        activation = "NONE"
    node.require(activation in ranges, f"fused activation {activation} is not supported")
    low, high = ranges[activation]
    names: dict[str, Literal["add", "subtract", "multiply"]] = {
        "ADD": "add",
        "SUB": "subtract",
        "MUL": "multiply",
    }
    return ArithmeticPlan(
        kind=names[node.operator.op], output_shape=output.shape, low=kind(low), high=kind(high)
    )


@planner("SUB")
def _sub(node: Node, rounding: Rounding) -> Plan:
    options = node.options(SubOptions)
    first, _, output = tensors = tensors_of(node)
    if not first.scale.size and first.dtype in PLAIN:
        return arithmetic(node, rounding)
    _quantized(node, tensors, rounding)
    left_shift = 20
    if output.dtype == np.int16:
        left_shift = 15
        if rounding == "litert" and options.pot_scale_int16:
            powers = _powers(node, tensors, -1)
            if powers is not None:
                return powers
    return SubPlan(**scaled(node, tensors, left_shift, options.activation))


@planner("ADD", types=("int16", *(kind.name for kind in PLAIN)))
def _add(node: Node, rounding: Rounding) -> Plan:
    options = node.options(AddOptions)
    first, second, _ = tensors = tensors_of(node)
    if not first.scale.size and first.dtype in PLAIN:
        return arithmetic(node, rounding)
    for tensor in tensors:
        node.quantized(tensor, INT16)
    if rounding == "litert" and options.pot_scale_int16:
        powers = _powers(node, tensors, 1)
        if powers is not None:
            # Its kernel reads beyond the smaller input.
            node.require(first.shape == second.shape, "LiteRT does not broadcast here", second)
            return powers
    return Int16AddPlan(**scaled(node, tensors, 15, options.activation))


def _powers(node: Node, tensors: tuple[Tensor, Tensor, Tensor], sign: int) -> PowerPlan | None:
    """Plan of a sum of int16 tensors; None where a scale is no power of two."""
    first, second, output = (scale_power(tensor) for tensor in tensors)
    if first is None or second is None or output is None:
        return None
    shifts = output - first, output - second
    node.require(
        min(shifts) == 0 and max(shifts) < 16,
        "one input must have its scale, and the other a finer one",
        tensors[2],
    )
    options = node.operator.options
    assert isinstance(options, AddOptions | SubOptions)
    clamp_min, clamp_max = node.clamp(options.activation, tensors[2])
    return PowerPlan(
        output_shape=tensors[2].shape,
        sign=sign,
        shifts=shifts,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


def scaled(
    node: Node,
    tensors: tuple[Tensor, Tensor, Tensor],
    left_shift: int,
    activation: str,
    power: int = 1,
    enlarges: bool = False,
) -> dict[str, Any]:
    """Fields of a `ScaledPlan`.

    Parameters: what is rescaled to the output is the `power` of a sum, by a factor that may be 1
    or more where the kernel `enlarges`.
    """
    first, second, output = tensors
    scales = float(first.scale[0]), float(second.scale[0])
    twice = 2.0 * max(scales)
    factors = [quantize_multiplier(scale / twice) for scale in scales]
    unit = twice**power / (1 << left_shift * power)
    last, last_shift = quantize_multiplier(unit / float(output.scale[0]))
    node.require(
        enlarges or last_shift <= 0, "its scale is too small for that of the inputs", output
    )
    clamp_min, clamp_max = node.clamp(activation, output)
    return {
        "input_shapes": (first.shape, second.shape),
        "output_shape": output.shape,
        "zero_points": (node.zero_point(first), node.zero_point(second)),
        "multipliers": (factors[0][0], factors[1][0]),
        "shifts": (factors[0][1], factors[1][1]),
        "left_shift": left_shift,
        "output_zero_point": node.zero_point(output),
        "output_multiplier": last,
        "output_shift": last_shift,
        "clamp_min": clamp_min,
        "clamp_max": clamp_max,
    }


def _factor(rounding: Rounding, output: Tensor, *inputs: Tensor) -> tuple[int, int]:
    """Multiplier and shift from the product of the inputs' scales to the output's."""
    real = scale_ratio(rounding, [tensor.scale[0] for tensor in inputs], output.scale[0])
    return quantize_multiplier(real)


@planner("MUL")
def _mul(node: Node, rounding: Rounding) -> Plan:
    options = node.options(MulOptions)
    first, second, output = tensors = tensors_of(node)
    if not first.scale.size and first.dtype in PLAIN:
        return arithmetic(node, rounding)
    _quantized(node, tensors, rounding)
    multiplier, shift = _factor(rounding, output, first, second)
    clamp_min, clamp_max = node.clamp(options.activation, output)
    return MulPlan(
        input_shapes=(first.shape, second.shape),
        output_shape=output.shape,
        zero_points=(node.zero_point(first), node.zero_point(second)),
        output_zero_point=node.zero_point(output),
        multiplier=multiplier,
        shift=shift,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


@planner("PRELU")
def _prelu(node: Node, rounding: Rounding) -> Plan:
    data, alpha, output = node.input(0), node.input(1), node.output()
    node.same_type(data, output)
    _quantized(node, (data, data, output), rounding)
    node.quantized(alpha, EIGHT_BIT)
    if data.dtype != np.int16:
        node.same_type(data, alpha)
    node.shape(output, data.shape)
    node.require(node.broadcast(data, alpha) == data.shape, "has more elements than the input")
    multiplier, shift = _factor(rounding, output, data)
    alpha_multiplier, alpha_shift = _factor(rounding, output, data, alpha)
    return PreluPlan(
        input_shapes=(data.shape, alpha.shape),
        output_shape=output.shape,
        zero_points=(node.zero_point(data), node.zero_point(alpha)),
        output_zero_point=node.zero_point(output),
        multiplier=multiplier,
        shift=shift,
        alpha_multiplier=alpha_multiplier,
        alpha_shift=alpha_shift,
    )


@planner("MAXIMUM", "MINIMUM")
def _extremum(node: Node, rounding: Rounding) -> Plan:
    first, _, output = tensors_of(node)
    node.require(first.dtype.kind in "iuf", f"{first.type_name} is not supported", first)
    return ExtremumPlan(
        kind="maximum" if node.operator.op == "MAXIMUM" else "minimum",
        output_shape=output.shape,
    )


def _pairs(function: Callable[[Array, Array], Array], first: Array, second: Array) -> Array:
    """`function` of two arrays that broadcast; by a table where there are many 8-bit elements."""
    shape = np.broadcast_shapes(first.shape, second.shape)
    if first.itemsize > 1 or second.itemsize > 1 or int(np.prod(shape)) < _TABLE_FROM:
        return function(first, second)
    # In the order of the bytes: 0 to 127, then -128 to -1.
    values = np.arange(256).astype(np.uint8).view(np.int8)
    table = function(values[:, None], values[None, :])
    row = first.view(np.uint8).astype(np.uint16) << np.uint16(8)
    result: Array = table.ravel()[row | second.view(np.uint8)]
    return result


def _finish(total: Int64Array, zero_point: int, low: int, high: int, like: Array) -> Array:
    return np.clip(total + zero_point, low, high).astype(like.dtype)


def scaled_pairs(
    plan: ScaledPlan,
    combine: Callable[[Int64Array, Int64Array], Int64Array],
    first: Array,
    second: Array,
) -> Array:
    """What `combine` makes of two scaled tensors, at the output's scale."""

    def function(a: Array, b: Array) -> Array:
        scaled = [
            requantize_double(
                (x.astype(np.int64) - zero_point) << plan.left_shift, multiplier, shift
            )
            for x, zero_point, multiplier, shift in zip(
                (a, b), plan.zero_points, plan.multipliers, plan.shifts, strict=True
            )
        ]
        total = requantize_double(combine(*scaled), plan.output_multiplier, plan.output_shift)
        return _finish(total, plan.output_zero_point, plan.clamp_min, plan.clamp_max, a)

    return _pairs(function, first, second)


@kernel(Int16AddPlan)
def add(plan: Int16AddPlan, first: Array, second: Array) -> Array:
    """Sum of two tensors. Parameters: ``plan.input_shapes``. Returns: the output's shape."""
    return scaled_pairs(plan, operator.add, first, second)


@kernel(SubPlan)
def subtract(plan: SubPlan, first: Array, second: Array) -> Array:
    """Difference of two tensors. Parameters: ``plan.input_shapes``. Returns: the output's shape."""
    return scaled_pairs(plan, operator.sub, first, second)


@kernel(PowerPlan)
def add_powers(plan: PowerPlan, first: Array, second: Array) -> Array:
    """Sum or difference of two int16 tensors that broadcast. Returns: the output's shape."""
    a = rounding_divide_by_pot(first, plan.shifts[0])
    b = rounding_divide_by_pot(second, plan.shifts[1])
    return _finish(a + plan.sign * b, 0, plan.clamp_min, plan.clamp_max, first)


@kernel(MulPlan)
def multiply(plan: MulPlan, first: Array, second: Array) -> Array:
    """Product of two tensors. Parameters: ``plan.input_shapes``. Returns: the output's shape."""

    def function(a: Array, b: Array) -> Array:
        product = (a.astype(np.int64) - plan.zero_points[0]) * (
            b.astype(np.int64) - plan.zero_points[1]
        )
        total = requantize_double(product, plan.multiplier, plan.shift)
        return _finish(total, plan.output_zero_point, plan.clamp_min, plan.clamp_max, a)

    return _pairs(function, first, second)


@kernel(PreluPlan)
def prelu(plan: PreluPlan, data: Array, alpha: Array) -> Array:
    """`data`, below zero times its slope. Returns: the output's shape."""

    def function(a: Array, b: Array) -> Array:
        x = a.astype(np.int64) - plan.zero_points[0]
        below = x * (b.astype(np.int64) - plan.zero_points[1])
        total = np.where(
            x >= 0,
            requantize_double(x, plan.multiplier, plan.shift),
            requantize_double(below, plan.alpha_multiplier, plan.alpha_shift),
        )
        return _finish(total, plan.output_zero_point, *limits(a.dtype), a)

    return _pairs(function, data, alpha)


@kernel(ExtremumPlan)
def extremum(plan: ExtremumPlan, first: Array, second: Array) -> Array:
    """The larger or the smaller element of two tensors. Returns: the output's shape."""
    takes_first = first > second if plan.kind == "maximum" else first < second
    return np.where(takes_first, first, second)


@kernel(ArithmeticPlan)
def arithmetic_of(plan: ArithmeticPlan, first: Array, second: Array) -> Array:
    """Sum, difference or product of two tensors, clamped. Returns: the output's shape."""
    operation = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply}[plan.kind]
    with np.errstate(all="ignore"):
        result: Array = operation(first, second)
    return clamp(result, plan.low, plan.high)
