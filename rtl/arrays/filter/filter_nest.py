"""The loop nest of a filter: taps into the array, then every word of the input past them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.filter.filter_stream import Lines
from mensa.rtl.arrays.nest import POSITION_BITS, ROW_BITS, NestSignature, step_layout
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, compute_bits
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import resetless

__all__ = ["FilterNest"]


class _Phase:
    """Where in a group the nest is.

    A group begins with the step that clears the taps; it goes on with taps, then words. What
    a phase counts is set while it isn't that phase, so that nothing waits for the end of the one
    before.
    """

    def __init__(self, active: Value):
        self.in_taps, self.in_words = Signal(), Signal(name="in_words")
        self.clear = active & ~self.in_taps & ~self.in_words
        self.row_over, self.group_over = Signal(), Signal(name="group_over")
        # Where a word may stay for several turns: the turn's number, and whether it is the last.
        self.turn: Signal | None = None
        self.word_over: Value | None = None

    def after_word(self, m: Module) -> Any:
        """The Else for what happens with every word."""
        return m.Else() if self.word_over is None else m.Elif(self.word_over)

    def with_word(self, condition: Value) -> Value:
        """A condition that holds in a word's last turn only."""
        return condition if self.word_over is None else condition & self.word_over


class _Taps:
    """The tap that is loaded."""

    def __init__(self) -> None:
        self.columns = Countdown(compute_bits("KERNEL_W"), "tap_columns")
        self.rows = Countdown(compute_bits("KERNEL_H"), "tap_rows")
        row = compute_bits("FILTER_ROW")
        self.array_row, self.row_start = resetless(row), resetless(row, name="tap_row_start")
        self.parameter = resetless(BUFFER_ADDRESS_BITS)


class _Words:
    """The word that is streamed: which one of a position, which is one of an input row."""

    def __init__(self) -> None:
        self.rows = Countdown(compute_bits("STREAM_ROWS"), "rows")
        self.positions = Countdown(compute_bits("STREAM_COLUMNS"), "positions")
        self.in_position = Countdown(compute_bits("STREAM_TAPS"), "words")
        self.position_x, self.word_x = (
            resetless(POSITION_BITS),
            resetless(POSITION_BITS, name="word_x"),
        )
        self.y, self.y_address = (
            resetless(signed(ROW_BITS + 1)),
            resetless(BUFFER_ADDRESS_BITS, name="y_address"),
        )


class _Results:
    """The next result: the input row, and the word of it, with which it is complete."""

    def __init__(self) -> None:
        self.row_wait = Countdown(compute_bits("STREAM_FIRST_ROW") + 1, "row_wait")
        self.word_wait = Countdown(compute_bits("STREAM_FIRST") + 1, "word_wait")
        self.columns = Countdown(compute_bits("OUT_WIDTH"), "columns")
        self.row_is_full = Signal()
        self.out_x, self.out_y = (
            resetless(BUFFER_ADDRESS_BITS),
            resetless(BUFFER_ADDRESS_BITS, name="out_y"),
        )
        self.complete = Signal()


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
    lines : Lines, optional
        The array's store of input rows.

    Members
    -------
    nest : In(NestSignature(array))
        Its steps.
    """

    def __init__(self, array: Array, word_bytes: int, lines: Lines | None = None):
        self._array = array
        self._lines = lines
        self._word_bytes = word_bytes
        super().__init__({"nest": In(NestSignature(array))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        r, active = self.nest.registers, self.nest.active
        phase, taps, words, results = _Phase(active), _Taps(), _Words(), _Results()
        in_words = phase.in_words
        self._count_turns(m, phase)
        m.d.comb += [
            phase.row_over.eq(
                phase.with_word(in_words & words.positions.last & words.in_position.last)
            ),
            phase.group_over.eq(phase.row_over & words.rows.last),
            self.nest.group_over.eq(phase.group_over),
        ]
        m.d.comb += results.complete.eq(
            in_words & results.row_wait.last & results.word_wait.last & ~results.row_is_full
        )
        self._load_taps(m, phase, taps)
        self._loop_over_rows(m, phase, words, results)
        self._loop_over_words(m, phase, words, results)
        with m.If(phase.group_over):
            m.d.sync += [in_words.eq(0), active.eq(~self.nest.group.is_last)]
        with m.If(~active):
            m.d.sync += [
                active.eq(self.nest.start & self.nest.kind.own),
                taps.parameter.eq(r.parameter_address),
            ]
        self._take_step(m, phase, taps, words, results)
        return m

    def _count_turns(self, m: Module, phase: _Phase) -> None:
        """A word stays for a turn more if there are taps in places before those at once."""
        lines = self._lines
        if lines is None:
            return
        assert self._array.tap_places == 2 * lines.at_once
        turn, several = Signal(), self.nest.registers.filter_row < lines.at_once
        m.d.sync += turn.eq(phase.in_words & several & ~turn)
        phase.turn, phase.word_over = turn, turn | ~several

    def _load_taps(self, m: Module, phase: _Phase, taps: _Taps) -> None:
        """Go through the kernel, row by row, and to the words when all taps are loaded."""
        r = self.nest.registers
        with m.If(~phase.in_taps):
            m.d.sync += [
                phase.in_taps.eq(phase.clear),
                taps.columns.restart(r.kernel_w),
                taps.rows.restart(r.kernel_h),
                taps.array_row.eq(r.filter_row),
                taps.row_start.eq(r.filter_row),
            ]
        with m.Else():
            m.d.sync += [
                taps.parameter.eq(taps.parameter + self._word_bytes),
                taps.columns.step(),
                taps.array_row.eq(taps.array_row + r.filter_tap_step),
            ]
            with m.If(taps.columns.last):
                m.d.sync += [
                    taps.columns.restart(r.kernel_w),
                    taps.rows.step(),
                    taps.array_row.eq(taps.row_start + r.filter_tap_row_step),
                    taps.row_start.eq(taps.row_start + r.filter_tap_row_step),
                    phase.in_taps.eq(~taps.rows.last),
                    phase.in_words.eq(taps.rows.last),
                ]

    def _loop_over_rows(self, m: Module, phase: _Phase, words: _Words, results: _Results) -> None:
        """Go through the rows of the input, and to the next row of results when one is over."""
        r = self.nest.registers
        with m.If(~phase.in_words):
            m.d.sync += [
                words.rows.restart(r.stream_rows),
                results.row_wait.restart(r.stream_first_row + 1),
                words.y.eq(r.y_start),
                words.y_address.eq(r.act_address),
                results.out_y.eq(0),
            ]
        with m.Elif(phase.row_over):
            m.d.sync += [
                words.rows.step(),
                results.row_wait.step(),
                words.y.eq(words.y + 1),
                words.y_address.eq(words.y_address + r.stream_row_step),
            ]
            with m.If(results.row_wait.last):
                m.d.sync += [
                    results.row_wait.restart(r.pixel_y_step),
                    results.out_y.eq(results.out_y + r.out_y_step),
                ]

    def _loop_over_words(self, m: Module, phase: _Phase, words: _Words, results: _Results) -> None:
        """Go through the positions of a row and their words, and along the row of results."""
        r = self.nest.registers
        with m.If(~phase.in_words | phase.with_word(words.in_position.last)):
            m.d.sync += [words.in_position.restart(r.stream_taps), words.word_x.eq(0)]
        with phase.after_word(m):
            m.d.sync += [words.in_position.step(), words.word_x.eq(words.word_x + r.tap_x_step)]
        with m.If(~phase.in_words | phase.row_over):
            m.d.sync += [
                words.positions.restart(r.stream_columns),
                words.position_x.eq(self.nest.group.x),
                results.word_wait.restart(r.stream_first + 1),
                results.columns.restart(r.out_width),
                results.row_is_full.eq(0),
                results.out_x.eq(0),
            ]
        with phase.after_word(m):
            m.d.sync += results.word_wait.step()
            with m.If(results.word_wait.last):
                m.d.sync += results.word_wait.restart(r.stream_result_step)
            with m.If(results.complete):
                m.d.sync += [
                    results.columns.step(),
                    results.row_is_full.eq(results.columns.last),
                    results.out_x.eq(results.out_x + r.out_x_step),
                ]
            with m.If(words.in_position.last):
                m.d.sync += [
                    words.positions.step(),
                    words.position_x.eq(words.position_x + r.stream_step),
                ]

    def _take_step(
        self, m: Module, phase: _Phase, taps: _Taps, words: _Words, results: _Results
    ) -> None:
        """Give the step, a cycle after it is taken."""
        r, group = self.nest.registers, self.nest.group
        step = resetless(step_layout(self._array))
        complete = phase.with_word(results.complete)
        row, last, fetches = taps.array_row, complete, phase.in_words
        if phase.turn is not None:
            row = Mux(phase.in_words, phase.turn, taps.array_row)
            last = complete | (phase.in_taps & taps.columns.last)
            fetches = phase.in_words & ~phase.turn
            m.d.comb += step.first.eq(self._begins_row(m, phase))
        m.d.comb += [
            step.clear.eq(phase.clear),
            step.fetch_parameter.eq(phase.in_taps),
            step.parameter_address.eq(taps.parameter),
            step.lane.eq(row),
            step.fetch_activation.eq(fetches),
            step.size.eq(Mux(group.is_last, r.last_segment, r.segment)),
            step.outer_x.eq(words.position_x),
            step.inner_x.eq(words.word_x),
            step.inner_y.eq(words.y),
            step.outer_y_address.eq(words.y_address),
            step.last.eq(last),
            step.announce.eq(complete),
            step.lanes.eq(1),
            step.edge.eq(results.columns.last),
            step.out_x.eq(results.out_x),
            step.out_y.eq(results.out_y),
            step.out_group.eq(group.out),
            step.entry.eq(group.entry),
            step.channels.eq(Mux(group.is_last, r.last_group_channels, r.group_channels)),
        ]
        m.d.sync += self.nest.step.eq(step)

    def _begins_row(self, m: Module, phase: _Phase) -> Value:
        """Whether the word is the first of its input row."""
        begins = Signal()
        with m.If(~phase.in_words | phase.row_over):
            m.d.sync += begins.eq(1)
        with phase.after_word(m):
            m.d.sync += begins.eq(0)
        return begins
