"""Machine: the configuration of one accelerator, from which everything about it follows."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.jacquard.jacquard import Jacquard
from mensa.rtl.arrays.pascal.pascal import Pascal
from mensa.rtl.arrays.pavlov.pavlov import Pavlov
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES, CHANNEL_RECORD_USED_BYTES
from mensa.rtl.commands import Mode, Width
from mensa.rtl.setting import (
    MachineError,
    check_known,
    check_power_of_two,
    check_range,
    next_power_of_two,
)

__all__ = [
    "ARRAYS",
    "AXI_BEAT_BYTES",
    "AXI_PAGE_BYTES",
    "CELLS",
    "KIB",
    "MAX_CLOCK_HZ",
    "MIB",
    "Machine",
    "MachineError",
    "edge_tpu",
    "jacquard",
    "machines",
    "pascal",
    "pavlov",
]

KIB = 1024
MIB = 1024 * KIB

MAX_CLOCK_HZ = 100_000_000_000
"""Highest clock; with the bounds of a memory it keeps all times in cycles within 64 bits."""

CELLS = ("tflm", "litert")
"""Whose arithmetic an LSTM cell may have."""

AXI_PAGE_BYTES = 4096
"""No AXI burst crosses a boundary of this size (AMBA AXI, A3.4.1)."""

AXI_BEAT_BYTES = 128
"""Of AXI's widest beat, 1,024 bits (AMBA AXI, A3.4.1)."""

MOST_LANES = 8
"""AXI ports of a data port at most."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One accelerator's configuration: an array, and the shell around it.

    Every number is a setting: `machine.replace(rows=8)` changes the array's, too.

    Attributes
    ----------
    name : str
        What reports call it.
    array : Array
        The array, as everything around it knows it; its fields are settings of the machine.
    clock_hz : int
        Clock of the core and of its memory ports, hertz, 1 to 100 GHz.
    parameter_buffer_bytes : int or None
        On-chip memory for weights, bytes: two halves, each of an even number of rows. A row is
        twice the longer of the array's words rounded up to a power of two, or a beat if that is
        more. None, and only None, for an array that has a memory of its own for them
        (`Array.store_bytes`).
        What does not stay there takes turns in two slots at its end.
    activation_buffer_bytes : int
        On-chip memory for activations, bytes; divided evenly among `activation_banks`, each of an
        even number of such rows.
    activation_banks : int
        Banks of the activation buffer, a power of two from 2 to 16. A bank has one read port and
        one write port, so its users must take turns, which tokens arrange.
    constant_entries : int
        Groups of channel records, one for each channel that the array computes at once, that the
        constant buffer holds: a power of two from 2 to 4096; used as the parameter buffer is.
    port_bytes : int or None
        Bytes per beat of the data port (B), a power of two from 4 to 1,024. More than 128, AXI's
        widest, are lanes of 128 in lock step. None gives twice the longer of the array's words,
        rounded up to a power of two, 4 to 128.
    burst_beats : int
        Longest burst of the data port, beats: a power of two up to 256, a page at most.
    outstanding_reads : int
        Read bursts that the load unit keeps in flight, 1 to 64.
    cell : "tflm", "litert" or None
        Whose sigmoid and tanh the LSTM cell has, and whose roundings: TensorFlow Lite Micro reads
        an interpolated table, LiteRT computes in fixed point. Unless it is set, `mensa run` of a
        system with one machine takes the one of the network's rounding. None builds none. An array
        of fewer channels a group than a sum has bytes, two or LiteRT's four, has none either; nor
        has one of a single row or lane LiteRT's.
    cell_lanes : int or None
        Elements of a cell state that the cell takes at once, 1 to L, or half of L for LiteRT's, and
        to what a group has bytes for. None gives an eighth of a group, at least 1, so that the
        cell's time is small beside that of the products of all but the smallest layers.
    softmax_lanes : int
        Elements of a row that the softmax unit takes at once, or L if that is less; 0 builds none.
        An array of fewer channels a group than an exponential has bytes, four, has none either.
    """

    name: str
    array: Array
    clock_hz: int
    parameter_buffer_bytes: int | None
    activation_buffer_bytes: int
    activation_banks: int = 4
    constant_entries: int = 64
    port_bytes: int | None = None
    burst_beats: int = 16
    outstanding_reads: int = 4
    cell: str | None = "tflm"
    cell_lanes: int | None = None
    softmax_lanes: int = 16

    def __post_init__(self) -> None:
        check_range("clock_hz", self.clock_hz, 1, MAX_CLOCK_HZ)
        check_power_of_two("activation_banks", self.activation_banks, 2, 16)
        check_power_of_two("constant_entries", self.constant_entries, 2, 4096)
        if self.port_bytes is not None:
            check_power_of_two("port_bytes", self.port_bytes, 4, MOST_LANES * AXI_BEAT_BYTES)
        check_power_of_two("burst_beats", self.burst_beats, 1, 256)
        if self.burst_bytes > AXI_PAGE_BYTES:
            raise MachineError(
                f"burst_beats of {self.burst_beats} x {self.beat_bytes} B is longer than a page of "
                f"{AXI_PAGE_BYTES} B; use at most {AXI_PAGE_BYTES // self.beat_bytes}"
            )
        check_range("outstanding_reads", self.outstanding_reads, 1, 64)
        if self.cell not in (None, *CELLS):
            raise MachineError(f"cell must be {', '.join(CELLS)} or none, not {self.cell!r}")
        if self.cell_lanes is not None:
            most = max(1, self._most_state_lanes)
            check_range(
                "cell_lanes", self.cell_lanes, 1, most, f", as cell={self.cell} has room for"
            )
        check_range("softmax_lanes", self.softmax_lanes, 0, 128)
        self._check_parameters()
        self._check_buffer("activation_buffer_bytes", self.activation_banks)

    def _check_parameters(self) -> None:
        array = self.array
        if not array.store_bytes:
            self._check_buffer("parameter_buffer_bytes", 2)
            return
        if self.parameter_buffer_bytes is not None:
            raise MachineError(
                f"{array.kind} has no parameter buffer: its parameters are in its PEs, of which "
                f"each has as many bytes as {array.store_setting} says"
            )
        unit = 4 * self.parameter_unit_bytes
        if array.store_bytes % unit:
            raise MachineError(
                f"the PEs have {array.store_bytes} B of {array.store_setting} together, which must "
                f"be a multiple of {unit} B (two parts of at least two {self.parameter_unit_bytes} "
                f"B rows)"
            )

    def _check_buffer(self, field: str, parts: int) -> None:
        value = getattr(self, field)
        unit = parts * self.part_unit_bytes
        check_range(field, value, 0, 1 << 28)
        if value < unit or value % unit:
            raise MachineError(
                f"{field} must be a multiple of {unit} B ({parts} parts of at least two "
                f"{self.row_bytes} B rows), up to 256 MiB, not {value}"
            )

    @property
    def parameter_bytes(self) -> int:
        """On-chip memory for weights, wherever it is."""
        return self.array.store_bytes or self.parameter_buffer_bytes or 0

    @property
    def parameter_setting(self) -> str:
        """The setting that says how much that is."""
        return self.array.store_setting or "parameter_buffer_bytes"

    @property
    def parameter_memory(self) -> str:
        """It in words, such as "parameter buffer of 4096 B"."""
        what = self.array.store_setting or "parameter buffer"
        return f"{what} of {self.parameter_bytes} B"

    @property
    def parameter_unit_bytes(self) -> int:
        """What the address of parameters that are loaded is a multiple of: a beat, or where no word
        begins between others a word, if that is more."""
        return max(self.beat_bytes, self.array.group if self.array.store_bytes else 0)

    @property
    def parameter_row_bytes(self) -> int:
        """Bytes of one physical row of the memory for weights."""
        return self.parameter_unit_bytes if self.array.store_bytes else self.row_bytes

    @property
    def part_unit_bytes(self) -> int:
        """What a bank of a buffer, or each of the parameter buffer's halves, is a multiple of."""
        return 2 * self.row_bytes

    @property
    def lanes(self) -> int:
        """Lanes of the post-processor and of the vector unit (L)."""
        return self.array.lanes

    @property
    def modes(self) -> tuple[Mode, ...]:
        """What the compute unit can do: the modes of every machine, and the array's own."""
        missing = {mode for mode in Mode if mode.is_cell} if not self.state_lanes else set()
        missing |= {Mode.SOFTMAX} if not self.exponential_lanes else set()
        own = self.array.own_modes
        return tuple(
            mode
            for mode in Mode
            if (mode.is_tiled or mode.is_vector or mode in own) and mode not in missing
        )

    def group_channels(self, mode: Mode) -> int:
        """Output channels of a group at most, and bytes of a parameter word, in a mode.

        The vector unit has the post-processor's lanes.
        """
        if mode.is_cell:
            return self.state_lanes
        if mode == Mode.SOFTMAX:
            return self.exponential_lanes
        return self.lanes if mode.is_vector else self.array.group_channels(mode)

    @property
    def state_lanes(self) -> int:
        """Elements of a cell state that the LSTM cell takes at once; 0 if there is no cell."""
        most = self._most_state_lanes
        if self.cell is None or not most:
            return 0
        lanes = max(1, self.array.group // 8) if self.cell_lanes is None else self.cell_lanes
        return min(most, lanes)

    @property
    def _most_state_lanes(self) -> int:
        lanes = self.lanes
        if self.recurrent_width == Width.INT32:
            # Results of four bytes take two cycles.
            lanes = lanes // 2 if self.array.takes_long_rows else 0
        return min(lanes, self.array.group // self.recurrent_width.nbytes)

    @property
    def recurrent_width(self) -> Width:
        """Of the recurrent sums that the LSTM cell reads.

        TensorFlow Lite Micro saturates them to 16 bits before it adds the input's, LiteRT after.
        """
        return Width.INT32 if self.cell == "litert" else Width.INT16

    @property
    def widths(self) -> tuple[Width, ...]:
        """How wide results may be: wider than a byte for the LSTM cell alone."""
        if not self.state_lanes:
            return (Width.BYTE,)
        return (Width.BYTE, Width.INT16, self.recurrent_width)[: 1 + self.recurrent_width]

    @property
    def result_bits(self) -> int:
        """Bits of a result at most: more than 8 are for the LSTM cell alone.

        Of LiteRT's recurrent sums 17 are enough: what is beyond saturates with any other sum.
        """
        if not self.state_lanes:
            return 8
        return 17 if self.recurrent_width == Width.INT32 else 16

    @property
    def table_step_bytes(self) -> int:
        """Bytes of a table that are loaded in a cycle: 4, or what a parameter word has of them."""
        return min(4, 1 << (self.array.group.bit_length() - 1))

    @property
    def exponential_lanes(self) -> int:
        """Elements of a row that the softmax unit takes at once; 0 if there is no such unit."""
        return min(self.softmax_lanes, self.lanes) if self.array.group >= 4 else 0

    @property
    def exponential_step_bytes(self) -> int:
        """Bytes of a softmax's table that are loaded in a cycle: 64, or what a word and L have of
        them, at least 4: every lane writes so many at once."""
        most = min(self.array.group, max(4, self.lanes))
        return min(64, 1 << (most.bit_length() - 1))

    @property
    def beat_bytes(self) -> int:
        """Bytes per beat of the data port (B)."""
        if self.port_bytes is not None:
            return self.port_bytes
        return min(AXI_BEAT_BYTES, max(4, 2 * next_power_of_two(self._longest_word)))

    @property
    def data_lanes(self) -> int:
        """AXI ports in lock step that the data port is made of."""
        return max(1, self.beat_bytes // AXI_BEAT_BYTES)

    @property
    def _longest_word(self) -> int:
        """Bytes of activations, or of a buffer's parameters, that are read or written at once."""
        if self.array.store_bytes:
            return max(self.array.chunk, 2 * self.lanes)
        return max(self.array.chunk, self.array.group * self.array.parameter_rows)

    @property
    def burst_bytes(self) -> int:
        """Bytes of the longest burst, and the alignment that no burst crosses."""
        return self.burst_beats * self.beat_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of one physical row of the buffers: two words, or a beat if that is longer."""
        return max(2 * next_power_of_two(self._longest_word), self.beat_bytes)

    @property
    def word_bytes(self) -> int:
        """Bytes that one access may read or write at any byte address: half a physical row."""
        return self.row_bytes // 2

    @property
    def activation_bank_bytes(self) -> int:
        """Bytes of one bank of the activation buffer."""
        return self.activation_buffer_bytes // self.activation_banks

    @property
    def constant_entry_bytes(self) -> int:
        """Pitch of the constant buffer's entries, bytes: one record a channel, padded."""
        records = next_power_of_two(self.array.group)
        return max(CHANNEL_RECORD_BYTES * records, self.beat_bytes)

    @property
    def constant_row_records(self) -> int:
        """Channel records that a row of the constant buffer holds: those of L channels, or a beat's
        if these are more; all of an entry where it has no more, or L is no power of two."""
        group, lanes = self.array.group, self.lanes
        row = max(lanes, self.beat_bytes // CHANNEL_RECORD_BYTES)
        return row if row < group and lanes & (lanes - 1) == 0 else group

    @property
    def constant_row_bytes(self) -> int:
        """Bytes of such a row: what a read of it takes."""
        return CHANNEL_RECORD_USED_BYTES * self.constant_row_records

    @property
    def constant_buffer_bytes(self) -> int:
        """Bytes that the constant buffer holds."""
        return self.constant_entries * self.constant_entry_rows * self.constant_row_bytes

    @property
    def constant_entry_rows(self) -> int:
        """Rows of the constant buffer that an entry takes, a power of two."""
        return next_power_of_two(-(-self.array.group // self.constant_row_records))

    @property
    def peak_macs_per_cycle(self) -> int:
        """Multiply-accumulates per cycle when every PE works."""
        return self.array.peak_macs_per_cycle

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by name, the array's among them, and the array's kind: what files keep."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        array = given.pop("array")
        return {"name": given.pop("name"), "array": array.kind, **vars(array), **given}

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Machine:
        """The machine of `settings`. Raises: MachineError if a setting is missing or refused."""
        given = dict(settings)
        kind = given.pop("array", None)
        if kind not in ARRAYS:
            raise MachineError(f"no array {kind!r}; there are {', '.join(sorted(ARRAYS))}")
        array = {
            f.name: given.pop(f.name) for f in dataclasses.fields(ARRAYS[kind]) if f.name in given
        }
        try:
            return cls(array=ARRAYS[kind](**array), **given)
        except TypeError as error:  # one is missing, or there is no such setting
            raise MachineError(f"not the settings of a machine: {error}") from error

    @property
    def config_hash(self) -> int:
        """32 bits that stand for every number the hardware was built with (not name and clock)."""
        built = self.settings | {
            **self.array.built,
            "port_bytes": self.beat_bytes,
            "cell_lanes": self.state_lanes,
            "softmax_lanes": self.exponential_lanes,
        }
        text = repr(sorted((k, v) for k, v in built.items() if k not in ("name", "clock_hz")))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")

    def replace(self, **changes: int | str | None) -> Machine:
        """Return a copy with some settings changed.

        Raises
        ------
        MachineError
            If a setting does not exist (the message lists those that do) or its value is refused.
        """
        check_known(changes, self.settings.keys() - {"array"})
        return Machine.of(self.settings | changes)


ARRAYS: dict[str, type[Array]] = {kind.kind: kind for kind in (Systolic, Jacquard, Pascal, Pavlov)}
"""The kinds of array, by name."""

edge_tpu = Machine(
    name="edge_tpu",
    array=Systolic(rows=64, cols=64),  # [F2] of the PACT 2021 paper, see docs/architecture.md
    clock_hz=250_000_000,  # [D] 64 x 64 PEs x 2 FLOP x 250 MHz = 2 TFLOP/s [R-h]
    parameter_buffer_bytes=4 * MIB,  # [R-h]
    activation_buffer_bytes=2 * MIB,  # [R-h]
    constant_entries=512,  # so that every channel record of a MobileNet stays on chip
)
"""The baseline: a 64 x 64 output-stationary systolic array in the manner of Google's Edge TPU."""

jacquard = Machine(
    name="jacquard",
    array=Jacquard(rows=16, cols=16),  # [R-h]
    clock_hz=1_000_000_000,  # [D] 16 x 16 PEs x 2 FLOP x 1 GHz = 512 GFLOP/s [R-h]
    parameter_buffer_bytes=128 * KIB,  # [R-h]
    activation_buffer_bytes=128 * KIB,  # [R-h]
    activation_banks=2,  # copies are short beside the rows that smaller slots would repeat
    port_bytes=256,  # [D] 256 GB/s [R-h] at 1 GHz
)
"""The data-centric machine of Mensa-G, in the logic layer of a stacked memory."""

pascal = Machine(
    name="pascal",
    array=Pascal(rows=32, cols=32),  # [R-h]
    clock_hz=1_000_000_000,  # [D] 32 x 32 PEs x 2 FLOP x 1 GHz = 2 TFLOP/s [R-h]
    parameter_buffer_bytes=128 * KIB,  # [R-h]
    activation_buffer_bytes=256 * KIB,  # [R-h]
    port_bytes=32,  # [D] 32 GB/s [R-h] at 1 GHz
)
"""The compute-centric machine of Mensa-G, on the die of the processor."""

pavlov = Machine(
    name="pavlov",
    array=Pavlov(rows=8, cols=8),  # [R-h], as are the 512 B of registers
    clock_hz=1_000_000_000,  # [D] 8 x 8 PEs x 2 FLOP x 1 GHz = 128 GFLOP/s [R-h]
    parameter_buffer_bytes=None,  # [R-h]
    activation_buffer_bytes=128 * KIB,  # [R-h]
    port_bytes=256,  # [D] 256 GB/s [R-h] at 1 GHz
)
"""The LSTM-centric machine of Mensa-G, in the logic layer of a stacked memory."""

machines = {m.name: m for m in (edge_tpu, jacquard, pascal, pavlov)}
"""The named machines, by name."""
