"""Cutting a layer's output into tiles whose inputs and outputs fit the banks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mensa.rtl.machine import Machine
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.work import Copy

OVERLAP_TILES = 4
"""Tiles that a layer is cut into even if fewer would fit, so that copying and computing overlap."""

OVERLAP_ROWS = 4
"""Such a tile keeps at least this many pixels per row of the array, so that few rows idle."""

_ROW_BYTES_LIMIT = 1 << 24  # INPUT_ROW_BYTES has 24 bits
_PIXELS_LIMIT = (1 << 16) - 1  # OUT_WIDTH has 16 bits


@dataclass(frozen=True)
class Axis:
    """One direction of a sliding window: sizes and steps in pixels.

    Attributes
    ----------
    inputs, outputs : int
        Sizes of input and output.
    kernel, stride, dilation : int
        Taps, input pixels from window to window, and from tap to tap.
    padding : int
        Pixels by which the first window reaches out of the input.
    """

    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: int = 0

    def reach(self, outputs: int) -> int:
        """Most input pixels that so many neighbouring outputs see."""
        return min(self.inputs, (outputs - 1) * self.stride + self._window)

    def start(self, output: int) -> int:
        """Input pixel of the first tap of an output; outside the input in the padding."""
        return output * self.stride - self.padding

    def seen(self, first: int, last: int) -> tuple[int, int]:
        """Range of the input that outputs `first` to `last` - 1 see; at least one pixel."""
        low = min(max(self.start(first), 0), self.inputs - 1)
        high = min(self.start(last - 1) + self._window, self.inputs)
        return low, max(high, low + 1)

    def taps_inside(self, output: int) -> int:
        """Taps of an output's window that lie inside the input, without dilation."""
        start = self.start(output)
        return min(start + self.kernel, self.inputs) - max(start, 0)

    @property
    def _window(self) -> int:
        return (self.kernel - 1) * self.dilation + 1


@dataclass(frozen=True)
class Region:
    """A rectangle of an image and where it lies in a bank.

    Attributes
    ----------
    copy : Copy
        Moves it between memory and bank.
    offset : int
        Of its first byte in the bank.
    pitch : int
        Bytes from row to row in the bank.
    height, row_bytes : int
        Its size.
    """

    copy: Copy
    offset: int
    pitch: int
    height: int
    row_bytes: int


@dataclass(frozen=True)
class Image:
    """An image in memory: address of its first byte, and its shape."""

    address: int
    height: int
    width: int
    channels: int

    def region(
        self, rows: tuple[int, int], columns: tuple[int, int], beat_bytes: int, at: int = 0
    ) -> Region:
        """The rectangle of these rows and columns, in the bank from byte `at` on."""
        height = rows[1] - rows[0]
        row_bytes = (columns[1] - columns[0]) * self.channels
        memory_pitch = self.width * self.channels
        address = self.address + (rows[0] * self.width + columns[0]) * self.channels
        offset = at + (address - at) % beat_bytes
        pitch = _pitch(row_bytes, memory_pitch, beat_bytes)
        if height == 1 or row_bytes == memory_pitch:
            copy = Copy(address, offset, row_bytes * height)
        else:
            copy = Copy(address, offset, row_bytes, height, memory_pitch, pitch)
        return Region(copy, offset, pitch, height, row_bytes)


def _pitch(row_bytes: int, memory_pitch: int, beat_bytes: int) -> int:
    """The smallest pitch in a bank that is equal to that in memory modulo a beat."""
    return row_bytes + (memory_pitch - row_bytes) % beat_bytes


@dataclass(frozen=True)
class Rectangle:
    """Output rows and columns of a tile: first, and one beyond the last."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def width(self) -> int:
        """Pixels of a row."""
        return self.columns[1] - self.columns[0]

    @property
    def pixels(self) -> int:
        """All pixels."""
        return (self.rows[1] - self.rows[0]) * self.width


@dataclass(frozen=True)
class Tiler:
    """Cuts the output of one window operator.

    Attributes
    ----------
    machine : Machine
        Whose banks must hold a tile.
    y, x : Axis
        The window's two directions.
    input_channels, output_channels : int
        Bytes of an input and an output pixel.
    """

    machine: Machine
    y: Axis
    x: Axis
    input_channels: int
    output_channels: int

    def rectangles(
        self, layer: str, *, overlap: bool, most_pixels: int | None = None
    ) -> Iterator[Rectangle]:
        """The tiles, row by row.

        Parameters
        ----------
        layer : str
            What an error calls the layer.
        overlap : bool
            Make several tiles even if one would do.
        most_pixels : int or None
            Largest number of pixels of a tile.

        Raises
        ------
        LoweringError
            If not even a single pixel fits.
        """
        height, width = self._size(layer, overlap, most_pixels)
        for top in range(0, self.y.outputs, height):
            for left in range(0, self.x.outputs, width):
                yield Rectangle(
                    (top, min(top + height, self.y.outputs)),
                    (left, min(left + width, self.x.outputs)),
                )

    def _size(self, layer: str, overlap: bool, most_pixels: int | None) -> tuple[int, int]:
        """Rows and columns of the tiles: the largest that fit, whole rows if possible."""
        limit = _PIXELS_LIMIT if most_pixels is None else most_pixels

        def fits(height: int, width: int) -> bool:
            return height * width <= limit and self._fits(height, width)

        full = self.x.outputs
        height = _largest(self.y.outputs, lambda rows: fits(rows, full))
        if height:
            width = full
        else:
            sizes = [
                (rows, _largest(full, lambda columns, rows=rows: fits(rows, columns)))  # type: ignore[misc]
                for rows in _powers_of_two(self.y.outputs)
            ]
            height, width = max(sizes, key=lambda size: (size[0] * size[1], size[1]))
            if not width:
                raise LoweringError(layer, self._shortage())
        rows = self.machine.rows
        if overlap and width == full:
            if self.y.outputs > 1:
                enough = -(-OVERLAP_ROWS * rows // width)
                height = min(height, max(enough, -(-self.y.outputs // OVERLAP_TILES)))
            else:
                width = min(width, max(OVERLAP_ROWS * rows, -(-width // OVERLAP_TILES)))
        height = _even(self.y.outputs, height)
        largest, width = width, _even(full, width)
        if self.y.outputs == 1:  # pixels of one row: fill the array's rows
            width = min(largest, -(-width // rows) * rows)
        return height, width

    def _fits(self, height: int, width: int) -> bool:
        inputs, outputs = self._bank_bytes(height, width)
        bank = self.machine.activation_bank_bytes
        row = self.x.reach(width) * self.input_channels
        return max(inputs, outputs) <= bank and row < _ROW_BYTES_LIMIT

    def _bank_bytes(self, height: int, width: int) -> tuple[int, int]:
        """Bytes of a bank that the inputs and the outputs of a tile need at most."""
        beat = self.machine.beat_bytes

        def need(rows: int, columns: int, image_columns: int, channels: int) -> int:
            pitch = _pitch(columns * channels, image_columns * channels, beat)
            most_offset = beat - math.gcd(beat, channels)
            return most_offset + (rows - 1) * pitch + columns * channels

        return (
            need(self.y.reach(height), self.x.reach(width), self.x.inputs, self.input_channels),
            need(height, width, self.x.outputs, self.output_channels),
        )

    def _shortage(self) -> str:
        inputs, outputs = self._bank_bytes(1, 1)
        machine = self.machine
        return (
            f"a single output pixel needs {inputs} B of inputs and {outputs} B of outputs, but a "
            f"bank of the activation buffer has {machine.activation_bank_bytes} B; give "
            f"activation_buffer_bytes at least {max(inputs, outputs) * machine.activation_banks}"
        )


def _largest(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest n up to `limit` that fits, 0 if none; what fits n also fits n - 1."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _even(whole: int, part: int) -> int:
    """The smallest part that divides `whole` into no more parts than `part` does."""
    return -(-whole // -(-whole // part))


def _powers_of_two(limit: int) -> Iterator[int]:
    size = 1
    while size <= limit:
        yield size
        size *= 2
