"""The LSTM cell: from the sums of the gates to the cell state and the hidden state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import Mode, compute_bits
from mensa.rtl.machine import Machine
from mensa.rtl.parts.resetless import later, resetless
from mensa.rtl.post.cell.fixed_point import FixedPointFunction
from mensa.rtl.post.cell.gate_function import GATE_INTEGER_BITS, GateFunction
from mensa.rtl.post.cell.interpolated import InterpolatedFunction

__all__ = ["LATENCY", "Cell"]

FUNCTIONS: dict[str, type[GateFunction]] = {
    "tflm": InterpolatedFunction,
    "litert": FixedPointFunction,
}

SUM, PRODUCT, RESCALED = 3, 3, 4
"""Cycles to a gate's sum, from its value to the product with it, and to that rescaled."""

LATENCY = {
    name: SUM + function.latency + PRODUCT + RESCALED + 1 for name, function in FUNCTIONS.items()
}
"""Cycles from the last operand on `i` to the result on `o`, by whose arithmetic."""

INT16 = signed(16)
_MIN, _MAX = -(1 << 15), (1 << 15) - 1

_UNIT_BITS = 15
"""Bits behind the point of a gate's value, which a product with it loses again."""


@dataclass(frozen=True)
class _Event:
    """The cell state, or a gate, of which all operands are there; in DOT, any operand.

    Attributes
    ----------
    valid : Value
        Whether there is one.
    gate : Value
        0 for the cell state, else the number of the gate; in DOT 1 with the second of a pair, in
        GATE_SUM 1.
    start : Value
        Whether it is of the result's first pair.
    last : Value
        Whether it is the result's last.
    """

    valid: Value
    gate: Value
    start: Value
    last: Value


class Cell(wiring.Component):
    """K lanes of the modes `Mode.is_cell`.

    Operands of a result: the cell state, then of each gate the sum of its inputs and its recurrent
    sum. The gates of a next cell state are forget, input and cell gate; without the input gate,
    which then is one less the forget gate, forget and cell gate. That of a hidden state is the
    output gate. Of GATE_SUM they are one gate's two sums, of DOT pairs of numbers of 16 bits.
    Operands come a cycle each, with gaps or without. Latency is `LATENCY` cycles.

    Parameters
    ----------
    machine : Machine
        Whose arithmetic, and K. Raises: ValueError if it has no cell.

    Members
    -------
    mode : In(Mode)
        This and `integer_bits` are constant while values are inside.
    integer_bits : In(3)
        Of the cell state, 0 to 6.
    i : In(stream of {first, last, values}, always ready)
        Operands: K numbers of two bytes, recurrent sums of as many as `recurrent_width` says.
    o : Out(stream of K x signed(32), always ready)
        Results: cell states and sums of 16 bits, or hidden states in Q1.30 and sums of products,
        which are requantised then.
    """

    def __init__(self, machine: Machine):
        if machine.cell is None or not machine.state_lanes:
            raise ValueError(f"{machine.name} has no LSTM cell")
        self._arithmetic, self._lanes = machine.cell, machine.state_lanes
        self._sum_bytes = machine.recurrent_width.nbytes
        self._sum_bits = machine.result_bits
        super().__init__(
            {
                "mode": In(Mode),
                "integer_bits": In(compute_bits("STATE_INTEGER_BITS")),
                "i": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "first": 1,
                                "last": 1,
                                "values": data.ArrayLayout(8, self._sum_bytes * self._lanes),
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "o": Out(
                    stream.Signature(data.ArrayLayout(signed(32), self._lanes), always_ready=True)
                ),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.function = function = FUNCTIONS[self._arithmetic](self._lanes)
        is_state, is_hidden, is_dot = Signal(), Signal(), Signal()
        m.d.sync += [
            is_state.eq(self.mode == Mode.CELL_STATE),
            is_hidden.eq(self.mode == Mode.HIDDEN_STATE),
            is_dot.eq(self.mode == Mode.DOT),
        ]

        event, recurrent = self._arrived(m)
        adds = ~is_dot
        operand = _later(m, event)
        summed = _later(m, operand, SUM - 1)
        valued = _later(m, summed, function.latency)
        multiplied = _later(m, valued, PRODUCT)
        rescaled = _later(m, multiplied, RESCALED)
        m.d.comb += [
            # A cell state's next takes the hyperbolic tangent of its last gate, a hidden state
            # that of the cell state.
            function.tanh.eq(Mux(is_state, summed.last, summed.gate == 0)),
            function.integer_bits.eq(Mux(summed.gate == 0, self.integer_bits, GATE_INTEGER_BITS)),
        ]
        m.d.sync += self.o.valid.eq(rescaled.valid & rescaled.last)
        passes = ~is_hidden & ~(is_state & valued.gate.any())
        coupled = is_state & valued.last & (valued.gate == 2)
        alone = ~(is_state | is_hidden | is_dot)
        added = multiplied.last
        for number in range(self._lanes):
            m.submodules[f"lane_{number}"] = lane = Module()
            total = self._sum(lane, number, recurrent, operand, adds)
            m.d.comb += function.i[number].eq(total)
            value = Mux(passes, later(lane, total, function.latency), function.o[number])
            product = _product(lane, valued.valid, value, coupled, alone)
            share = self._rescaled(lane, product, added)
            kept = resetless(INT16, name="kept")  # the share of the cell state before
            with lane.If(rescaled.valid & (rescaled.gate == 1)):
                lane.d.sync += kept.eq(share)
            # Products are added up in DOT alone, where every pair's second number has one.
            whole, so_far = later(lane, product, RESCALED), resetless(signed(32), name="so_far")
            added_up = whole + Mux(is_dot & ~rescaled.start, so_far, 0)
            with lane.If(rescaled.valid & rescaled.gate.any()):
                lane.d.sync += so_far.eq(added_up)
            lane.d.sync += self.o.payload[number].eq(
                Mux(is_state, _saturated(kept + share), added_up)
            )
        return m

    def _arrived(self, m: Module) -> tuple[_Event, Value]:
        """What is there with the operand that comes, and whether that is a recurrent sum."""
        i = self.i.payload
        number = Signal(3)  # of the operand, if it is not the first
        starts = Signal()  # in DOT: the pair is the first, if its second operand comes
        with m.If(self.i.valid):
            m.d.sync += [number.eq(Mux(i.first, 1, number + 1)), starts.eq(i.first)]
        is_sum, is_dot = self.mode == Mode.GATE_SUM, self.mode == Mode.DOT
        second = ~i.first & number[0]
        recurrent = Mux(is_sum, second, ~is_dot & ~i.first & ~number[0])
        comes = is_dot | recurrent | (i.first & ~is_sum)
        gate = Mux(i.first, 0, Mux(is_sum | is_dot, number[0], number[1:]))
        return _Event(self.i.valid & comes, gate, starts, i.last), recurrent

    def _sum(
        self, lane: Module, number: int, recurrent: Value, operand: _Event, adds: Value
    ) -> Value:
        """Three cycles: the operand, the sum with the one before it, that saturated."""
        values = self.i.payload.values.as_value()
        short = values.word_select(number, 16).as_signed()
        long = values.word_select(number, 8 * self._sum_bytes)[: self._sum_bits].as_signed()
        word, before = resetless(signed(self._sum_bits)), resetless(INT16)
        with lane.If(self.i.valid):
            lane.d.sync += [word.eq(Mux(recurrent, long, short)), before.eq(word)]
        total = resetless(signed(self._sum_bits + 1))
        saturated = resetless(INT16)
        lane.d.sync += [
            total.eq(Mux(adds & operand.gate.any(), word + before, word)),
            saturated.eq(_saturated(total)),
        ]
        return saturated

    def _rescaled(self, lane: Module, product: Value, added: Value) -> Value:
        """Four cycles: what a product gives the next cell state.

        TensorFlow Lite Micro divides by 2 and then by the rest of the power of two, and saturates;
        LiteRT divides once, and wraps. Halves are rounded away from zero, but the first up.
        """
        rounds_twice = self._arithmetic == "tflm"
        least = _UNIT_BITS - rounds_twice
        shift = resetless(range(least + 8))
        first = resetless(signed(32))
        lane.d.sync += [
            first.eq((product + 1) >> 1 if rounds_twice else product),
            shift.eq(Mux(added, self.integer_bits, 0)),
        ]
        half = Const(1 << (least - 1), least + 8) << shift
        rounded = resetless(signed(33))
        lane.d.sync += rounded.eq(first + half - (first < 0))
        divided = resetless(signed(33 - least))
        lane.d.sync += divided.eq((rounded >> least) >> later(lane, shift))
        share = resetless(INT16, name="share")
        lane.d.sync += share.eq(_saturated(divided) if rounds_twice else divided)
        return share


def _later(m: Module, event: _Event, cycles: int = 1) -> _Event:
    """An event as it was some cycles ago; whether there is one is reset."""
    valid = event.valid
    for _ in range(cycles):
        before, valid = valid, Signal(name="valid")
        m.d.sync += valid.eq(before)
    return _Event(
        valid,
        later(m, event.gate, cycles),
        later(m, event.start, cycles),
        later(m, event.last, cycles),
    )


def _saturated(value: Value) -> Value:
    """Within 16 bits."""
    return Mux(value > _MAX, _MAX, Mux(value < _MIN, _MIN, value))


def _product(lane: Module, valid: Value, value: Value, coupled: Value, alone: Value) -> Value:
    """Three cycles: each value times the one before it, or times one less that, or `alone`.

    So the forget gate meets the cell state before it, the cell gate the input gate, and the output
    gate the hyperbolic tangent of the cell state.
    """
    before = resetless(INT16)
    left, right = resetless(INT16), resetless(INT16)
    product = resetless(signed(32))
    with lane.If(valid):
        lane.d.sync += before.eq(value)
    lane.d.sync += [
        left.eq(value),
        right.eq(Mux(alone, 1, Mux(coupled, _MAX - before, before))),
        product.eq(left * right),
    ]
    return later(lane, product)
