"""The vector unit: reductions over taps that need no weights (pooling, addition, requantising)."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import SCALED_SUM_LEFT_SHIFT, Mode
from mensa.rtl.parts.resetless import datum, later

__all__ = ["LATENCY", "VectorUnit"]

LATENCY = 9
"""Cycles from the last tap on `i` to the result on `o`."""

PART_BITS = 16
"""Bits of a multiplier that one of an FPGA's multipliers takes at a time."""

VALUE_BITS = 9

FINE_SHIFT_BITS = 2
"""Low bits of a right shift that are shifted out a cycle before the others."""


class VectorUnit(wiring.Component):
    """L lanes that sum values, take the largest, or rescale and add two.

    One tap a cycle; `first` starts a reduction and `last` ends it. Latency is `LATENCY` cycles.

    Parameters
    ----------
    lanes : int
        L, at least 1.

    Members
    -------
    mode : In(Mode)
        MAX, SUM or SCALED_SUM; this and the scales are constant while values are inside.
    multiplier, shift : In(ArrayLayout(31, 2)), In(ArrayLayout(5, 2))
        SCALED_SUM: scales of tap 0 and tap 1.
    i : In(stream of {first, last, tap, values: L x signed(9)}, always ready)
        Values with their zero points subtracted.
    o : Out(stream of L x signed(32), always ready)
        Results.
    """

    def __init__(self, lanes: int):
        if not isinstance(lanes, int) or lanes < 1:
            raise TypeError(f"Lanes must be a positive integer, not {lanes!r}")
        self._lanes = lanes
        super().__init__(
            {
                "mode": In(Mode),
                "multiplier": In(data.ArrayLayout(31, 2)),
                "shift": In(data.ArrayLayout(5, 2)),
                "i": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "first": 1,
                                "last": 1,
                                "tap": 1,
                                "values": data.ArrayLayout(signed(VALUE_BITS), lanes),
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "o": Out(stream.Signature(data.ArrayLayout(signed(32), lanes), always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        is_max, scaled = Signal(), Signal()
        m.d.sync += [is_max.eq(self.mode == Mode.MAX), scaled.eq(self.mode == Mode.SCALED_SUM)]

        # Marks of the taps inside: bit n, of the one that came n + 1 cycles ago.
        i = self.i.payload
        valid, first, last, tap = (
            Signal(LATENCY - 1, name=name) for name in ("valid", "first", "last", "tap")
        )
        m.d.sync += [
            valid.eq(Cat(self.i.valid, valid)),
            first.eq(Cat(i.first, first)),
            last.eq(Cat(i.last, last)),
            tap.eq(Cat(i.tap, tap)),
            self.o.valid.eq(valid[-1] & last[-1]),
        ]
        # What the lanes share, each in the stage that needs it.
        multiplier = datum(31)
        half, divides = datum(31), datum()
        m.d.sync += multiplier.eq(1)
        with m.If(self.mode == Mode.SCALED_SUM):
            m.d.sync += multiplier.eq(self.multiplier[i.tap])
        shift = datum(5)
        m.d.sync += [shift.eq(0), half.eq(0), divides.eq(0)]
        with m.If(scaled):
            m.d.sync += [
                shift.eq(self.shift[tap[3]]),
                half.eq((1 << self.shift[tap[3]]) >> 1),
                divides.eq(self.shift[tap[3]].any()),
            ]
        fine = later(m, shift[:FINE_SHIFT_BITS])
        coarse = later(m, shift[FINE_SHIFT_BITS:], 2)

        for number in range(self._lanes):
            m.submodules[f"lane_{number}"] = lane = Module()
            # 1: operand. 2 to 4: times its multiplier, by parts, each with registers of its own.
            value = datum(signed(VALUE_BITS))
            low, high = (datum(signed(VALUE_BITS + PART_BITS), name=n) for n in ("low", "high"))
            product = datum(signed(41))
            left, right = later(lane, value), later(lane, multiplier)
            lane.d.sync += [
                value.eq(i.values[number]),
                low.eq(left * right[:PART_BITS]),
                high.eq(left * right[PART_BITS:]),
                product.eq(low + (high << PART_BITS)),
            ]
            # 5 to 8: the two rounded divisions of ((value << 20) * multiplier) by 2**31 and by
            # 2**shift, which is shifted out in two stages.
            high_half = datum(signed(32))
            with lane.If(scaled):
                rounded = product + (1 << (30 - SCALED_SUM_LEFT_SHIFT))
                lane.d.sync += high_half.eq(rounded >> (31 - SCALED_SUM_LEFT_SHIFT))
            with lane.Else():
                lane.d.sync += high_half.eq(product)
            total, near, operand = datum(signed(33)), datum(signed(33)), datum(signed(32))
            away = (high_half < 0) & divides
            lane.d.sync += [
                total.eq(high_half + half - away),
                near.eq(total >> fine),
                operand.eq(near >> (coarse << FINE_SHIFT_BITS)),
            ]
            # 9: accumulate. What the largest is taken of are values as they came.
            so_far = self.o.payload[number]
            larger = operand[:VALUE_BITS].as_signed() > so_far[:VALUE_BITS].as_signed()
            with lane.If(valid[-1]):
                with lane.If(first[-1] | (is_max & larger)):
                    lane.d.sync += so_far.eq(operand)
                with lane.Elif(~is_max):
                    lane.d.sync += so_far.eq(so_far + operand)
        return m
