"""Cutting a layer's output into blocks: what is streamed of their inputs and outputs fits a slot.

Tensors that stay on chip need no room and no copies; they set no bound to a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from mensa.rtl.commands import Unit, register
from mensa.rtl.machine import Machine
from mensa.sched.lower.buffer_plan import BufferPlan
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.work import Channels, Copy, Home, Span

OVERLAP_BLOCKS = 4
"""Blocks that a layer is cut into even if fewer would fit, so that copying and
computing overlap."""

OVERLAP_BLOCKS_IN_FLIGHT = 16
"""The same where one block's computing overlaps the next one's, so that more blocks
cost nothing."""

OVERLAP_ROWS = 1
"""Such a block keeps at least this many pixels per row of the array, so that few rows idle."""

_MOST_ROW_BYTES = register(Unit.COMPUTE, "INPUT_ROW_BYTES").most
_MOST_ROWS = register(Unit.COMPUTE, "INPUT_ROWS").most
_MOST_COLUMNS = register(Unit.COMPUTE, "OUT_WIDTH").most
_MOST_PIXELS = register(Unit.COMPUTE, "PIXELS").most


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
    """A rectangle of an image and where it lies in the activation buffer.

    Attributes
    ----------
    copies : tuple of Copy
        Move it between memory and its slot; none for an image on chip.
    offset : int
        Of its first byte in the slot, or in the buffer for an image on chip.
    pixel_pitch, pitch : int
        Bytes from pixel to pixel and from row to row in the buffer.
    height, row_bytes : int
        Its size.
    on_chip : bool
        Whether the image stays on chip.
    """

    copies: tuple[Copy, ...]
    offset: int
    pixel_pitch: int
    pitch: int
    height: int
    row_bytes: int
    on_chip: bool = False

    @property
    def streamed(self) -> dict[str, int]:
        """`Compute.streamed` of a command that reads it."""
        return {} if self.on_chip else {"ACT_ADDRESS": 1}

    @property
    def span(self) -> Span | None:
        """The bytes of the buffer from its first to its last; None if it is streamed."""
        if not self.on_chip:
            return None
        return Span(self.offset, self.offset + (self.height - 1) * self.pitch + self.row_bytes)


@dataclass(frozen=True)
class Image:
    """An image in memory or on chip, or some neighbouring channels of it.

    Attributes
    ----------
    home : Home
        Where its first byte is.
    height, width, channels : int
        Its shape.
    pixel_bytes : int
        Bytes from pixel to pixel there: more than `channels` where it has only some of them.
    line_bytes : int
        Bytes from row to row there; 0 where rows follow each other.
    """

    home: Home
    height: int
    width: int
    channels: int
    pixel_bytes: int
    line_bytes: int = 0

    @property
    def line(self) -> int:
        """Bytes from row to row where it is."""
        return self.line_bytes or self.width * self.pixel_bytes

    def channels_of(self, span: Span | None, first: int, last: int) -> Span | None:
        """Only channels `first` to `last` - 1 of its bytes on chip; None stays None."""
        if span is None or last - first >= self.channels:
            return span
        channels = Channels(self.home.address, self.pixel_bytes, first, last)
        return replace(span, channels=channels)

    def pixel_pitch(self, beat_bytes: int) -> int:
        """Bytes from pixel to pixel in the activation buffer."""
        if self.home.on_chip:
            return self.pixel_bytes
        return _pitch(self.channels, self.pixel_bytes, beat_bytes)

    def row_pitch(self, columns: int, beat_bytes: int) -> int:
        """Bytes in the buffer from row to row of a rectangle of so many columns."""
        if self.home.on_chip:
            return self.line
        return _pitch(columns * self.pixel_pitch(beat_bytes), self.line, beat_bytes)

    def slot_bytes(self, rows: int, columns: int, beat_bytes: int) -> int:
        """Bytes of a slot that a rectangle needs, wherever it lies in memory; 0 on chip."""
        if self.home.on_chip:
            return 0
        unit = math.gcd(beat_bytes, self.pixel_bytes, self.line)
        most_offset = beat_bytes - unit + self.home.address % unit
        last_row = columns * self.pixel_pitch(beat_bytes)
        return most_offset + (rows - 1) * self.row_pitch(columns, beat_bytes) + last_row

    def region(
        self, rows: tuple[int, int], columns: tuple[int, int], beat_bytes: int, at: int = 0
    ) -> Region:
        """The rectangle of these rows and columns, in its slot from byte `at` on."""
        height, width = rows[1] - rows[0], columns[1] - columns[0]
        memory_pitch = self.line
        follow = width == self.width and self.line == width * self.pixel_bytes  # rows each other
        address = self.home.address + rows[0] * memory_pitch + columns[0] * self.pixel_bytes
        if self.home.on_chip:
            row_bytes = (width - 1) * self.pixel_bytes + self.channels
            return Region((), address, self.pixel_bytes, memory_pitch, height, row_bytes, True)
        offset = at + (address - at) % beat_bytes
        pixel_pitch = self.pixel_pitch(beat_bytes)
        pitch = self.row_pitch(width, beat_bytes)
        copies: tuple[Copy, ...]
        if self.channels < self.pixel_bytes:
            # A piece per pixel, and a command per row unless whole rows follow each other.
            runs, pixels = (1, height * width) if follow else (height, width)
            copies = tuple(
                Copy(
                    address + row * memory_pitch,
                    offset + row * pitch,
                    self.channels,
                    pixels,
                    self.pixel_bytes,
                    pixel_pitch,
                )
                for row in range(runs)
            )
        elif height == 1 or follow:
            copies = (Copy(address, offset, width * self.channels * height),)
        else:
            copies = (Copy(address, offset, width * self.channels, height, memory_pitch, pitch),)
        return Region(copies, offset, pixel_pitch, pitch, height, width * pixel_pitch)


def _pitch(row_bytes: int, memory_pitch: int, beat_bytes: int) -> int:
    """The smallest pitch in a slot that is equal to that in memory modulo a beat."""
    return row_bytes + (memory_pitch - row_bytes) % beat_bytes


@dataclass(frozen=True)
class Rectangle:
    """Output rows and columns of a block: first, and one beyond the last."""

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
class Cutter:
    """Cuts the output of one window operator.

    Attributes
    ----------
    machine : Machine
        Which core.
    buffers : BufferPlan
        Whose slots must hold what is streamed of a block.
    y, x : Axis
        The window's two directions.
    inputs, outputs : Image
        What its windows see, and what they give.
    """

    machine: Machine
    buffers: BufferPlan
    y: Axis
    x: Axis
    inputs: Image
    outputs: Image

    @property
    def streams(self) -> bool:
        """Whether something of a block is copied from or to memory."""
        return self.inputs.home.moves or self.outputs.home.moves

    @property
    def fits(self) -> bool:
        """Whether at least a single output pixel fits."""
        return self._fits(1, 1)

    @property
    def least_slot_bytes(self) -> int:
        """Bytes of a slot that a single output pixel needs."""
        return max(self._slot_bytes(1, 1))

    def check(self, layer: str) -> None:
        """Raise LoweringError, which names `layer`, if not even a single output pixel fits."""
        if not self.fits:
            raise LoweringError(layer, self.shortage)

    def rectangles(
        self, layer: str, *, overlap: bool, most_pixels: int | None = None, pixels: int = 0
    ) -> Iterator[Rectangle]:
        """The blocks, row by row.

        Parameters
        ----------
        layer : str
            What an error calls the layer.
        overlap : bool
            Make several blocks even if one would do.
        most_pixels : int or None
            Largest number of pixels of a block.
        pixels : int
            How many neighbouring ones make one of the array's rows; 0 where rows are of no account.

        Raises
        ------
        LoweringError
            If not even a single pixel fits.
        """
        self.check(layer)
        height, width = self._size(overlap, most_pixels, pixels)
        for top in range(0, self.y.outputs, height):
            for left in range(0, self.x.outputs, width):
                yield Rectangle(
                    (top, min(top + height, self.y.outputs)),
                    (left, min(left + width, self.x.outputs)),
                )

    def _size(self, overlap: bool, most_pixels: int | None, pixels: int) -> tuple[int, int]:
        """Rows and columns of the blocks: the largest that fit, whole rows if possible."""
        limit = _MOST_PIXELS if most_pixels is None else most_pixels

        def fits(height: int, width: int) -> bool:
            return width <= _MOST_COLUMNS and height * width <= limit and self._fits(height, width)

        full = self.x.outputs
        height = largest(self.y.outputs, lambda rows: fits(rows, full))
        if height:
            width = full
        else:
            sizes = [
                (rows, largest(full, lambda columns, rows=rows: fits(rows, columns)))  # type: ignore[misc]
                for rows in _powers_of_two(self.y.outputs)
            ]
            height, width = max(sizes, key=lambda size: (size[0] * size[1], size[1]))
        array = max(1, pixels) * self.machine.array.tile  # pixels that fill it
        blocks = OVERLAP_BLOCKS_IN_FLIGHT if pixels else OVERLAP_BLOCKS
        cut = overlap and width == full and self.streams
        if self.y.outputs == 1:
            wanted = max(OVERLAP_ROWS * array, -(-full // blocks)) if cut else even(full, width)
            return 1, min(width, -(-wanted // array) * array)
        wanted = height
        if cut:
            enough = -(-OVERLAP_ROWS * array // width)
            wanted = min(height, max(enough, -(-self.y.outputs // blocks)))
        if pixels and cut:
            # The fewest rows that fill the array as well as any.
            packs, tile = -(-width // pixels), self.machine.array.tile

            def tiles(rows: int) -> int:
                blocks, rest = divmod(self.y.outputs, rows)
                return blocks * -(-rows * packs // tile) + -(-rest * packs // tile)

            least = -(-self.y.outputs // blocks)
            return min(range(min(least, height), height + 1), key=tiles), width
        if pixels and width == full:
            # So many rows fill the array each time.
            step = self.machine.array.tile // math.gcd(self.machine.array.tile, -(-width // pixels))
            whole = min(-(-wanted // step), height // step) * step
            if 0 < whole < self.y.outputs:
                return whole, width
        return even(self.y.outputs, wanted), even(full, width)

    def _fits(self, height: int, width: int) -> bool:
        inputs, outputs = self._slot_bytes(height, width)
        row = self.x.reach(width) * self.inputs.pixel_pitch(self.machine.beat_bytes)
        return (
            inputs <= self.buffers.inputs.slot_bytes
            and outputs <= self.buffers.outputs.slot_bytes
            and row <= _MOST_ROW_BYTES
            and self.y.reach(height) <= _MOST_ROWS
        )

    def _slot_bytes(self, height: int, width: int) -> tuple[int, int]:
        """Bytes of a slot that the inputs and the outputs of a block need at most."""
        beat = self.machine.beat_bytes
        return (
            self.inputs.slot_bytes(self.y.reach(height), self.x.reach(width), beat),
            self.outputs.slot_bytes(height, width, beat),
        )

    @property
    def shortage(self) -> str:
        """What a single output pixel needs, and what there is."""
        inputs, outputs = self._slot_bytes(1, 1)
        machine = self.machine
        unit = machine.part_unit_bytes
        least = -(-self.least_slot_bytes // unit) * unit * machine.activation_banks
        return (
            f"a single output pixel, of as few channels as the layer can be cut into, needs "
            f"{inputs} B of inputs and {outputs} B of outputs, but a "
            f"bank of the activation buffer has {machine.activation_bank_bytes} B; give "
            f"activation_buffer_bytes at least {least}"
        )


def channel_ranges(
    layer: str, channels: int, unit: int, cutter: Callable[[int, int], Cutter]
) -> list[tuple[int, int]]:
    """Ranges of output channels, as few as possible, of which a pixel fits the slots.

    Parameters
    ----------
    layer : str
        What an error calls the layer.
    channels, unit : int
        How many there are, and by how many they may be cut apart.
    cutter : callable
        The cutter of a range: its first channel, and one beyond the last.

    Raises
    ------
    LoweringError
        If not even `unit` channels fit.
    """
    count = channels
    while True:
        ranges = [(first, min(first + count, channels)) for first in range(0, channels, count)]
        cutters = [cutter(first, last) for first, last in ranges]
        if all(each.fits for each in cutters):
            return ranges
        if count <= unit:
            worst = max(cutters, key=lambda each: each.least_slot_bytes)
            raise LoweringError(layer, worst.shortage)
        count = max(unit, count // 2 // unit * unit)


def largest(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest n up to `limit` that fits, 0 if none; what fits n also fits n - 1."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def even(whole: int, part: int) -> int:
    """The smallest part that divides `whole` into no more parts than `part` does."""
    return -(-whole // -(-whole // part))


def _powers_of_two(limit: int) -> Iterator[int]:
    size = 1
    while size <= limit:
        yield size
        size *= 2
