"""The operand address generator: which bytes meet in the array, beat by beat."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Mode, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.unit import registers_layout

__all__ = ["AddressGenerator", "beat_layout", "result_slots"]

LATENCY = 2
"""Cycles from a step of the loop nest to its beat on `o`."""

POSITION_BITS = 28


def result_slots(machine: Machine) -> int:
    """Tiles whose output addresses are remembered at once; a power of two.

    A tile's addresses are written while its first chunk is fetched and read while it leaves the
    array, R + C + a few cycles after its last beat; tiles follow each other R cycles apart at
    the closest, results of the vector modes every cycle.
    """
    array = machine.array
    in_flight = (array.tile + array.latency + 16) // array.spacing + 2
    return 1 << (max(in_flight, 16) - 1).bit_length()


def beat_layout(machine: Machine) -> data.StructLayout:
    """What one beat asks for; see `AddressGenerator`."""
    return data.StructLayout(
        {
            # Activations: `size` bytes at `address`, for row `lane` of the array.
            "fetch_activation": 1,
            "lane": range(machine.array.tile),
            "address": BUFFER_ADDRESS_BITS,
            "x": signed(POSITION_BITS),  # byte position of the first byte in its input row
            "row_valid": 1,  # the input row exists
            "size": range(max(machine.array.chunk, machine.array.group) + 1),
            "tap": 1,  # operand of a scaled sum
            # Parameters: one word of `cols` bytes.
            "fetch_parameter": 1,
            "parameter_address": BUFFER_ADDRESS_BITS,
            "diagonal": 8,  # depthwise: first column that sees it
            # Marks of a reduction: a tile's first and last beat, so that the last ones of two tiles
            # are R cycles apart even where the second has fewer parameters.
            "first": 1,
            "last": 1,
            # Where the lane's result goes, told once per tile.
            "announce": 1,
            "slot": range(result_slots(machine)),
            "lanes": range(machine.array.tile + 1),
            "out_address": BUFFER_ADDRESS_BITS,
            "entry": 12,
            "channels": 8,
        }
    )


class AddressGenerator(wiring.Component):
    """Walks the compute unit's loop nest (docs/architecture.md), one beat a cycle without a gap.

    The first step is in the cycle after `start`; a step's beat is on `o` two cycles later.
    `active` is high in every cycle of a step, so it is high as many cycles as
    `mensa.rtl.timing.feed_cycles` says.

    Parameters
    ----------
    machine : Machine
        Gives R and C.

    Members
    -------
    start : In(1)
        Strobe; `registers` are valid from this cycle until the last step.
    registers : In(registers_layout(Unit.COMPUTE))
        The command.
    active : Out(1)
        A step is being taken in this cycle.
    o : Out(stream.Signature(beat_layout(machine), always_ready=True))
        Beats, in the order of the loop nest. A beat that fetches nothing only passes time.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "start": In(1),
                "registers": In(registers_layout(Unit.COMPUTE)),
                "active": Out(1),
                "o": Out(stream.Signature(beat_layout(machine), always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        machine = self._machine
        array = machine.array
        r = self.registers
        vector = Signal()
        m.d.comb += vector.eq(r.mode >= Mode.MAX)

        active = Signal()
        m.d.comb += self.active.eq(active)

        # Group of output channels.
        group = Signal(16)
        group_offset = Signal(POSITION_BITS)
        out_group = Signal(BUFFER_ADDRESS_BITS)
        entry = Signal(12)
        last_group = Signal()
        segment, channels = Signal(24), Signal(8)
        m.d.comb += [
            last_group.eq(group == r.groups - 1),
            segment.eq(Mux(last_group, r.last_segment, r.segment)),
            channels.eq(Mux(last_group, r.last_group_channels, r.group_channels)),
        ]

        # Output pixel: of the beat, and of the tile's first beat, to which every chunk returns.
        pixel_layout = data.StructLayout(
            {
                "column": 16,
                "x": POSITION_BITS,
                "y": 16,
                "y_address": BUFFER_ADDRESS_BITS,
                "out_x": BUFFER_ADDRESS_BITS,
                "out_y": BUFFER_ADDRESS_BITS,
            }
        )
        pixel, tile_start, pixel_next = (Signal(pixel_layout) for _ in range(3))
        pixels_left = Signal(24)  # from the tile's first on
        lanes = Signal(range(array.tile + 1))
        with m.If(vector):
            m.d.comb += lanes.eq(1)
        with m.Elif(pixels_left < array.tile):
            m.d.comb += lanes.eq(pixels_left)
        with m.Else():
            m.d.comb += lanes.eq(array.tile)

        # Tap.
        tap_row, tap_column = Signal(16), Signal(16)
        tap_x, tap_y = Signal(POSITION_BITS), Signal(16)
        tap_y_address = Signal(BUFFER_ADDRESS_BITS)

        # Chunk of the segment.
        chunk_offset, chunk_left = Signal(24), Signal(24)
        size = Signal(range(max(array.chunk, array.group) + 1))
        chunk_is_last = Signal()
        with m.If(vector | (chunk_left <= array.chunk)):
            m.d.comb += [size.eq(chunk_left), chunk_is_last.eq(1)]
        with m.Else():
            m.d.comb += size.eq(array.chunk)

        # Beat. The last chunk of a tile is stretched to keep tiles the spacing apart.
        beat = Signal(range(max(array.tile, array.chunk, array.spacing) + 1))
        tile_cycles = Signal(range(array.spacing + 1))
        period_over = Signal()
        tap_column_is_last, tap_row_is_last = Signal(), Signal()
        tile_chunk_is_last, tile_chunk_is_first = Signal(), Signal()
        chunk_over, tap_over, tile_over, group_over = Signal(), Signal(), Signal(), Signal()
        fetch_activation, fetch_parameter = Signal(), Signal()
        m.d.comb += [
            fetch_activation.eq(beat < lanes),
            fetch_parameter.eq(~vector & (beat < size)),
            tap_column_is_last.eq(tap_column == r.kernel_w - 1),
            tap_row_is_last.eq(tap_row == r.kernel_h - 1),
            tile_chunk_is_first.eq(~tap_row.any() & ~tap_column.any() & ~chunk_offset.any()),
            tile_chunk_is_last.eq(chunk_is_last & tap_column_is_last & tap_row_is_last),
            period_over.eq(vector | ((beat + 1 >= lanes) & (beat + 1 >= size))),
            chunk_over.eq(
                period_over & (vector | ~tile_chunk_is_last | (tile_cycles >= array.spacing - 1))
            ),
            tap_over.eq(chunk_over & chunk_is_last),
            tile_over.eq(chunk_over & tile_chunk_is_last),
            group_over.eq(tile_over & (pixels_left == lanes)),
        ]

        # Parameters: conv takes a word per byte, depthwise one per tap.
        parameter, group_parameter = Signal(BUFFER_ADDRESS_BITS), Signal(BUFFER_ADDRESS_BITS)
        parameter_next = Signal(BUFFER_ADDRESS_BITS)
        diagonal = Signal(8)
        word_over = Mux(r.mode == Mode.DEPTHWISE, tap_over, fetch_parameter)
        m.d.comb += parameter_next.eq(parameter + Mux(word_over, array.group, 0))

        # Result slots are taken only by tiles that are drained.
        slot = Signal(range(result_slots(machine)))

        m.d.comb += pixel_next.eq(pixel)
        with m.If(fetch_activation):
            with m.If(pixel.column == r.out_width - 1):
                m.d.comb += [
                    pixel_next.column.eq(0),
                    pixel_next.x.eq(0),
                    pixel_next.y.eq(pixel.y + r.pixel_y_step),
                    pixel_next.y_address.eq(pixel.y_address + r.pixel_y_address_step),
                    pixel_next.out_x.eq(0),
                    pixel_next.out_y.eq(pixel.out_y + r.out_y_step),
                ]
            with m.Else():
                m.d.comb += [
                    pixel_next.column.eq(pixel.column + 1),
                    pixel_next.x.eq(pixel.x + r.pixel_x_step),
                    pixel_next.out_x.eq(pixel.out_x + r.out_x_step),
                ]

        with m.If(active):
            m.d.sync += [
                beat.eq(beat + 1),
                pixel.eq(pixel_next),
                parameter.eq(parameter_next),
                tile_cycles.eq(Mux(tile_cycles == array.spacing, array.spacing, tile_cycles + 1)),
            ]
            with m.If(fetch_parameter):
                m.d.sync += diagonal.eq(diagonal + r.depth_multiplier)
            with m.If(chunk_over):
                m.d.sync += [
                    beat.eq(0),
                    pixel.eq(tile_start),
                    chunk_offset.eq(chunk_offset + array.chunk),
                    chunk_left.eq(chunk_left - array.chunk),
                ]
            with m.If(tap_over):
                m.d.sync += [chunk_offset.eq(0), chunk_left.eq(segment), diagonal.eq(0)]
                with m.If(~tap_column_is_last):
                    m.d.sync += [tap_column.eq(tap_column + 1), tap_x.eq(tap_x + r.tap_x_step)]
                with m.Else():
                    m.d.sync += [
                        tap_column.eq(0),
                        tap_x.eq(0),
                        tap_row.eq(tap_row + 1),
                        tap_y.eq(tap_y + r.tap_y_step),
                        tap_y_address.eq(tap_y_address + r.tap_y_address_step),
                    ]
            with m.If(tile_over):
                m.d.sync += [
                    tap_row.eq(0),
                    tap_y.eq(0),
                    tap_y_address.eq(0),
                    tile_cycles.eq(0),
                    pixel.eq(pixel_next),
                    tile_start.eq(pixel_next),
                    pixels_left.eq(pixels_left - lanes),
                    parameter.eq(group_parameter),
                    slot.eq(slot + ~r.keep[1]),
                ]
            with m.If(group_over):
                m.d.sync += [
                    pixel.eq(0),
                    tile_start.eq(0),
                    pixels_left.eq(r.pixels),
                    parameter.eq(parameter_next),
                    group_parameter.eq(parameter_next),
                    group.eq(group + 1),
                    group_offset.eq(group_offset + r.group_act_step),
                    out_group.eq(out_group + r.group_channels),
                    entry.eq(entry + 1),
                    # The next group may be the last, whose segment differs.
                    chunk_left.eq(Mux(group + 2 == r.groups, r.last_segment, r.segment)),
                ]
                with m.If(last_group):
                    m.d.sync += active.eq(0)

        with m.If(self.start):
            m.d.sync += [
                active.eq(1),
                group.eq(0),
                group_offset.eq(0),
                out_group.eq(0),
                entry.eq(r.constant_entry),
                pixel.eq(0),
                tile_start.eq(0),
                pixels_left.eq(r.pixels),
                tap_row.eq(0),
                tap_column.eq(0),
                tap_x.eq(0),
                tap_y.eq(0),
                tap_y_address.eq(0),
                chunk_offset.eq(0),
                chunk_left.eq(Mux(r.groups == 1, r.last_segment, r.segment)),
                beat.eq(0),
                tile_cycles.eq(0),
                parameter.eq(r.parameter_address),
                group_parameter.eq(r.parameter_address),
                diagonal.eq(0),
            ]

        # First stage: the sums of the loops' offsets. Second stage: the command's bases.
        step = Signal(beat_layout(machine))
        offset, y = Signal(POSITION_BITS), Signal(signed(18))
        y_address = Signal(BUFFER_ADDRESS_BITS)
        step_valid = Signal()
        m.d.sync += [
            step_valid.eq(active),
            step.fetch_activation.eq(active & fetch_activation),
            step.lane.eq(beat),
            step.size.eq(size),
            step.tap.eq(tap_row[0]),
            step.fetch_parameter.eq(active & fetch_parameter),
            step.parameter_address.eq(parameter),
            step.diagonal.eq(diagonal),
            step.first.eq(active & tile_chunk_is_first & ~beat.any() & ~r.keep[0]),
            step.last.eq(active & tile_over & ~r.keep[1]),
            step.announce.eq(active & tile_chunk_is_first & fetch_activation & ~r.keep[1]),
            step.slot.eq(slot),
            step.lanes.eq(lanes),
            step.out_address.eq(out_group + pixel.out_x + pixel.out_y),
            step.entry.eq(entry),
            step.channels.eq(channels),
            offset.eq(pixel.x + tap_x + group_offset + chunk_offset),
            y.eq(r.y_start + pixel.y + tap_y),
            y_address.eq(pixel.y_address + tap_y_address),
        ]
        m.d.sync += [
            self.o.valid.eq(step_valid),
            self.o.payload.eq(step),
            self.o.payload.address.eq(r.act_address + y_address + offset),
            self.o.payload.x.eq(r.x_start + offset),
            self.o.payload.row_valid.eq((y >= 0) & (y < r.input_rows)),
            self.o.payload.out_address.eq(r.out_address + step.out_address),
        ]
        return m
