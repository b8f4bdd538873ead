"""Evaluating plans on int8 arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import quantized, requantize_double, wrap32
from mensa.golden.arithmetic.rounder import Rounder, rounding_error
from mensa.golden.operators import convolution  # noqa: F401  registers its kernel
from mensa.golden.per_plan import once_per_plan
from mensa.golden.plan import (
    ZERO_POINT_SHIFT,
    AddPlan,
    Int8Array,
    PoolPlan,
    RequantPlan,
    ReshapePlan,
)
from mensa.golden.registry import Array, kernel

Float32Array = npt.NDArray[np.float32]


# Elements of which a few arrays fit a processor's cache.
_BLOCK = 1 << 15


def _finish(accumulator: npt.NDArray[np.int64], zero_point: int, low: int, high: int) -> Int8Array:
    return np.clip(accumulator + zero_point, low, high).astype(np.int8)


@dataclass(frozen=True, kw_only=True, eq=False)
class _AddForm:
    """What ADD works out once.

    Parameters
    ----------
    tables : int64 array ``[2, 256]``
        Either input's share of the sum, of every int8 value from the lowest on.
    ratio : float32
        Second input's scale over the first's.
    rounder : Rounder or None
        Makes outputs of ``first + ratio * second``, None where it can't.
    """

    tables: npt.NDArray[np.int64]
    ratio: np.float32
    rounder: Rounder | None


@once_per_plan
def _add_form(plan: AddPlan) -> _AddForm:
    values = np.arange(-128, 128, dtype=np.int64)
    tables = [
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
    shares = [scale * zero for scale, zero in zip(scales, plan.zero_points, strict=True)]
    addend = np.array([plan.output_zero_point - sum(shares)])
    # Shares are rounded twice, each time by at most a unit, and so is their sum. In float32 either
    # product and their sum are rounded as well as what `rounding_error` counts.
    error = 4 * unit + math.ldexp(0.5, plan.output_shift)
    error += rounding_error(addend) + math.ldexp(sum(scales), 7 - 22)
    rounder = None
    if min(scales) > 0.0 and Rounder.useful(error):
        low, high = plan.clamp_min, plan.clamp_max
        rounder = Rounder(np.array([scales[0]]), addend, low, high, error)
    ratio = np.float32(scales[1] / scales[0] if rounder else 0.0)
    return _AddForm(tables=np.stack(tables), ratio=ratio, rounder=rounder)


def _add_exactly(
    plan: AddPlan, tables: npt.NDArray[np.int64], first: Int8Array, second: Int8Array
) -> Int8Array:
    scaled = tables[0][first.astype(np.intp) + 128] + tables[1][second.astype(np.intp) + 128]
    total = requantize_double(scaled, plan.output_multiplier, plan.output_shift)
    return _finish(total, plan.output_zero_point, plan.clamp_min, plan.clamp_max)


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
            result[:] = _add_exactly(plan, form.tables, x, y)
            continue
        part = sums[: len(x), 0]
        np.multiply(y, form.ratio, out=part)
        part += x
        rounded, doubtful = round_sums(len(x))
        result[:] = rounded[:, 0]
        if doubtful.size:
            result[doubtful] = _add_exactly(plan, form.tables, x[doubtful], y[doubtful])
    return out.reshape(plan.output_shape)


def _inside(size: int, outputs: int, stride: int, window: int, pad: int) -> npt.NDArray[np.int64]:
    """How many taps of each window along one dimension are inside the input."""
    start = np.arange(outputs) * stride - pad
    return np.minimum(start + window, size) - np.maximum(start, 0)


@kernel(PoolPlan)
def pool(plan: PoolPlan, x: Int8Array) -> Int8Array:
    """Average or maximum over windows.

    Parameters: int8 ``plan.input_shape``. Returns: int8 ``plan.output_shape``.
    """
    _, h, w, c = plan.input_shape
    _, oh, ow, _ = plan.output_shape
    average = plan.kind == "average"
    # Both reductions are separable: first down the columns, then along the rows.
    combine = np.add if average else np.maximum
    row_counts = _inside(h, oh, plan.stride_h, plan.filter_h, plan.pad_top)
    column_counts = _inside(w, ow, plan.stride_w, plan.filter_w, plan.pad_left)
    out = np.empty(plan.output_shape, np.int8)
    reach = (ow - 1) * plan.stride_w + 1
    width = max(reach - 1 + plan.filter_w, w + plan.pad_left)
    columns = np.full((width, c), 0 if average else -128, np.int32 if average else np.int8)
    inside = columns[plan.pad_left : plan.pad_left + w]
    for image, result in zip(x.reshape(plan.input_shape), out, strict=True):
        for y in range(oh):
            top = y * plan.stride_h - plan.pad_top
            seen = image[max(top, 0) : top + plan.filter_h]
            combine.reduce(seen, axis=0, dtype=columns.dtype, out=inside)
            total = columns[: reach : plan.stride_w].copy()
            for tap in range(1, plan.filter_w):
                combine(total, columns[tap : tap + reach : plan.stride_w], out=total)
            value: npt.NDArray[np.int64] = total.astype(np.int64)
            counts = (row_counts[y] * column_counts)[:, None]
            if average and plan.round_half_up:
                value = (value + 128 * counts + counts // 2) // counts - 128
            elif average:
                value = np.sign(value) * ((np.abs(value) + counts // 2) // counts)
            result[y] = _finish(value, 0, plan.clamp_min, plan.clamp_max)
    return out


@kernel(RequantPlan)
def quantize(plan: RequantPlan, x: Int8Array | Float32Array) -> Int8Array:
    """`x` at the output's scale. Parameters: int8 or float32 ``plan.shape``. Returns: int8."""
    # TFLite adds the file's own zero point in int32, where a very large result wraps.
    domain = ZERO_POINT_SHIFT if plan.unsigned else 0
    zero_point = plan.output_zero_point - domain
    if plan.float_input:
        whole = wrap32(quantized(x, plan.output_scale) + zero_point)
        return _finish(whole, domain, plan.clamp_min, plan.clamp_max)
    values = np.arange(-128, 128, dtype=np.int64) - plan.input_zero_point
    scaled = wrap32(requantize_double(values, plan.multiplier, plan.shift) + zero_point)
    table = _finish(scaled, domain, plan.clamp_min, plan.clamp_max)
    # In the order of the values' bytes, which translate() looks up without an array of indices.
    by_byte = np.roll(table, 128).tobytes()
    flat, out = x.reshape(-1), np.empty(x.size, np.int8)
    for top in range(0, len(out), _BLOCK):
        found = flat[top : top + _BLOCK].tobytes().translate(by_byte)
        out[top : top + _BLOCK] = np.frombuffer(found, np.int8)
    return out.reshape(x.shape)


@kernel(ReshapePlan)
def reshape(plan: ReshapePlan, x: Array) -> Array:
    """`x` in the output's shape."""
    return x.reshape(plan.output_shape)
