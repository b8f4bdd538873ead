"""The vector unit: reductions over taps that need no weights (pooling, addition, requantising)."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import Mode

__all__ = ["LATENCY", "VectorUnit"]

LATENCY = 4
"""Cycles from the last tap on `i` to the result on `o`."""

LEFT_SHIFT = 20
"""Bits by which a scaled sum's operands are shifted left (TFLite's ADD kernel)."""


class VectorUnit(wiring.Component):
    """C lanes that sum values, take the largest, or rescale and add two.

    One tap a cycle; `first` starts a reduction and `last` ends it. Latency is 4 cycles.

    Parameters
    ----------
    lanes : int
        C, at least 1.

    Members
    -------
    mode : In(Mode)
        MAX, SUM or SCALED_SUM; this and the scales are constant while values are inside.
    multiplier, shift : In(ArrayLayout(31, 2)), In(ArrayLayout(5, 2))
        SCALED_SUM: scales of tap 0 and tap 1.
    i : In(stream of {first, last, tap, values: C x signed(9)}, always ready)
        Values with their zero points subtracted.
    o : Out(stream of C x signed(32), always ready)
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
                                "values": data.ArrayLayout(signed(9), lanes),
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
        scaled = Signal()
        m.d.comb += scaled.eq(self.mode == Mode.SCALED_SUM)

        i = self.i.payload
        valid, first, last, tap = (Signal(3, name=n) for n in ("valid", "first", "last", "tap"))
        m.d.sync += [
            valid.eq((valid << 1) | self.i.valid),
            first.eq((first << 1) | i.first),
            last.eq((last << 1) | i.last),
            tap.eq((tap << 1) | i.tap),
            self.o.valid.eq(valid[2] & last[2]),
        ]
        for lane in range(self._lanes):
            value = Signal(signed(9), name=f"value_{lane}")
            product = Signal(signed(41), name=f"product_{lane}")
            high = Signal(signed(31), name=f"high_{lane}")
            half = Signal(signed(33), name=f"half_{lane}")
            operand = Signal(signed(32), name=f"operand_{lane}")
            so_far = self.o.payload[lane]
            # 1: operand. 2: times its multiplier. 3: the two rounded divisions of
            # ((value << 20) * multiplier) by 2**31 and by 2**shift. 4: accumulate.
            m.d.sync += value.eq(i.values[lane])
            m.d.sync += product.eq(Mux(scaled, value * self.multiplier[tap[0]], value))
            m.d.comb += [
                high.eq((product + (1 << (30 - LEFT_SHIFT))) >> (31 - LEFT_SHIFT)),
                half.eq((1 << self.shift[tap[1]]) >> 1),
            ]
            with m.If(scaled):
                away = (high < 0) & self.shift[tap[1]].any()
                m.d.sync += operand.eq((high + half - away) >> self.shift[tap[1]])
            with m.Else():
                m.d.sync += operand.eq(product)
            with m.If(valid[2]):
                with m.If(first[2]):
                    m.d.sync += so_far.eq(operand)
                with m.Elif(self.mode == Mode.MAX):
                    m.d.sync += so_far.eq(Mux(operand > so_far, operand, so_far))
                with m.Else():
                    m.d.sync += so_far.eq(so_far + operand)
        return m
