"""Evaluating plans on int8 arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .fixed_point import requantize_double, requantize_float64
from .plan import AddPlan, ConvPlan, Int8Array, Int32Array, PoolPlan, RequantPlan, ReshapePlan
from .registry import Array, kernel

Float32Array = npt.NDArray[np.float32]

# Integers up to here are exact in float32, in whatever order they are added.
_EXACT = 1 << 24
# Elements of the unfolded input that a convolution works on at a time.
_BLOCK = 1 << 18
# Elements of which a few arrays fit a processor's cache.
_CACHED = 1 << 15
# With a shift up to here no result can wrap, and there is a part of sums without doubt.
_QUICK_SHIFT = -1


def _finish(accumulator: npt.NDArray[np.int64], zero_point: int, low: int, high: int) -> Int8Array:
    return np.clip(accumulator + zero_point, low, high).astype(np.int8)


def requantize(plan: ConvPlan, accumulator: Int32Array, channels: slice = slice(None)) -> Int8Array:
    """int8 outputs of int32 sums ``[..., output channels]``, bias included.

    Parameters: `channels` says which of the plan's output channels the sums are of.
    """
    if plan.requant == "float64":
        scaled = requantize_float64(accumulator, plan.scale[channels])
    elif int(plan.shift[channels].max()) <= _QUICK_SHIFT:
        return _requantize_quickly(plan, accumulator, channels)
    else:
        scaled = requantize_double(accumulator, plan.multiplier[channels], plan.shift[channels])
    # TFLite adds the zero point in int32, where a very large result wraps.
    wrapped = (scaled + plan.output_zero_point).astype(np.int32)
    return np.clip(wrapped, plan.clamp_min, plan.clamp_max).astype(np.int8)


def _requantize_quickly(plan: ConvPlan, accumulator: Int32Array, channels: slice) -> Int8Array:
    """`requantize` by way of float32, and exactly only where that leaves a doubt.

    `requantize_double` rounds twice: to a multiple of ``2**shift``, and then to a whole number. The
    two together give the whole number nearest to the real product wherever this is further from
    the middle between two than the first rounding and float32 can be wrong.
    """
    multiplier, shift = plan.multiplier[channels], plan.shift[channels]
    factor = np.ldexp(multiplier.astype(np.float64), shift - 31).astype(np.float32)
    # Beyond 300 every result is clamped. Four float32 roundings of a number below it are less
    # wrong than 2**-13; half a multiple of 2**shift is what the first rounding may add.
    sure = np.float32(0.5 - 2.0**-13) - np.ldexp(np.float32(0.5), shift).astype(np.float32)
    zero_point = plan.output_zero_point
    low, high = np.float32(plan.clamp_min - zero_point), np.float32(plan.clamp_max - zero_point)
    flat = accumulator.reshape(-1, accumulator.shape[-1])
    out = np.empty(flat.shape, np.int8)
    rows = max(1, _CACHED // flat.shape[1])
    for top in range(0, len(flat), rows):
        part = flat[top : top + rows]
        value = part.astype(np.float32)
        value *= factor
        nearest = np.rint(value)
        value -= nearest
        np.abs(value, out=value)
        doubtful = np.flatnonzero(value > sure)
        np.maximum(nearest, low, out=nearest)
        np.minimum(nearest, high, out=nearest)
        nearest += np.float32(zero_point)
        result = out[top : top + rows]
        result[:] = nearest
        if doubtful.size:
            column = doubtful % flat.shape[1]
            exact = requantize_double(part.ravel()[doubtful], multiplier[column], shift[column])
            exact = np.clip(exact + zero_point, plan.clamp_min, plan.clamp_max)
            result.ravel()[doubtful] = exact
    return out.reshape(accumulator.shape)


@kernel(ConvPlan)
def convolve(plan: ConvPlan, x: Int8Array) -> Int8Array:
    """Output of a convolution, depthwise convolution or fully connected layer.

    Parameters: int8 ``plan.input_shape``. Returns: int8 ``plan.output_shape``.
    """
    out = np.empty(plan.output_shape, np.int8)
    for image, result in zip(x.reshape(plan.input_shape), out, strict=True):
        if plan.kind == "depthwise":
            _depthwise_image(plan, image, result)
        else:
            _conv_image(plan, image, result)
    return out


def _padded(plan: ConvPlan, image: Int8Array) -> Float32Array:
    """One image less its zero point, with the zeros around it that its windows reach."""
    h, w, c = image.shape
    oh, ow = plan.output_shape[1:3]
    rows = max((oh - 1) * plan.stride_h + (plan.kernel_h - 1) * plan.dilation_h + 1, 1)
    cols = max((ow - 1) * plan.stride_w + (plan.kernel_w - 1) * plan.dilation_w + 1, 1)
    out = np.zeros((max(rows, h + plan.pad_top), max(cols, w + plan.pad_left), c), np.float32)
    inside = out[plan.pad_top : plan.pad_top + h, plan.pad_left : plan.pad_left + w]
    np.subtract(image, np.float32(plan.input_zero_point), out=inside, dtype=np.float32)
    return out


def _largest_input(plan: ConvPlan) -> int:
    return max(127 - plan.input_zero_point, 128 + plan.input_zero_point)


def _pieces(plan: ConvPlan, weights: Float32Array) -> Iterator[slice]:
    """Cuts the reduction ``[k, outputs]`` so that no piece's sum can leave float32's integers."""
    magnitudes = np.abs(weights)
    limit = (_EXACT - 1) // _largest_input(plan)
    if magnitudes.sum(axis=0).max() <= limit:
        yield slice(0, len(weights))
        return
    # float64 sums are exact; a piece is cut by the largest weight at each k, which is enough.
    totals = np.concatenate(([0.0], np.cumsum(magnitudes.max(axis=1), dtype=np.float64)))
    start = 0
    while start < len(weights):
        stop = int(np.searchsorted(totals, totals[start] + limit, side="right")) - 1
        yield slice(start, stop)
        start = stop


def _conv_image(plan: ConvPlan, image: Int8Array, out: Int8Array) -> None:
    oh, ow, oc = out.shape
    kh, kw, ic = plan.weights.shape[1:]
    depth = kh * kw * ic
    padded = _padded(plan, image)
    group_outputs = oc // plan.groups
    windows = np.lib.stride_tricks.sliding_window_view(
        padded,
        ((kh - 1) * plan.dilation_h + 1, (kw - 1) * plan.dilation_w + 1),
        axis=(0, 1),
    )[
        : (oh - 1) * plan.stride_h + 1 : plan.stride_h,
        : (ow - 1) * plan.stride_w + 1 : plan.stride_w,
        :,
        :: plan.dilation_h,
        :: plan.dilation_w,
    ]  # [oh, ow, channels, kh, kw]
    weights = plan.weights.astype(np.float32) - np.float32(plan.weight_zero_point)
    rows = max(1, _BLOCK // (ow * max(depth, group_outputs)))
    for group in range(plan.groups):
        place = slice(group * group_outputs, (group + 1) * group_outputs)
        matrix = np.ascontiguousarray(weights[place].reshape(group_outputs, depth).T)
        pieces = list(_pieces(plan, matrix))
        for top in range(0, oh, rows):
            part = windows[top : top + rows, :, group * ic : (group + 1) * ic]
            columns = part.transpose(0, 1, 3, 4, 2).reshape(-1, depth)
            total = np.empty((len(columns), group_outputs), np.int32)
            total[:] = plan.bias[place]
            for piece in pieces:
                total += (columns[:, piece] @ matrix[piece]).astype(np.int32)
            result = requantize(plan, total, place)
            out[top : top + rows, :, place] = result.reshape(-1, ow, group_outputs)


def _depthwise_image(plan: ConvPlan, image: Int8Array, out: Int8Array) -> None:
    oh, ow, oc = out.shape
    kh, kw, _ = plan.weights.shape
    padded = _padded(plan, image)
    if plan.depth_multiplier > 1:
        padded = np.repeat(padded, plan.depth_multiplier, axis=2)
    weights = plan.weights.astype(np.float32) - np.float32(plan.weight_zero_point)
    taps = weights.reshape(kh * kw, oc)
    pieces = list(_pieces(plan, taps))
    rows = max(1, _BLOCK // (ow * oc))
    for top in range(0, oh, rows):
        count = min(rows, oh - top)
        total = np.empty((count, ow, oc), np.int32)
        total[:] = plan.bias
        for piece in pieces:
            partial = np.zeros((count, ow, oc), np.float32)
            for tap in range(piece.start, piece.stop):
                y = top * plan.stride_h + (tap // kw) * plan.dilation_h
                x = (tap % kw) * plan.dilation_w
                seen = padded[
                    y : y + (count - 1) * plan.stride_h + 1 : plan.stride_h,
                    x : x + (ow - 1) * plan.stride_w + 1 : plan.stride_w,
                ]
                partial += seen * taps[tap]
            total += partial.astype(np.int32)
        out[top : top + count] = requantize(plan, total)


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
