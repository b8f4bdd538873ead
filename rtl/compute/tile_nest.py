"""The loop nest of the tiled and the vector modes: pixels, taps and chunks of a segment."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.nest import POSITION_BITS, NestSignature
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Mode
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import datum
from mensa.rtl.parts.strip_loop import Portions
from mensa.rtl.parts.unit import is_vector

__all__ = ["TileNest"]


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
        array = self._array
        r, group, step = self.nest.registers, self.nest.group, self.nest.step
        vector, depthwise = Signal(), Signal()  # of a command, from the cycle after its start on
        m.d.sync += [vector.eq(is_vector(r.mode)), depthwise.eq(r.mode == Mode.DEPTHWISE)]

        # A chunk takes as many beats as it has pixels or bytes, whichever are more; the last chunk
        # of a tile is stretched to keep tiles the spacing apart.
        chunk_over = Signal(init=1)  # the step shown is its last, or no chunk is being walked

        # The coming chunk. Vector modes: a tile is a pixel, and a segment a chunk. As long as none
        # comes it is the command's first, so that nothing waits for `start`.
        comes = Signal()
        tiles = Portions(24, array.tile, "tile")
        chunks = Portions(24, max(array.chunk, array.group), "chunk")
        tap_columns, tap_rows = Countdown(16, "tap_columns"), Countdown(16, "tap_rows")
        tap_x, tap_y = datum(POSITION_BITS), datum(signed(18))
        tap_y_address = datum(BUFFER_ADDRESS_BITS)
        tap_row = Signal()  # its lowest bit
        tap_is_last = Signal()  # of its tile: both counters', predicted a tap ahead
        chunk_offset = datum(24)
        begins_tap, begins_tile, begins_group = Signal(), Signal(), Signal()
        ends_tile, ends_group = Signal(), Signal()
        m.d.comb += [
            ends_tile.eq(chunks.last & tap_is_last),
            ends_group.eq(chunks.last & tap_is_last & tiles.last),
            self.nest.group_over.eq(comes & chunk_over & ends_group),
            self.nest.active.eq(comes | ~chunk_over),
        ]
        with m.If(self.nest.start):
            m.d.sync += comes.eq(r.mode != Mode.FILTER)
        with m.Elif(self.nest.group_over & group.is_last):
            m.d.sync += comes.eq(0)

        def restart(portions: Portions, things: Value, whole: int, vector_whole: int) -> None:
            with m.If(is_vector(r.mode)):
                m.d.sync += portions.restart(things, vector_whole)
            with m.Else():
                m.d.sync += portions.restart(things, whole)

        segment_is_last = Signal()  # of the tap that begins, if one does
        with m.If(comes):
            m.d.comb += segment_is_last.eq(group.is_last | (ends_group & group.next_is_last))
        with m.Else():
            m.d.comb += segment_is_last.eq(r.groups == 1)
        # Its loops from the inside out, side by side: nested they would wait for one another.
        with m.If(~comes | chunk_over):
            m.d.sync += [
                begins_tap.eq(~comes | chunks.last),
                begins_tile.eq(~comes | ends_tile),
                begins_group.eq(~comes | ends_group),
                chunk_offset.eq(chunk_offset + array.chunk),
                chunks.step(Mux(vector, array.group, array.chunk)),
            ]
            with m.If(~comes | chunks.last):
                m.d.sync += chunk_offset.eq(0)
                with m.If(segment_is_last):
                    restart(chunks, r.last_segment, array.chunk, array.group)
                with m.Else():
                    restart(chunks, r.segment, array.chunk, array.group)
        with m.If(~comes | (chunk_over & chunks.last)):
            m.d.sync += [
                tap_columns.step(),
                tap_x.eq(tap_x + r.tap_x_step),
                tap_is_last.eq(tap_columns.ending & tap_rows.last),
            ]
            with m.If(~comes | tap_columns.last):
                m.d.sync += [
                    tap_columns.restart(r.kernel_w),
                    tap_x.eq(Mux(ends_group, group.next_x, group.x)),
                    tap_is_last.eq((r.kernel_w == 1) & tap_rows.ending),
                ]
            with m.If(~comes | tap_is_last):
                m.d.sync += tap_is_last.eq((r.kernel_w == 1) & (r.kernel_h == 1))
            with m.If(~comes):
                m.d.sync += tap_x.eq(0)
        with m.If(~comes | (chunk_over & chunks.last & tap_columns.last)):
            m.d.sync += [
                tap_rows.step(),
                tap_row.eq(~tap_row),
                tap_y.eq(tap_y + r.tap_y_step),
                tap_y_address.eq(tap_y_address + r.tap_y_address_step),
            ]
            with m.If(~comes | tap_rows.last):
                m.d.sync += [
                    tap_rows.restart(r.kernel_h),
                    tap_row.eq(0),
                    tap_y.eq(r.y_start),
                    tap_y_address.eq(r.act_address),
                ]
        with m.If(~comes | (chunk_over & ends_tile)):
            m.d.sync += tiles.step(Mux(vector, 1, array.tile))
            with m.If(~comes | tiles.last):
                restart(tiles, r.pixels, array.tile, 1)

        # The chunk being walked: how long it still takes.
        lanes_left = Countdown(tiles.size.shape().width, "lanes_left")
        bytes_left = Countdown(chunks.size.shape().width, "bytes_left")
        # Its last turn is the one before the tile's spacing is full, and stays.
        spaced = Countdown(array.spacing.bit_length(), "spaced")
        fetch_activation, fetch_parameter = Signal(), Signal()
        ended_tap, ended_tile = Signal(), Signal()  # by this chunk
        one_beat, spaced_next = Signal(), Signal()
        m.d.comb += [
            one_beat.eq((tiles.size <= 1) & (vector | (chunks.size <= 1))),
            spaced_next.eq(Mux(begins_tile, vector | (array.spacing == 1), spaced.last)),
        ]
        with m.If(chunk_over):
            m.d.sync += [
                chunk_over.eq(~comes | (one_beat & (~ends_tile | spaced_next))),
                fetch_activation.eq(comes),
                fetch_parameter.eq(comes & ~vector),
                lanes_left.restart(tiles.size),
                bytes_left.restart(chunks.size),
                ended_tap.eq(comes & chunks.last),
                ended_tile.eq(comes & ends_tile),
            ]
        with m.Else():
            m.d.sync += [
                chunk_over.eq(
                    (lanes_left.ending | ~fetch_activation)
                    & (bytes_left.ending | ~fetch_parameter)
                    & (spaced.last | ~ended_tile)
                ),
                lanes_left.step(),
                bytes_left.step(),
            ]
            with m.If(lanes_left.last):
                m.d.sync += fetch_activation.eq(0)
            with m.If(bytes_left.last):
                m.d.sync += fetch_parameter.eq(0)
        with m.If(chunk_over & begins_tile):
            m.d.sync += spaced.restart(Mux(vector, 1, max(1, array.spacing - 1)))
        with m.Else():
            m.d.sync += spaced.step(~spaced.last)

        # Output pixel: of the beat, and of the tile's first beat, to which every chunk returns.
        pixel_layout = data.StructLayout(
            {
                "columns_left": signed(17),  # after the next one
                "x": POSITION_BITS,
                "y": 16,
                "y_address": BUFFER_ADDRESS_BITS,
                "out_x": BUFFER_ADDRESS_BITS,
                "out_y": BUFFER_ADDRESS_BITS,
            }
        )
        pixel, tile_start = datum(pixel_layout), datum(pixel_layout)
        pixel_next, origin = Signal(pixel_layout), Signal(pixel_layout)
        edge = pixel.columns_left[-1]
        m.d.comb += [pixel_next.eq(pixel), origin.columns_left.eq(r.out_width - 2)]
        with m.If(fetch_activation):
            with m.If(edge):
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
        with m.If(~chunk_over):
            m.d.sync += pixel.eq(pixel_next)
        with m.Elif(begins_group):
            m.d.sync += [pixel.eq(origin), tile_start.eq(origin)]
        with m.Elif(begins_tile):
            m.d.sync += [pixel.eq(pixel_next), tile_start.eq(pixel_next)]
        with m.Else():
            m.d.sync += pixel.eq(tile_start)

        # Parameters: conv takes a word per byte, depthwise one per tap.
        parameter, group_parameter = datum(BUFFER_ADDRESS_BITS), datum(BUFFER_ADDRESS_BITS)
        parameter_next = Signal(BUFFER_ADDRESS_BITS)
        word_over = Mux(depthwise, chunk_over & ended_tap, fetch_parameter)
        m.d.comb += parameter_next.eq(parameter + Mux(word_over, array.group, 0))
        diagonal = Signal(8)
        m.d.sync += parameter.eq(parameter_next)
        with m.If(chunk_over & begins_group):
            m.d.sync += group_parameter.eq(parameter_next)
        with m.Elif(chunk_over & begins_tile):
            m.d.sync += parameter.eq(group_parameter)
        with m.If(chunk_over & begins_tap):
            m.d.sync += diagonal.eq(0)
        with m.Elif(fetch_parameter):
            m.d.sync += diagonal.eq(diagonal + r.depth_multiplier)
        with m.If(~self.nest.active):
            m.d.sync += parameter.eq(r.parameter_address)

        # The step.
        first_beat, first_chunk = Signal(), Signal()  # of a tile
        m.d.sync += [first_beat.eq(chunk_over & begins_tile), step.lane.eq(step.lane + 1)]
        with m.If(chunk_over):
            m.d.sync += [
                first_chunk.eq(begins_tile),
                step.lane.eq(0),
                step.size.eq(chunks.size),
                step.inner_x.eq(tap_x + chunk_offset),
                step.inner_y.eq(tap_y),
                step.inner_y_address.eq(tap_y_address),
                step.operand.eq(tap_row),
                step.lanes.eq(tiles.size),
                step.out_group.eq(group.out),
                step.entry.eq(group.entry),
                step.channels.eq(Mux(group.is_last, r.last_group_channels, r.group_channels)),
            ]
        continued, kept = r.keep[0], r.keep[1]
        m.d.comb += [
            step.fetch_activation.eq(fetch_activation),
            step.outer_x.eq(pixel.x),
            step.outer_y.eq(pixel.y),
            step.outer_y_address.eq(pixel.y_address),
            step.fetch_parameter.eq(fetch_parameter),
            step.parameter_address.eq(parameter),
            step.diagonal.eq(diagonal),
            step.first.eq(first_beat & ~continued),
            step.last.eq(chunk_over & ended_tile & ~kept),
            step.announce.eq(first_chunk & fetch_activation & ~kept),
            step.edge.eq(edge),
            step.out_x.eq(pixel.out_x),
            step.out_y.eq(pixel.out_y),
        ]
        return m
