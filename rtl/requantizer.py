"""From 32-bit sums to 8-bit outputs, as TensorFlow Lite's reference kernels do it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import Rounding

__all__ = ["LATENCY", "Requantizer"]

LATENCY = 6
"""Cycles from a sum on `i` to its output on `o`."""


class Requantizer(wiring.Component):
    """Adds the bias, scales by a fixed-point multiplier, adds the zero point and clamps.

    The scale is ``multiplier * 2**(shift - 31)``. A left shift wraps at 32 bits; see
    docs/architecture.md for both roundings, and `mensa.golden.fixed_point` for the same in NumPy.
    Latency is 6 cycles, throughput one value a cycle.

    Members
    -------
    rounding, zero_point, clamp_min, clamp_max : In
        Constant while values are inside.
    i : In(stream of {value: signed(32), bias: signed(32), multiplier: unsigned(31),
           shift: signed(6)}, always ready)
        `shift` is positive for left, -31 to 30.
    o : Out(stream of signed(8), always ready)
        Outputs, in order.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "rounding": In(1),
                "zero_point": In(signed(8)),
                "clamp_min": In(signed(8)),
                "clamp_max": In(signed(8)),
                "i": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "value": signed(32),
                                "bias": signed(32),
                                "multiplier": unsigned(31),
                                "shift": signed(6),
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "o": Out(stream.Signature(signed(8), always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        valid = self.i.valid
        for stage in range(LATENCY):
            later = Signal(name=f"valid_{stage}")
            m.d.sync += later.eq(valid)
            valid = later
        m.d.comb += self.o.valid.eq(valid)

        # 1: bias.
        biased = Signal(signed(32))
        multiplier_1 = Signal(31)
        left_1, right_1 = Signal(5), Signal(5)
        m.d.sync += [
            biased.eq(self.i.payload.value + self.i.payload.bias),
            multiplier_1.eq(self.i.payload.multiplier),
            left_1.eq(Mux(self.i.payload.shift > 0, self.i.payload.shift, 0)),
            right_1.eq(Mux(self.i.payload.shift < 0, -self.i.payload.shift, 0)),
        ]
        # 2: left shift.
        shifted = Signal(signed(32))
        multiplier_2 = Signal(31)
        right_2 = Signal(5)
        m.d.sync += [
            shifted.eq(biased << left_1),
            multiplier_2.eq(multiplier_1),
            right_2.eq(right_1),
        ]
        # 3: multiply.
        product = Signal(signed(64))
        right_3 = Signal(5)
        m.d.sync += [product.eq(shifted * multiplier_2), right_3.eq(right_2)]
        # 4: where it rounds twice, round to a multiple of 2**31 here.
        halved = Signal(signed(64))
        rounded = Signal(signed(64))
        right_4 = Signal(5)
        m.d.comb += halved.eq(product + (1 << 30))
        with m.If(self.rounding == Rounding.DOUBLE):
            m.d.sync += rounded.eq(halved & ~((1 << 31) - 1))
        with m.Else():
            m.d.sync += rounded.eq(product)
        m.d.sync += right_4.eq(right_3)
        # 5: divide by 2**(31 + right shift), halves away from zero.
        half = Signal(64)
        quotient = Signal(signed(34))
        m.d.comb += half.eq((1 << 30) << right_4)
        m.d.sync += quotient.eq(((rounded + half - (rounded < 0)) >> 31) >> right_4)
        # 6: zero point and clamp.
        moved = Signal(signed(35))
        m.d.comb += moved.eq(quotient + self.zero_point)
        with m.If(moved < self.clamp_min):
            m.d.sync += self.o.payload.eq(self.clamp_min)
        with m.Elif(moved > self.clamp_max):
            m.d.sync += self.o.payload.eq(self.clamp_max)
        with m.Else():
            m.d.sync += self.o.payload.eq(moved)
        return m
