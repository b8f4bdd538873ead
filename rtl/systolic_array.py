"""The output-stationary systolic array of the Edge-TPU-like core."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.verilog import shared

__all__ = ["ProcessingElement", "SystolicArray"]

OPERAND_BITS = 9
ACCUMULATOR_BITS = 32
ACCUMULATE_CYCLES = 2
"""From operands at a processing element to the sum that has taken their product."""


class ProcessingElement(wiring.Component):
    """Multiplies and accumulates; keeps a finished sum while the next one grows.

    A product is there a cycle after its operands, and in the cycle after that the accumulator has
    taken it. For tiles (`filter` low) the accumulator takes every ``a * b``, starting from zero
    where `first` is high, and the drain register `d_out` takes the accumulator where `last` is
    high, else `d_in` where `shift` is high.

    As a filter, the register behind `a_out` holds a tap: it becomes zero where `first` is high,
    else `b` where `shift` is high. The accumulator becomes the tap times `b` plus, a cycle later,
    `d_in`, or zero where `first` was high, and `d_out` becomes what the accumulator was: a sum
    passes in two cycles, `b` in one.

    `b`, marks and `shift`, and for tiles `a`, leave one cycle after they came. Nothing here is
    reset.

    Members
    -------
    filter : In(1)
        What the PE is; to be changed while nothing that counts is inside.
    a_in, b_in : In(signed(9))
        Activation from the left, parameter from above, zero points subtracted. As a filter: tap or
        activation from above, nothing from the left.
    first_in : In(1)
        Mark of the first parameter of a reduction.
    last_in : In(1)
        Mark of the last one, two cycles after it: the sum is in the accumulator.
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
        for name in ("b", "first", "last", "shift"):
            came, leaves = getattr(self, f"{name}_in"), getattr(self, f"{name}_out")
            register = Signal.like(came, name=name, reset_less=True)
            m.d.sync += register.eq(came)
            m.d.comb += leaves.eq(register)
        # Written with Mux, each register becomes one assignment, which Verilator likes best.
        a = Signal(signed(OPERAND_BITS), reset_less=True)
        tap = Mux(self.first_in, 0, Mux(self.shift_in, self.b_in, a))
        product = Signal(signed(2 * OPERAND_BITS), reset_less=True)
        accumulator = Signal(signed(ACCUMULATOR_BITS), reset_less=True)
        before = Mux(self.filter, self.d_in, accumulator)
        drain = Signal(signed(ACCUMULATOR_BITS), reset_less=True)
        m.d.sync += [
            a.eq(Mux(self.filter, tap, self.a_in)),
            product.eq(Mux(self.filter, a, self.a_in) * self.b_in),
            accumulator.eq(Mux(self.first_out, 0, before) + product),
            drain.eq(
                Mux(self.filter | self.last_in, accumulator, Mux(self.shift_in, self.d_in, drain))
            ),
        ]
        m.d.comb += [self.a_out.eq(a), self.d_out.eq(drain)]
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
        filtering = Signal()
        m.d.sync += filtering.eq(self.filter)

        def later(value: Value, cycles: int, name: str) -> Value:
            """The value some cycles later; never reset, as only marks tell what counts."""
            for stage in range(cycles):
                register = Signal.like(value, name=f"{name}_{stage}", reset_less=True)
                m.d.sync += register.eq(value)
                value = register
            return value

        # Left edge: one shift register a row.
        word = self.activations.payload
        a = []
        for row in range(rows):
            lane = Signal(OPERAND_BITS * rows, name=f"lane_{row}", reset_less=True)
            mine = self.activations.valid & (word.lane == row)
            m.d.sync += lane.eq(Mux(mine, word.values.as_value(), lane >> OPERAND_BITS))
            a.append(lane[:OPERAND_BITS])

        # Top edge: column c sees its parameter and the marks c cycles after column 0.
        beat, valid = self.parameters.payload, self.parameters.valid
        first = valid & Mux(self.filter, beat.clear, beat.first)
        last = valid & beat.last
        counts = valid & ~(self.filter & beat.clear)
        first_now, last_now = first, later(last, ACCUMULATE_CYCLES, "last")
        above = []
        for col in range(cols):
            value = Mux(counts, beat.values[col], 0)
            first_now = later(first_now, 1, f"first_above_{col}")
            last_now = later(last_now, 1, f"last_above_{col}")
            above.append(
                {
                    "b": later(value, 1 + col, f"parameter_{col}"),
                    "first": first_now,
                    "last": last_now,
                    "d": Const(0, ACCUMULATOR_BITS),
                }
            )

        # A filter's tap for row r passes row r, r cycles after row 0.
        tap, tap_row = valid & self.filter & beat.tap, beat.row
        hold = Signal(rows)
        for row in range(rows):
            tap, tap_row = later(tap, 1, f"tap_{row}"), later(tap_row, 1, f"tap_row_{row}")
            m.d.comb += hold[row].eq(tap & (tap_row == row))

        # Drain. When the bottom PE of column 0 has put its sum into its drain register, rows 1..
        # shift down; one cycle later rows 2.., and so on, so that an upper row is free for its next
        # sum as soon as it can be. Of a filter only the bottom row gives results.
        coming = Signal(1 + rows + ACCUMULATE_CYCLES)  # the `last` marks of column 0, all the way
        m.d.sync += coming.eq(Cat(last, coming))
        finished = coming[-1]
        shift = Signal(rows)
        down = Signal(rows)  # bit r: row r takes from above in this cycle
        m.d.comb += down.eq(Mux(finished & ~filtering, ~Const(1, rows), shift))
        m.d.sync += shift.eq(down << 1)

        for row in range(rows):
            left = {"a": a[row], "shift": down[row] | hold[row]}
            for col in range(cols):
                name = f"{row}_{col}"
                comes = left | above[col]
                leaves = {way: Signal.like(comes[way], name=f"{way}_{name}") for way in comes}
                m.submodules[f"pe_{name}"] = shared(
                    ProcessingElement,
                    "processing_element",
                    i={"filter": filtering} | {f"{way}_in": comes[way] for way in comes},
                    o={f"{way}_out": leaves[way] for way in comes},
                )
                left = {way: leaves[way] for way in left}
                above[col] = {way: leaves[way] for way in above[col]}

        # Bottom edge: column c waits for the last column, and rows count down.
        for col in range(cols):
            value = later(above[col]["d"], cols - 1 - col, f"result_{col}")
            m.d.comb += self.results.payload.values[col].eq(value)
        draining, row_left, row_now = Signal(), Signal(range(rows)), Signal(range(rows))
        leaves_now = Signal(cols)  # bit c: a row of results leaves in c cycles
        m.d.comb += [
            row_now.eq(Mux(finished & ~filtering, rows - 1, Mux(draining, row_left, 0))),
            leaves_now[-1].eq(finished | draining),
        ]
        waiting = Signal(cols)
        m.d.sync += [
            row_left.eq(row_now - 1),
            draining.eq(row_now.any()),
            waiting.eq(leaves_now),
        ]
        m.d.comb += leaves_now[:-1].eq(waiting[1:])
        row_last = later(row_now, cols - 1, "row")
        m.d.comb += [
            self.results.valid.eq(leaves_now[0]),
            self.results.payload.row.eq(row_last),
            self.results.payload.last.eq(~row_last.any()),
        ]
        return m
