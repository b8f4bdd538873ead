"""Sigmoid and hyperbolic tangent as LiteRT has them: 16-bit fixed point, as gemmlowp does it.

exp(-x) from a polynomial and factors, then 1 / (1 + exp(-x)) by Newton's method. The same in
NumPy: `mensa.golden.arithmetic.gates`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from amaranth.hdl import Const, Module, Mux, Value, signed

from mensa.golden.arithmetic.gates import q15
from mensa.rtl.parts.pipeline import Pipeline, Staged
from mensa.rtl.post.cell.gate_function import GATE_INTEGER_BITS, GateFunction

__all__ = ["FixedPointFunction"]

_MIN, _MAX = -(1 << 15), (1 << 15) - 1

_INT16 = signed(16)

_QUARTER_BITS = 13
"""Of a number in Q0.15 below 1 / 4."""

_LARGEST_EXPONENT = 4
"""exp(-x) of x of 32 and more is 0."""


class FixedPointFunction(GateFunction):
    """LiteRT's functions: the bits of -|x| choose the factors of its exponential."""

    latency = 84

    def lane(
        self, m: Module, pipeline: Pipeline, x: Staged, tanh: Staged, integer_bits: Staged
    ) -> Staged:
        """One lane: 19 multipliers, of which 10 have a constant factor."""
        step = pipeline.step
        below = step(lambda x: Mux(x > 0, -x, x), x, shape=_INT16)  # -|x|
        # A hyperbolic tangent takes the exponential of twice that.
        bits = step(lambda tanh, bits: Mux(tanh, bits + 1, GATE_INTEGER_BITS), tanh, integer_bits)
        aligned = step(lambda below, bits: below << bits, below, bits, shape=signed(23))  # Q7.15
        exponential = _exponential(step, aligned)
        # 2 / (1 + exp), from 1 to 2, in Q2.13.
        reciprocal = _reciprocal(step, exponential)
        sigmoid = _shifted(step, reciprocal, 1)
        excess = step(lambda value: value - (1 << 13), reciprocal, shape=_INT16)
        size = _shifted(step, excess, 2)
        return step(
            lambda tanh, x, sigmoid, size: Mux(
                x == 0,
                Mux(tanh, 0, 1 << 14),
                Mux(
                    tanh,
                    Mux(x < 0, -size, size),
                    Mux(x < 0, _MAX - sigmoid, sigmoid),
                ),
            ),
            tanh,
            x,
            sigmoid,
            size,
            shape=_INT16,
        )


Step = Callable[..., Staged]


def _product(step: Step, left: Staged, right: Staged | int) -> Staged:
    """High half of twice the product, rounded half up; -1 times -1 saturates."""
    left = step(lambda value: value, left)
    if isinstance(right, int):
        product = step(lambda left: left * Const(right, _INT16), left)
    else:
        right = step(lambda value: value, right)
        product = step(lambda left, right: left * right, left, right)

    def high(product: Value) -> Value:
        half = (product + (1 << 14)) >> 15
        return Mux(half > _MAX, _MAX, half)

    return step(high, product, shape=_INT16)


def _halved(value: Value, bits: int) -> Value:
    """A value divided by 2**bits, halves away from zero."""
    return (value + (1 << (bits - 1)) - (value < 0)) >> bits


def _shifted(step: Step, value: Staged, left: int) -> Staged:
    """A value shifted to the left, saturated; the lowest that would fit gives the lowest too."""
    limit = (1 << (15 - left)) - 1
    return step(
        lambda value: Mux(value > limit, _MAX, Mux(value < -limit, _MIN, value << left)),
        value,
        shape=_INT16,
    )


def _exponential(step: Step, aligned: Staged) -> Staged:
    """Exp of a number of Q7.15 that is not positive, in Q0.15; for 0 it is of no account."""
    # What is beyond the last quarter, in quarters, says the factors.
    last = step(lambda a: a[:_QUARTER_BITS] - (1 << _QUARTER_BITS), aligned, shape=signed(14))
    rest = step(lambda last, a: (last - a).as_unsigned(), last, aligned, shape=23)
    result = _last_quarter(step, last)
    for exponent in range(-2, _LARGEST_EXPONENT + 1):
        factor = _product(step, result, q15(math.exp(-(2.0**exponent))))
        result = step(
            lambda rest, factor, result, bit=15 + exponent: Mux(rest[bit], factor, result),
            rest,
            factor,
            result,
            shape=_INT16,
        )
    lowest = -(1 << (15 + _LARGEST_EXPONENT + 1))
    return step(lambda a, result: Mux(a < lowest, 0, result), aligned, result, shape=_INT16)


def _last_quarter(step: Step, last: Staged) -> Staged:
    """Exp of a number of Q0.15 from -1/4 to 0: a Taylor polynomial around -1/8."""
    middle = q15(math.exp(-1 / 8))
    x = step(lambda last: last + (1 << 12), last, shape=signed(14))
    x2 = _product(step, x, x)
    x3 = _product(step, x2, x)
    x4 = _product(step, x2, x2)
    upper = step(lambda x4, x3: _halved(x4, 2) + x3, x4, x3, shape=_INT16)
    third = _product(step, upper, q15(1 / 3))
    total = step(lambda third, x2: third + x2, third, x2, shape=_INT16)
    argument = step(lambda x, total: x + _halved(total, 1), x, total, shape=_INT16)
    more = _product(step, argument, middle)
    return step(lambda more: Mux(more > _MAX - middle, _MAX, middle + more), more, shape=_INT16)


def _reciprocal(step: Step, a: Staged) -> Staged:
    """``2 / (1 + a)`` of a number of Q0.15 from 0 to 1, in Q2.13: three steps of Newton's."""
    denominator = step(lambda a: (a + (1 << 15)) >> 1, a, shape=_INT16)
    guess = _product(step, denominator, q15(-32 / 17, 2))
    x = step(lambda guess: guess + q15(48 / 17, 2), guess, shape=_INT16)
    for _ in range(3):
        near = _product(step, denominator, x)
        error = step(lambda near: (1 << 13) - near, near, shape=_INT16)
        change = _shifted(step, _product(step, x, error), 2)
        x = step(lambda x, change: x + change, x, change, shape=_INT16)
    return x
