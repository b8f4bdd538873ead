"""What an array tells the machine around it: its numbers, its modes, its time and its hardware."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from mensa.rtl.commands import Mode

__all__ = ["Array"]


class Array(ABC):
    """The array's side of the contract (docs/array-contract.md).

    Shell, engines and lowering know an array by this object alone. It is plain Python: only
    `hardware` and `nest` need Amaranth. Registers are those of a compute command by name, as in
    `mensa.rtl.commands.REGISTERS`.
    """

    @property
    @abstractmethod
    def tile(self) -> int:
        """Output pixels that are in the array at once."""

    @property
    @abstractmethod
    def chunk(self) -> int:
        """Bytes of the reduction that one activation word holds."""

    @property
    @abstractmethod
    def group(self) -> int:
        """Output channels at once: parameters of a beat and results of a row."""

    @property
    @abstractmethod
    def pace(self) -> int:
        """Cycles from one row of a tile's results to the next."""

    @property
    @abstractmethod
    def spacing(self) -> int:
        """Cycles between the `last` beats of two tiles, at least."""

    @property
    @abstractmethod
    def peak_macs_per_cycle(self) -> int:
        """Multiply-accumulates per cycle when every PE works."""

    @property
    @abstractmethod
    def own_modes(self) -> frozenset[Mode]:
        """Modes that this array has a loop nest of its own for, beside the tiled ones."""

    @abstractmethod
    def latency(self, mode: Mode) -> int:
        """Cycles from the last beat of a tile, or of a result, to its last row of results."""

    @abstractmethod
    def group_channels(self, mode: Mode) -> int:
        """Output channels of a group at most, and bytes of a parameter word, in a mode."""

    @abstractmethod
    def own_feed_cycles(self, registers: Mapping[str, int]) -> int:
        """Cycles in which the feed of a command in one of `own_modes` takes a step."""

    @abstractmethod
    def refusal(self, registers: Mapping[str, int]) -> str | None:
        """Why a command has no meaning on this array, beyond what is wrong on any; else None."""

    @abstractmethod
    def hardware(self) -> Any:
        """The array as an Amaranth component."""

    @abstractmethod
    def nest(self) -> Any:
        """The loop nest of `own_modes`, an Amaranth component whose `nest` is a NestSignature."""

    def tile_cycles(self, pixels: int, taps: int, segment: int) -> int:
        """Cycles that a tile of `pixels` keeps the feed busy.

        A chunk takes max(pixels, its bytes), and a tile at least the spacing.
        """
        full, rest = divmod(segment, self.chunk)
        chunks = full * max(pixels, self.chunk) + (max(pixels, rest) if rest else 0)
        return max(self.spacing, taps * chunks)

    def feed_cycles(self, registers: Mapping[str, int]) -> int:
        """Cycles in which the feed of a command for the array takes a step."""
        if registers["MODE"] in self.own_modes:
            return self.own_feed_cycles(registers)
        taps = registers["KERNEL_H"] * registers["KERNEL_W"]
        full_tiles, rest = divmod(registers["PIXELS"], self.tile)
        cycles = 0
        for count, segment in (
            (registers["GROUPS"] - 1, registers["SEGMENT"]),
            (1, registers["LAST_SEGMENT"]),
        ):
            group = full_tiles * self.tile_cycles(self.tile, taps, segment)
            if rest:
                group += self.tile_cycles(rest, taps, segment)
            cycles += count * group
        return cycles
