"""Pavlov's array: an activation goes to all elements, each of which owns an output channel."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import memory, wiring

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.pavlov.streaming_elements import StreamingElements
from mensa.rtl.arrays.streams import (
    OPERAND_BITS,
    array_members,
)
from mensa.rtl.parts.resetless import later, marked, resetless

__all__ = ["PavlovArray"]

TAKE_CYCLES = 3
"""From a beat to its product: what all elements share, the multiplier's registers before and after
it; the sum has taken it a cycle later."""


class PavlovArray(wiring.Component):
    """N elements; a tile is one pixel, of which they compute N output channels.

    A word of the pixel comes in the first cycle of a chunk, and its parameter beats, one byte each,
    from the same cycle on; in every cycle one byte of the word goes to all elements.

    `first` marks a tile's first beat if its sums begin with it, `resumes` if they go on from those
    kept under the tile's `place`; `last` marks its last beat if its sums leave, `keeps` if they are
    to be kept there. What is kept by a beat can be resumed by one four cycles later. Results leave
    `Pavlov.latency` cycles after the tile's `last`.

    Parameters
    ----------
    array : Array
        The `Pavlov` that this is: N is its group.

    Members
    -------
    activations : In(stream of {lane, values: chunk x signed(9)}, always ready)
        Up to a chunk of consecutive values of the reduction; `lane` is 0.
    parameters : In(stream of {first, last, resumes, keeps, place, values: N x signed(9)}, always
        ready)
        One value per element. A cycle without a beat counts as nothing.
    results : Out(stream of {row, last, alone, values: N x signed(32)}, always ready)
        Sums, modulo 2**32; every row is the last of its tile.
    """

    def __init__(self, array: Array):
        self._array = array
        super().__init__(array_members(array))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        beat = self.parameters.payload
        m.submodules.elements = elements = StreamingElements(self._array.group)
        m.d.comb += [
            elements.activation.eq(self._byte(m)),
            elements.parameters.eq(later(m, beat.values.as_value(), name="parameters")),
        ]

        def mark(value: Value, cycles: int, name: str) -> Value:
            return marked(m, self.parameters.valid & value, cycles, name=name)

        m.d.comb += [
            elements.take.eq(marked(m, self.parameters.valid, TAKE_CYCLES, name="take")),
            elements.begin.eq(mark(beat.first | beat.resumes, TAKE_CYCLES, "begin")),
            self.results.valid.eq(mark(beat.last, TAKE_CYCLES + 1, "leaves")),
            self.results.payload.last.eq(1),
            self.results.payload.values.eq(elements.sums),
        ]
        self._keep(m, elements, mark(beat.keeps, TAKE_CYCLES + 1, "keeps"))
        return m

    def _byte(self, m: Module) -> Value:
        """The byte of the word whose turn it is."""
        playing = resetless(self.activations.payload.values.as_value().shape())
        word = self.activations.payload.values.as_value()
        m.d.sync += playing.eq(Mux(self.activations.valid, word, playing >> OPERAND_BITS))
        return playing[:OPERAND_BITS].as_signed()

    def _keep(self, m: Module, elements: StreamingElements, keeps: Value) -> None:
        """Sums that are kept, and behind them zeros, which a tile that resumes none begins with."""
        beat, places = self.parameters.payload, self._array.kept_tiles
        m.submodules.accumulators = accumulators = memory.Memory(
            shape=elements.sums.as_value().shape(),
            depth=places + 1,
            init=[],
            attrs={"no_rw_check": 1},  # a place isn't read while it is written
        )
        write, read = accumulators.write_port(), accumulators.read_port()
        begins_with = Mux(beat.resumes, beat.place, places)
        m.d.comb += [
            read.addr.eq(later(m, begins_with, TAKE_CYCLES - 1, name="begins_with")),
            write.addr.eq(later(m, beat.place, TAKE_CYCLES + 1, name="place")),
            write.data.eq(elements.sums.as_value()),
            write.en.eq(keeps),
            elements.kept.eq(read.data),
        ]
