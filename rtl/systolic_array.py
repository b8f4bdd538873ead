"""The output-stationary systolic array of the Edge-TPU-like core."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ProcessingElement", "SystolicArray"]

OPERAND_BITS = 9
ACCUMULATOR_BITS = 32


class ProcessingElement(wiring.Component):
    """Multiplies and accumulates; keeps a finished sum while the next one grows.

    For tiles (`filter` low), in every cycle the accumulator takes ``a * b`` more, starting from
    zero where `first` is high. Where `last` is high the new sum is also put into the drain register
    `d_out`, else `d_out` takes `d_in` where `shift` is high.

    As a filter, the register behind `a_out` holds a tap: it becomes zero where `first` is high,
    else `b` where `shift` is high. In every cycle the accumulator becomes the sum of `d_in`, or of
    zero where `first` is high, and the tap times ``b``, and `d_out` what the accumulator was: a sum
    passes in two cycles, `b` in one.

    `b`, marks and `shift`, and for tiles `a`, leave one cycle after they came.

    Members
    -------
    filter : In(1)
        What the PE is; to be changed while nothing that counts is inside.
    a_in, b_in : In(signed(9))
        Activation from the left, parameter from above, zero points subtracted. As a filter: tap or
        activation from above, nothing from the left.
    first_in, last_in : In(1)
        Marks of the reduction, with the parameter.
    shift_in : In(1)
        Drain one place down; as a filter: hold this tap.
    d_in : In(signed(32))
        Drain register of the PE above.
    a_out, b_out, first_out, last_out, shift_out : Out
        The same, a cycle later.
    d_out : Out(signed(32))
        Drain register.
    """

    def __init__(self) -> None:
        operand = signed(OPERAND_BITS)
        accumulator = signed(ACCUMULATOR_BITS)
        super().__init__(
            {
                "filter": In(1),
                "a_in": In(operand),
                "b_in": In(operand),
                "first_in": In(1),
                "last_in": In(1),
                "shift_in": In(1),
                "d_in": In(accumulator),
                "a_out": Out(operand),
                "b_out": Out(operand),
                "first_out": Out(1),
                "last_out": Out(1),
                "shift_out": Out(1),
                "d_out": Out(accumulator),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        accumulator = Signal(signed(ACCUMULATOR_BITS))
        before = Signal(signed(ACCUMULATOR_BITS))
        factor = Signal(signed(OPERAND_BITS))
        total = Signal(signed(ACCUMULATOR_BITS))
        m.d.comb += [
            factor.eq(Mux(self.filter, self.a_out, self.a_in)),
            before.eq(Mux(self.filter, self.d_in, accumulator)),
            total.eq(Mux(self.first_in, 0, before) + factor * self.b_in),
        ]
        m.d.sync += [
            accumulator.eq(total),
            self.b_out.eq(self.b_in),
            self.first_out.eq(self.first_in),
            self.last_out.eq(self.last_in),
            self.shift_out.eq(self.shift_in),
        ]
        with m.If(self.filter):
            m.d.sync += self.d_out.eq(accumulator)
            with m.If(self.first_in):
                m.d.sync += self.a_out.eq(0)
            with m.Elif(self.shift_in):
                m.d.sync += self.a_out.eq(self.b_in)
        with m.Else():
            m.d.sync += self.a_out.eq(self.a_in)
            with m.If(self.last_in):
                m.d.sync += self.d_out.eq(total)
            with m.Elif(self.shift_in):
                m.d.sync += self.d_out.eq(self.d_in)
        return m


class SystolicArray(wiring.Component):
    """R x C processing elements; rows are output pixels, columns output channels of one tile.

    Activations enter from the left, parameters from the top. A word of activations, one per cycle,
    fills the shift register of one row, which then plays one byte a cycle; words for rows 0, 1, …
    follow each other, which is just the skew that the array needs. Parameters are skewed inside.

    A tile: word of row r and chunk at cycle t + r, its parameter beats at t, t + 1, …. `first`
    and `last` mark the tile's first and last parameter beat; the `last` of consecutive tiles must
    be at least R cycles apart. With L = ``output_stationary(R, C).latency``, the results of a tile
    leave L - R + 1 to L cycles after its `last`, last row first, one row a cycle.

    A filter (`filter` high): column c is a channel, and row r of it holds one tap or zero. A beat
    of parameters with `clear` makes all taps zero, and a sum begins anew with the beats after it;
    one with `tap` makes its values the taps of row `row`; any other beat is a word of activations,
    with `last` where a result is complete. The result of word n is the sum over rows r of the tap
    of row r times word n - (R - 1 - r); it leaves ``output_stationary(R, C).filter_latency`` cycles
    after word n, as row 0, `last`. Words follow each other without a gap, and so do a `clear`, its
    taps and its words, as far as a tap that is not zero reaches. Activations are not used.

    Parameters
    ----------
    rows, cols : int
        R and C, at least 1.

    Members
    -------
    filter : In(1)
        High for a filter, low for tiles; the same from the first beat until the last result.
    activations : In(stream of {lane, values: R x signed(9)}, always ready)
        Up to R consecutive values of the reduction for row `lane`; unused ones are 0.
    parameters : In(stream of {first, last, clear, tap, row, values: C x signed(9)}, always ready)
        One value per column. A cycle without a beat counts as zeros. `first` matters for tiles,
        `clear`, `tap` and `row` for a filter.
    results : Out(stream of {row, last, values: C x signed(32)}, always ready)
        Sums, modulo 2**32; `last` marks the last row of a tile.
    """

    def __init__(self, rows: int, cols: int):
        for name, value in (("Rows", rows), ("Columns", cols)):
            if not isinstance(value, int) or value < 1:
                raise TypeError(f"{name} must be a positive integer, not {value!r}")
        self._rows = rows
        self._cols = cols
        operand = signed(OPERAND_BITS)
        super().__init__(
            {
                "filter": In(1),
                "activations": In(
                    stream.Signature(
                        data.StructLayout(
                            {"lane": range(rows), "values": data.ArrayLayout(operand, rows)}
                        ),
                        always_ready=True,
                    )
                ),
                "parameters": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "first": 1,
                                "last": 1,
                                "clear": 1,
                                "tap": 1,
                                "row": range(rows),
                                "values": data.ArrayLayout(operand, cols),
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "results": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "row": range(rows),
                                "last": 1,
                                "values": data.ArrayLayout(signed(ACCUMULATOR_BITS), cols),
                            }
                        ),
                        always_ready=True,
                    )
                ),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows, cols = self._rows, self._cols

        pes = [[ProcessingElement() for _ in range(cols)] for _ in range(rows)]
        for row in range(rows):
            for col in range(cols):
                m.submodules[f"pe_{row}_{col}"] = pes[row][col]

        # Left edge: one shift register a row.
        word = self.activations.payload
        for row in range(rows):
            lane = Signal(OPERAND_BITS * rows, name=f"lane_{row}")
            m.d.sync += lane.eq(lane >> OPERAND_BITS)
            with m.If(self.activations.valid & (word.lane == row)):
                m.d.sync += lane.eq(word.values)
            m.d.comb += pes[row][0].a_in.eq(lane[:OPERAND_BITS].as_signed())

        # Top edge: column c sees its parameter and the marks c cycles after column 0.
        beat = self.parameters.payload
        clear = self.filter & beat.clear
        marks = Cat(
            Mux(self.filter, beat.clear, beat.first) & self.parameters.valid,
            beat.last & self.parameters.valid,
        )
        marks_now = Signal(2)
        m.d.sync += marks_now.eq(marks)
        for col in range(cols):
            value = Signal(OPERAND_BITS, name=f"parameter_{col}")
            m.d.sync += value.eq(Mux(self.parameters.valid & ~clear, beat.values[col], 0))
            for stage in range(col):
                delayed = Signal(OPERAND_BITS, name=f"parameter_{col}_{stage}")
                m.d.sync += delayed.eq(value)
                value = delayed
            if col:
                delayed_marks = Signal(2, name=f"marks_{col}")
                m.d.sync += delayed_marks.eq(marks_now)
                marks_now = delayed_marks
            m.d.comb += [
                pes[0][col].b_in.eq(value.as_signed()),
                pes[0][col].first_in.eq(marks_now[0]),
                pes[0][col].last_in.eq(marks_now[1]),
            ]

        # A filter is one in all PEs at once. Row r's tap passes row r, r cycles after row 0.
        filtering = Signal()
        m.d.sync += filtering.eq(self.filter)
        hold = Signal(rows)
        tap, tap_row = self.parameters.valid & self.filter & beat.tap, beat.row
        for row in range(rows):
            tap_later, tap_row_later = Signal(name=f"tap_{row}"), Signal.like(tap_row)
            m.d.sync += [tap_later.eq(tap), tap_row_later.eq(tap_row)]
            tap, tap_row = tap_later, tap_row_later
            m.d.comb += hold[row].eq(tap & (tap_row == row))

        # Drain. When the bottom PE of column 0 has its sum, rows 1.. shift down; one cycle later
        # rows 2.., and so on, so that an upper row is free for its next sum as soon as it can be.
        # A filter's result is complete: it goes on from the accumulator to the drain register.
        complete, finished, filtered = Signal(), Signal(), Signal()
        m.d.sync += [
            complete.eq(pes[rows - 1][0].last_in),
            filtered.eq(complete & filtering),
        ]
        m.d.comb += finished.eq(complete & ~filtering)
        shift = Signal(rows)
        down = Signal(rows)  # bit r: row r takes from above in this cycle
        m.d.comb += down.eq(Mux(finished, ~Const(1, rows), shift))
        m.d.sync += shift.eq(down << 1)
        for row in range(rows):
            m.d.comb += pes[row][0].shift_in.eq(down[row] | hold[row])

        for row in range(rows):
            for col in range(cols):
                m.d.comb += pes[row][col].filter.eq(filtering)
                if col + 1 < cols:
                    m.d.comb += [
                        pes[row][col + 1].a_in.eq(pes[row][col].a_out),
                        pes[row][col + 1].shift_in.eq(pes[row][col].shift_out),
                    ]
                if row + 1 < rows:
                    m.d.comb += [
                        pes[row + 1][col].b_in.eq(pes[row][col].b_out),
                        pes[row + 1][col].first_in.eq(pes[row][col].first_out),
                        pes[row + 1][col].last_in.eq(pes[row][col].last_out),
                        pes[row + 1][col].d_in.eq(pes[row][col].d_out),
                    ]

        # Bottom edge: column c waits for the last column, and rows count down.
        for col in range(cols):
            value = pes[rows - 1][col].d_out
            for stage in range(cols - 1 - col):
                later = Signal(signed(ACCUMULATOR_BITS), name=f"result_{col}_{stage}")
                m.d.sync += later.eq(value)
                value = later
            m.d.comb += self.results.payload.values[col].eq(value)
        valid, row_now = Signal(), Signal(range(rows))
        draining = Signal()
        row_left = Signal(range(rows))
        m.d.comb += [
            valid.eq(finished | draining | filtered),
            row_now.eq(Mux(finished, rows - 1, Mux(draining, row_left, 0))),
        ]
        m.d.sync += [row_left.eq(row_now - 1), draining.eq(valid & row_now.any())]
        for stage in range(cols - 1):
            valid_later = Signal(name=f"valid_{stage}")
            row_later = Signal(range(rows), name=f"row_{stage}")
            m.d.sync += [valid_later.eq(valid), row_later.eq(row_now)]
            valid, row_now = valid_later, row_later
        m.d.comb += [
            self.results.valid.eq(valid),
            self.results.payload.row.eq(row_now),
            self.results.payload.last.eq(~row_now.any()),
        ]
        return m
