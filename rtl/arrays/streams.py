"""The streams between the shell and an array (docs/array-contract.md).

Nothing behind an array can stall, and nothing stalls an array: all are always ready.
"""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data, stream

from mensa.rtl.arrays.array import Array
from mensa.rtl.commands import Mode

__all__ = [
    "ACCUMULATOR_BITS",
    "OPERAND_BITS",
    "activations_signature",
    "parameters_signature",
    "results_signature",
]

OPERAND_BITS = 9
"""Bits of an operand: a byte less a zero point."""

ACCUMULATOR_BITS = 32
"""Bits of a sum, which wraps."""


def activations_signature(array: Array) -> stream.Signature:
    """Up to a chunk of consecutive values of the reduction, for one lane: a pixel of the tile."""
    operands = data.ArrayLayout(signed(OPERAND_BITS), array.chunk)
    layout = data.StructLayout({"lane": range(array.tile), "values": operands})
    return stream.Signature(layout, always_ready=True)


def parameters_signature(array: Array) -> stream.Signature:
    """One value for each channel of the group.

    `first` and `last` mark a tile's first and last beat. An array with MODE FILTER also has beats
    that clear the taps, and those that are the tap of its row `row`.
    """
    filter_fields = {"clear": 1, "tap": 1, "row": range(array.tile)}
    layout = data.StructLayout(
        {
            "first": 1,
            "last": 1,
            **(filter_fields if Mode.FILTER in array.own_modes else {}),
            "values": data.ArrayLayout(signed(OPERAND_BITS), array.group),
        }
    )
    return stream.Signature(layout, always_ready=True)


def results_signature(array: Array) -> stream.Signature:
    """The sums of one row, a value for each channel.

    `last` marks a tile's last row to leave. What is no part of a tile is `alone`, and row 0.
    """
    sums = data.ArrayLayout(signed(ACCUMULATOR_BITS), array.group)
    layout = data.StructLayout({"row": range(array.tile), "last": 1, "alone": 1, "values": sums})
    return stream.Signature(layout, always_ready=True)
