"""A chunk of the tile nest: the one to walk next, and the one being walked, beat by beat."""

from __future__ import annotations

import functools
import operator

from amaranth.hdl import Const, Module, Mux, Signal, Value, ValueLike, signed

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.nest import POSITION_BITS, ROW_BITS
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Width, compute_bits
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import resetless
from mensa.rtl.parts.strip_loop import StripLoop

__all__ = ["ComingChunk", "WalkedChunk", "all_of", "walk", "words_of_beat"]


class ComingChunk:
    """The chunk to walk next: where the loops over groups, tiles, taps and chunks are.

    Vector modes: a tile is a pixel, and a segment a chunk. As long as none comes it is the
    command's first, so that nothing waits for `start`.
    """

    def __init__(self, array: Array):
        self.comes = Signal()
        self.tiles = StripLoop(compute_bits("PIXELS"), array.tile, "tile")
        segment = compute_bits("SEGMENT")
        self.chunks = StripLoop(segment, max(array.chunk, array.group), "chunk")
        self.offset = resetless(segment, name="chunk_offset")
        self.tap_columns = Countdown(compute_bits("KERNEL_W"), "tap_columns")
        self.tap_rows = Countdown(compute_bits("KERNEL_H"), "tap_rows")
        row = signed(ROW_BITS + 2)
        self.tap_x, self.tap_y = resetless(POSITION_BITS), resetless(row, name="tap_y")
        self.tap_y_address = resetless(BUFFER_ADDRESS_BITS)
        self.tap_row = Signal()  # its lowest bit
        self.tap_is_last = Signal()  # of its tile: both counters', predicted a tap ahead
        # What begins and ends with it; it ends a tap if it is the last of `chunks`.
        self.begins_tap, self.begins_tile = Signal(), Signal()
        self.begins_group = Signal()
        self.ends_tile, self.ends_group = Signal(), Signal(name="ends_group")


class WalkedChunk:
    """The chunk being walked.

    It takes as many beats as it has pixels or bytes, whichever are more; the last chunk of a tile
    is stretched to keep tiles the spacing apart.
    """

    def __init__(self) -> None:
        # The step shown is its last, or no chunk is being walked.
        self.over = Signal(init=1, name="chunk_over")
        self.fetch_activation, self.fetch_parameter = Signal(), Signal(name="fetch_parameter")
        # Of a word, if it may stay for several cycles: the first and the last.
        self.word_begins: Value | None = None
        self.word_over: Value | None = None
        self.parameters_end: Value = Const(1)  # the chunk's last ones are in this beat
        # By this chunk.
        self.ended_tap, self.ended_tile = Signal(), Signal(name="ended_tile")


def all_of(condition: Value, *others: Value | None) -> Value:
    """Whether conditions hold, of which some are None on an array that doesn't have them."""
    return functools.reduce(operator.and_, (each for each in others if each is not None), condition)


def walk(
    m: Module, array: Array, width: Value, coming: ComingChunk, walked: WalkedChunk, vector: Value
) -> None:
    """Walk a chunk: how long it still takes.

    Parameters: `width` is the register WIDTH, `vector` whether the mode is a vector one.
    """
    spacing, chunks = array.spacing, coming.chunks
    words, least = _stretch(m, array, width, coming, walked, vector), array.least_chunk
    beats = Value.cast(array.parameter_beats(chunks.size))
    lanes_left = Countdown(words.shape().width, "lanes_left")
    bytes_left = Countdown(beats.shape().width, "bytes_left")
    walked.parameters_end = bytes_left.last
    # Its last turn is the one before the tile's spacing is full, and stays.
    spaced = Countdown(spacing.bit_length(), "spaced")
    one_beat, spaced_next = Signal(), Signal()
    m.d.comb += [
        one_beat.eq((words <= 1) & (vector | (beats <= 1 if least == 1 else 0))),
        spaced_next.eq(Mux(coming.begins_tile, vector | (spacing == 1), spaced.last)),
    ]
    long_enough = _is_long_enough(m, array, walked, vector)
    with m.If(walked.over):
        m.d.sync += [
            walked.over.eq(~coming.comes | (one_beat & (~coming.ends_tile | spaced_next))),
            walked.fetch_activation.eq(coming.comes),
            walked.fetch_parameter.eq(coming.comes & ~vector),
            lanes_left.restart(words),
            bytes_left.restart(beats),
            walked.ended_tap.eq(coming.comes & chunks.last),
            walked.ended_tile.eq(coming.comes & coming.ends_tile),
        ]
    with m.Else():
        m.d.sync += [
            walked.over.eq(
                all_of(
                    (lanes_left.ending | ~walked.fetch_activation)
                    & (bytes_left.ending | ~walked.fetch_parameter)
                    & (spaced.last | ~walked.ended_tile),
                    long_enough,
                )
            ),
            lanes_left.step(),
            bytes_left.step(),
        ]
        with m.If(lanes_left.last):
            m.d.sync += walked.fetch_activation.eq(0)
        with m.If(bytes_left.last):
            m.d.sync += walked.fetch_parameter.eq(0)
    with m.If(walked.over & coming.begins_tile):
        m.d.sync += spaced.restart(Mux(vector, 1, max(1, spacing - 1)))
    with m.Else():
        m.d.sync += spaced.step(~spaced.last)


def _stretch(
    m: Module, array: Array, width: Value, coming: ComingChunk, walked: WalkedChunk, vector: Value
) -> Value:
    """Return the cycles of the coming chunk's words, which are several for each of a tile's
    last if sums leave with them and the post-processor needs so long."""
    size = coming.tiles.size
    if not array.leaves_by_pixel:
        return size
    is_long = width == Width.INT32
    once = vector | ~coming.ends_tile
    few, many = (array.turns_of_word(each) for each in (Width.BYTE, Width.INT32))
    turns, stays = Signal(range(many + 1)), resetless(range(many + 1), name="stays")
    words, begins = Signal(range(many * array.tile + 1)), Signal()
    turn = Countdown(len(turns), "turn")
    m.d.comb += [
        turns.eq(Mux(once, 1, Mux(is_long, many, few))),
        words.eq(Mux(once, size, Mux(is_long, size * many, size * few))),
    ]
    with m.If(walked.over):
        m.d.sync += [begins.eq(1), stays.eq(turns), turn.restart(turns)]
    with m.Elif(turn.last):
        m.d.sync += [begins.eq(1), turn.restart(stays)]
    with m.Else():
        m.d.sync += [begins.eq(0), turn.step()]
    walked.word_begins, walked.word_over = begins, turn.last
    return words


def _is_long_enough(m: Module, array: Array, walked: WalkedChunk, vector: Value) -> Value | None:
    """Return whether the next step may be the last of a chunk, if a chunk has a least time."""
    least = array.least_chunk
    if least == 1:
        return None
    left = Countdown(least.bit_length(), "least_left")
    with m.If(walked.over):
        m.d.sync += left.restart(Mux(vector, 1, least))
    with m.Else():
        m.d.sync += left.step(~left.last)
    return left.ending


def words_of_beat(m: Module, array: Array, coming: ComingChunk, walked: WalkedChunk) -> ValueLike:
    """Return how many bytes have their parameters in this beat, if it has any."""
    rows = array.parameter_rows
    if rows == 1:
        return 1
    rest = resetless(range(rows + 1), name="rest")
    with m.If(walked.over):
        size = coming.chunks.size
        alone = rows == array.chunk
        m.d.sync += rest.eq(size if alone else ((size - 1) & (rows - 1)) + 1)
    return Mux(walked.parameters_end, rest, rows)
