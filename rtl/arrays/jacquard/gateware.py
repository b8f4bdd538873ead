"""Jacquard's array: parameters stay in the elements, activations are multicast along rows, sums
are reduced in space and kept in an accumulator memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring

from mensa.rtl.arrays.filter.filter_array import FilterArray
from mensa.rtl.arrays.jacquard.reducing_elements import ReducingElements
from mensa.rtl.arrays.streams import (
    ACCUMULATOR_BITS,
    OPERAND_BITS,
    array_members,
)
from mensa.rtl.parts.resetless import later, marked, resetless

__all__ = ["JacquardArray"]

SUM_CYCLES = 3
"""From what is given to the elements to their sums, of one row: the places, the multiplier's
registers before and after it; the tree's levels come in addition."""


def _item_layout(array: FilterArray) -> data.StructLayout:
    """What goes through the elements: a tile's word, or a turn of a filter's."""
    return data.StructLayout(
        {"lane": range(array.tile), "opens": 1, "closes": 1, "ends": 1, "alone": 1}
    )


@dataclass(frozen=True)
class _FilterBeat:
    """A filter's beat, and what it is in the cycle after, when the memory has given its lines."""

    moves: Value
    """A word begins."""
    place: Value
    """Its place in its input row."""
    values: Any
    """Of the beat before: a word, or a tap."""
    moved: Value
    """It began a word."""
    moved_place: Value
    tapped: Value
    """It was a tap."""


class JacquardArray(wiring.Component):
    """R x C elements under whose columns adder trees stand; rows are bytes of a chunk.

    A tile: words of its pixels follow each other from the first cycle of a chunk on, and its
    parameter beats, W bytes each, from the same cycle; a chunk takes ceil(R / W) cycles at least.
    A word enters all columns when its last parameters may be there, and its sums join those of its
    pixel in the accumulator memory. They leave with the word that `closes` them,
    `Jacquard.latency` cycles after it.

    A filter (`filter` high): column c is a channel, its 2 R places hold one tap or zero each. A
    beat of parameters with `clear` makes all taps zero; one with `tap` makes its values the taps of
    place `row`, of which the last of each tap row, in the order of tap rows, is marked `last`; any
    other beat is a turn of a word of activations: turn `row`, of which there are one or two in
    cycles that follow each other, the first with the word, the last marked `last` where a result
    is complete. The first word of an input row is marked `first`; a row has 2 to T words where
    there are several tap rows, of which there are five at most. The last place meets the newest
    word, the one before it the word before, as far as the tap row goes; the last place of the tap
    row before meets the word of the same place in the input row before. The result leaves
    `Jacquard.latency` of FILTER cycles after its `last`, `alone`: of one turn, if all taps are in
    the R upper places.

    Parameters
    ----------
    array : FilterArray
        The `Jacquard` that this is: R is its chunk, C its group, T its tile, W its parameter rows.

    Members
    -------
    filter : In(1)
        High for a filter, low for tiles, from the cycle before the first beat on. It rises at least
        `clearance` + 3 cycles after a tile's last beat, and falls at least 4 after a filter's.
    activations : In(stream of {lane, opens, closes, ends, values: R x signed(9)}, always ready)
        Up to R consecutive values of the reduction for pixel `lane`; unused ones are 0.
    parameters : In(stream of {first, last, clear, tap, row, values: W x C x signed(9)}, always
        ready)
        Of a tile, one value per byte and column. For a filter, as above; what is a tap stands in
        every byte's place, a word in the first's.
    results : Out(stream of {row, last, alone, values: C x signed(32)}, always ready)
        Sums, modulo 2**32; `last` marks the last row of a tile, `alone` a filter's result.
    """

    def __init__(self, array: FilterArray):
        assert array.lines is not None
        self._array, self._lines = array, array.lines.count
        super().__init__(array_members(array))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        array, lines = self._array, self._lines
        m.submodules.elements = elements = ReducingElements(
            array.chunk, array.group, array.parameter_rows, 1 + lines
        )
        # Of each channel a sum, or bytes of the last input rows.
        bits = max(ACCUMULATOR_BITS, lines * OPERAND_BITS)
        m.submodules.accumulators = accumulators = memory.Memory(
            shape=data.ArrayLayout(unsigned(bits), array.group),
            depth=array.tile,
            init=[],
            attrs={"no_rw_check": 1},  # what is read while it is written comes another way
        )
        filtering = Signal()  # what comes is a filter's
        m.d.sync += filtering.eq(self.filter)
        item, item_valid = Signal(_item_layout(array)), Signal()
        beat = self._take_filter(m, filtering, elements, item, item_valid)
        self._take_tile(m, filtering, elements, beat, item, item_valid)
        read, write = accumulators.read_port(), accumulators.write_port()
        self._accumulate(m, elements.sums, item, item_valid, read, write)
        self._keep_lines(m, elements, beat, read, write)
        return m

    def _take_filter(
        self, m: Module, filtering: Signal, elements: ReducingElements, item: Any, valid: Signal
    ) -> _FilterBeat:
        """Give taps and words to the elements a cycle after they come."""
        array, beat = self._array, self.parameters.payload
        comes = self.parameters.valid & filtering
        turn = comes & ~beat.clear & ~beat.tap
        moves, place, next_place = Signal(), Signal(range(array.tile)), resetless(range(array.tile))
        m.d.comb += [
            moves.eq(turn & ~beat.row.any()),
            place.eq(Mux(beat.first, 0, next_place)),
        ]
        with m.If(moves):
            m.d.sync += next_place.eq(place + 1)

        row, last = later(m, beat.row, name="row"), later(m, beat.last, name="last")
        cleared = marked(m, comes & beat.clear, name="cleared")
        tapped = marked(m, comes & beat.tap, name="tapped")
        moved, turned = marked(m, moves, name="moved"), marked(m, turn, name="turned")
        # A tap row's last place gets the words of an input row: of the newest one, as long as no
        # other tap row comes.
        for index in range(2 * array.chunk):
            source = resetless(elements.source.shape().elem_shape, name=f"source_{index}")
            with m.If(cleared):
                m.d.sync += source.eq(0)
            with m.Elif(tapped & last):
                m.d.sync += source.eq(Mux(row == index, 1, source + source.any()))
            m.d.comb += elements.source[index].eq(source)
        m.d.comb += [
            elements.clear.eq(cleared),
            elements.move.eq(moved),
            elements.turn.eq(marked(m, turned & row.any(), name="turn")),
        ]
        with m.If(turned):
            m.d.comb += [
                valid.eq(1),
                item.opens.eq(moved),
                item.closes.eq(last),
                item.alone.eq(1),
            ]
        values = later(m, Cat(beat.values[col] for col in range(array.group)), name="values")
        return _FilterBeat(moves, place, values, moved, later(m, place, name="place"), tapped)

    def _take_tile(
        self,
        m: Module,
        filtering: Signal,
        elements: ReducingElements,
        beat: _FilterBeat,
        item: Any,
        valid: Signal,
    ) -> None:
        """Give parameters to the elements, and words when the last of theirs come.

        Others than the last wait in the lower places. A tap goes where parameters do.
        """
        array = self._array
        beats = array.least_chunk
        word, parameters = self.activations.payload, self.parameters.payload
        begins = self.activations.valid & ~word.lane.any()
        comes = self.parameters.valid & ~filtering
        count, number = Signal(range(beats + 1)), Signal(range(beats + 1))  # of its chunk
        m.d.comb += number.eq(Mux(begins, 0, count))
        with m.If(begins | comes):
            m.d.sync += count.eq(number + (comes & (number != beats)))
        taps = Signal(2 * array.chunk)
        m.d.comb += taps.eq(beat.tapped << later(m, parameters.row, name="tap_row"))
        for row in range(array.chunk):
            mine = row // array.parameter_rows
            waits, takes = comes & (number == mine), comes & (number == beats - 1)
            last = mine == beats - 1
            m.d.comb += [
                elements.hold[row].eq(taps[row] | (0 if last else waits)),
                elements.hold[row + array.chunk].eq(
                    taps[row + array.chunk] | (takes if last else 0)
                ),
            ]
        for index, value in enumerate(parameters.values):
            tap = beat.values.word_select(index % array.group, OPERAND_BITS)
            m.d.comb += elements.beat[index].eq(Mux(beat.tapped, tap, value))

        now = later(m, word, beats - 1, name="word")
        given = marked(m, self.activations.valid, beats - 1, name="given")
        m.d.comb += [
            elements.word.eq(now.values),
            elements.load.eq(given),
            elements.swap.eq(given & ~now.lane.any() if beats > 1 else 0),
        ]
        with m.If(given):
            m.d.comb += [
                valid.eq(1),
                *(item[name].eq(now[name]) for name in ("lane", "opens", "closes", "ends")),
                item.alone.eq(0),
            ]

    def _accumulate(
        self,
        m: Module,
        sums: Any,
        given: Any,
        given_valid: Signal,
        read: memory.ReadPort,
        write: memory.WritePort,
    ) -> None:
        """Add sums to those of their pixel: they stand in the memory, if they didn't come just now.

        A filter's second turn adds to the first in the same way.
        """
        here = SUM_CYCLES + (self._array.chunk - 1).bit_length()
        items, valid = [given], [given_valid]
        for stage in range(1, here + 2):
            items.append(later(m, items[-1], name=f"item_{stage}"))
            valid.append(marked(m, valid[-1], name=f"valid_{stage}"))
        coming, item, gone = items[here - 1], items[here], items[here + 1]
        total, before = resetless(sums.shape()), resetless(sums.shape(), name="before")
        again, soon_again = Signal(), Signal()
        m.d.sync += [
            again.eq(valid[here] & (item.lane == coming.lane)),
            soon_again.eq(valid[here + 1] & (gone.lane == coming.lane)),
            before.eq(total),
        ]
        for col, value in enumerate(sums):
            kept = read.data[col][:ACCUMULATOR_BITS]
            latest = Mux(again, total[col], Mux(soon_again, before[col], kept))
            m.d.sync += total[col].eq(Mux(item.opens, 0, latest) + value)
            m.d.comb += write.data[col].eq(total[col].as_unsigned())
        leaves = valid[here + 1] & gone.closes
        m.d.comb += [
            read.addr.eq(coming.lane),
            write.addr.eq(gone.lane),
            write.en.eq(valid[here + 1] & ~gone.closes & ~gone.alone),
            self.results.valid.eq(leaves),
            self.results.payload.row.eq(gone.lane),
            self.results.payload.last.eq(gone.ends | gone.alone),
            self.results.payload.alone.eq(gone.alone),
            self.results.payload.values.eq(total),
        ]

    def _keep_lines(
        self,
        m: Module,
        elements: ReducingElements,
        beat: _FilterBeat,
        read: memory.ReadPort,
        write: memory.WritePort,
    ) -> None:
        """With a filter's word read those at its place in the last input rows, and put it before
        them: in the memory that no tile uses meanwhile."""
        cols, lines = self._array.group, self._lines
        with m.If(beat.moves):
            m.d.comb += read.addr.eq(beat.place)
        with m.If(beat.moved):
            m.d.comb += [write.addr.eq(beat.moved_place), write.en.eq(1)]
        for col in range(cols):
            value = beat.values.word_select(col, OPERAND_BITS)
            m.d.comb += elements.stream[col].eq(value)
            for line in range(lines):
                m.d.comb += elements.stream[(1 + line) * cols + col].eq(
                    read.data[col].word_select(line, OPERAND_BITS)
                )
            with m.If(beat.moved):
                m.d.comb += write.data[col].eq(
                    Cat(value, read.data[col][: (lines - 1) * OPERAND_BITS])
                )
