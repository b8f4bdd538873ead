"""What the loop nests of the compute unit have in common: their steps, and how they are driven."""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.unit import registers_layout

__all__ = ["POSITION_BITS", "NestSignature", "size_shape", "step_layout"]

POSITION_BITS = 28
"""Bits of a byte position in an input row."""


def size_shape(machine: Machine) -> range:
    """Shape of a number of bytes that are fetched at once."""
    return range(max(machine.array.chunk, machine.array.group) + 1)


def step_layout(machine: Machine) -> data.StructLayout:
    """A step of a nest within its group: what it does, and the terms of its addresses."""
    address = BUFFER_ADDRESS_BITS
    return data.StructLayout(
        {
            # Activations: `size` bytes.
            "fetch_activation": 1,
            "size": size_shape(machine),
            "outer_x": POSITION_BITS,
            "inner_x": POSITION_BITS,
            "chunk_offset": 24,
            "outer_y": 16,
            "inner_y": 16,
            "outer_y_address": address,
            "inner_y_address": address,
            "operand": 1,  # of a scaled sum
            # Parameters: one word.
            "fetch_parameter": 1,
            "parameter_address": address,
            "diagonal": 8,  # depthwise: first column that sees it
            "clear": 1,  # filter: forget all taps
            # Row of the array that the activations, or a filter's tap, are for.
            "lane": range(machine.array.tile),
            # Marks of a reduction.
            "first": 1,
            "last": 1,
            # Where a result goes.
            "announce": 1,
            "lanes": range(machine.array.tile + 1),
            "edge": 1,  # last pixel of its output row
            "out_x": address,
            "out_y": signed(address),
        }
    )


class NestSignature(wiring.Signature):
    """How a nest is driven.

    `start` begins a command: `registers` are valid from then until its last step. In every cycle in
    which `active` is high the nest takes the step that it shows; `group_over` marks the last one of
    a group of output channels. `coming_is_last` says whether the group that begins next, with
    `start` or after `group_over`, is the command's last.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(
            {
                "start": Out(1),
                "active": Out(1),
                "registers": Out(registers_layout(Unit.COMPUTE)),
                "coming_is_last": Out(1),
                "step": In(step_layout(machine)),
                "group_over": In(1),
            }
        )
