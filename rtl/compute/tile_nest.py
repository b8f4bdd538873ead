"""The loop nest of the tiled and the vector modes: pixels, taps and chunks of a segment."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.nest import POSITION_BITS, ROW_BITS, NestSignature
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, CHANNELS_BITS, compute_bits
from mensa.rtl.compute.chunk_walk import ComingChunk, WalkedChunk, all_of, walk, words_of_beat
from mensa.rtl.parts.resetless import resetless
from mensa.rtl.parts.strip_loop import StripLoop

__all__ = ["TileNest"]


_PIXEL = data.StructLayout(
    {
        "columns_left": signed(compute_bits("OUT_WIDTH") + 1),  # after the next one
        "x": POSITION_BITS,
        "y": ROW_BITS,
        "y_address": BUFFER_ADDRESS_BITS,
        "out_x": BUFFER_ADDRESS_BITS,
        "out_y": BUFFER_ADDRESS_BITS,
    }
)
"""An output pixel: where its inputs are, and its result."""


class TileNest(wiring.Component):
    """Walks the first loop nest of docs/architecture.md, a beat a step.

    The loops over groups, tiles, taps and chunks run one chunk ahead of the beats: what is known of
    the coming chunk stands in registers when the chunk before it is over, even after one beat.

    Parameters
    ----------
    array : Array
        Its numbers.

    Members
    -------
    nest : In(NestSignature(array))
        Its steps.
    """

    def __init__(self, array: Array):
        self._array = array
        super().__init__({"nest": In(NestSignature(array))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        r = self.nest.registers
        vector = self.nest.kind.vector
        coming, walked = ComingChunk(self._array), WalkedChunk()
        self._follow_commands(m, coming, walked)
        # The loops from the inside out, side by side: nested they would wait for one another.
        self._loop_over_chunks(m, coming, walked, vector)
        self._loop_over_taps(m, coming, walked)
        self._loop_over_tiles(m, coming, walked, vector)
        walk(m, self._array, r.width, coming, walked, vector)
        pixel = self._loop_over_pixels(m, coming, walked)
        parameter, diagonal = self._loop_over_parameters(m, coming, walked)
        self._take_step(m, coming, walked, pixel, parameter, diagonal)
        return m

    def _follow_commands(self, m: Module, coming: ComingChunk, walked: WalkedChunk) -> None:
        """Chunks come from a command's start until its last group is over."""
        nest = self.nest
        ends_tap = coming.chunks.last
        m.d.comb += [
            coming.ends_tile.eq(ends_tap & coming.tap_is_last),
            coming.ends_group.eq(ends_tap & coming.tap_is_last & coming.tiles.last),
            nest.group_over.eq(coming.comes & walked.over & coming.ends_group),
            nest.active.eq(coming.comes | ~walked.over),
        ]
        with m.If(nest.start):
            m.d.sync += coming.comes.eq(1)
        with m.Elif(nest.group_over & nest.group.is_last):
            m.d.sync += coming.comes.eq(0)

    def _restart(
        self, m: Module, loop: StripLoop, things: Value, whole: int, vector_whole: int
    ) -> None:
        """Begin a loop, by the mode with strips of one size or the other."""
        with m.If(self.nest.kind.vector):
            m.d.sync += loop.restart(things, vector_whole)
        with m.Else():
            m.d.sync += loop.restart(things, whole)

    def _loop_over_chunks(
        self, m: Module, coming: ComingChunk, walked: WalkedChunk, vector: Value
    ) -> None:
        """Cut the bytes of a tap, which are a segment, into chunks."""
        array, r, group = self._array, self.nest.registers, self.nest.group
        comes, chunks = coming.comes, coming.chunks
        segment_is_last = Signal()  # of the tap that begins, if one does
        with m.If(comes):
            m.d.comb += segment_is_last.eq(group.is_last | (coming.ends_group & group.next_is_last))
        with m.Else():
            m.d.comb += segment_is_last.eq(r.groups == 1)
        with m.If(~comes | walked.over):
            m.d.sync += [
                coming.begins_tap.eq(~comes | chunks.last),
                coming.begins_tile.eq(~comes | coming.ends_tile),
                coming.begins_group.eq(~comes | coming.ends_group),
                coming.offset.eq(coming.offset + array.chunk),
                chunks.step(Mux(vector, array.group, array.chunk)),
            ]
            with m.If(~comes | chunks.last):
                m.d.sync += coming.offset.eq(0)
                with m.If(segment_is_last):
                    self._restart(m, chunks, r.last_segment, array.chunk, array.group)
                with m.Else():
                    self._restart(m, chunks, r.segment, array.chunk, array.group)

    def _loop_over_taps(self, m: Module, coming: ComingChunk, walked: WalkedChunk) -> None:
        """Go through the kernel, row by row."""
        r, group = self.nest.registers, self.nest.group
        comes, over, chunks = coming.comes, walked.over, coming.chunks
        columns, rows = coming.tap_columns, coming.tap_rows
        with m.If(~comes | (over & chunks.last)):
            m.d.sync += [
                columns.step(),
                coming.tap_x.eq(coming.tap_x + r.tap_x_step),
                coming.tap_is_last.eq(columns.ending & rows.last),
            ]
            with m.If(~comes | columns.last):
                m.d.sync += [
                    columns.restart(r.kernel_w),
                    coming.tap_x.eq(Mux(coming.ends_group, group.next_x, group.x)),
                    coming.tap_is_last.eq((r.kernel_w == 1) & rows.ending),
                ]
            with m.If(~comes | coming.tap_is_last):
                m.d.sync += coming.tap_is_last.eq((r.kernel_w == 1) & (r.kernel_h == 1))
            with m.If(~comes):
                m.d.sync += coming.tap_x.eq(0)
        with m.If(~comes | (over & chunks.last & columns.last)):
            m.d.sync += [
                rows.step(),
                coming.tap_row.eq(~coming.tap_row),
                coming.tap_y.eq(coming.tap_y + r.tap_y_step),
                coming.tap_y_address.eq(coming.tap_y_address + r.tap_y_address_step),
            ]
            with m.If(~comes | rows.last):
                m.d.sync += [
                    rows.restart(r.kernel_h),
                    coming.tap_row.eq(0),
                    coming.tap_y.eq(r.y_start),
                    coming.tap_y_address.eq(r.act_address),
                ]

    def _loop_over_tiles(
        self, m: Module, coming: ComingChunk, walked: WalkedChunk, vector: Value
    ) -> None:
        """Cut the output pixels of a group into tiles."""
        tiles = coming.tiles
        with m.If(~coming.comes | (walked.over & coming.ends_tile)):
            m.d.sync += tiles.step(Mux(vector, 1, self._array.tile))
            with m.If(~coming.comes | tiles.last):
                self._restart(m, tiles, self.nest.registers.pixels, self._array.tile, 1)

    def _loop_over_pixels(
        self, m: Module, coming: ComingChunk, walked: WalkedChunk
    ) -> data.View[data.StructLayout]:
        """Return the beat's output pixel; every chunk returns to that of the tile's first beat."""
        r = self.nest.registers
        pixel, tile_start = resetless(_PIXEL), resetless(_PIXEL)
        pixel_next, origin = Signal(_PIXEL), Signal(_PIXEL)
        m.d.comb += [pixel_next.eq(pixel), origin.columns_left.eq(r.out_width - 2)]
        with m.If(all_of(walked.fetch_activation, walked.word_over)):
            with m.If(_is_edge(pixel)):
                m.d.comb += [
                    pixel_next.columns_left.eq(origin.columns_left),
                    pixel_next.x.eq(0),
                    pixel_next.y.eq(pixel.y + r.pixel_y_step),
                    pixel_next.y_address.eq(pixel.y_address + r.pixel_y_address_step),
                    pixel_next.out_x.eq(0),
                    pixel_next.out_y.eq(pixel.out_y + r.out_y_step),
                ]
            with m.Else():
                m.d.comb += [
                    pixel_next.columns_left.eq(pixel.columns_left - 1),
                    pixel_next.x.eq(pixel.x + r.pixel_x_step),
                    pixel_next.out_x.eq(pixel.out_x + r.out_x_step),
                ]
        with m.If(~walked.over):
            m.d.sync += pixel.eq(pixel_next)
        with m.Elif(coming.begins_group):
            m.d.sync += [pixel.eq(origin), tile_start.eq(origin)]
        with m.Elif(coming.begins_tile):
            m.d.sync += [pixel.eq(pixel_next), tile_start.eq(pixel_next)]
        with m.Else():
            m.d.sync += pixel.eq(tile_start)
        return pixel

    def _loop_over_parameters(
        self, m: Module, coming: ComingChunk, walked: WalkedChunk
    ) -> tuple[Value, Value]:
        """Return the beat's parameter address and diagonal.

        Conv takes a word per byte, depthwise one per tap; every tile returns to the group's first.
        """
        r, array = self.nest.registers, self._array
        words = words_of_beat(m, array, coming, walked)
        parameter, group_parameter = resetless(BUFFER_ADDRESS_BITS), resetless(BUFFER_ADDRESS_BITS)
        parameter_next = Signal(BUFFER_ADDRESS_BITS)
        depthwise = self.nest.kind.depthwise
        word_over = Mux(depthwise, walked.over & walked.ended_tap, walked.fetch_parameter)
        seen: Value = r.depth_multiplier  # columns that see a byte of the beat
        if array.parameter_rows > 1:
            words, seen = Mux(depthwise, 1, words), seen * array.parameter_rows
        m.d.comb += parameter_next.eq(parameter + Mux(word_over, words * array.group, 0))
        diagonal = Signal(CHANNELS_BITS)
        m.d.sync += parameter.eq(parameter_next)
        with m.If(walked.over & coming.begins_group):
            m.d.sync += group_parameter.eq(parameter_next)
        with m.Elif(walked.over & coming.begins_tile):
            m.d.sync += parameter.eq(group_parameter)
        with m.If(walked.over & coming.begins_tap):
            m.d.sync += diagonal.eq(0)
        with m.Elif(walked.fetch_parameter):
            m.d.sync += diagonal.eq(diagonal + seen)
        with m.If(~self.nest.active):
            m.d.sync += parameter.eq(r.parameter_address)
        return parameter, diagonal

    def _take_step(
        self,
        m: Module,
        coming: ComingChunk,
        walked: WalkedChunk,
        pixel: data.View[data.StructLayout],
        parameter: Value,
        diagonal: Value,
    ) -> None:
        """Give the step: what is the chunk's as it begins, the rest as it is in the beat."""
        r, group, step = self.nest.registers, self.nest.group, self.nest.step
        first_beat, first_chunk = Signal(), Signal()  # of a tile
        m.d.sync += [
            first_beat.eq(walked.over & coming.begins_tile),
            step.lane.eq(step.lane + (1 if walked.word_over is None else walked.word_over)),
        ]
        with m.If(walked.over):
            m.d.sync += [
                first_chunk.eq(coming.begins_tile),
                step.lane.eq(0),
                step.size.eq(coming.chunks.size),
                step.inner_x.eq(coming.tap_x + coming.offset),
                step.inner_y.eq(coming.tap_y),
                step.inner_y_address.eq(coming.tap_y_address),
                step.operand.eq(coming.tap_row),
                step.lanes.eq(coming.tiles.size),
                step.out_group.eq(group.out),
                step.entry.eq(group.entry),
                step.channels.eq(Mux(group.is_last, r.last_group_channels, r.group_channels)),
            ]
        continued, kept = r.keep[0], r.keep[1]
        fetches = all_of(walked.fetch_activation, walked.word_begins)
        if self._array.kept_tiles > 1:
            self._count_tiles(m, coming, walked)
            m.d.comb += [
                step.resumes.eq(first_beat & continued),
                step.keeps.eq(walked.over & walked.ended_tile & kept),
            ]
        if self._array.leaves_by_pixel:
            m.d.comb += [
                step.opens.eq(first_chunk & ~continued),
                step.closes.eq(walked.ended_tile & ~kept),
                step.ends.eq(step.lane + 1 == step.lanes),
            ]
        m.d.comb += [
            step.fetch_activation.eq(fetches),
            step.outer_x.eq(pixel.x),
            step.outer_y.eq(pixel.y),
            step.outer_y_address.eq(pixel.y_address),
            step.fetch_parameter.eq(walked.fetch_parameter),
            step.parameter_address.eq(parameter),
            step.diagonal.eq(diagonal),
            step.first.eq(first_beat & ~continued),
            step.last.eq(walked.over & walked.ended_tile & ~kept),
            step.announce.eq(first_chunk & fetches & ~kept),
            step.edge.eq(_is_edge(pixel)),
            step.out_x.eq(pixel.out_x),
            step.out_y.eq(pixel.out_y),
        ]

    def _count_tiles(self, m: Module, coming: ComingChunk, walked: WalkedChunk) -> None:
        """Give the number of the step's tile, among those of its group."""
        place = self.nest.step.place
        with m.If(walked.over & coming.begins_tile):
            m.d.sync += place.eq(Mux(coming.begins_group, 0, place + 1))


def _is_edge(pixel: data.View[data.StructLayout]) -> Value:
    """Whether a pixel is the last of its output row."""
    return pixel.columns_left[-1]
