"""The loop nest of the tiled and the vector modes: pixels, taps and chunks of a segment."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Mode
from mensa.rtl.countdown import Countdown
from mensa.rtl.machine import Machine
from mensa.rtl.nest import POSITION_BITS, NestSignature, size_shape
from mensa.rtl.unit import is_vector

__all__ = ["TileNest"]


class TileNest(wiring.Component):
    """Walks the first loop nest of docs/architecture.md, a beat a step.

    Parameters
    ----------
    machine : Machine
        Gives R and C.

    Members
    -------
    nest : In(NestSignature(machine))
        Its steps.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__({"nest": In(NestSignature(machine))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        machine = self._machine
        array = machine.array
        r, step = self.nest.registers, self.nest.step
        start, active = self.nest.start, self.nest.active
        vector = Signal()
        m.d.comb += vector.eq(is_vector(r.mode))

        # Pixels of a tile. Vector modes: one.
        tile = Signal(range(array.tile + 1))
        spacing = Signal(range(array.spacing + 1))
        m.d.comb += [
            tile.eq(Mux(vector, 1, array.tile)),
            spacing.eq(Mux(vector, 1, array.spacing)),
        ]

        def lanes_of(pixels: Value) -> Value:
            return Mux(pixels < tile, pixels, tile)

        lanes, lanes_next = Signal.like(tile), Signal.like(tile)
        beyond = Signal(signed(26))  # pixels after this tile, less one
        tile_is_last = beyond[-1]
        m.d.comb += lanes_next.eq(
            Mux(tile_is_last | start, lanes_of(r.pixels), lanes_of((beyond + 1).as_unsigned()))
        )

        # Chunks of a segment. Vector modes: one.
        chunk = array.chunk
        size, size_next = Signal(size_shape(machine)), Signal(size_shape(machine))
        bytes_beyond, bytes_beyond_next = Signal(signed(26)), Signal(signed(26))
        chunk_is_last = bytes_beyond[-1]

        def chunked(segment: Value) -> tuple[Value, Value]:
            """Size of a segment's first chunk, and the bytes after it, less one."""
            whole = vector | (segment <= chunk)
            return Mux(whole, segment, chunk), Mux(whole, -1, segment - (chunk + 1))

        segment_is_last = Signal()  # of this command's last group
        first_sizes = [chunked(r.segment), chunked(r.last_segment)]

        def first_chunk_of(is_last: Value) -> tuple[Value, Value]:
            regular, final = first_sizes
            return Mux(is_last, final[0], regular[0]), Mux(is_last, final[1], regular[1])

        # Loops. A chunk takes as many beats as it has pixels or bytes, whichever are more; the
        # last chunk of a tile is stretched to keep tiles the spacing apart.
        tap_columns, tap_rows = Countdown(16, "tap_columns"), Countdown(16, "tap_rows")
        lanes_left = Countdown(tile.shape().width, "lanes_left")
        bytes_left = Countdown(size.shape().width, "bytes_left")
        spaced = Countdown(spacing.shape().width, "spaced")
        fetch_activation, fetch_parameter = Signal(), Signal()
        first_beat, first_chunk = Signal(), Signal()  # of a tile
        tap_is_last, period_over = Signal(), Signal()
        chunk_over, tap_over, tile_over, group_over = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            tap_is_last.eq(tap_columns.last & tap_rows.last & chunk_is_last),
            period_over.eq(
                (lanes_left.last | ~fetch_activation) & (bytes_left.last | ~fetch_parameter)
            ),
            chunk_over.eq(period_over & (~tap_is_last | spaced.last)),
            tap_over.eq(chunk_over & chunk_is_last),
            tile_over.eq(chunk_over & tap_is_last),
            group_over.eq(tile_over & tile_is_last),
            self.nest.group_over.eq(group_over),
        ]
        with m.If(start | group_over):
            size_first, beyond_first = first_chunk_of(self.nest.coming_is_last)
            m.d.comb += [size_next.eq(size_first), bytes_beyond_next.eq(beyond_first)]
        with m.Elif(chunk_is_last):
            size_first, beyond_first = first_chunk_of(segment_is_last)
            m.d.comb += [size_next.eq(size_first), bytes_beyond_next.eq(beyond_first)]
        with m.Else():
            m.d.comb += [
                size_next.eq(Mux(bytes_beyond < chunk, bytes_beyond + 1, chunk)),
                bytes_beyond_next.eq(bytes_beyond - chunk),
            ]

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
        pixel, tile_start, pixel_next, origin = (Signal(pixel_layout) for _ in range(4))
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

        # Tap and chunk.
        tap_x, tap_y = Signal(POSITION_BITS), Signal(16)
        tap_y_address = Signal(BUFFER_ADDRESS_BITS)
        tap_row = Signal()  # its lowest bit
        chunk_offset = Signal(24)

        # Parameters: conv takes a word per byte, depthwise one per tap.
        parameter, group_parameter = Signal(BUFFER_ADDRESS_BITS), Signal(BUFFER_ADDRESS_BITS)
        parameter_next = Signal(BUFFER_ADDRESS_BITS)
        word_over = Mux(r.mode == Mode.DEPTHWISE, tap_over, fetch_parameter)
        m.d.comb += parameter_next.eq(parameter + Mux(word_over, array.group, 0))
        diagonal = Signal(8)
        beat = Signal(range(max(array.tile, array.chunk, array.spacing) + 1))

        with m.If(active):
            m.d.sync += [
                first_beat.eq(0),
                beat.eq(beat + 1),
                pixel.eq(pixel_next),
                parameter.eq(parameter_next),
                diagonal.eq(diagonal + Mux(fetch_parameter, r.depth_multiplier, 0)),
                lanes_left.step(),
                bytes_left.step(),
                spaced.step(~spaced.last),
            ]
            with m.If(lanes_left.last):
                m.d.sync += fetch_activation.eq(0)
            with m.If(bytes_left.last):
                m.d.sync += fetch_parameter.eq(0)
            with m.If(chunk_over):
                m.d.sync += [
                    first_chunk.eq(0),
                    pixel.eq(tile_start),
                    chunk_offset.eq(chunk_offset + chunk),
                    lanes_left.restart(lanes),
                ]
            with m.If(tap_over):
                m.d.sync += [chunk_offset.eq(0), diagonal.eq(0), tap_columns.step()]
                m.d.sync += tap_x.eq(tap_x + r.tap_x_step)
                with m.If(tap_columns.last):
                    m.d.sync += [
                        tap_columns.restart(r.kernel_w),
                        tap_x.eq(0),
                        tap_rows.step(),
                        tap_row.eq(~tap_row),
                        tap_y.eq(tap_y + r.tap_y_step),
                        tap_y_address.eq(tap_y_address + r.tap_y_address_step),
                    ]
            with m.If(tile_over):
                m.d.sync += [
                    pixel.eq(pixel_next),
                    tile_start.eq(pixel_next),
                    beyond.eq(beyond - tile),
                    parameter.eq(group_parameter),
                ]
            with m.If(group_over):
                m.d.sync += [
                    pixel.eq(origin),
                    tile_start.eq(origin),
                    parameter.eq(parameter_next),
                    group_parameter.eq(parameter_next),
                ]
        with m.If(start):
            m.d.sync += [
                pixel.eq(origin),
                tile_start.eq(origin),
                parameter.eq(r.parameter_address),
                group_parameter.eq(r.parameter_address),
                chunk_offset.eq(0),
                diagonal.eq(0),
                tap_x.eq(0),
                tap_columns.restart(r.kernel_w),
            ]
        with m.If(start | (active & chunk_over)):
            m.d.sync += [
                beat.eq(0),
                size.eq(size_next),
                bytes_beyond.eq(bytes_beyond_next),
                bytes_left.restart(size_next),
                fetch_activation.eq(1),
                fetch_parameter.eq(~vector),
            ]
        with m.If(start | (active & tile_over)):
            m.d.sync += [
                first_beat.eq(1),
                first_chunk.eq(1),
                lanes.eq(lanes_next),
                lanes_left.restart(lanes_next),
                spaced.restart(spacing),
                tap_rows.restart(r.kernel_h),
                tap_row.eq(0),
                tap_y.eq(0),
                tap_y_address.eq(0),
            ]
        with m.If(start | (active & group_over)):
            m.d.sync += [
                segment_is_last.eq(self.nest.coming_is_last),
                beyond.eq(r.pixels - Mux(vector, 2, array.tile + 1)),
            ]

        continued, kept = r.keep[0], r.keep[1]
        m.d.comb += [
            step.fetch_activation.eq(fetch_activation),
            step.size.eq(size),
            step.outer_x.eq(pixel.x),
            step.inner_x.eq(tap_x),
            step.chunk_offset.eq(chunk_offset),
            step.outer_y.eq(pixel.y),
            step.inner_y.eq(tap_y),
            step.outer_y_address.eq(pixel.y_address),
            step.inner_y_address.eq(tap_y_address),
            step.operand.eq(tap_row),
            step.fetch_parameter.eq(fetch_parameter),
            step.parameter_address.eq(parameter),
            step.diagonal.eq(diagonal),
            step.lane.eq(beat),
            step.first.eq(first_beat & ~continued),
            step.last.eq(tile_over & ~kept),
            step.announce.eq(first_chunk & fetch_activation & ~kept),
            step.lanes.eq(lanes),
            step.edge.eq(edge),
            step.out_x.eq(pixel.out_x),
            step.out_y.eq(pixel.out_y),
        ]
        return m
