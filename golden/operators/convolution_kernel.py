"""Convolutions, depthwise convolutions and fully connected layers on int8 arrays.

Sums of products of int8 numbers are integers that a float holds exactly, so they come from NumPy's
matrix products and `einsum`; then a `Rounder` makes outputs of them. Zero points are not subtracted
from the inputs: their share of a sum is known beforehand, and padding is the zero point.

Large layers are computed in blocks of rows: beside its input and output a layer takes little more
than its largest row times its taps. Of the weights only those of small layers (`_KEPT`) are kept as
floats, four bytes each, and of a depthwise layer its taps of a few pixels (`_LANE`); those of large
layers are made floats anew each time, a part at a time where one part is enough. So a network of
large activations, such as DeepLab at 513 x 513, takes less than its weights and four times its
largest activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    Int64Array,
    double_requantizer,
    requantize_float64,
    wrap32,
)
from mensa.golden.arithmetic.rounder import EXACT, FloatArray, Kind, Rounder, rounding_error
from mensa.golden.operators.convolution import ConvPlan
from mensa.golden.per_plan import once_per_plan
from mensa.golden.plan import ZERO_POINT_SHIFT, Int8Array
from mensa.golden.registry import kernel

Indices = npt.NDArray[np.intp]
Channels = slice | Indices

# Elements of which a few arrays fit a processor's cache: a block of sums.
_BLOCK = 1 << 15
# Rows that a matrix product should have at least, to be worth preparing the weights.
_ROWS = 64
# Weights of one plan that are kept as floats.
_KEPT = 1 << 15
# Weights that are made floats together.
_CONVERTED = 1 << 17
# Elements that einsum should find in a row.
_LANE = 768
# Elements in a row of the input from which on a window is copied pixel by pixel.
_RUN = 32
# With a shift up to here no result can wrap.
_QUICK_SHIFT = -1


def requantize(plan: ConvPlan, total: Int64Array, channels: Channels = slice(None)) -> Int8Array:
    """int8 outputs of sums ``[..., output channels]``, bias included, taken modulo ``2**32``.

    Parameters: `channels` says which of the plan's output channels the sums are of.
    """
    wrapped = wrap32(total)
    if plan.requant == "float64":
        scaled = requantize_float64(wrapped, plan.scale[channels])
    else:
        scaled = form(plan).scaled(wrapped, channels)
    # TFLite adds the file's own zero point in int32, where a very large result wraps.
    domain = ZERO_POINT_SHIFT if plan.unsigned else 0
    shifted = wrap32(scaled + (plan.output_zero_point - domain)) + domain
    np.maximum(shifted, plan.clamp_min, out=shifted)
    np.minimum(shifted, plan.clamp_max, out=shifted)
    return shifted.astype(np.int8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Form:
    """What a plan's kernel works out once.

    Parameters
    ----------
    kind : type
        float32, or float64 where sums would not be exact in it.
    offset : int64 array ``[output channels]``
        What is added to ``sum of input * (weight - weight_zero_point)``: the bias, and what the
        input's zero point takes away.
    scaled : function
        `requantize_double` of sums and the index of their channels.
    rounder : Rounder or None
        Makes outputs of sums, None where it can't.
    weights : array or None
        `_float_weights` of `_matrix`, None where they are made each time; of a depthwise layer
        ``[kernel height, kernel width, lane * output channels]``, `_lane` times the same.
    """

    kind: Kind
    offset: Int64Array
    scaled: Callable[..., Int64Array]
    rounder: Rounder | None
    weights: FloatArray | None


@once_per_plan
def form(plan: ConvPlan) -> Form:
    """What the kernel of `plan` works out once."""
    matrix, offset, largest = _matrix(plan), plan.bias.astype(np.int64), 0
    for outputs in _cuts(*matrix.shape):
        taps = matrix[outputs].astype(np.int16) - np.int16(plan.weight_zero_point)
        offset[outputs] -= plan.input_zero_point * taps.sum(axis=1, dtype=np.int64)
        largest = max(largest, 128 * int(np.abs(taps).sum(axis=1, dtype=np.int64).max()))
    kind = np.float32 if largest < EXACT else np.float64
    weights: FloatArray | None = None
    if _is_depthwise(plan):
        weights = np.tile(_float_weights(plan, plan.weights, kind), _lane(plan))
    elif plan.weights.size <= _KEPT:
        weights = _float_weights(plan, matrix, kind)
    return Form(
        kind=kind,
        offset=offset,
        scaled=double_requantizer(plan.multiplier, plan.shift),
        rounder=_rounder(plan, offset, kind, largest),
        weights=weights,
    )


def _rounder(plan: ConvPlan, offset: Int64Array, kind: Kind, largest: int) -> Rounder | None:
    """The plan's `Rounder`; `largest` bounds sums without their offset."""
    if int(plan.shift.max()) > _QUICK_SHIFT or largest + int(np.abs(offset).max()) >= 1 << 31:
        return None
    zero_point = plan.output_zero_point
    if plan.requant == "float64":
        scale, tilt, error = plan.scale, np.zeros(1), 0.0
    else:
        # `requantize_double` rounds up to a multiple of 2**shift and then to a whole number, half
        # away from zero. For a number that is not negative that is to round it plus half such a
        # multiple, for a negative one minus it (less where an output can't be negative).
        scale = np.ldexp(plan.multiplier.astype(np.float64), plan.shift - 31)
        tilt = np.ldexp(0.5, plan.shift)
        error = 0.0 if plan.clamp_min >= zero_point else float(tilt.max())
    addend = offset * scale + zero_point
    if error == 0.0:
        addend += tilt
    error += rounding_error(addend)
    if not Rounder.useful(error):
        return None
    return Rounder(scale, addend, plan.clamp_min, plan.clamp_max, error, kind)


# --- Blocks ---


class Writer:
    """Makes outputs of sums, one block after another, in arrays that all blocks share.

    Parameters
    ----------
    plan : ConvPlan
        The layer.
    out : int8 array
        The layer's output.
    rows : int
        Rows of sums in the largest block.
    width, used : int
        Of so many rows of sums only the first `used` are outputs.

    Attributes
    ----------
    sums : float array ``[at least rows, output channels]``
        Where each block's sums are put, without the plan's offset.
    """

    def __init__(self, plan: ConvPlan, out: Int8Array, rows: int, width: int, used: int) -> None:
        self._plan, self._form = plan, form(plan)
        self._channels = out.shape[-1]
        self._out = out.reshape(-1, used, self._channels)
        self._width, self._used = width, used
        self._doubts: list[tuple[Indices, Int64Array]] = []
        rounder = self._form.rounder
        shape = (rows if rounder is None else rounder.rows(rows), self._channels)
        self.sums: FloatArray = np.empty(shape, self._form.kind)
        if rounder is not None:
            self._round = rounder.rounding(self.sums)

    def write(self, first: int, count: int) -> None:
        """Writes the outputs of the first `count` rows of `sums`.

        Parameters: `first` is the number of their first output, in units of `used`.
        """
        if self._form.rounder is None:
            total = self.sums[:count].astype(np.int64) + self._form.offset
            block = requantize(self._plan, total)
        else:
            block, doubtful = self._round(count)
            if doubtful.size:
                sums = self.sums.ravel()[doubtful].astype(np.int64)
                if self._width == self._used:
                    doubtful += first * self._used * self._channels
                else:
                    part, index = np.divmod(doubtful, self._width * self._channels)
                    real = index < self._used * self._channels
                    doubtful = ((first + part) * self._used * self._channels + index)[real]
                    sums = sums[real]
                self._doubts.append((doubtful, sums))
        block = block.reshape(-1, self._width, self._channels)[:, : self._used]
        self._out[first : first + len(block)] = block

    def finish(self) -> None:
        """Writes the outputs that were in doubt."""
        if self._doubts:
            index = np.concatenate([doubtful for doubtful, _ in self._doubts])
            total = np.concatenate([sums for _, sums in self._doubts])
            channels = index % self._channels
            total += self._form.offset[channels]
            self._out.ravel()[index] = requantize(self._plan, total, channels)


@kernel(ConvPlan)
def convolve(plan: ConvPlan, x: Int8Array) -> Int8Array:
    """Output of a convolution, depthwise convolution or fully connected layer.

    Parameters: int8 ``plan.input_shape``. Returns: int8 ``plan.output_shape``.
    """
    out = np.empty(plan.output_shape, np.int8)
    images = x.reshape(plan.input_shape)
    if _is_depthwise(plan):
        _depthwise(plan, images, out)
    elif (plan.kernel_h, plan.kernel_w, plan.stride_h, plan.stride_w) == (1, 1, 1, 1):
        _pointwise(plan, images, out)
    else:
        _windows(plan, images, out)
    return out


def _padded(plan: ConvPlan, image: Int8Array, top: int, rows: int, columns: int) -> Int8Array:
    """Rows of an image from `top` on, padded with its zero point where they are outside it.

    Parameters: `top` counts the rows of padding. Returns: int8 ``[rows, columns, channels]``.
    """
    h, w, c = image.shape
    first, left = top - plan.pad_top, plan.pad_left
    if left == 0 and columns <= w and first >= 0 and first + rows <= h:
        return image[first : first + rows, :columns]
    out = np.full((rows, columns, c), plan.input_zero_point, np.int8)
    seen = image[max(first, 0) : max(first + rows, 0), : max(columns - left, 0)]
    start = max(-first, 0)
    out[start : start + len(seen), left : left + seen.shape[1]] = seen
    return out


# --- Convolutions: matrix products ---


def _is_depthwise(plan: ConvPlan) -> bool:
    """Whether each output channel sees one of several input channels."""
    return plan.kind == "depthwise" and plan.input_shape[3] > 1


def _matrix(plan: ConvPlan) -> Int8Array:
    """The weights, of each output channel in a row: ``[output channels, taps]``."""
    if plan.kind == "depthwise":
        return plan.weights.reshape(-1, plan.weights.shape[2]).T
    return plan.weights.reshape(plan.weights.shape[0], -1)


def _cuts(outputs: int, taps: int) -> list[slice]:
    """Output channels whose weights are made floats together."""
    step = max(1, _CONVERTED // taps)
    return [slice(start, min(start + step, outputs)) for start in range(0, outputs, step)]


def _float_weights(plan: ConvPlan, weights: Int8Array, kind: Kind) -> FloatArray:
    """Weights less their zero point."""
    values: FloatArray = weights.astype(kind, order="C")
    if plan.weight_zero_point:
        values -= kind(plan.weight_zero_point)
    return values


def _factors(plan: ConvPlan, blocks: int) -> Iterable[tuple[slice, slice, FloatArray]]:
    """Input channels, output channels, and the weights ``[outputs, taps]`` between them.

    Parameters: with one of `blocks` the weights are made as they are asked for.
    """
    kept, matrix = form(plan), _matrix(plan)
    inputs, outputs = plan.input_shape[3] // plan.groups, len(matrix) // plan.groups

    def made() -> Iterator[tuple[slice, slice, FloatArray]]:
        for group in range(plan.groups):
            seen = slice(group * inputs, (group + 1) * inputs)
            for cut in _cuts(outputs, matrix.shape[1]):
                made_for = slice(group * outputs + cut.start, group * outputs + cut.stop)
                if kept.weights is None:
                    yield seen, made_for, _float_weights(plan, matrix[made_for], kept.kind)
                else:
                    yield seen, made_for, kept.weights[made_for]

    return made() if blocks == 1 else list(made())


def _pointwise(plan: ConvPlan, images: Int8Array, out: Int8Array) -> None:
    pixels = images.reshape(-1, images.shape[3])
    rows = min(len(pixels), max(_ROWS, _BLOCK // max(pixels.shape[1], out.shape[3])))
    writer = Writer(plan, out, rows, 1, 1)
    factors = _factors(plan, -(-len(pixels) // rows))
    scratch = np.empty((rows, pixels.shape[1]), writer.sums.dtype)
    for top in range(0, len(pixels), rows):
        count = min(rows, len(pixels) - top)
        part = scratch[:count]
        part[:] = pixels[top : top + count]
        for inputs, outputs, weights in factors:
            np.matmul(part[:, inputs], weights.T, out=writer.sums[:count, outputs])
        writer.write(top, count)
    writer.finish()


def _windows(plan: ConvPlan, images: Int8Array, out: Int8Array) -> None:
    oh, ow, oc = out.shape[1:]
    kh, kw = plan.kernel_h, plan.kernel_w
    reach_h, reach_w = (kh - 1) * plan.dilation_h + 1, (kw - 1) * plan.dilation_w + 1
    share = images.shape[3] // plan.groups
    taps = kh * kw * share
    rows = min(_BLOCK // oc, 4 * _BLOCK // taps) // ow
    rows = min(oh, max(1, rows))
    writer = Writer(plan, out, rows * ow, ow, ow)
    factors = _factors(plan, len(images) * -(-oh // rows))
    # A window is copied along what is longest in a row: itself, or one tap of all windows.
    run = share if plan.dilation_w > 1 or plan.groups > 1 else kw * share
    by_pixel = run >= _RUN
    order = (0, 1, 3, 4, 2) if by_pixel else (3, 4, 2, 0, 1)
    scratch = np.empty(rows * ow * taps, writer.sums.dtype)
    width = (ow - 1) * plan.stride_w + reach_w
    for number, image in enumerate(images):
        for top in range(0, oh, rows):
            count = min(rows, oh - top)
            height = (count - 1) * plan.stride_h + reach_h
            padded = _padded(plan, image, top * plan.stride_h, height, width)
            row, pixel, item = padded.strides
            windows = np.lib.stride_tricks.as_strided(
                padded,
                (count, ow, padded.shape[2], kh, kw),
                (
                    plan.stride_h * row,
                    plan.stride_w * pixel,
                    item,
                    plan.dilation_h * row,
                    plan.dilation_w * pixel,
                ),
            )
            sums = writer.sums[: count * ow]
            unfolded = None
            for inputs, outputs, weights in factors:
                if inputs != unfolded:
                    seen = windows[:, :, inputs].transpose(order)
                    part = scratch[: seen.size].reshape(seen.shape)
                    part[:] = seen
                    columns = part.reshape(-1, taps) if by_pixel else part.reshape(taps, -1).T
                    unfolded = inputs
                np.matmul(columns, weights.T, out=sums[:, outputs])
            writer.write(number * oh + top, len(sums))
    writer.finish()


# --- Depthwise convolutions: sums of shifted rows ---


def _lane(plan: ConvPlan) -> int:
    """Pixels of a row of outputs that are computed as one."""
    _, _, width, channels = plan.output_shape
    least = min(width, -(-_LANE // channels))
    return min(range(least, 2 * least + 1), key=lambda lane: -(-width // lane) * lane)


def _depthwise(plan: ConvPlan, images: Int8Array, out: Int8Array) -> None:
    oh, ow, oc = out.shape[1:]
    weights = form(plan).weights  # [kh, kw, lane * oc]
    assert weights is not None
    lane = weights.shape[2] // oc
    lanes = -(-ow // lane)
    width = lanes * lane
    rows = min(oh, max(1, _BLOCK // (width * oc)))
    writer = Writer(plan, out, rows * width, width, ow)
    height = (rows - 1) * plan.stride_h + (plan.kernel_h - 1) * plan.dilation_h + 1
    # A single column of outputs knows no stride, and its file may say anything.
    stride = plan.stride_w if ow > 1 else 1
    # Columns of the input are sorted by their remainder modulo the stride: what one tap sees of a
    # row then lies in a row, too, and taps that are `cycle` apart see the same remainder.
    cycle = stride // math.gcd(stride, plan.dilation_w)
    span = width + (plan.kernel_w - 1) * plan.dilation_w // stride
    padded = np.full((height, stride, span, oc), plan.input_zero_point, weights.dtype)
    row, _, pixel, item = padded.strides
    for number, image in enumerate(images):
        for top in range(0, oh, rows):
            count = min(rows, oh - top)
            _spread(plan, image, top * plan.stride_h - plan.pad_top, padded)
            sums = writer.sums[: count * width].reshape(count, lanes, lane * oc)
            for tap in range(min(plan.kernel_w, cycle)):
                first, phase = divmod(tap * plan.dilation_w, stride)
                taps = weights[:, tap::cycle]
                seen = np.lib.stride_tricks.as_strided(
                    padded[:, phase, first:],
                    (*taps.shape[:2], *sums.shape),
                    (
                        plan.dilation_h * row,
                        cycle * plan.dilation_w // stride * pixel,
                        plan.stride_h * row,
                        lane * pixel,
                        item,
                    ),
                )
                if tap == 0:
                    np.einsum("vuyjx,vux->yjx", seen, taps, out=sums)
                else:
                    sums += np.einsum("vuyjx,vux->yjx", seen, taps)
            writer.write(number * oh + top, count * width)
    writer.finish()


def _spread(plan: ConvPlan, image: Int8Array, first: int, padded: FloatArray) -> None:
    """Rows of an image from `first` on, which may be outside it, as `_depthwise` sorts them.

    Parameters: `padded`, ``[rows, stride, columns, output channels]``, whose columns outside the
    image already are zero points.
    """
    h, _, c = image.shape
    rows, phases, span, oc = padded.shape
    before, after = max(0, -first), min(rows, h - first)
    padded[:before] = plan.input_zero_point
    padded[after:] = plan.input_zero_point
    inside = padded.reshape(rows, phases, span, c, oc // c)[before:after]
    for phase in range(phases):
        start = max(0, -((phase - plan.pad_left) // phases))
        left = phase + start * phases - plan.pad_left
        seen = image[first + before : first + after, left::phases][:, : span - start]
        inside[:, phase, start : start + seen.shape[1]] = seen[..., None]
