"""The streams between the shell and an array (docs/array-contract.md).

Nothing behind an array can stall, and nothing stalls an array: all are always ready.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.arrays.array import Array
from mensa.rtl.commands import Mode

__all__ = [
    "ACCUMULATOR_BITS",
    "OPERAND_BITS",
    "WORD_MARKS",
    "activations_signature",
    "array_members",
    "keep_fields",
    "parameters_signature",
    "results_signature",
]

OPERAND_BITS = 9
"""Bits of an operand: a byte less a zero point."""

ACCUMULATOR_BITS = 32
"""Bits of a sum, which wraps."""


WORD_MARKS = {"opens": 1, "closes": 1, "ends": 1}
"""Of a word: its pixel's sums begin with it, leave with it, and are the last of their tile."""


def array_members(array: Array) -> dict[str, wiring.Member]:
    """The members of an array's component: its streams, and with MODE FILTER the level `filter`."""
    level = {"filter": In(1)} if Mode.FILTER in array.own_modes else {}
    return {
        **level,
        "activations": In(activations_signature(array)),
        "parameters": In(parameters_signature(array)),
        "results": Out(results_signature(array)),
    }


def activations_signature(array: Array) -> stream.Signature:
    """Up to a chunk of consecutive values of the reduction, for one lane: a pixel of the tile.

    Words have `WORD_MARKS` where sums leave pixel by pixel.
    """
    operands = data.ArrayLayout(signed(OPERAND_BITS), array.chunk)
    marks = WORD_MARKS if array.leaves_by_pixel else {}
    layout = data.StructLayout({"lane": range(array.tile), **marks, "values": operands})
    return stream.Signature(layout, always_ready=True)


def keep_fields(array: Array) -> dict[str, Any]:
    """Of a beat, where the sums of several tiles can be kept: its tile's sums go on from kept ones,
    are kept with it, and the tile's number in its command."""
    if array.kept_tiles == 1:
        return {}
    return {"resumes": 1, "keeps": 1, "place": range(array.kept_tiles)}


def parameters_signature(array: Array) -> stream.Signature:
    """One value for each channel of the group, of each of the bytes that a beat is for.

    `first` and `last` mark a tile's first and last beat. An array that keeps the sums of several
    tiles has `keep_fields`. An array with MODE FILTER also has beats that clear the taps, and those
    that are the tap of its row `row`, which all bytes of the beat hold. If it has a store of input
    rows, `last` marks the last tap of a tap row, `first` the first word of an input row, and the
    beats of a word have their number as `row`.
    """
    filter_fields = {"clear": 1, "tap": 1, "row": range(array.tap_places)}
    values = array.parameter_rows * array.group
    layout = data.StructLayout(
        {
            "first": 1,
            "last": 1,
            **keep_fields(array),
            **(filter_fields if Mode.FILTER in array.own_modes else {}),
            "values": data.ArrayLayout(signed(OPERAND_BITS), values),
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
