"""What a compute command does, counted: the events that its energy is made of.

A command's registers say how often each part of the machine works, as they say how long: no value
that it computes with matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from mensa.rtl.buffer_reads import buffer_reads
from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES
from mensa.rtl.commands import Keep, Mode, Width
from mensa.rtl.machine import Machine

__all__ = ["CommandEvents", "command_events"]


@dataclass(frozen=True)
class CommandEvents:
    """Counts.

    Attributes
    ----------
    macs : int
        Products of a parameter and an activation that enter a sum, those of padding and of zeros
        that are stored with the weights too.
    parameter_reads, activation_reads, constant_reads : int
        Bytes of all words that are read from each memory of parameters, activations and channel
        records.
    activation_writes : int
        Bytes of results.
    requantised : int
        Sums that pass the requantiser.
    vector_operations : int
        Operands that a lane of the vector unit takes.
    cell_results, exponentials : int
        Results of the LSTM cell; elements of a softmax.
    """

    macs: int = 0
    parameter_reads: int = 0
    activation_reads: int = 0
    constant_reads: int = 0
    activation_writes: int = 0
    requantised: int = 0
    vector_operations: int = 0
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
    words = buffer_reads(machine, registers)
    leave = not registers.get("KEEP", 0) & Keep.UNDRAINED
    results = macs = 0
    for outputs, segment in _groups(registers):
        results += outputs
        macs += outputs * taps * (segment if mode.is_dense else 1)
    written = results * width.nbytes if leave else 0
    if not mode.is_vector:
        array = machine.array
        sums = results if leave else 0
        return CommandEvents(
            macs=macs,
            parameter_reads=words.parameters * array.parameter_rows * machine.group_channels(mode),
            activation_reads=words.activations * array.chunk,
            constant_reads=0 if registers["UNIFORM"] else sums * CHANNEL_RECORD_BYTES,
            activation_writes=written,
            requantised=sums,
        )
    table = machine.exponential_step_bytes if mode == Mode.SOFTMAX else machine.table_step_bytes
    read = {
        "parameter_reads": words.parameters * table,
        "activation_reads": words.activations * machine.group_channels(mode),
        "activation_writes": written,
    }
    if mode.is_cell:
        return CommandEvents(cell_results=results, **read)
    if mode == Mode.SOFTMAX:
        return CommandEvents(exponentials=results, requantised=results, **read)
    return CommandEvents(vector_operations=results * taps, requantised=results, **read)


def _groups(registers: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Results of the groups before the last and of the last, and the bytes of a tap in each."""
    pixels, edge = registers["PIXELS"], registers.get("EDGE_CHANNELS", 0)
    rows = pixels // registers["OUT_WIDTH"]  # whose last pixel may have fewer channels
    for count, channels, segment in (
        (registers["GROUPS"] - 1, registers["GROUP_CHANNELS"], registers["SEGMENT"]),
        (1, registers["LAST_GROUP_CHANNELS"], registers["LAST_SEGMENT"]),
    ):
        fewer = rows * max(0, channels - edge) if edge else 0
        yield count * (pixels * channels - fewer), segment
