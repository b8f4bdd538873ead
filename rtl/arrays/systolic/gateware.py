"""The output-stationary systolic array of the Edge-TPU-like core."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.streams import (
    OPERAND_BITS,
    array_members,
)
from mensa.rtl.arrays.systolic.processing_elements import ProcessingElements
from mensa.rtl.parts.resetless import later, resetless

__all__ = ["SystolicArray"]

ACCUMULATE_CYCLES = 3
"""From operands in a processing element to the sum that has taken their product: the multiplier's
registers before and after it, the accumulator."""


class SystolicArray(wiring.Component):
    """R x C processing elements; rows are output pixels, columns output channels of one tile.

    Activations enter from the left, parameters from the top. A word of activations, one per cycle,
    fills the shift register of one row, which then plays one byte a cycle; words for rows 0, 1, …
    follow each other, which is just the skew that the array needs. Parameters are skewed inside.

    A tile: word of row r and chunk at cycle t + r, its parameter beats at t, t + 1, …. `first`
    and `last` mark the tile's first and last parameter beat; the `last` of consecutive tiles must
    be at least R x P cycles apart. The results of a tile leave last row first, a row every P
    cycles, the last one `Systolic.latency` cycles after the tile's `last`.

    A filter (`filter` high): column c is a channel, and row r of it holds one tap or zero. A beat
    of parameters with `clear` makes all taps zero, and a sum begins anew with the beats after it;
    one with `tap` makes its values the taps of row `row`; any other beat is a word of activations,
    with `last` where a result is complete. The result of word n is the sum over rows r of the tap
    of row r times word n - (R - 1 - r); it leaves `Systolic.latency` of FILTER
    cycles after word n, `alone`. Words follow each other without a gap, and so do a
    `clear`, its taps and its words, as far as a tap that is not zero reaches. Activations are not
    used.

    Tiles and filters may follow each other while results are on their way: an element's drain
    register is free of a tile, or its sum has left it, before it does something else.

    Parameters
    ----------
    array : Array
        The `Systolic` that this is: R is its tile, C its group, P its pace.

    Members
    -------
    filter : In(1)
        High for a filter, low for tiles, from the cycle before the first beat on. It rises at least
        R x P + 3 cycles after a tile's last beat, and falls at least 4 after a filter's.
    activations : In(stream of {lane, values: R x signed(9)}, always ready)
        Up to R consecutive values of the reduction for row `lane`; unused ones are 0.
    parameters : In(stream of {first, last, clear, tap, row, values: C x signed(9)}, always ready)
        One value per column. A cycle without a beat counts as zeros. `first` matters for tiles,
        `clear`, `tap` and `row` for a filter.
    results : Out(stream of {row, last, alone, values: C x signed(32)}, always ready)
        Sums, modulo 2**32; `last` marks the last row of a tile, `alone` a filter's result.
    """

    def __init__(self, array: Array):
        self._array = array
        super().__init__(array_members(array))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows, cols, pace = self._array.tile, self._array.group, self._array.pace
        m.submodules.elements = elements = ProcessingElements(rows, cols)
        filtering = Signal()  # what comes is a filter's
        m.d.sync += filtering.eq(self.filter)

        # Left edge: one shift register a row, whose first place is in the first element.
        word = self.activations.payload
        for row in range(rows):
            lane = resetless(OPERAND_BITS * (rows - 1), name=f"lane_{row}")
            mine = self.activations.valid & (word.lane == row)
            now = Signal(OPERAND_BITS * rows, name=f"lane_now_{row}")
            m.d.comb += [
                now.eq(Mux(mine, word.values.as_value(), lane)),
                elements.a[row].eq(now[:OPERAND_BITS]),
            ]
            m.d.sync += lane.eq(now >> OPERAND_BITS)

        # Top edge: column c sees its parameter and the marks c cycles after column 0. A filter's
        # taps are cleared by the elements' mark `last`, which its sums don't need.
        beat, valid = self.parameters.payload, self.parameters.valid
        clear = valid & filtering & beat.clear
        tile_over, complete = valid & beat.last & ~filtering, valid & beat.last & filtering
        first = valid & Mux(filtering, beat.clear, beat.first)
        filter_now = self.filter
        first_now = later(m, first, ACCUMULATE_CYCLES - 1, name="first")
        last_now = later(m, tile_over, ACCUMULATE_CYCLES, name="last") | clear
        for col in range(cols):
            value = Mux(valid, beat.values[col], 0)
            m.d.comb += [
                elements.b[col].eq(later(m, value, col, name=f"parameter_{col}")),
                elements.filter[col].eq(filter_now),
                elements.first[col].eq(first_now),
                elements.last[col].eq(last_now),
            ]
            filter_now = later(m, filter_now, name=f"filter_{col}")
            first_now = later(m, first_now, name=f"first_{col}")
            last_now = later(m, last_now, name=f"last_{col}")

        # A filter's tap for row r passes row r, r cycles after row 0.
        tap, tap_row = valid & filtering & beat.tap, beat.row
        hold = Signal(rows)
        for row in range(rows):
            m.d.comb += hold[row].eq(tap & (tap_row == row))
            tap = later(m, tap, name=f"tap_{row}")
            tap_row = later(m, tap_row, name=f"tap_row_{row}")

        # Drain. When the bottom element of column 0 has put its sum into its drain register, rows
        # 1.. shift down; at the next step rows 2.., and so on, so that an upper row is free for its
        # next sum as soon as it can be. Of a filter only the bottom row gives results.
        # The `last` marks of column 0, all the way.
        coming, coming_alone = Signal(ACCUMULATE_CYCLES + rows), Signal(ACCUMULATE_CYCLES + rows)
        m.d.sync += [
            coming.eq(Cat(tile_over, coming)),
            coming_alone.eq(Cat(complete, coming_alone)),
        ]
        begin, alone, step = coming[-1], coming_alone[-1], Signal()
        wait = Signal(range(pace))  # cycles to the next step
        row = Signal(range(rows))  # of the results that column 0 gives now
        shift = Signal(rows)
        down = Signal(rows)  # bit r: row r takes from above in the next cycle
        m.d.comb += [
            step.eq(begin | (row.any() & ~wait.any())),
            elements.shift.eq(down | hold),
        ]
        with m.If(begin):
            m.d.comb += down.eq(~Const(1, rows))
        with m.Elif(step):
            m.d.comb += down.eq(shift)
        with m.If(step):
            m.d.sync += [
                shift.eq(down << 1),
                row.eq(Mux(begin, rows - 1, row - 1)),
                wait.eq(pace - 1),
            ]
        with m.Else():
            m.d.sync += wait.eq(wait - wait.any())

        # Bottom edge: column c waits for the last column.
        for col in range(cols):
            value = later(m, elements.d[col], cols - 1 - col, name=f"result_{col}")
            m.d.comb += self.results.payload.values[col].eq(value)
        leaving = Signal(cols)  # bit c: a row of results leaves in c cycles
        m.d.sync += leaving.eq(Cat(leaving[1:], alone | step))
        row_last = later(m, row, cols - 1, name="row")
        m.d.comb += [
            self.results.valid.eq(leaving[0]),
            self.results.payload.row.eq(row_last),
            self.results.payload.last.eq(~row_last.any()),
            self.results.payload.alone.eq(later(m, alone, cols, name="alone")),
        ]
        return m
