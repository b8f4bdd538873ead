"""What a compute command does, counted: the events that its energy is made of.

A command's registers say how often each part of the machine works, as they say how long: no value
that it computes with matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mensa.rtl.buffer_reads import BufferReads, buffer_reads
from mensa.rtl.commands import Keep, Mode, Width
from mensa.rtl.machine import Machine

__all__ = ["CommandEvents", "command_events"]


@dataclass(frozen=True)
class CommandEvents:
    """Counts.

    Attributes
    ----------
    words : BufferReads
        That are read from the buffers.
    macs : int
        Products of a parameter and an activation that enter a sum, those of padding and of zeros
        that are stored with the weights too.
    parameter_reads, activation_reads, constant_reads : int
        Bytes of all words that are read: of parameters, of activations, and rows of channel
        records, one for each part of a row of sums that the post-processor takes.
    activation_writes : int
        Bytes of results.
    kept_sums : int
        Bytes of sums that go to the array's accumulator memory and come from there.
    requantised : int
        Sums that pass the requantiser.
    vector_operations, table_reads : int
        Operands that a lane of the vector unit takes; bytes that its tables give.
    cell_results, exponentials : int
        Results of the LSTM cell; elements of a softmax.
    """

    words: BufferReads = field(default_factory=BufferReads)
    macs: int = 0
    parameter_reads: int = 0
    activation_reads: int = 0
    constant_reads: int = 0
    activation_writes: int = 0
    kept_sums: int = 0
    requantised: int = 0
    vector_operations: int = 0
    table_reads: int = 0
    cell_results: int = 0
    exponentials: int = 0

    def __add__(self, other: CommandEvents) -> CommandEvents:
        return CommandEvents(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )


def command_events(machine: Machine, registers: Mapping[str, int]) -> CommandEvents:
    """Of a compute command, whose registers are given by name."""
    mode, width = Mode(registers["MODE"]), Width(registers.get("WIDTH", Width.BYTE))
    taps = registers["KERNEL_H"] * registers["KERNEL_W"]
    words, array = buffer_reads(machine, registers), machine.array
    keep = Keep(registers.get("KEEP", 0))
    leave = not keep & Keep.UNDRAINED
    results = macs = parts = 0
    for pixels, channels, segment, outputs in _groups(registers):
        results += outputs
        macs += outputs * taps * (segment if mode.is_dense else 1)
        parts += pixels * -(-channels // machine.lanes)
    written = results * width.nbytes if leave else 0
    if not mode.is_vector:
        # A filter's word is of all columns, other words are chunks.
        word = array.group if mode == Mode.FILTER else array.chunk
        records = leave and not registers["UNIFORM"]
        kept = 4 * array.group * registers["PIXELS"] if array.kept_bank_bytes else 0
        return CommandEvents(
            words=words,
            macs=macs,
            parameter_reads=words.parameters * array.parameter_rows * machine.group_channels(mode),
            activation_reads=words.activations * word,
            constant_reads=parts * machine.constant_row_bytes if records else 0,
            activation_writes=written,
            kept_sums=kept * (bool(keep & Keep.CONTINUE) + bool(keep & Keep.UNDRAINED)),
            requantised=results if leave else 0,
        )
    lanes = machine.group_channels(mode)
    if mode.is_cell:
        read = registers["GROUPS"] * lanes * _cell_operand_bytes(machine, mode, taps)
        return CommandEvents(
            words=words, activation_reads=read, activation_writes=written, cell_results=results
        )
    step = machine.exponential_step_bytes if mode == Mode.SOFTMAX else machine.table_step_bytes
    common: dict[str, Any] = {
        "words": words,
        "parameter_reads": words.parameters * step,
        "activation_reads": words.activations * lanes,
        "activation_writes": written,
        "requantised": results,
    }
    if mode == Mode.SOFTMAX:
        return CommandEvents(exponentials=results, **common)
    return CommandEvents(
        vector_operations=results * taps,
        table_reads=results * step if mode == Mode.TABLE else 0,
        **common,
    )


def _cell_operand_bytes(machine: Machine, mode: Mode, gates: int) -> int:
    """Of a result of the LSTM cell: both sums of each gate, of DOT both numbers, and the state."""
    other = Width.INT16 if mode == Mode.DOT else machine.recurrent_width
    state = Width.INT16.nbytes if mode in (Mode.CELL_STATE, Mode.HIDDEN_STATE) else 0
    return gates * (Width.INT16.nbytes + other.nbytes) + state


def _groups(registers: Mapping[str, int]) -> Iterator[tuple[int, int, int, int]]:
    """Of the groups before the last, and of the last: pixels of all of them, channels and bytes of
    a tap of each, and results of all of them."""
    pixels, edge = registers["PIXELS"], registers.get("EDGE_CHANNELS", 0)
    rows = pixels // registers["OUT_WIDTH"]  # whose last pixel may have fewer channels
    for count, channels, segment in (
        (registers["GROUPS"] - 1, registers["GROUP_CHANNELS"], registers["SEGMENT"]),
        (1, registers["LAST_GROUP_CHANNELS"], registers["LAST_SEGMENT"]),
    ):
        fewer = rows * max(0, channels - edge) if edge else 0
        yield count * pixels, channels, segment, count * (pixels * channels - fewer)
