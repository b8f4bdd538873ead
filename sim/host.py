"""Host: the processor core beside the accelerators, and roughly how long it takes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from mensa.rtl.setting import check_known

__all__ = [
    "ESTIMATE",
    "HOST",
    "NANOSECONDS",
    "Host",
    "HostConfigError",
    "cortex_a53",
    "hosts",
]

HOST = "host"
"""Where a layer runs that no accelerator takes."""

ESTIMATE = (
    "roughly estimated from bytes and operations at the host's rates; what host and accelerator "
    "need to hand over to each other is not in it"
)
"""What is to be said wherever a time of the host is."""

NANOSECONDS = 1_000_000_000
"""In a second."""

MAX_CLOCK_HZ = 100_000_000_000
MIN_OPERATIONS_PER_CYCLE = 0.001
MAX_OPERATIONS_PER_CYCLE = 1_000_000
MAX_BANDWIDTH_BYTES_PER_S = 10**15
MAX_OVERHEAD_NS = 10**9


class HostConfigError(ValueError):
    """A host that can't be; the message says which number and what it may be."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """A processor core that runs what no accelerator takes.

    Its time is a rough estimate from two counts of `host_work`, no simulation: caches, the shape
    of a layer, and the hand-over between host and accelerator count for nothing.

    Attributes
    ----------
    name : str
        What reports call it.
    clock_hz : int
        Clock of the core, hertz, 1 to 100 GHz.
    operations_per_cycle : int or float
        Multiply-accumulates of int8 that kernels get done in a cycle on average, 0.001 to 1e6;
        what else operators do is counted in these.
    bandwidth_bytes_per_s : int
        Bytes per second, read and written together, between the core and memory, 1 to 1e15.
    overhead_ns : int or float
        Nanoseconds that every operator takes besides, to be found and begun, 0 to a second (1e9).
    """

    name: str
    clock_hz: int
    operations_per_cycle: int | float
    bandwidth_bytes_per_s: int
    overhead_ns: int | float

    def __post_init__(self) -> None:
        _check_integer("clock_hz", self.clock_hz, 1, MAX_CLOCK_HZ)
        _check_number(
            "operations_per_cycle",
            self.operations_per_cycle,
            MIN_OPERATIONS_PER_CYCLE,
            MAX_OPERATIONS_PER_CYCLE,
        )
        _check_integer(
            "bandwidth_bytes_per_s", self.bandwidth_bytes_per_s, 1, MAX_BANDWIDTH_BYTES_PER_S
        )
        _check_number("overhead_ns", self.overhead_ns, 0, MAX_OVERHEAD_NS)

    def replace(self, **changes: int | float | str) -> Host:
        """Return a copy with some numbers changed.

        Raises
        ------
        HostConfigError
            If a field does not exist (the message lists those that do) or its value is refused.
        """
        check_known(changes, {field.name for field in dataclasses.fields(self)}, HostConfigError)
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    @property
    def operations_per_s(self) -> float:
        """Operations per second."""
        return self.clock_hz * self.operations_per_cycle

    def time_ns(self, operations: int, nbytes: int) -> float:
        """Nanoseconds of one operator: `overhead_ns`, and the longer of computing and moving.

        Parameters
        ----------
        operations : int
            What it computes, in multiply-accumulates.
        nbytes : int
            Bytes that it reads and writes.
        """
        computing = operations * NANOSECONDS / self.operations_per_s
        moving = nbytes * NANOSECONDS / self.bandwidth_bytes_per_s
        return self.overhead_ns + max(computing, moving)


def _check_integer(setting: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise HostConfigError(f"{setting} must be an integer, not {value!r}")
    _check_number(setting, value, low, high)


def _check_number(setting: str, value: object, low: float, high: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise HostConfigError(f"{setting} must be a number, not {value!r}")
    if not low <= value <= high:  # nor is what is not a number
        raise HostConfigError(f"{setting} must be between {low} and {high}, not {value}")


cortex_a53 = Host(
    name="cortex_a53",
    clock_hz=1_500_000_000,  # [F2] of the Coral Dev Board, whose core this is
    # [D] 1.6 to 2.6 from that board's times without its Edge TPU, [F] at coral.ai/docs/edgetpu/
    # benchmarks: MobileNet v2 in 122 ms, v1 in 164 ms, Inception v4 in 3157 ms, of about 0.30,
    # 0.57 and 12.3 G multiply-accumulates [R-h]. One core at work is our reading.
    operations_per_cycle=2,
    # [D] 2 x 1,956 MB/s, which one such core copies at 1.4 GHz from and to LPDDR4 ([F], Texas
    # Instruments SPRADG0A, table 3-1): a copied byte is read and written.
    bandwidth_bytes_per_s=3_900_000_000,
    overhead_ns=1000,  # our own assumption
)
"""A small in-order core beside the accelerator: one Cortex-A53 at 1.5 GHz, on TFLite's kernels."""

hosts = {host.name: host for host in (cortex_a53,)}
"""The named hosts, by name."""
