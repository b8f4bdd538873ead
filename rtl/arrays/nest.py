"""What the loop nests of the compute unit have in common: their steps, and how they are driven."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.kind import kind_layout
from mensa.rtl.arrays.streams import WORD_MARKS, keep_fields
from mensa.rtl.commands import (
    BUFFER_ADDRESS_BITS,
    CHANNELS_BITS,
    ENTRY_BITS,
    Unit,
    compute_bits,
)
from mensa.rtl.parts.unit import registers_layout

__all__ = [
    "POSITION_BITS",
    "ROW_BITS",
    "NestSignature",
    "group_layout",
    "size_shape",
    "step_layout",
    "work_fields",
]

POSITION_BITS = BUFFER_ADDRESS_BITS
"""Bits of a byte position in an input row."""

ROW_BITS = compute_bits("INPUT_ROWS")
"""Bits of the number of an input row."""


def size_shape(array: Array) -> range:
    """Shape of a number of bytes that are fetched at once."""
    return range(max(array.chunk, array.group) + 1)


def work_fields(array: Array) -> dict[str, Any]:
    """What a step of a nest does, and its beat with it: all but where its bytes are."""
    return {
        # Activations: `size` bytes.
        "fetch_activation": 1,
        "size": size_shape(array),
        "operand": 1,  # of a scaled sum
        # Parameters: one word.
        "fetch_parameter": 1,
        "parameter_address": BUFFER_ADDRESS_BITS,
        "diagonal": CHANNELS_BITS,  # depthwise: first column that sees it
        "clear": 1,  # filter: forget all taps
        # Row of the array that the activations, or a filter's tap, are for.
        "lane": range(max(array.tile, array.tap_places)),
        # Marks of a reduction: a tile's first and last beat, so that the last ones of two tiles
        # are the spacing apart even where the second has fewer parameters.
        "first": 1,
        "last": 1,
        **keep_fields(array),
        # The same of a pixel's words, whose sums leave with the last.
        **(WORD_MARKS if array.leaves_by_pixel else {}),
        # The lane's result, told once per tile. A step's channels are those of all pixels but the
        # edge, where that has its own number.
        "announce": 1,
        "lanes": range(array.tile + 1),
        "entry": ENTRY_BITS,
        "channels": CHANNELS_BITS,
    }


def step_layout(array: Array) -> data.StructLayout:
    """A step of a nest: what it does, and the terms of its addresses, two of each sum.

    They hold all there is but X_START, with which a position is no longer an address.
    """
    address = BUFFER_ADDRESS_BITS
    return data.StructLayout(
        {
            **work_fields(array),
            "outer_x": POSITION_BITS,
            "inner_x": POSITION_BITS,
            "outer_y": ROW_BITS,
            "inner_y": signed(ROW_BITS + 2),
            "outer_y_address": address,
            "inner_y_address": address,
            "edge": 1,  # last pixel of its output row
            "out_x": address,
            "out_y": signed(address),
            "out_group": address,
        }
    )


def group_layout() -> data.StructLayout:
    """A group of output channels, and what is known of the next one."""
    return data.StructLayout(
        {
            "is_last": 1,  # of the command's groups
            "x": POSITION_BITS,  # bytes from the first group's activations
            "out": BUFFER_ADDRESS_BITS,
            "entry": ENTRY_BITS,
            "next_is_last": 1,
            "next_x": POSITION_BITS,
        }
    )


class NestSignature(wiring.Signature):
    """How a nest is driven.

    `start` begins a command: `registers` and `kind`, which is its mode decoded, are valid from then
    until its last step. If the mode is the nest's, the nest takes a step in every cycle in which it
    is `active`, from the cycle after `start` on without a gap; `step` is the one that was taken in
    the cycle before.

    `group` is the group of output channels in which the nest is, from the cycle after `start` on;
    `group_over` goes on to the next one. A nest may run ahead of the steps it takes, so what a step
    needs of its group is part of it.
    """

    def __init__(self, array: Array) -> None:
        super().__init__(
            {
                "start": Out(1),
                "registers": Out(registers_layout(Unit.COMPUTE)),
                "kind": Out(kind_layout()),
                "group": Out(group_layout()),
                "group_over": In(1),
                "active": In(1),
                "step": In(step_layout(array)),
            }
        )
