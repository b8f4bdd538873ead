"""How often a compute command reads the buffers, in closed form; the core counts the same.

A word of activations is counted when the operand feed asks for it, also where all of it is padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mensa.rtl import timing
from mensa.rtl.commands import EXPONENTIAL_BYTES, TABLE_BYTES, Mode
from mensa.rtl.machine import Machine

__all__ = ["BufferReads", "buffer_reads"]


@dataclass(frozen=True)
class BufferReads:
    """Words that are read.

    Attributes
    ----------
    parameters : int
        From the memory for parameters: weights of a beat, or bytes of a table.
    activations : int
        From the activation buffer: up to a chunk, or up to what a unit takes in a cycle.
    """

    parameters: int = 0
    activations: int = 0

    def __add__(self, other: BufferReads) -> BufferReads:
        return BufferReads(self.parameters + other.parameters, self.activations + other.activations)


def buffer_reads(machine: Machine, registers: Mapping[str, int]) -> BufferReads:
    """Of a compute command, whose registers are given by name."""
    mode = Mode(registers["MODE"])
    if not mode.is_vector:
        return BufferReads(*machine.array.buffer_reads(registers))
    groups, pixels = registers["GROUPS"], registers["PIXELS"]
    if mode.is_cell:
        return BufferReads(0, timing.feed_cycles(machine, registers))
    if mode == Mode.SOFTMAX:
        table = EXPONENTIAL_BYTES // machine.exponential_step_bytes
        return BufferReads(table, 3 * groups * pixels)
    table = TABLE_BYTES // machine.table_step_bytes if mode == Mode.TABLE else 0
    return BufferReads(table, timing.feed_cycles(machine, registers) - table)
