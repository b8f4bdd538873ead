"""What an array tells the machine around it: its numbers, its modes, its time and its hardware."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mensa.rtl.commands import Mode, Width
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
    logic_per_mac, flip_flops_per_mac : int
        Look-up tables and flip-flops that an FPGA needs at least for each of
        `peak_macs_per_cycle`.
    """

    kind: ClassVar[str]
    logic_per_mac: ClassVar[int] = 0
    flip_flops_per_mac: ClassVar[int] = 0

    link_bytes_per_mac: ClassVar[int] = 2
    """Bytes that go from one PE to the next, or past one, for a MAC; for energy."""

    post_lanes: int | None = None

    def __post_init__(self) -> None:
        check_range("post_lanes", self.lanes, 1, self.group, ", the channels of a group")

    @property
    def lanes(self) -> int:
        """Lanes of the post-processor and of the vector unit (L)."""
        return self.group if self.post_lanes is None else self.post_lanes

    @property
    def built(self) -> dict[str, int]:
        """The settings that follow from others where they are None, as they are built."""
        return {"post_lanes": self.lanes}

    @property
    @abstractmethod
    def edges(self) -> dict[str, int]:
        """The settings that say how large it is, by name."""

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
    def parameter_rows(self) -> int:
        """Bytes of the reduction whose parameters one beat brings: a chunk, or a power of two that
        divides it."""
        return 1

    @property
    def least_chunk(self) -> int:
        """Cycles that a chunk takes at least, however few its pixels and bytes are."""
        return 1

    @property
    def leaves_by_pixel(self) -> bool:
        """Whether a pixel's sums leave a constant time after its last word, pixel after pixel.

        Else a tile's leave after its last beat, row after row.
        """
        return False

    @property
    def tap_places(self) -> int:
        """Places for taps in a column, for MODE FILTER; 0 without it."""
        return 0

    @property
    def kept_tiles(self) -> int:
        """Tiles of a command whose sums can wait in the array for the next command (KEEP)."""
        return 1

    @property
    def store_bytes(self) -> int:
        """Bytes of the array's own memory for parameters; 0 if these come from a buffer.

        The load unit writes it in the buffer's place (`mensa.rtl.buffers.register_store`), and a
        parameter word begins at a multiple of its own size, a power of two.
        """
        return 0

    @property
    def store_setting(self) -> str | None:
        """The setting that says how large that memory is."""
        return None

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
    def rows_are_apart(self) -> bool:
        """Whether the next row of results comes so late that one can stay where it came until the
        post-processor has taken all of it, be its results of four bytes."""
        return self.tile == 1 and self.spacing >= 2 * self.pace + 2

    @property
    def takes_long_rows(self) -> bool:
        """Whether a row of results of four bytes has the time that it takes, twice the pace."""
        return self.leaves_by_pixel or self.spacing >= 2 * self.pace

    @property
    def clearance(self) -> int:
        """Cycles from a tile's last beat on in which a mode of its own may not begin; what begins
        after another command is four cycles later anyhow."""
        return self.spacing

    @property
    @abstractmethod
    def peak_macs_per_cycle(self) -> int:
        """Multiply-accumulates per cycle when every PE works."""

    @property
    def register_bytes_per_mac(self) -> float:
        """Bytes of registers in a PE that a MAC writes and reads; for energy.

        Here both operands and the sum of four bytes.
        """
        return 6.0

    @property
    def kept_bank_bytes(self) -> int | None:
        """Size of a memory in which a PE keeps sums of several tiles; None if it has none."""
        return None

    @property
    def parameter_bank_bytes(self) -> int | None:
        """Size of what one access to parameters reads from, if that is not the whole memory."""
        return None

    @property
    def own_modes(self) -> frozenset[Mode]:
        """Modes that this array has a loop nest of its own for, beside the tiled ones."""
        return frozenset()

    @abstractmethod
    def latency(self, mode: Mode) -> int:
        """Cycles from the last beat of a tile, or of a result, to its last row of results; where
        the array `leaves_by_pixel`, from a pixel's last word to its row."""

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

    def parameter_beats(self, nbytes: Any) -> Any:
        """Beats for the parameters of so many bytes of a chunk, a number or a signal."""
        if self.parameter_rows == 1:
            return nbytes
        if self.parameter_rows == self.chunk:
            return 1
        return (nbytes + (self.parameter_rows - 1)) >> (self.parameter_rows.bit_length() - 1)

    def turns_of_word(self, width: int) -> int:
        """Cycles from one to the next of a tile's last words, with results of a WIDTH: where sums
        leave with them, what the post-processor needs."""
        if not self.leaves_by_pixel:
            return 1
        return self.pace * (2 if width == Width.INT32 else 1)

    def chunk_cycles(self, words: int, nbytes: int) -> int:
        """Cycles of a chunk whose words take so many and whose bytes are so many."""
        beats: int = self.parameter_beats(nbytes)
        return max(words, beats, self.least_chunk)

    def tile_cycles(self, pixels: int, taps: int, segment: int, turns: int = 1) -> int:
        """Cycles that a tile of `pixels` keeps the feed busy, at least the spacing.

        `turns` is `turns_of_word`, for its last chunk.
        """
        full, rest = divmod(segment, self.chunk)
        chunks = full * self.chunk_cycles(pixels, self.chunk)
        if rest:
            chunks += self.chunk_cycles(pixels, rest)
        last = rest or self.chunk
        longer = self.chunk_cycles(turns * pixels, last) - self.chunk_cycles(pixels, last)
        return max(self.spacing, taps * chunks + longer)

    def own_buffer_reads(self, registers: Mapping[str, int]) -> tuple[int, int]:
        """Words that a command in one of `own_modes` reads: of parameters and of activations."""
        raise NotImplementedError(f"{self.kind} has no modes of its own")

    def buffer_reads(self, registers: Mapping[str, int]) -> tuple[int, int]:
        """Words that a command for the array reads: of parameters and of activations.

        Each parameter once for a tile, each activation once for a group of channels and a tap.
        """
        if registers["MODE"] in self.own_modes:
            return self.own_buffer_reads(registers)
        taps = registers["KERNEL_H"] * registers["KERNEL_W"]
        tiles = -(-registers["PIXELS"] // self.tile)
        parameters = activations = 0
        for count, segment in self._segments(registers):
            full, rest = divmod(segment, self.chunk)
            beats = full * self.parameter_beats(self.chunk)
            beats += self.parameter_beats(rest) if rest else 0
            parameters += count * tiles * taps * beats
            activations += count * registers["PIXELS"] * taps * (full + (rest > 0))
        return parameters, activations

    @staticmethod
    def _segments(registers: Mapping[str, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """How many groups have a segment of how many bytes."""
        return (
            (registers["GROUPS"] - 1, registers["SEGMENT"]),
            (1, registers["LAST_SEGMENT"]),
        )

    def feed_cycles(self, registers: Mapping[str, int]) -> int:
        """Cycles in which the feed of a command for the array takes a step."""
        if registers["MODE"] in self.own_modes:
            return self.own_feed_cycles(registers)
        taps = registers["KERNEL_H"] * registers["KERNEL_W"]
        turns = self.turns_of_word(registers.get("WIDTH", Width.BYTE))
        full_tiles, rest = divmod(registers["PIXELS"], self.tile)
        cycles = 0
        for count, segment in self._segments(registers):
            group = full_tiles * self.tile_cycles(self.tile, taps, segment, turns)
            if rest:
                group += self.tile_cycles(rest, taps, segment, turns)
            cycles += count * group
        return cycles
