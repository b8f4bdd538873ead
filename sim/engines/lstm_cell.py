"""What the LSTM cell computes, in NumPy: both oracles' arithmetic of `mensa.golden`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import requantize_double, rounding_divide_by_pot
from mensa.golden.arithmetic.gates import (
    Int16Array,
    fixed_point_sigmoid,
    fixed_point_tanh,
    interpolated_sigmoid,
    interpolated_tanh,
    look_up,
)
from mensa.rtl.commands import Mode

__all__ = ["cell_result", "gate_sum"]

Int64 = npt.NDArray[np.int64]

_MIN, _MAX = -(1 << 15), (1 << 15) - 1

_GATE_INTEGER_BITS = 3
"""A gate's sum is in Q3.12."""


def cell_result(
    arithmetic: str,
    mode: Mode,
    integer_bits: int,
    state: Int64,
    sums: Sequence[tuple[Int64, Int64]],
) -> Int64:
    """The next cell state, or a hidden state before it is requantised.

    Parameters
    ----------
    arithmetic : "tflm" or "litert"
        Whose functions and roundings.
    mode : Mode
        CELL_STATE or HIDDEN_STATE.
    integer_bits : int
        Of the cell state, 0 to 6.
    state : int64 array
        The cell state, int16 values.
    sums : sequence of two int64 arrays each
        Of every gate that of its inputs, and its recurrent sum, as the command has them.
    """
    gates = [gate_sum(inputs, recurrent) for inputs, recurrent in sums]
    sigmoid = interpolated_sigmoid() if arithmetic == "tflm" else fixed_point_sigmoid()
    if mode == Mode.HIDDEN_STATE:
        return look_up(sigmoid, gates[0]) * look_up(_tanh(arithmetic, integer_bits), state)
    forget = look_up(sigmoid, gates[0])
    taken = look_up(sigmoid, gates[1]) if len(gates) == 3 else _MAX - forget
    update = look_up(_tanh(arithmetic, _GATE_INTEGER_BITS), gates[-1])
    kept = _rescaled(arithmetic, forget * state, 15)
    added = _rescaled(arithmetic, taken * update, 15 + integer_bits)
    state_after: Int64 = np.clip(kept + added, _MIN, _MAX)
    return state_after


def gate_sum(inputs: Int64, recurrent: Int64) -> Int64:
    """A gate's sum of those of its inputs and its recurrent one, int16 values."""
    total: Int64 = np.clip(inputs + recurrent, _MIN, _MAX)
    return total


def _tanh(arithmetic: str, integer_bits: int) -> Int16Array:
    if arithmetic == "tflm":
        return interpolated_tanh(integer_bits - 15)
    return fixed_point_tanh(integer_bits)


def _rescaled(arithmetic: str, product: Int64, right: int) -> Int64:
    """A product divided by a power of two, as a number of 16 bits."""
    if arithmetic == "tflm":
        rounded: Int64 = np.clip(requantize_double(product, 1 << 30, 1 - right), _MIN, _MAX)
        return rounded
    return rounding_divide_by_pot(product, right).astype(np.int16).astype(np.int64)
