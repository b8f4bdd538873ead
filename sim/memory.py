"""Memory: the latency, bandwidth and parallelism of what a machine's ports sit on."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from mensa.rtl.commands import ADDRESS_BITS
from mensa.rtl.machine import AXI_PAGE_BYTES
from mensa.rtl.setting import check_known

__all__ = ["Memory", "MemoryConfigError", "PortTiming", "lpddr4", "memories", "stacked"]

GIB = 1 << 30

# Far beyond any memory, and with `Machine`'s highest clock all times in cycles fit into 64 bits.
MAX_LATENCY_NS = 10**9
MAX_BANDWIDTH_BYTES_PER_S = 10**15
MAX_OUTSTANDING = 1024


class MemoryConfigError(ValueError):
    """A memory that can't be; the message says which number and what it may be."""


class PortTiming(NamedTuple):
    """A memory's time at one port, in cycles of the port's clock; `Timing` in memory.hpp.

    Attributes
    ----------
    latency : int
        From the acceptance of a read burst to its first beat, and from a write burst's last beat
        to its response; at least 1.
    num, den : int
        Beats per cycle, at most 1, as a fraction in lowest terms.
    outstanding : int
        Bursts in flight at most, reads and writes each.
    row_bytes, banks, row_miss : int
        Bytes of a row, of which each of the banks has one open, and what a burst waits for each of
        its rows that is not; `row_bytes` is 0 where rows are of no account.
    refresh_interval, refresh : int
        From one refresh to the next, and how long it takes; 0 for none.
    """

    latency: int
    num: int
    den: int
    outstanding: int
    row_bytes: int = 0
    banks: int = 1
    row_miss: int = 0
    refresh_interval: int = 0
    refresh: int = 0

    @property
    def longest(self) -> int:
        """Cycles from a burst's acceptance to its answer at most, the channel free."""
        rows = AXI_PAGE_BYTES // self.row_bytes + 1 if self.row_bytes else 0
        return self.latency + rows * self.row_miss + self.refresh


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A memory with a latency, a bandwidth and a bound on read bursts in flight.

    docs/architecture.md, "Memory, and its time", has the rules by which it answers. Each channel
    of each port (command read, data read, data write) has the whole bandwidth. With `rows` on, it
    has banks with open rows too, of each channel's own, and is refreshed.

    Attributes
    ----------
    name : str
        What reports call it.
    size_bytes : int
        Bytes, from address 0 on: at most 4 GiB, which is what a program can address.
    latency_ns : int or float
        Nanoseconds from a request to its answer, 0 to a second (1e9). A float means the
        decimal number that it prints as.
    bandwidth_bytes_per_s : int
        Bytes per second, 1 to 1e15.
    outstanding : int
        Bursts in flight at most, 1 to 1024, of each channel of a port.
    rows : bool
        Whether rows and refresh count.
    row_bytes : int
        Bytes of a row, a power of two from 64 to 65536; rows follow each other over the banks.
    banks : int
        Each with one row open: a power of two up to 1024.
    row_miss_ns : int or float
        What a burst waits longer for each of its rows that is not open: precharge and activation.
    refresh_interval_ns, refresh_ns : int or float
        From one refresh to the next, and how long it takes, less than half of that; 0 and 0 for
        none.
    kind : str
        What it is made of, for its energy: one of sim/energy/data/constants.toml.
    """

    name: str
    size_bytes: int
    latency_ns: int | float
    bandwidth_bytes_per_s: int
    outstanding: int
    rows: bool = False
    row_bytes: int = 2048
    banks: int = 8
    row_miss_ns: int | float = 36
    refresh_interval_ns: int | float = 3904
    refresh_ns: int | float = 180
    kind: str = "lpddr4"

    def __post_init__(self) -> None:
        for field in ("size_bytes", "bandwidth_bytes_per_s", "outstanding", "row_bytes", "banks"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool):
                raise MemoryConfigError(f"{field} must be an integer, not {value!r}")
            if value < 1:
                raise MemoryConfigError(f"{field} must be at least 1, not {value}")
        if self.size_bytes > 1 << ADDRESS_BITS:
            raise MemoryConfigError(
                f"size_bytes must be at most {1 << ADDRESS_BITS}, which {ADDRESS_BITS}-bit "
                f"addresses can reach, not {self.size_bytes}"
            )
        for field, most in (
            ("bandwidth_bytes_per_s", MAX_BANDWIDTH_BYTES_PER_S),
            ("outstanding", MAX_OUTSTANDING),
        ):
            if getattr(self, field) > most:
                raise MemoryConfigError(
                    f"{field} must be at most {most}, not {getattr(self, field)}"
                )
        for field in ("latency_ns", "row_miss_ns", "refresh_interval_ns", "refresh_ns"):
            value = getattr(self, field)
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise MemoryConfigError(f"{field} must be a number, not {value!r}")
            if value < 0 or (isinstance(value, float) and not math.isfinite(value)):
                raise MemoryConfigError(f"{field} must be finite and at least 0, not {value}")
            if value > MAX_LATENCY_NS:
                raise MemoryConfigError(
                    f"{field} must be at most {MAX_LATENCY_NS}, a second, not {value}"
                )
        if not isinstance(self.rows, bool):
            raise MemoryConfigError(f"rows is on or off, not {self.rows!r}")
        for field, least, most in (("row_bytes", 64, 65536), ("banks", 1, 1024)):
            value = getattr(self, field)
            if not least <= value <= most or value & (value - 1):
                raise MemoryConfigError(
                    f"{field} must be a power of two from {least} to {most}, not {value}"
                )
        if self.refresh_ns and 2 * self.refresh_ns >= self.refresh_interval_ns:
            raise MemoryConfigError(
                f"refresh_ns must be less than half of refresh_interval_ns, "
                f"{self.refresh_interval_ns}, not {self.refresh_ns}"
            )

    def replace(self, **changes: int | float | str) -> Memory:
        """Return a copy with some numbers changed.

        Raises
        ------
        MemoryConfigError
            If a field does not exist (the message lists those that do) or its value is refused.
        """
        check_known(changes, {field.name for field in dataclasses.fields(self)}, MemoryConfigError)
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def latency_cycles(self, clock_hz: int) -> int:
        """Latency in cycles of a clock: ceil(latency_ns x clock_hz / 1e9), at least 1."""
        return max(1, _cycles(self.latency_ns, clock_hz))

    def beats_per_cycle(self, clock_hz: int, beat_bytes: int) -> Fraction:
        """Bandwidth in beats of `beat_bytes` per cycle of a clock, exactly; at most 1."""
        _check_positive("clock_hz", clock_hz)
        _check_positive("beat_bytes", beat_bytes)
        return min(Fraction(1), Fraction(self.bandwidth_bytes_per_s, clock_hz * beat_bytes))

    def port_timing(self, clock_hz: int, beat_bytes: int) -> PortTiming:
        """Return what a port of `beat_bytes` per beat sees of this memory."""
        rate = self.beats_per_cycle(clock_hz, beat_bytes)
        plain = PortTiming(
            self.latency_cycles(clock_hz), rate.numerator, rate.denominator, self.outstanding
        )
        if not self.rows:
            return plain
        refresh = _cycles(self.refresh_ns, clock_hz)
        return plain._replace(
            row_bytes=self.row_bytes,
            banks=self.banks,
            row_miss=_cycles(self.row_miss_ns, clock_hz),
            # A slow clock still has cycles in which there is no refresh.
            refresh_interval=max(2 * refresh, _cycles(self.refresh_interval_ns, clock_hz)),
            refresh=refresh,
        )


def _cycles(nanoseconds: int | float, clock_hz: int) -> int:
    """A time in cycles of a clock, rounded up; a float is the number that it prints as."""
    _check_positive("clock_hz", clock_hz)
    return math.ceil(Fraction(str(nanoseconds)) * clock_hz / 10**9)


def _check_positive(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise MemoryConfigError(f"{name} must be an integer of at least 1, not {value!r}")


lpddr4 = Memory(
    name="lpddr4",
    size_bytes=1 * GIB,  # our own assumption
    latency_ns=100,  # our own assumption
    bandwidth_bytes_per_s=32_000_000_000,  # [R-h], see docs/architecture.md
    outstanding=16,  # our own assumption
    # tRP and tRCD of 18 ns each, tREFI and tRFCab of LPDDR4 at 4 Gb [R-m].
    row_miss_ns=36,
    refresh_interval_ns=3904,
    refresh_ns=180,
)
"""The baseline's memory: LPDDR4 at 32 GB/s."""

stacked = Memory(
    name="stacked",
    kind="stacked",
    size_bytes=1 * GIB,  # our own assumption
    latency_ns=50,  # our own assumption: half of LPDDR4's, as nothing leaves the stack
    bandwidth_bytes_per_s=256_000_000_000,  # [R-h], see docs/architecture.md
    outstanding=16,  # our own assumption
    # tRP and tRCD of 14 ns each, tREFI and tRFC of HBM2 [R-l].
    banks=16,
    row_miss_ns=28,
    refresh_interval_ns=3900,
    refresh_ns=260,
)
"""A stacked memory at 256 GB/s, as a machine in its logic layer sees it."""

memories = {m.name: m for m in (lpddr4, stacked)}
"""The named memories, by name."""
