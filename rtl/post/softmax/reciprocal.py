"""What a row's exponentials are multiplied with: the reciprocal of their sum, in fixed point.

TensorFlow Lite's ``GetReciprocal`` (softmax.h): the sum is a power of two times 1 + a, and
``1 / (1 + a)`` comes from three steps of Newton's method. The same in NumPy:
`mensa.golden.arithmetic.fixed_point_functions.one_over_one_plus`.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.parts.resetless import later, resetless
from mensa.rtl.post.requantizer import MULTIPLIER, SHIFT

__all__ = ["LATENCY", "Reciprocal"]

INT32 = signed(32)
_MIN, _MAX = -(1 << 31), (1 << 31) - 1

_ALIGN = (8, 4, 2, 1)
"""Places by which a sum is shifted to the left, or not, one after another."""

_PRODUCTS = 7
"""One for the first guess, and two for each step of Newton's method."""

_PRODUCT_CYCLES = 7
"""From one product's factors to the next one's."""

LATENCY = len(_ALIGN) + 1 + _PRODUCTS * _PRODUCT_CYCLES + 1
"""Cycles from a sum on `total`, and `start`, to its scale."""

_GUESS, _SLOPE = 1515870810, -1010580540  # 48/17 and -32/17 in Q2.29
_ONE = 1 << 29  # in Q2.29

_FARTHEST_SHIFT = 34
"""To the right, of a sum of 2**30 and more, in Q12.19, for results in units of 2**-8."""

_WORD_BITS = 32
"""A shift of 32 and more the kernel does modulo 32, since its numbers have so many bits."""

_HALF_BITS = 16


class Reciprocal(wiring.Component):
    """Works out a row's scale with one multiplier, in `LATENCY` cycles.

    Members
    -------
    start : In(1)
        Strobe: `total` is a row's sum.
    total : In(31)
        In Q12.19, at least 2**19, the largest value's own; it stays until the next row's.
    multiplier, shift : Out(31), Out(signed(6))
        Of the requantiser, for the row's exponentials; they stay until the next row's.
    wrapped : Out(1)
        The shift should have been 32 more: the kernel then rounds down, and adds 1.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "total": In(31),
                "multiplier": Out(MULTIPLIER),
                "shift": Out(SHIFT),
                "wrapped": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        aligned, denominator, places = self._align(m)
        left, right = resetless(INT32, name="left"), resetless(INT32, name="right")
        x = resetless(INT32)  # 2 / (1 + a) in Q2.29, ever nearer

        # Products follow each other, for the factors of each are what the one before it gives. Bit
        # n of `beat`: they came n cycles ago.
        beat = Signal(_PRODUCT_CYCLES)
        product = Signal(range(_PRODUCTS))
        is_first, is_error = Signal(), Signal()
        over, is_last = beat[-1], product == _PRODUCTS - 1
        m.d.sync += beat.eq(Cat(aligned | (over & ~is_last), beat))
        result = self._result(m, _rounded(m, left, right), x, is_first, is_error)
        with m.If(aligned):
            m.d.sync += [
                product.eq(0),
                is_first.eq(1),
                is_error.eq(0),
                left.eq(denominator),
                right.eq(_SLOPE),
            ]
        with m.Elif(over):
            m.d.sync += [
                product.eq(product + 1),
                is_first.eq(0),
                is_error.eq(~is_error),
                left.eq(Mux(is_error, x, denominator)),
                right.eq(result),
            ]
            with m.If(~is_error):
                m.d.sync += x.eq(result)
        ended = Signal()
        m.d.sync += ended.eq(over & is_last)
        with m.If(ended):
            m.d.sync += [
                self.multiplier.eq(Mux(x[30], _MAX, x << 1)),
                self.shift.eq(places - _FARTHEST_SHIFT),
                self.wrapped.eq(0),
            ]
            with m.If(places <= _FARTHEST_SHIFT - _WORD_BITS):
                m.d.sync += [
                    self.shift.eq(places - (_FARTHEST_SHIFT - _WORD_BITS)),
                    self.wrapped.eq(1),
                ]
        return m

    def _align(self, m: Module) -> tuple[Value, Value, Value]:
        """Shift the sum to the left until its highest bit is set.

        Returns: a strobe when it is there, (1 + a) / 2 in Q0.31, and by how many places.
        """
        valid, value, places = self.start, self.total, Const(0, 0)
        for step in _ALIGN:
            before, valid = valid, Signal(name="valid")
            shifts = ~value[-step:].any()
            shifted = resetless(31, name="shifted")
            m.d.sync += [
                valid.eq(before),
                shifted.eq(Mux(shifts, value << step, value)),
            ]
            value, places = shifted, Cat(later(m, shifts), later(m, places))
        return valid, value, places

    def _result(
        self, m: Module, product: Value, x: Value, is_first: Value, is_error: Value
    ) -> Value:
        """Two cycles: what a product gives, the first guess, an error, or the next x."""
        change, result = resetless(INT32, name="change"), resetless(INT32, name="result")
        four_times = product << 2
        saturated = Mux(four_times > _MAX, _MAX, Mux(four_times < _MIN, _MIN, four_times))
        base = Mux(is_first, _GUESS, Mux(is_error, _ONE, x))
        m.d.sync += [
            change.eq(Mux(is_first | is_error, product, saturated)),
            result.eq(base + Mux(is_error, -change, change)),
        ]
        return result


def _rounded(m: Module, left: Value, right: Value) -> Value:
    """Four cycles: twice the product's high half, halves rounded up; factors never are both -1."""
    left_low, left_high = left[:_HALF_BITS], left[_HALF_BITS:].as_signed()
    right_low, right_high = right[:_HALF_BITS], right[_HALF_BITS:].as_signed()
    low, high = resetless(32, name="low"), resetless(INT32, name="high")
    middle_0, middle_1 = resetless(signed(33)), resetless(signed(33))
    middle, outer = resetless(signed(34)), resetless(signed(64))
    product = resetless(signed(64))
    rounded = resetless(INT32, name="rounded")
    m.d.sync += [
        low.eq(left_low * right_low),
        middle_0.eq(left_low * right_high),
        middle_1.eq(left_high * right_low),
        high.eq(left_high * right_high),
        middle.eq(middle_0 + middle_1),
        outer.eq(Cat(low, high)),
        product.eq(outer + (middle << _HALF_BITS)),
        rounded.eq((product + (1 << 30)) >> 31),
    ]
    return rounded
