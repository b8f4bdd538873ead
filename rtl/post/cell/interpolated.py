"""Sigmoid and hyperbolic tangent as TensorFlow Lite Micro has them: a table, interpolated.

The same in NumPy: `mensa.golden.arithmetic.gates`.
"""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Module, Mux, Value, signed
from amaranth.lib import memory

from mensa.golden.arithmetic.gates import sigmoid_entries
from mensa.rtl.parts.pipeline import Pipeline, Staged
from mensa.rtl.post.cell.gate_function import GATE_INTEGER_BITS, GateFunction

__all__ = ["InterpolatedFunction"]

_LAST = 254
"""The table's last entry that has one behind it."""

_PART_BITS = 9
"""Of an argument between two entries."""


class InterpolatedFunction(GateFunction):
    """TFLM's functions: sigmoid at every 1 / 24, and tanh(x) as 2 sigmoid(2 x) - 1."""

    latency = 11

    def lane(
        self, m: Module, pipeline: Pipeline, x: Staged, tanh: Staged, integer_bits: Staged
    ) -> Staged:
        """One lane: a table of 255 entries and a multiplier."""
        step = pipeline.step
        # In units of 1 / 12288, which are 512 from one entry to the next; for tanh twice as many.
        tripled = step(lambda x: 3 * x, x)
        argument = step(_scaled, tripled, tanh, integer_bits)
        negative = step(lambda x: x < 0, argument)
        size = step(lambda x: Mux(x < 0, -x, x).as_unsigned(), argument)
        beyond = step(lambda size: (size >> _PART_BITS) > _LAST, size)
        number = step(
            lambda size: Mux((size >> _PART_BITS) > _LAST, _LAST, size >> _PART_BITS), size, shape=8
        )
        entry = self._look_up(m, pipeline, number)
        low = step(lambda entry: entry[:16], entry)
        product = step(lambda size, entry: size[:_PART_BITS] * entry[16:], size, entry)
        between = step(lambda low, product: (low << _PART_BITS) + product, low, product, shape=26)
        # All there is beyond the table; no sigmoid comes there.
        result = step(
            lambda between, beyond: Mux(beyond, 0xFFFF << _PART_BITS, between), between, beyond
        )
        # The lower half mirrors the upper one; halves are rounded up.
        half = 1 << 24
        shifted = step(
            lambda result, negative, tanh: Mux(
                tanh,
                Mux(negative, half + 254 - result, result - half + 256),
                Mux(negative, 2 * half + 511 - result, result + 512),
            ),
            result,
            negative,
            tanh,
            shape=signed(28),
        )
        return step(
            lambda shifted, tanh: Mux(tanh, shifted >> 9, shifted >> 10),
            shifted,
            tanh,
            shape=signed(16),
        )

    def _look_up(self, m: Module, pipeline: Pipeline, number: Staged) -> Staged:
        """An entry, and how much more the next one is."""
        entries = [int(entry) for entry in sigmoid_entries()]
        content = [low | (high - low) << 16 for low, high in pairwise(entries)]
        width = max(content).bit_length()
        m.submodules.table = table = memory.Memory(shape=width, depth=len(content), init=content)
        read = table.read_port()
        m.d.comb += read.addr.eq(number.value)
        # The register behind a block RAM, which needs a while, is its own.
        return pipeline.step(lambda entry: entry, Staged(read.data, number.cycle + 1))


def _scaled(tripled: Value, tanh: Value, integer_bits: Value) -> Value:
    """The table's argument, in units of 1 / 512 of what lies between two entries."""
    scaled: Value = tripled
    for bits in range(1 << len(integer_bits)):
        left = bits - GATE_INTEGER_BITS
        choice = tripled << left if left > 0 else _rounded(tripled, -left)
        scaled = Mux(tanh & (integer_bits == bits), 2 * choice, scaled)
    return scaled


def _rounded(value: Value, right: int) -> Value:
    """Shifted to the right, halves rounded up."""
    return (value + (1 << (right - 1))) >> right if right else value
