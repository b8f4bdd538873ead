"""The loop nest of a filter: taps into the array, then every word of the input past them."""

from __future__ import annotations

import enum
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from mensa.rtl.commands import BUFFER_ADDRESS_BITS
from mensa.rtl.countdown import Countdown
from mensa.rtl.machine import Machine
from mensa.rtl.nest import POSITION_BITS, NestSignature

__all__ = ["FilterNest"]


class _Phase(enum.IntEnum):
    CLEAR = 0
    TAPS = 1
    WORDS = 2


class FilterNest(wiring.Component):
    """Walks the loop nest of MODE FILTER (docs/architecture.md), a beat a step.

    A step that clears or loads taps fetches no activations; the step of a word with which a result
    is complete is marked `last` and announces the result.

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
        r, step = self.nest.registers, self.nest.step
        start, active = self.nest.start, self.nest.active
        phase = Signal(_Phase)

        # Taps.
        tap_columns, tap_rows = Countdown(16, "tap_columns"), Countdown(16, "tap_rows")
        array_row, tap_row_start = Signal(8), Signal(8)
        parameter = Signal(BUFFER_ADDRESS_BITS)

        # Words.
        rows, positions = Countdown(16, "rows"), Countdown(16, "positions")
        words = Countdown(8, "words")  # of a position
        position_x, word_x = Signal(POSITION_BITS), Signal(POSITION_BITS)
        y, y_address = Signal(16), Signal(BUFFER_ADDRESS_BITS)
        row_over = Signal()
        m.d.comb += row_over.eq(positions.last & words.last)

        # Results: the input row, and the word of it, with which the next one is complete.
        row_wait, word_wait = Countdown(17, "row_wait"), Countdown(17, "word_wait")
        columns, row_is_full = Countdown(16, "columns"), Signal()
        out_x, out_y = Signal(BUFFER_ADDRESS_BITS), Signal(BUFFER_ADDRESS_BITS)
        complete = Signal()
        m.d.comb += complete.eq(row_wait.last & word_wait.last & ~row_is_full)

        segment_is_last = Signal()

        def begin_row() -> list[Any]:
            return [
                positions.restart(r.stream_columns),
                words.restart(r.stream_taps),
                position_x.eq(0),
                word_x.eq(0),
                word_wait.restart(r.stream_first + 1),
                columns.restart(r.out_width),
                row_is_full.eq(0),
                out_x.eq(0),
            ]

        with m.If(active), m.Switch(phase):
            with m.Case(_Phase.CLEAR):
                m.d.sync += phase.eq(_Phase.TAPS)
            with m.Case(_Phase.TAPS):
                m.d.sync += [
                    parameter.eq(parameter + self._machine.lanes),
                    tap_columns.step(),
                    array_row.eq(array_row + r.filter_tap_step),
                ]
                with m.If(tap_columns.last):
                    m.d.sync += [
                        tap_columns.restart(r.kernel_w),
                        tap_rows.step(),
                        array_row.eq(tap_row_start + r.filter_tap_row_step),
                        tap_row_start.eq(tap_row_start + r.filter_tap_row_step),
                    ]
                    with m.If(tap_rows.last):
                        m.d.sync += phase.eq(_Phase.WORDS)
            with m.Case(_Phase.WORDS):
                m.d.sync += [words.step(), word_x.eq(word_x + r.tap_x_step), word_wait.step()]
                with m.If(word_wait.last):
                    m.d.sync += word_wait.restart(r.stream_result_step)
                with m.If(complete):
                    m.d.sync += [
                        columns.step(),
                        row_is_full.eq(columns.last),
                        out_x.eq(out_x + r.out_x_step),
                    ]
                with m.If(words.last):
                    m.d.sync += [
                        words.restart(r.stream_taps),
                        word_x.eq(0),
                        positions.step(),
                        position_x.eq(position_x + r.stream_step),
                    ]
                with m.If(row_over):
                    m.d.sync += [
                        begin_row(),
                        rows.step(),
                        row_wait.step(),
                        y.eq(y + 1),
                        y_address.eq(y_address + r.stream_row_step),
                    ]
                    with m.If(row_wait.last):
                        m.d.sync += [
                            row_wait.restart(r.pixel_y_step),
                            out_y.eq(out_y + r.out_y_step),
                        ]
        with m.If(start):
            m.d.sync += parameter.eq(r.parameter_address)
        with m.If(start | (active & self.nest.group_over)):
            m.d.sync += [
                phase.eq(_Phase.CLEAR),
                segment_is_last.eq(self.nest.coming_is_last),
                tap_columns.restart(r.kernel_w),
                tap_rows.restart(r.kernel_h),
                array_row.eq(r.filter_row),
                tap_row_start.eq(r.filter_row),
                begin_row(),
                rows.restart(r.stream_rows),
                row_wait.restart(r.stream_first_row + 1),
                y.eq(0),
                y_address.eq(0),
                out_y.eq(0),
            ]

        in_words = phase == _Phase.WORDS
        m.d.comb += [
            self.nest.group_over.eq(in_words & row_over & rows.last),
            step.clear.eq(phase == _Phase.CLEAR),
            step.fetch_parameter.eq(phase == _Phase.TAPS),
            step.parameter_address.eq(parameter),
            step.lane.eq(array_row),
            step.fetch_activation.eq(in_words),
            step.size.eq(Mux(segment_is_last, r.last_segment, r.segment)),
            step.outer_x.eq(position_x),
            step.inner_x.eq(word_x),
            step.outer_y.eq(y),
            step.outer_y_address.eq(y_address),
            step.last.eq(in_words & complete),
            step.announce.eq(in_words & complete),
            step.lanes.eq(1),
            step.edge.eq(columns.last),
            step.out_x.eq(out_x),
            step.out_y.eq(out_y),
        ]
        return m
