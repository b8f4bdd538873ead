"""Which outputs the columns of the array compute together, and their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden import ConvPlan
from mensa.rtl.commands import Mode
from mensa.rtl.machine import CHANNEL_RECORD_BYTES, Machine
from mensa.sched.lower.requantisation import Requantisation


@dataclass(frozen=True)
class ColumnGroup:
    """Up to C outputs, one a column, and the input channels that they see.

    Attributes
    ----------
    first_input, segment : int
        First input channel and how many.
    first_output, outputs : int
        First output channel and how many.
    """

    first_input: int
    segment: int
    first_output: int
    outputs: int


@dataclass(frozen=True)
class Run:
    """Column groups that one command can loop over.

    Attributes
    ----------
    groups : tuple of ColumnGroup
        With as many outputs as the first one has, except perhaps the last.
    input_step : int
        Input channels from one group's first to the next one's.
    """

    groups: tuple[ColumnGroup, ...]
    input_step: int

    def part(self, first: int, last: int) -> Run:
        """Groups `first` to `last` - 1."""
        return Run(self.groups[first:last], self.input_step)


@dataclass(frozen=True)
class Mapping:
    """How a layer uses the array.

    Attributes
    ----------
    mode : Mode
        CONV, DEPTHWISE or FILTER.
    pixels : int
        Neighbouring output pixels that stand side by side on the columns, all their channels.
    """

    mode: Mode
    pixels: int = 1


def column_runs(plan: ConvPlan, cols: int) -> list[Run]:
    """All output channels of a layer, in order, on an array with `cols` columns."""
    channels = plan.input_shape[3]
    if plan.kind == "depthwise":
        multiplier = plan.depth_multiplier
        if multiplier <= cols:
            step = cols // multiplier
            groups = []
            for first in range(0, channels, step):
                inputs = min(step, channels - first)
                groups.append(ColumnGroup(first, inputs, first * multiplier, inputs * multiplier))
            return [Run(tuple(groups), step)]
        return [
            _dense(channel, 1, channel * multiplier, multiplier, cols)
            for channel in range(channels)
        ]
    inputs = channels // plan.groups
    outputs = plan.output_shape[3] // plan.groups
    if plan.groups > 1 and outputs <= cols:
        shares = range(plan.groups)
        together = tuple(ColumnGroup(g * inputs, inputs, g * outputs, outputs) for g in shares)
        return [Run(together, inputs)]
    return [_dense(g * inputs, inputs, g * outputs, outputs, cols) for g in range(plan.groups)]


def _dense(first_input: int, inputs: int, first_output: int, outputs: int, cols: int) -> Run:
    """Outputs that all see the same inputs."""
    groups = tuple(
        ColumnGroup(first_input, inputs, first_output + o, min(cols, outputs - o))
        for o in range(0, outputs, cols)
    )
    return Run(groups, 0)


def patch_pixels(plan: ConvPlan, pixels: int) -> int:
    """Input pixels of a row that so many neighbouring output pixels see."""
    return (pixels - 1) * plan.stride_w + (plan.kernel_w - 1) * plan.dilation_w + 1


def parameter_words(
    plan: ConvPlan, mapping: Mapping, group: ColumnGroup, cols: int
) -> npt.NDArray[np.int8]:
    """A column group's parameters in feed order, ``[words, cols]``; unused columns are 0.

    Of a depthwise layer with several pixels each tap is there once a pixel. Of a convolution the
    weights of a pixel are shifted by its place, and where it sees nothing they are the zero point.
    """
    channels = slice(group.first_output, group.first_output + group.outputs)
    if plan.kind == "depthwise":
        taps = plan.weights[:, :, channels].reshape(-1, group.outputs)
        content = np.tile(taps, (1, mapping.pixels))
    elif mapping.pixels == 1:
        content = plan.weights[channels].transpose(1, 2, 3, 0).reshape(-1, group.outputs)
    else:
        weights = plan.weights[channels].transpose(1, 2, 3, 0)
        kernel_h, kernel_w, inputs, outputs = weights.shape
        window = patch_pixels(plan, mapping.pixels)
        shape = (kernel_h, window, inputs, mapping.pixels, outputs)
        patch = np.full(shape, plan.weight_zero_point, np.int8)
        for pixel in range(mapping.pixels):
            for tap in range(kernel_w):
                at = pixel * plan.stride_w + tap * plan.dilation_w
                patch[:, at, :, pixel] = weights[:, tap]
        content = patch.reshape(kernel_h * window * inputs, -1)
    words = np.zeros((content.shape[0], cols), np.int8)
    words[:, : content.shape[1]] = content
    return words


def constant_entry(
    plan: ConvPlan, mapping: Mapping, factors: Requantisation, group: ColumnGroup, machine: Machine
) -> npt.NDArray[np.uint8]:
    """A column group's channel records, one entry of the constant buffer."""
    channels = slice(group.first_output, group.first_output + group.outputs)
    columns = group.outputs * mapping.pixels
    entry = np.zeros(machine.constant_entry_bytes, np.uint8)
    records = entry[: columns * CHANNEL_RECORD_BYTES].reshape(-1, CHANNEL_RECORD_BYTES)
    for start, values in ((0, plan.bias), (4, factors.multiplier)):
        column = np.tile(values[channels], mapping.pixels).astype("<i4")
        records[:, start : start + 4] = column.view(np.uint8).reshape(-1, 4)
    shifts = np.tile(factors.shift[channels], mapping.pixels)
    records[:, 8] = shifts.astype(np.int8).view(np.uint8)
    return entry


@dataclass(frozen=True)
class Piece:
    """A part of a reduction: whole tap rows, or taps of one row, or bytes of one tap.

    Attributes
    ----------
    tap_row, tap_rows, tap, taps, byte, nbytes : int
        First and number of tap rows, taps in a row and bytes of a tap's segment.
    first_word, words : int
        Which of the parameter words it takes.
    """

    tap_row: int
    tap_rows: int
    tap: int
    taps: int
    byte: int
    nbytes: int
    first_word: int
    words: int


def pieces(
    tap_rows: int, taps: int, segment: int, words_per_tap: int, capacity: int, chunk: int
) -> Iterator[Piece]:
    """Cut a reduction into as few pieces as hold at most `capacity` parameter words.

    `segment` bytes of a tap take `words_per_tap` words: as many, or one in the depthwise mode. A
    segment that must be cut is cut at multiples of `chunk` bytes if these fit.
    """
    row_words = taps * words_per_tap
    word = 0
    if row_words <= capacity:
        step = capacity // row_words
        for row in range(0, tap_rows, step):
            rows = min(step, tap_rows - row)
            yield Piece(row, rows, 0, taps, 0, segment, word, rows * row_words)
            word += rows * row_words
    elif words_per_tap <= capacity:
        step = capacity // words_per_tap
        for row in range(tap_rows):
            for tap in range(0, taps, step):
                count = min(step, taps - tap)
                yield Piece(row, 1, tap, count, 0, segment, word, count * words_per_tap)
                word += count * words_per_tap
    else:
        step = capacity - capacity % chunk if capacity >= chunk else capacity
        for row in range(tap_rows):
            for tap in range(taps):
                for byte in range(0, segment, step):
                    count = min(step, segment - byte)
                    yield Piece(row, 1, tap, 1, byte, count, word, count)
                    word += count
