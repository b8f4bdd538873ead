"""What an array tells the machine around it: its numbers, its modes, its time and its hardware."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mensa.rtl.commands import Mode
from mensa.rtl.setting import check_range

__all__ = ["Array"]


@dataclass(frozen=True, kw_only=True)
class Array(ABC):
    """The array's side of the contract (docs/array-contract.md).

    Shell, engines and lowering know an array by this object alone. It is plain Python: only
    `hardware` and `nest` need Amaranth. Registers are those of a compute command by name, as in
    `mensa.rtl.commands.REGISTERS`. Its fields are settings of the machine.

    Attributes
    ----------
    post_lanes : int or None
        Lanes of the post-processor and of the vector unit (L), 1 to `group`: results that are
        requantised in a cycle. None gives one a channel. Fewer save multipliers; a row of the
        array's sums then takes ceil(`group` / L) cycles.
    kind : str
        What configurations and files call arrays of this class.
    """

    kind: ClassVar[str]

    post_lanes: int | None = None

    def __post_init__(self) -> None:
        check_range("post_lanes", self.lanes, 1, self.group, ", the channels of a group")

    @property
    def lanes(self) -> int:
        """Lanes of the post-processor and of the vector unit (L)."""
        return self.group if self.post_lanes is None else self.post_lanes

    @property
    @abstractmethod
    def edges(self) -> dict[str, int]:
        """The settings that say how large it is; the number of PEs is their product."""

    @property
    def size(self) -> str:
        """Its edges, such as "64 x 64"."""
        return " x ".join(map(str, self.edges.values()))

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
    def pace(self) -> int:
        """Cycles from one row of a tile's results to the next: the post-processor takes L a
        cycle."""
        return -(-self.group // self.lanes)

    @property
    @abstractmethod
    def spacing(self) -> int:
        """Cycles between the `last` beats of two tiles, at least."""

    @property
    @abstractmethod
    def peak_macs_per_cycle(self) -> int:
        """Multiply-accumulates per cycle when every PE works."""

    @property
    def own_modes(self) -> frozenset[Mode]:
        """Modes that this array has a loop nest of its own for, beside the tiled ones."""
        return frozenset()

    @abstractmethod
    def latency(self, mode: Mode) -> int:
        """Cycles from the last beat of a tile, or of a result, to its last row of results."""

    @abstractmethod
    def group_channels(self, mode: Mode) -> int:
        """Output channels of a group at most, and bytes of a parameter word, in a mode."""

    def own_feed_cycles(self, registers: Mapping[str, int]) -> int:
        """Cycles in which the feed of a command in one of `own_modes` takes a step."""
        raise NotImplementedError(f"{self.kind} has no modes of its own")

    def refusal(self, registers: Mapping[str, int]) -> str | None:
        """Why a command has no meaning on this array, beyond what is wrong on any; else None."""
        return None

    @abstractmethod
    def hardware(self) -> Any:
        """The array as an Amaranth component with the streams of `mensa.rtl.arrays.streams`."""

    def nest(self) -> Any:
        """The loop nest of `own_modes`, an Amaranth component whose `nest` is a NestSignature; None
        where there are none."""
        return None

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
