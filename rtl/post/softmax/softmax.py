"""The softmax unit: from a row of values to their exponentials, and what these are scaled with."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import EXPONENTIAL_BYTES, EXPONENTIALS
from mensa.rtl.machine import Machine
from mensa.rtl.parts.resetless import later, marked, resetless
from mensa.rtl.post.requantizer import MULTIPLIER, SHIFT
from mensa.rtl.post.softmax import reciprocal
from mensa.rtl.post.softmax.reciprocal import Reciprocal

__all__ = ["LATENCY", "Softmax", "waits"]

LATENCY = 4
"""Cycles from an element of the last pass on `i` to its exponential on `o`."""

_UNIT_BITS = 31
"""Exponentials are in Q0.31."""

_SUM_BITS = 12
"""A row's sum is in Q12.19: so many bits of each exponential are rounded away."""


def waits(lanes: int) -> tuple[int, int]:
    """Cycles that must lie between the passes; see `mensa.rtl.timing.softmax_waits`."""
    levels = (lanes - 1).bit_length()
    largest = 1 + levels + 1  # from a word to the largest value with it
    total = LATENCY + 1 + levels + 1  # from a word to the sum with it
    return largest - 1, total + reciprocal.LATENCY - LATENCY - 1


class Softmax(wiring.Component):
    """K lanes that go three times through each row.

    The first pass finds the largest value, the second adds up the exponentials of what the others
    are below it, the third gives these exponentials; the requantiser divides them by the sum.
    Latency is `LATENCY` cycles; between the passes of a row lie at least `waits` cycles, between
    the last one and the next row none. All lanes have the same table.

    Parameters
    ----------
    machine : Machine
        Gives K. Raises: ValueError if it has no such unit.

    Members
    -------
    i : In(stream of {first, last, tap, inside: K bits, values: K x signed(8)}, always ready)
        K values of a row, of which those are meant that are `inside`. `tap` is of the second pass,
        `last` of the third and of the second's end, `first` of the beginning of each.
    table : In(stream of bytes, always ready)
        The exponentials, from that of 0 on; all of them, before the values that they are for.
    o : Out(stream of K x signed(32), always ready)
        Of the third pass, in Q0.31.
    multiplier, shift, wrapped : Out(31), Out(signed(6)), Out(1)
        What scales the results of this row (see `Reciprocal`); they stay until the next row's
        second pass is over.
    """

    def __init__(self, machine: Machine):
        if not machine.exponential_lanes:
            raise ValueError(f"{machine.name} has no softmax unit")
        self._lanes, self._step = machine.exponential_lanes, machine.exponential_step_bytes
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "first": 1,
                                "last": 1,
                                "tap": 1,
                                "inside": self._lanes,
                                "values": data.ArrayLayout(signed(8), self._lanes),
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "table": In(stream.Signature(data.ArrayLayout(8, self._step), always_ready=True)),
                "o": Out(
                    stream.Signature(data.ArrayLayout(signed(32), self._lanes), always_ready=True)
                ),
                "multiplier": Out(MULTIPLIER),
                "shift": Out(SHIFT),
                "wrapped": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.reciprocal = divider = Reciprocal()
        i = self.i.payload
        levels = (self._lanes - 1).bit_length()

        # First pass.
        values = [resetless(signed(8), name="value") for _ in range(self._lanes)]
        for value, given, inside in zip(values, i.values, i.inside, strict=True):
            m.d.sync += value.eq(Mux(inside, given, -128))
        best = _by_pairs(m, values, lambda left, right: Mux(left > right, left, right), signed(8))
        largest = resetless(signed(8))
        starts = later(m, i.first, 1 + levels)
        with m.If(marked(m, self.i.valid & ~i.tap & ~i.last, 1 + levels)):
            m.d.sync += largest.eq(Mux(starts | (best > largest), best, largest))

        # Second and third pass.
        exponentials = self._exponentials(m, largest)
        for given, exponential in zip(self.o.payload, exponentials, strict=True):
            m.d.comb += given.eq(exponential)
        m.d.comb += self.o.valid.eq(marked(m, self.i.valid & i.last & ~i.tap, LATENCY))
        addends = [resetless(_UNIT_BITS - _SUM_BITS + 1, name="addend") for _ in exponentials]
        for addend, exponential in zip(addends, exponentials, strict=True):
            rounded = (exponential[:_UNIT_BITS] + (1 << (_SUM_BITS - 1))) >> _SUM_BITS
            m.d.sync += addend.eq(Mux(exponential < 0, 0, rounded))
        shares = _by_pairs(m, addends, lambda left, right: left + right, 31)
        total = resetless(31)
        starts = later(m, i.first, LATENCY + 1 + levels)
        with m.If(marked(m, self.i.valid & i.tap, LATENCY + 1 + levels)):
            m.d.sync += total.eq(Mux(starts, 0, total) + shares)
        m.d.comb += [
            divider.start.eq(marked(m, self.i.valid & i.tap & i.last, LATENCY + 1 + levels + 1)),
            divider.total.eq(total),
            self.multiplier.eq(divider.multiplier),
            self.shift.eq(divider.shift),
            self.wrapped.eq(divider.wrapped),
        ]
        return m

    def _exponentials(self, m: Module, largest: Value) -> list[Signal]:
        """Four cycles: that of each value's distance from the largest; 0 for those outside."""
        # As many rows as this counts; so it is 0 again when all are there.
        row = Signal(range(EXPONENTIAL_BYTES // self._step))
        with m.If(self.table.valid):
            m.d.sync += row.eq(row + 1)
        found = []
        at_once = self._step // 4
        low = at_once.bit_length() - 1
        for number in range(self._lanes):
            m.submodules[f"lane_{number}"] = lane = Module()
            lane.submodules.table = table = memory.Memory(
                shape=8 * self._step, depth=EXPONENTIALS // at_once, init=[]
            )
            write, read = table.write_port(), table.read_port()
            below = resetless(8, name="below")
            lane.d.sync += below.eq(largest - self.i.payload.values[number])
            lane.d.comb += [
                write.en.eq(self.table.valid),
                write.addr.eq(row),
                write.data.eq(self.table.payload.as_value()),
                read.addr.eq(below[low:]),
            ]
            entries = later(lane, read.data)
            which = later(lane, below[:low], 2) if low else Const(0)
            inside = later(lane, self.i.payload.inside[number], 3)
            is_largest = later(lane, ~below.any(), 2)
            entry = entries.word_select(which, 32).as_signed()
            exponential = resetless(signed(32), name="exponential")
            lane.d.sync += exponential.eq(
                Mux(inside, Mux(is_largest, (1 << _UNIT_BITS) - 1, entry), 0)
            )
            found.append(exponential)
        return found


def _by_pairs(m: Module, values: list[Signal], join: Any, shape: Any) -> Signal:
    """All values joined, a register behind each pair: as many cycles as there are levels."""
    while len(values) > 1:
        pairs = [values[n : n + 2] for n in range(0, len(values), 2)]
        values = []
        for pair in pairs:
            joined = resetless(shape, name="joined")
            m.d.sync += joined.eq(join(*pair) if len(pair) == 2 else pair[0])
            values.append(joined)
    return values[0]
