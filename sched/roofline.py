"""Where a layer is on the roofline, what bounds it, and what would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mensa.rtl.machine import Machine
from mensa.sim.memory import Memory

__all__ = ["ADVICE", "Roofline", "bytes_per_cycle", "roofline"]

MOSTLY = 0.8
"""Share of a layer's time from which on something is what bounds it."""

ADVICE = {
    "memory": "memory moves bytes nearly all the time: more bandwidth, or buffers that keep more",
    "port": "the data port moves bytes nearly all the time: a larger port_bytes, or a faster clock",
    "array": "keeps nearly all PEs busy: more of them",
    "mapping": "the array is fed, but its shape leaves PEs idle: other rows and cols, or a machine "
    "for such layers",
    "vector unit": "the vector unit is fed: more lanes",
    "drain": "fills and drains the array: a smaller one, or larger layers",
    "parameters": "waits for parameters: more bandwidth, less latency, or a larger buffer for them",
    "activations": "waits for activations: more bandwidth, less latency, or a larger buffer",
    "store": "waits for the store unit: more bandwidth, or a larger activation buffer",
    "commands": "waits for commands, or for loads that stand before them: larger tiles, less "
    "latency, more bandwidth",
    "several": "nothing stands out: the shares of its cycles say where they go",
}
"""What bounds a layer, and what would help."""

_STALLS = {
    "fill_drain": "drain",
    "wait_parameters": "parameters",
    "wait_activations": "activations",
    "wait_store": "store",
    "wait_command": "commands",
}


@dataclass(frozen=True)
class Roofline:
    """A layer's place.

    Attributes
    ----------
    flop_per_byte : float or None
        Two FLOP a MAC over the bytes of the busier direction of the data port; None if it moves
        none.
    roof_gflops : float
        The least of the array's peak and of that times the bandwidth that the layer's port sees.
    peak_gflops, achieved_gflops : float
        Of the array, and of the layer in its time.
    bound : str
        By what: one of `ADVICE`.
    """

    flop_per_byte: float | None
    roof_gflops: float
    peak_gflops: float
    achieved_gflops: float
    bound: str

    def to_json(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)


def roofline(
    machine: Machine,
    memory: Memory,
    *,
    macs: int,
    cycles: int,
    stalls: Mapping[str, int],
    read_bytes: int,
    write_bytes: int,
    busy: float = 0.0,
) -> Roofline | None:
    """Of a layer on a machine; None if it takes no time.

    Loads of a layer run in the time of those before it, too. So its bytes over its own cycles may
    be more than the port lets through; then the layers before are those that wait. `busy` is the
    share of the whole run in which the port moves a beat: where that is large, what a layer waits
    for is memory, whatever unit it waits for.
    """
    if not cycles:
        return None
    giga = machine.clock_hz / 1e9
    peak = 2 * machine.peak_macs_per_cycle * giga
    moved = max(read_bytes, write_bytes)  # each direction has the whole bandwidth
    per_cycle = bytes_per_cycle(machine, memory)
    intensity = 2 * macs / moved if moved else None
    roof = peak if intensity is None else min(peak, intensity * per_cycle * giga)
    return Roofline(
        flop_per_byte=intensity,
        roof_gflops=roof,
        peak_gflops=peak,
        achieved_gflops=2 * macs / cycles * giga,
        bound=_bound(
            machine, per_cycle, macs, cycles, stalls, max(busy, moved / per_cycle / cycles)
        ),
    )


def bytes_per_cycle(machine: Machine, memory: Memory) -> float:
    """What the data port and the memory let through of each direction."""
    beats = memory.beats_per_cycle(machine.clock_hz, machine.beat_bytes)
    return float(beats) * machine.beat_bytes


def _bound(
    machine: Machine,
    per_cycle: float,
    macs: int,
    cycles: int,
    stalls: Mapping[str, int],
    busy: float,
) -> str:
    if stalls["compute"] >= MOSTLY * cycles:
        if not macs:
            return "vector unit"
        full = macs >= MOSTLY * cycles * machine.peak_macs_per_cycle
        return "array" if full else "mapping"
    waits = sum(count for name, count in stalls.items() if name.startswith("wait_"))
    if busy >= MOSTLY and waits >= stalls["fill_drain"]:
        return "port" if per_cycle == machine.beat_bytes else "memory"
    most = max(_STALLS, key=lambda name: stalls[name])
    return _STALLS[most] if stalls[most] >= (1 - MOSTLY) * cycles else "several"
