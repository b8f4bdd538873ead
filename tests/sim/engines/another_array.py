"""An array as unlike the systolic one as the contract allows: what is written for it, is all.

Its chunk is shorter than its tile is long, its results leave in order, and it has no modes of its
own. A chunk's words and parameters are gathered, and all their products added at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.streams import (
    ACCUMULATOR_BITS,
    OPERAND_BITS,
    array_members,
)
from mensa.rtl.commands import Mode
from mensa.rtl.machine import ARRAYS
from mensa.rtl.setting import check_range


@dataclass(frozen=True, kw_only=True)
class AtOnce(Array):
    """Adds the products of a chunk at once."""

    kind: ClassVar[str] = "at_once"

    pixels: int
    depth: int
    channels: int

    def __post_init__(self) -> None:
        for name, edge in self.edges.items():
            check_range(name, edge, 1, 16)
        super().__post_init__()

    @property
    def edges(self) -> dict[str, int]:
        return {"pixels": self.pixels, "depth": self.depth, "channels": self.channels}

    @property
    def tile(self) -> int:
        return self.pixels

    @property
    def chunk(self) -> int:
        return self.depth

    @property
    def group(self) -> int:
        return self.channels

    @property
    def spacing(self) -> int:
        return self.tile * self.pace

    @property
    def peak_macs_per_cycle(self) -> int:
        return min(self.tile, self.chunk) * self.group

    def latency(self, mode: Mode) -> int:
        """One cycle to the gathered chunk, one to the sums; then row after row."""
        return 2 + (self.tile - 1) * self.pace

    def group_channels(self, mode: Mode) -> int:
        return self.group

    def hardware(self) -> Any:
        return AtOnceArray(self)


ARRAYS[AtOnce.kind] = AtOnce


class AtOnceArray(wiring.Component):
    """Its gateware."""

    def __init__(self, array: AtOnce):
        self._array = array
        super().__init__(array_members(array))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        array = self._array
        tile, chunk, group, pace = array.tile, array.chunk, array.group, array.pace
        operand, total = signed(OPERAND_BITS), signed(ACCUMULATOR_BITS)
        word, beat = self.activations.payload, self.parameters.payload

        # The chunk that is being gathered, and how many of its parameters are there.
        words = [Signal(data.ArrayLayout(operand, chunk), name=f"word_{p}") for p in range(tile)]
        beats = [Signal(data.ArrayLayout(operand, group), name=f"beat_{i}") for i in range(chunk)]
        count = Signal(range(chunk + 1))
        begins = self.activations.valid & (word.lane == 0)
        place = Signal.like(count)
        m.d.comb += place.eq(Mux(begins, 0, count))
        with m.If(begins):  # what it does not fill counts as nothing
            for p in range(tile):
                m.d.sync += words[p].eq(0)
            for i in range(chunk):
                m.d.sync += beats[i].eq(0)
            m.d.sync += count.eq(0)
        for p in range(tile):
            with m.If(self.activations.valid & (word.lane == p)):
                m.d.sync += words[p].eq(word.values)
        with m.If(self.parameters.valid & (place != chunk)):
            m.d.sync += count.eq(place + 1)
            for i in range(chunk):
                with m.If(place == i):
                    m.d.sync += beats[i].eq(beat.values)

        # A chunk joins the sums when the next one begins, or the tile is over.
        sums = [Signal(data.ArrayLayout(total, group), name=f"sum_{p}") for p in range(tile)]
        open_, over = Signal(), Signal()  # a chunk is gathered; the tile's last beat was here
        fresh = Signal()  # the chunk is its tile's first
        m.d.sync += over.eq(self.parameters.valid & beat.last)
        with m.If(begins):
            m.d.sync += [open_.eq(1), fresh.eq(self.parameters.valid & beat.first)]
        with m.Elif(over):
            m.d.sync += open_.eq(0)
        with m.If(open_ & (begins | over)):
            for p in range(tile):
                for c in range(group):
                    products = sum(words[p][i] * beats[i][c] for i in range(chunk))
                    m.d.sync += sums[p][c].eq(Mux(fresh, 0, sums[p][c]) + products)

        # The sums leave, row 0 first, while the next tile's grow.
        ready, leaving = Signal(), Signal()
        held = [Signal(data.ArrayLayout(total, group), name=f"held_{p}") for p in range(tile)]
        row, wait = Signal(range(tile)), Signal(range(pace))
        m.d.sync += ready.eq(over)
        m.d.comb += [
            self.results.valid.eq(ready | (leaving & (wait == 0))),
            self.results.payload.row.eq(Mux(ready, 0, row)),
            self.results.payload.last.eq(self.results.payload.row == tile - 1),
            self.results.payload.values.eq(Mux(ready, sums[0].as_value(), held[0].as_value())),
        ]
        with m.If(ready):
            for p in range(1, tile):
                m.d.sync += held[p - 1].eq(sums[p])
        with m.Elif(self.results.valid):
            for p in range(1, tile):
                m.d.sync += held[p - 1].eq(held[p])
        with m.If(self.results.valid):
            m.d.sync += [
                leaving.eq(~self.results.payload.last),
                row.eq(self.results.payload.row + 1),
                wait.eq(pace - 1),
            ]
        with m.Else():
            m.d.sync += wait.eq(wait - wait.any())
        return m
