"""What a layer asks of the units, before anybody has decided on banks, halves and tokens.

A layer is tiles of its output; a tile is copies in, steps of computing, copies out. Addresses in
buffers count from the start of the bank or half that `mensa.sched.lower.emit` gives the tile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Registers = Mapping[str, int]


@dataclass(frozen=True)
class Copy:
    """Rows of bytes between memory and one bank of the activation buffer.

    Attributes
    ----------
    memory_address, offset : int
        Of the first byte, in memory and in the bank; equal modulo a beat.
    row_bytes, rows : int
        What is copied.
    memory_pitch, pitch : int
        Bytes from row to row in memory and in the bank; of no account for a single row.
    """

    memory_address: int
    offset: int
    row_bytes: int
    rows: int = 1
    memory_pitch: int = 0
    pitch: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes that are copied."""
        return self.row_bytes * self.rows


@dataclass(frozen=True, eq=False)
class ParameterSet:
    """Parameters and constants that are loaded together, each to the start of its half.

    Attributes
    ----------
    parameter_address, parameter_bytes, constant_address, constant_bytes : int
        Where in memory they are and how much; 0 bytes of constants for none.
    """

    parameter_address: int
    parameter_bytes: int
    constant_address: int
    constant_bytes: int


@dataclass(frozen=True, eq=False)
class Step:
    """Compute commands that work from the same parameters.

    Attributes
    ----------
    commands : tuple of registers
        ACT_ADDRESS, OUT_ADDRESS, PARAMETER_ADDRESS and CONSTANT_ENTRY count from the start of
        what the tile is given.
    parameters : ParameterSet or None
        What they need; the same object as the step's before if that is still good.
    """

    commands: tuple[Registers, ...]
    parameters: ParameterSet | None = None


@dataclass(frozen=True, eq=False)
class Tile:
    """A part of a layer's output: its inputs fit one bank, its outputs another."""

    loads: tuple[Copy, ...]
    steps: tuple[Step, ...]
    stores: tuple[Copy, ...]


@dataclass(frozen=True, eq=False)
class LayerWork:
    """All tiles of the operator with index `operator`, in order."""

    operator: int
    tiles: tuple[Tile, ...]
