"""The loop nest of a filter: taps into the array, then every word of the input past them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.nest import POSITION_BITS, NestSignature, step_layout
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Mode
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import datum

__all__ = ["FilterNest"]


class FilterNest(wiring.Component):
    """Walks the loop nest of MODE FILTER (docs/architecture.md), a beat a step.

    A step that clears or loads taps fetches no activations; the step of a word with which a result
    is complete is marked `last` and announces the result.

    Parameters
    ----------
    array : Array
        Its numbers.
    word_bytes : int
        Bytes of a parameter word, which is a tap of every column.

    Members
    -------
    nest : In(NestSignature(array))
        Its steps.
    """

    def __init__(self, array: Array, word_bytes: int):
        self._array = array
        self._word_bytes = word_bytes
        super().__init__({"nest": In(NestSignature(array))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        r, group = self.nest.registers, self.nest.group
        step = datum(step_layout(self._array))  # being taken
        active = self.nest.active

        # A group begins with the step that clears the taps; it goes on with taps, then words.
        in_taps, in_words = Signal(), Signal()
        clear = active & ~in_taps & ~in_words

        # Taps.
        tap_columns, tap_rows = Countdown(16, "tap_columns"), Countdown(16, "tap_rows")
        array_row, tap_row_start = datum(8), datum(8)
        parameter = datum(BUFFER_ADDRESS_BITS)

        # Words.
        rows, positions = Countdown(16, "rows"), Countdown(16, "positions")
        words = Countdown(8, "words")  # of a position
        position_x, word_x = datum(POSITION_BITS), datum(POSITION_BITS)
        y, y_address = datum(signed(17)), datum(BUFFER_ADDRESS_BITS)
        row_over, group_over = Signal(), Signal()
        m.d.comb += [
            row_over.eq(in_words & positions.last & words.last),
            group_over.eq(row_over & rows.last),
            self.nest.group_over.eq(group_over),
        ]

        # Results: the input row, and the word of it, with which the next one is complete.
        row_wait, word_wait = Countdown(17, "row_wait"), Countdown(17, "word_wait")
        columns, row_is_full = Countdown(16, "columns"), Signal()
        out_x, out_y = datum(BUFFER_ADDRESS_BITS), datum(BUFFER_ADDRESS_BITS)
        complete = Signal()
        m.d.comb += complete.eq(in_words & row_wait.last & word_wait.last & ~row_is_full)

        # What a phase counts is set while it isn't that phase, so that nothing waits for the end
        # of the one before.
        with m.If(~in_taps):
            m.d.sync += [
                in_taps.eq(clear),
                tap_columns.restart(r.kernel_w),
                tap_rows.restart(r.kernel_h),
                array_row.eq(r.filter_row),
                tap_row_start.eq(r.filter_row),
            ]
        with m.Else():
            m.d.sync += [
                parameter.eq(parameter + self._word_bytes),
                tap_columns.step(),
                array_row.eq(array_row + r.filter_tap_step),
            ]
            with m.If(tap_columns.last):
                m.d.sync += [
                    tap_columns.restart(r.kernel_w),
                    tap_rows.step(),
                    array_row.eq(tap_row_start + r.filter_tap_row_step),
                    tap_row_start.eq(tap_row_start + r.filter_tap_row_step),
                    in_taps.eq(~tap_rows.last),
                    in_words.eq(tap_rows.last),
                ]

        with m.If(~in_words):
            m.d.sync += [
                rows.restart(r.stream_rows),
                row_wait.restart(r.stream_first_row + 1),
                y.eq(r.y_start),
                y_address.eq(r.act_address),
                out_y.eq(0),
            ]
        with m.Elif(row_over):
            m.d.sync += [
                rows.step(),
                row_wait.step(),
                y.eq(y + 1),
                y_address.eq(y_address + r.stream_row_step),
            ]
            with m.If(row_wait.last):
                m.d.sync += [row_wait.restart(r.pixel_y_step), out_y.eq(out_y + r.out_y_step)]
        with m.If(~in_words | words.last):
            m.d.sync += [words.restart(r.stream_taps), word_x.eq(0)]
        with m.Else():
            m.d.sync += [words.step(), word_x.eq(word_x + r.tap_x_step)]
        with m.If(~in_words | row_over):
            m.d.sync += [
                positions.restart(r.stream_columns),
                position_x.eq(group.x),
                word_wait.restart(r.stream_first + 1),
                columns.restart(r.out_width),
                row_is_full.eq(0),
                out_x.eq(0),
            ]
        with m.Else():
            m.d.sync += word_wait.step()
            with m.If(word_wait.last):
                m.d.sync += word_wait.restart(r.stream_result_step)
            with m.If(complete):
                m.d.sync += [
                    columns.step(),
                    row_is_full.eq(columns.last),
                    out_x.eq(out_x + r.out_x_step),
                ]
            with m.If(words.last):
                m.d.sync += [positions.step(), position_x.eq(position_x + r.stream_step)]
        with m.If(group_over):
            m.d.sync += [in_words.eq(0), active.eq(~group.is_last)]
        with m.If(~active):
            m.d.sync += [
                active.eq(self.nest.start & (r.mode == Mode.FILTER)),
                parameter.eq(r.parameter_address),
            ]

        m.d.comb += [
            step.clear.eq(clear),
            step.fetch_parameter.eq(in_taps),
            step.parameter_address.eq(parameter),
            step.lane.eq(array_row),
            step.fetch_activation.eq(in_words),
            step.size.eq(Mux(group.is_last, r.last_segment, r.segment)),
            step.outer_x.eq(position_x),
            step.inner_x.eq(word_x),
            step.inner_y.eq(y),
            step.outer_y_address.eq(y_address),
            step.last.eq(complete),
            step.announce.eq(complete),
            step.lanes.eq(1),
            step.edge.eq(columns.last),
            step.out_x.eq(out_x),
            step.out_y.eq(out_y),
            step.out_group.eq(group.out),
            step.entry.eq(group.entry),
            step.channels.eq(Mux(group.is_last, r.last_group_channels, r.group_channels)),
        ]
        m.d.sync += self.nest.step.eq(step)
        return m
