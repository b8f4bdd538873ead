"""Evaluating plans on int8 arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from . import convolution  # noqa: F401  registers its kernel
from .fixed_point import requantize_double
from .plan import AddPlan, Int8Array, PoolPlan, RequantPlan, ReshapePlan
from .registry import Array, kernel

Float32Array = npt.NDArray[np.float32]


def _finish(accumulator: npt.NDArray[np.int64], zero_point: int, low: int, high: int) -> Int8Array:
    return np.clip(accumulator + zero_point, low, high).astype(np.int8)


@kernel(AddPlan)
def add(plan: AddPlan, first: Int8Array, second: Int8Array) -> Int8Array:
    """Sum of two tensors. Parameters: int8 ``plan.input_shapes``. Returns: the output's shape."""
    scaled = []
    for x, zero_point, multiplier, shift in zip(
        (first, second), plan.zero_points, plan.multipliers, plan.shifts, strict=True
    ):
        # All 256 values once, then a look-up.
        values = (np.arange(-128, 128, dtype=np.int64) - zero_point) << plan.left_shift
        table = requantize_double(values, multiplier, shift)
        scaled.append(table[x.astype(np.intp) + 128])
    total = requantize_double(scaled[0] + scaled[1], plan.output_multiplier, plan.output_shift)
    return _finish(total, plan.output_zero_point, plan.clamp_min, plan.clamp_max)


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
    rows = max((oh - 1) * plan.stride_h + plan.filter_h, h + plan.pad_top)
    cols = max((ow - 1) * plan.stride_w + plan.filter_w, w + plan.pad_left)
    average = plan.kind == "average"
    counts = (
        _inside(h, oh, plan.stride_h, plan.filter_h, plan.pad_top)[:, None]
        * _inside(w, ow, plan.stride_w, plan.filter_w, plan.pad_left)
    )[..., None]
    out = np.empty(plan.output_shape, np.int8)
    for image, result in zip(x.reshape(plan.input_shape), out, strict=True):
        padded = np.full((rows, cols, c), 0 if average else -128, np.int32)
        padded[plan.pad_top : plan.pad_top + h, plan.pad_left : plan.pad_left + w] = image
        # Both reductions are separable: first down the columns, then along the rows.
        combine = np.add if average else np.maximum
        columns = padded[: (oh - 1) * plan.stride_h + 1 : plan.stride_h].copy()
        for row_tap in range(1, plan.filter_h):
            tap = padded[row_tap : row_tap + (oh - 1) * plan.stride_h + 1 : plan.stride_h]
            combine(columns, tap, out=columns)
        total = columns[:, : (ow - 1) * plan.stride_w + 1 : plan.stride_w].copy()
        for column_tap in range(1, plan.filter_w):
            tap = columns[:, column_tap : column_tap + (ow - 1) * plan.stride_w + 1 : plan.stride_w]
            combine(total, tap, out=total)
        value: npt.NDArray[np.int64] = total.astype(np.int64)
        if average and plan.round_half_up:
            value = (value + 128 * counts + counts // 2) // counts - 128
        elif average:
            value = np.sign(value) * ((np.abs(value) + counts // 2) // counts)
        result[:] = _finish(value, 0, plan.clamp_min, plan.clamp_max)
    return out


@kernel(RequantPlan)
def quantize(plan: RequantPlan, x: Int8Array | Float32Array) -> Int8Array:
    """`x` at the output's scale. Parameters: int8 or float32 ``plan.shape``. Returns: int8."""
    if plan.float_input:
        ratio = x.astype(np.float32) / np.float32(plan.output_scale)
        whole = np.trunc(ratio)
        rounded = whole + np.where(np.abs(ratio - whole) >= 0.5, np.sign(ratio), 0)
        # Beyond int32 the C cast is undefined; saturate far outside the int8 range instead.
        bounded = np.clip(np.nan_to_num(rounded), -(1 << 30), 1 << 30).astype(np.int64)
        return _finish(bounded, plan.output_zero_point, plan.clamp_min, plan.clamp_max)
    values = np.arange(-128, 128, dtype=np.int64) - plan.input_zero_point
    scaled = requantize_double(values, plan.multiplier, plan.shift)
    table = _finish(scaled, plan.output_zero_point, plan.clamp_min, plan.clamp_max)
    return table[x.astype(np.intp) + 128]


@kernel(ReshapePlan)
def reshape(plan: ReshapePlan, x: Array) -> Array:
    """`x` in the output's shape."""
    return x.reshape(plan.output_shape)
