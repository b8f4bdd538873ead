"""ADD of 8-bit values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    clamped,
    quantize_multiplier,
    requantize_double,
)
from mensa.golden.arithmetic.rounder import Rounder, rounding_error
from mensa.golden.graph import Tensor
from mensa.golden.node import Node, to_int8
from mensa.golden.options import (
    AddOptions,
)
from mensa.golden.per_plan import once_per_plan
from mensa.golden.plan import (
    Int8Array,
    Plan,
    Rounding,
    Shape,
)
from mensa.golden.registry import kernel, planner

# Elements of which a few arrays fit a processor's cache.
_BLOCK = 1 << 15


#: ADD gives its inputs this many more bits before it scales them (add.cc).
ADD_LEFT_SHIFT = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class AddPlan(Plan):
    """ADD of two int8 tensors.

    ``scaled_i = requantise((input_i - zero_point_i) << left_shift, multiplier_i, shift_i)``;
    ``output = clamp(requantise(scaled_1 + scaled_2, output_multiplier, output_shift) +
    output_zero_point)``, all by `requantize_double`, shifts not positive.

    Parameters
    ----------
    input_shapes : two tuples of int
        As in the file; they broadcast to `output_shape`.
    same_shape : bool
        Whether both inputs have the output's shape, so that nothing is broadcast.
    constants : two int8 arrays or None
        The value of an input that is a constant of the file.
    zero_points, multipliers, shifts : two int each
        Of the inputs.
    left_shift : int
        Bits that both inputs gain before they are scaled.
    output_zero_point, output_multiplier, output_shift, clamp_min, clamp_max : int
        Of the output.
    """

    input_shapes: tuple[Shape, Shape]
    output_shape: Shape
    same_shape: bool
    constants: tuple[Int8Array | None, Int8Array | None]
    zero_points: tuple[int, int]
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    left_shift: int
    output_zero_point: int
    output_multiplier: int
    output_shift: int
    clamp_min: int
    clamp_max: int

    @property
    def operands(self) -> tuple[int, ...]:
        """Both inputs."""
        return (0, 1)


@planner("ADD")
def _add(node: Node, rounding: Rounding) -> Plan:
    options = node.options(AddOptions)
    first, second, output = node.input(0), node.input(1), node.output()
    for tensor in (first, second, output):
        node.eight_bit(tensor)
    node.same_type(first, second)
    node.same_type(first, output)
    node.shape(output, node.broadcast(first, second))
    scales = float(first.scale[0]), float(second.scale[0])
    twice = 2.0 * max(scales)
    factors = [quantize_multiplier(scale / twice) for scale in scales]
    last, last_shift = quantize_multiplier(twice / ((1 << ADD_LEFT_SHIFT) * float(output.scale[0])))
    node.require(last_shift <= 0, "its scale is too small for that of the inputs", output)
    clamp_min, clamp_max = node.clamp(options.activation, output)

    def constant(tensor: Tensor) -> Int8Array | None:
        return None if tensor.data is None else to_int8(tensor.data)

    return AddPlan(
        input_shapes=(first.shape, second.shape),
        output_shape=output.shape,
        same_shape=first.shape == second.shape,
        constants=(constant(first), constant(second)),
        zero_points=(node.zero_point(first), node.zero_point(second)),
        multipliers=(factors[0][0], factors[1][0]),
        shifts=(factors[0][1], factors[1][1]),
        left_shift=ADD_LEFT_SHIFT,
        output_zero_point=node.zero_point(output),
        output_multiplier=last,
        output_shift=last_shift,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _AddForm:
    """What ADD works out once.

    Parameters
    ----------
    shares : int64 array ``[2, 256]``
        Either input's share of the sum, of every int8 value from the lowest on.
    ratio : float32
        Second input's scale over the first's.
    rounder : Rounder or None
        Makes outputs of ``first + ratio * second``, None where it can't.
    """

    shares: npt.NDArray[np.int64]
    ratio: np.float32
    rounder: Rounder | None


@once_per_plan
def _add_form(plan: AddPlan) -> _AddForm:
    values = np.arange(-128, 128, dtype=np.int64)
    shares = [
        requantize_double((values - zero_point) << plan.left_shift, multiplier, shift)
        for zero_point, multiplier, shift in zip(
            plan.zero_points, plan.multipliers, plan.shifts, strict=True
        )
    ]
    unit = math.ldexp(plan.output_multiplier, plan.output_shift - 31)
    scales = [
        math.ldexp(multiplier, shift - 31 + plan.left_shift) * unit
        for multiplier, shift in zip(plan.multipliers, plan.shifts, strict=True)
    ]
    offsets = [scale * zero for scale, zero in zip(scales, plan.zero_points, strict=True)]
    addend = np.array([plan.output_zero_point - sum(offsets)])
    # Shares are rounded twice, each time by at most a unit, and so is their sum. In float32 either
    # product and their sum are rounded as well as what `rounding_error` counts.
    error = 4 * unit + math.ldexp(0.5, plan.output_shift)
    error += rounding_error(addend) + math.ldexp(sum(scales), 7 - 22)
    rounder = None
    if min(scales) > 0.0 and Rounder.useful(error):
        low, high = plan.clamp_min, plan.clamp_max
        rounder = Rounder(np.array([scales[0]]), addend, low, high, error)
    ratio = np.float32(scales[1] / scales[0] if rounder else 0.0)
    return _AddForm(shares=np.stack(shares), ratio=ratio, rounder=rounder)


def _add_exactly(
    plan: AddPlan, shares: npt.NDArray[np.int64], first: Int8Array, second: Int8Array
) -> Int8Array:
    scaled = shares[0][first.astype(np.intp) + 128] + shares[1][second.astype(np.intp) + 128]
    total = requantize_double(scaled, plan.output_multiplier, plan.output_shift)
    return clamped(total, plan.output_zero_point, plan.clamp_min, plan.clamp_max)


@kernel(AddPlan)
def add(plan: AddPlan, first: Int8Array, second: Int8Array) -> Int8Array:
    """Sum of two tensors. Parameters: int8 ``plan.input_shapes``. Returns: the output's shape."""
    form = _add_form(plan)
    operands = [
        np.broadcast_to(x.reshape(shape), plan.output_shape).reshape(-1)
        for x, shape in zip((first, second), plan.input_shapes, strict=True)
    ]
    out = np.empty(operands[0].shape, np.int8)
    rows = min(_BLOCK, len(out))
    sums = np.empty((rows if form.rounder is None else form.rounder.rows(rows), 1), np.float32)
    round_sums = None if form.rounder is None else form.rounder.rounding(sums)
    for top in range(0, len(out), rows):
        x, y = (operand[top : top + rows] for operand in operands)
        result = out[top : top + rows]
        if round_sums is None:
            result[:] = _add_exactly(plan, form.shares, x, y)
            continue
        part = sums[: len(x), 0]
        np.multiply(y, form.ratio, out=part)
        part += x
        rounded, doubtful = round_sums(len(x))
        result[:] = rounded[:, 0]
        if doubtful.size:
            result[doubtful] = _add_exactly(plan, form.shares, x[doubtful], y[doubtful])
    return out.reshape(plan.output_shape)
