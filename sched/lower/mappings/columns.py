"""Which outputs the columns of the array compute together, and their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden import ConvPlan
from mensa.rtl.channel_record import CHANNEL_RECORD, CHANNEL_RECORD_BYTES
from mensa.rtl.commands import Mode
from mensa.rtl.machine import Machine
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.requantisation import Requantisation


@dataclass(frozen=True)
class ColumnGroup:
    """Up to C neighbouring output bytes, one a column, and the input bytes that they see.

    Output bytes are counted from a pixel's first channel on, those of the pixels behind it that
    share its pack (`LayerMapping.pixels`) following.

    Attributes
    ----------
    first_input, segment : int
        First byte of a tap, from the first pixel's on, and how many.
    first_output, outputs : int
        First output byte and how many.
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
class LayerMapping:
    """How a layer uses the array.

    Attributes
    ----------
    mode : Mode
        CONV, DEPTHWISE or FILTER.
    pixels : int
        Neighbouring output pixels that make one pack, all their channels side by side.
        The columns take it C bytes at a time.
    """

    mode: Mode
    pixels: int = 1


def column_runs(plan: ConvPlan, mapping: LayerMapping, machine: Machine) -> list[Run]:
    """All outputs of a layer, in order, on the columns that a command of the mode uses."""
    cols = machine.group_channels(mapping.mode)
    channels = plan.input_shape[3]
    if mapping.pixels > 1:
        nbytes = mapping.pixels * plan.output_shape[3]
        if not mapping.mode.is_dense:
            return [Run((ColumnGroup(0, nbytes, 0, nbytes),), 0)]
        return [Run((_patch(plan, o, min(cols, nbytes - o)),), 0) for o in range(0, nbytes, cols)]
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


def _patch(plan: ConvPlan, first: int, outputs: int) -> ColumnGroup:
    """Some output bytes of several pixels, and the window of the input that they see."""
    pixel, last = (byte // plan.output_shape[3] for byte in (first, first + outputs - 1))
    window = (last - pixel) * plan.stride_w + (plan.kernel_w - 1) * plan.dilation_w + 1
    channels = plan.input_shape[3]
    return ColumnGroup(pixel * plan.stride_w * channels, window * channels, first, outputs)


def parameter_words(
    plan: ConvPlan, mapping: LayerMapping, group: ColumnGroup, machine: Machine
) -> npt.NDArray[np.int8]:
    """A column group's parameters in feed order, ``[words, columns]``; unused columns are 0.

    Of a depthwise layer with several pixels each tap is there once a pixel. Of a convolution the
    weights of a pixel are shifted by its place, and where it sees nothing they are the zero point.
    """
    channels = _channels(plan, group)
    if plan.kind == "depthwise":
        content = plan.weights[:, :, channels].reshape(-1, group.outputs)
    else:
        weights = plan.weights[channels].transpose(1, 2, 3, 0)
        if mapping.pixels > 1:
            weights = _shifted(plan, group, weights)
        content = weights.reshape(-1, group.outputs)
    words = np.zeros((content.shape[0], machine.group_channels(mapping.mode)), np.int8)
    words[:, : group.outputs] = content
    return words


def _channels(plan: ConvPlan, group: ColumnGroup) -> npt.NDArray[np.int64]:
    """The output channel of each column."""
    outputs = np.arange(group.first_output, group.first_output + group.outputs, dtype=np.int64)
    channels: npt.NDArray[np.int64] = outputs % plan.output_shape[3]
    return channels


def _shifted(
    plan: ConvPlan, group: ColumnGroup, weights: npt.NDArray[np.int8]
) -> npt.NDArray[np.int8]:
    """Weights [rows, taps, inputs, columns] of several pixels in the window of all of them."""
    rows, taps, inputs, columns = weights.shape
    window = np.full((rows, group.segment // inputs, inputs, columns), plan.weight_zero_point)
    pixels = np.arange(group.first_output, group.first_output + columns) // plan.output_shape[3]
    for pixel in np.unique(pixels):
        here = pixels == pixel
        start = (pixel - pixels[0]) * plan.stride_w
        for tap in range(taps):
            window[:, start + tap * plan.dilation_w, :, here] = weights[:, tap, :, here]
    return window.astype(np.int8)


def constant_entry(
    plan: ConvPlan, factors: Requantisation, group: ColumnGroup, machine: Machine
) -> npt.NDArray[np.uint8]:
    """A column group's channel records, one entry of the constant buffer."""
    channels = _channels(plan, group)
    entry = np.zeros(machine.constant_entry_bytes, np.uint8)
    records = entry[: group.outputs * CHANNEL_RECORD_BYTES].view(CHANNEL_RECORD)
    records["bias"] = plan.bias[channels]
    records["multiplier"] = factors.multiplier[channels]
    records["shift"] = factors.shift[channels]
    return entry


def put_constants(
    memory: MemoryMap,
    plan: ConvPlan,
    factors: Callable[[], Requantisation],
    groups: Sequence[ColumnGroup],
    machine: Machine,
) -> tuple[int, int]:
    """Place the channel records of column groups. Returns: address and bytes; 0, 0 of no group."""

    def records() -> npt.NDArray[np.uint8]:
        scales = factors()
        return np.concatenate([constant_entry(plan, scales, each, machine) for each in groups])

    nbytes = len(groups) * machine.constant_entry_bytes
    return memory.put_made(nbytes, records) if groups else 0, nbytes


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
