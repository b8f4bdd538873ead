"""Machine: the configuration of one accelerator, from which everything about it follows."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.commands import Mode

KIB = 1024
MIB = 1024 * KIB

CHANNEL_RECORD_BYTES = 16
"""Bytes of one output channel's record in the constant buffer: int32 bias, int32 multiplier,
int8 shift, seven bytes of padding."""

CHANNEL_RECORD_USED_BYTES = 9
"""Bytes of a record that mean something, its first; the constant buffer stores no others."""

MAX_CLOCK_HZ = 100_000_000_000
"""Highest clock; with the bounds of a memory it keeps all times in cycles within 64 bits."""

_DERIVED = ("post_lanes", "port_bytes")
"""Fields that follow from others where they are None."""

AXI_PAGE_BYTES = 4096
"""No AXI burst crosses a boundary of this size (AMBA AXI, A3.4.1)."""


class MachineError(ValueError):
    """A configuration that can't be built; the message says which number and what it may be."""


def _next_power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One accelerator's configuration. Every number is a parameter: `machine.replace(rows=8)`.

    Attributes
    ----------
    name : str
        What reports call it.
    rows : int
        Rows of the array (R), 1 to 128. Each row computes one output pixel of a tile.
    cols : int
        Columns of the array (C), 1 to 128. Each column computes one output channel of a group.
    clock_hz : int
        Clock of the core and of its memory ports, hertz, 1 to 100 GHz.
    parameter_buffer_bytes : int
        On-chip memory for weights, bytes: two halves, each of an even number of rows. A row is
        twice the longer edge of the array rounded up to a power of two, or a beat if that is more.
        What does not stay there takes turns in two places at its end.
    activation_buffer_bytes : int
        On-chip memory for activations, bytes; divided evenly among `activation_banks`, each of an
        even number of such rows.
    activation_banks : int
        Banks of the activation buffer, a power of two from 2 to 16. A bank has one read port and
        one write port, so its users must take turns, which tokens arrange.
    constant_entries : int
        Groups of `cols` channel records that the constant buffer holds, a power of two from 2 to
        4096; used as the parameter buffer is.
    post_lanes : int or None
        Lanes of the post-processor and of the vector unit (L), 1 to `cols`: results that are
        requantised in a cycle. None gives one a column. Fewer save multipliers; a row of the
        array's sums then takes ceil(C / L) cycles.
    port_bytes : int or None
        Bytes per beat of the data port (B), a power of two from 4 to 128 (AXI's widest). None
        gives twice the longer edge of the array, rounded up to a power of two, 4 to 128.
    burst_beats : int
        Longest burst of the data port, beats: a power of two up to 256, a page at most.
    outstanding_reads : int
        Read bursts that the load unit keeps in flight, 1 to 64.
    """

    name: str
    rows: int
    cols: int
    clock_hz: int
    parameter_buffer_bytes: int
    activation_buffer_bytes: int
    activation_banks: int = 4
    constant_entries: int = 64
    post_lanes: int | None = None
    port_bytes: int | None = None
    burst_beats: int = 16
    outstanding_reads: int = 4

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "name" or (field.name in _DERIVED and value is None):
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise MachineError(f"{field.name} must be an integer, not {value!r}")
        for edge in ("rows", "cols"):
            if not 1 <= getattr(self, edge) <= 128:
                raise MachineError(f"{edge} must be between 1 and 128, not {getattr(self, edge)}")
        if not 1 <= self.lanes <= self.cols:
            raise MachineError(
                f"post_lanes must be between 1 and {self.cols}, the columns, not {self.lanes}"
            )
        if not 1 <= self.clock_hz <= MAX_CLOCK_HZ:
            raise MachineError(
                f"clock_hz must be between 1 and {MAX_CLOCK_HZ}, not {self.clock_hz}"
            )
        self._check_power_of_two("activation_banks", 2, 16)
        self._check_power_of_two("constant_entries", 2, 4096)
        if self.port_bytes is not None:
            self._check_power_of_two("port_bytes", 4, 128)
        self._check_power_of_two("burst_beats", 1, 256)
        if self.burst_bytes > AXI_PAGE_BYTES:
            raise MachineError(
                f"burst_beats of {self.burst_beats} x {self.beat_bytes} B is longer than a page of "
                f"{AXI_PAGE_BYTES} B; use at most {AXI_PAGE_BYTES // self.beat_bytes}"
            )
        if not 1 <= self.outstanding_reads <= 64:
            raise MachineError(
                f"outstanding_reads must be between 1 and 64, not {self.outstanding_reads}"
            )
        self._check_buffer("parameter_buffer_bytes", 2)
        self._check_buffer("activation_buffer_bytes", self.activation_banks)

    def _check_power_of_two(self, field: str, low: int, high: int) -> None:
        value = getattr(self, field)
        if not low <= value <= high or value & (value - 1):
            raise MachineError(
                f"{field} must be a power of two between {low} and {high}, not {value}"
            )

    def _check_buffer(self, field: str, parts: int) -> None:
        value = getattr(self, field)
        unit = parts * self.part_unit_bytes
        if value < unit or value > 1 << 28 or value % unit:
            raise MachineError(
                f"{field} must be a multiple of {unit} B ({parts} parts of at least two "
                f"{self.row_bytes} B rows), up to 256 MiB, not {value}"
            )

    @property
    def part_unit_bytes(self) -> int:
        """What a bank of a buffer, or each of the parameter buffer's halves, is a multiple of."""
        return 2 * self.row_bytes

    @property
    def array(self) -> Array:
        """The array, as everything around it knows it."""
        return Systolic(self.rows, self.cols, self.lanes)

    @property
    def lanes(self) -> int:
        """Lanes of the post-processor and of the vector unit (L)."""
        return self.cols if self.post_lanes is None else self.post_lanes

    def group_channels(self, mode: Mode) -> int:
        """Output channels of a group at most, and bytes of a parameter word, in a mode.

        The vector unit has the post-processor's lanes.
        """
        return self.lanes if mode.is_vector else self.array.group_channels(mode)

    @property
    def beat_bytes(self) -> int:
        """Bytes per beat of the data port (B)."""
        if self.port_bytes is not None:
            return self.port_bytes
        return min(128, max(4, 2 * _next_power_of_two(max(self.rows, self.cols))))

    @property
    def burst_bytes(self) -> int:
        """Bytes of the longest burst, and the alignment that no burst crosses."""
        return self.burst_beats * self.beat_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of one physical row of the buffers: two words, or a beat if that is longer."""
        return max(2 * _next_power_of_two(max(self.rows, self.cols)), self.beat_bytes)

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
        """Pitch of the constant buffer's entries, bytes: one record a column, padded."""
        return max(CHANNEL_RECORD_BYTES * _next_power_of_two(self.cols), self.beat_bytes)

    @property
    def peak_macs_per_cycle(self) -> int:
        """Multiply-accumulates per cycle when every PE works."""
        return self.array.peak_macs_per_cycle

    @property
    def config_hash(self) -> int:
        """32 bits that stand for every number the hardware was built with (not name and clock)."""
        built = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("name", "clock_hz", *_DERIVED)
        }
        text = repr((sorted(built.items()), self.lanes, self.beat_bytes))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")

    def replace(self, **changes: int | str | None) -> Machine:
        """Return a copy with some numbers changed.

        Raises
        ------
        MachineError
            If a field does not exist (the message lists those that do) or its value is refused.
        """
        known = {f.name for f in dataclasses.fields(self)}
        for field in changes:
            if field not in known:
                raise MachineError(f"no setting {field!r}; settings are {', '.join(sorted(known))}")
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


edge_tpu = Machine(
    name="edge_tpu",
    rows=64,  # [F2] of the PACT 2021 paper, see docs/architecture.md
    cols=64,
    clock_hz=250_000_000,  # [D] 64 x 64 PEs x 2 FLOP x 250 MHz = 2 TFLOP/s [R-h]
    parameter_buffer_bytes=4 * MIB,  # [R-h]
    activation_buffer_bytes=2 * MIB,  # [R-h]
    constant_entries=512,  # so that every channel record of a MobileNet stays on chip
)
"""The baseline: a 64 x 64 output-stationary systolic array in the manner of Google's Edge TPU."""

machines = {m.name: m for m in (edge_tpu,)}
"""The named machines, by name."""
