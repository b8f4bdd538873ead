"""Pascal's array: every element owns an output, operands are multicast along rows and columns."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.pascal.multicast_elements import MulticastElements
from mensa.rtl.arrays.streams import (
    OPERAND_BITS,
    array_members,
)
from mensa.rtl.parts.resetless import later, marked, resetless

__all__ = ["PascalArray"]

SUM_CYCLES = 4
"""From what is given to the lines to the sum that has taken its product: the lines, the
multiplier's registers before and after it, the accumulator."""


class PascalArray(wiring.Component):
    """R x C elements; rows are output pixels, columns output channels of one tile.

    A tile: words of its pixels follow each other from the first cycle of a chunk on, and its
    parameter beats, one byte each, from the same cycle; a chunk takes R cycles at least. Words wait
    until those of all rows may be there, and beats as long; then in every cycle one byte of each
    word goes to all elements of its row, and its parameters to all of their columns.

    `first` and `last` mark the tile's first and last beat; the `last` of consecutive tiles must be
    at least R x P cycles apart. The results of a tile leave last row first, a row every P cycles,
    the last one `Pascal.latency` cycles after the tile's `last`.

    Parameters
    ----------
    array : Array
        The `Pascal` that this is: R is its tile, C its group, P its pace.

    Members
    -------
    activations : In(stream of {lane, values: R x signed(9)}, always ready)
        Up to R consecutive values of the reduction for row `lane`; unused ones are 0.
    parameters : In(stream of {first, last, values: C x signed(9)}, always ready)
        One value per column. A cycle without a beat counts as zeros.
    results : Out(stream of {row, last, alone, values: C x signed(32)}, always ready)
        Sums, modulo 2**32; `last` marks the last row of a tile.
    """

    def __init__(self, array: Array):
        self._array = array
        super().__init__(array_members(array))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows, cols = self._array.tile, self._array.group
        m.submodules.elements = elements = MulticastElements(rows, cols)
        m.d.sync += elements.a.eq(Cat(self._bytes(m)))
        values, first, last = self._beat(m)
        m.d.sync += elements.b.eq(values)
        m.d.comb += [
            elements.first.eq(marked(m, first, SUM_CYCLES - 1, name="first")),
            elements.last.eq(marked(m, last, SUM_CYCLES, name="last")),
        ]
        self._drain(m, elements)
        return m

    def _bytes(self, m: Module) -> list[Value]:
        """Of each row the byte that is its turn.

        A chunk's words wait in `waiting` until the last of them comes; then all play at once.
        """
        rows, word = self._array.tile, self.activations.payload
        begins = self.activations.valid & ~word.lane.any()
        plays = marked(m, begins, rows - 1, name="plays")
        turns = []
        for row in range(rows):
            mine = word.values.as_value()
            if row < rows - 1:
                waiting = resetless(OPERAND_BITS * rows, name=f"waiting_{row}")
                with m.If(self.activations.valid & (word.lane == row)):
                    m.d.sync += waiting.eq(mine)
                mine = waiting
            playing = resetless(OPERAND_BITS * rows, name=f"playing_{row}")
            m.d.sync += playing.eq(Mux(plays, mine, playing >> OPERAND_BITS))
            turns.append(playing[:OPERAND_BITS])
        return turns

    def _beat(self, m: Module) -> tuple[Value, Value, Value]:
        """Return the parameters of R cycles ago and their marks; they waited in a memory."""
        rows, beat = self._array.tile, self.parameters.payload
        marks = Cat(self.parameters.valid, beat.first, beat.last)
        valid, first, last = marked(m, marks, rows, name="beat")
        kept = beat.values.as_value()
        if rows < 3:
            values = later(m, kept, rows, name="parameters")
        else:
            m.submodules.waiting = waiting = memory.Memory(
                shape=len(kept), depth=rows, init=[], attrs={"ram_style": "distributed"}
            )
            write, read = waiting.write_port(), waiting.read_port()
            place = Signal(range(rows))  # what comes now goes there, where the oldest is
            following = Mux(place == rows - 1, 0, place + 1)
            m.d.sync += place.eq(following)
            m.d.comb += [
                write.en.eq(1),
                write.addr.eq(place),
                write.data.eq(kept),
                read.addr.eq(following),
            ]
            values = read.data
        return Mux(valid, values, 0), valid & first, valid & last

    def _drain(self, m: Module, elements: MulticastElements) -> None:
        """Results leave row by row: each step the drain registers shift down by one."""
        rows, pace = self._array.tile, self._array.pace
        leaves = Signal()  # the last row of the elements has new results
        left = Signal(range(rows))  # rows above it
        wait = Signal(range(pace))  # cycles to the next step
        step = left.any() & ~wait.any()
        m.d.comb += elements.shift.eq(step)
        m.d.sync += [leaves.eq(elements.last | step), wait.eq(wait - wait.any())]
        with m.If(elements.last):
            m.d.sync += [left.eq(rows - 1), wait.eq(pace - 1)]
        with m.Elif(step):
            m.d.sync += [left.eq(left - 1), wait.eq(pace - 1)]
        m.d.comb += [
            self.results.valid.eq(leaves),
            self.results.payload.row.eq(left),
            self.results.payload.last.eq(~left.any()),
            self.results.payload.values.eq(elements.d),
        ]
