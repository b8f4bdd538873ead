"""When a load or a store is done: the exact timing of its unit and its memory, without either.

The rules of the memory are those of docs/architecture.md ("Memory, and its time") and of
sim/engines/harness/memory.hpp; the rules of the units are in the docstrings of
rtl/shell/load_unit.py and rtl/shell/store_unit.py. Both engines agree in every cycle:
tests/sim/engines/model/test_dma.py.

*Bandwidth in closed form.* With rate num/den beats per cycle, a beat takes den and a cycle gives
num. Write the credit at the start of cycle t as num t - z, at most ``den + num - 1``: then time
only moves t, a beat adds den to z, and the bound raises z to num t - (den + num - 1). A beat can't
go before num t - z >= den. While beats wait for credit, or go in every cycle, the bound is never
reached; so it counts only where a burst starts, and beat j of a burst that may go from cycle c on
goes in max(c + j, ceil((z + (j + 1) den) / num)).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from mensa.rtl.machine import Machine
from mensa.rtl.timing import LOAD_GAP, LOADS_IN_FLIGHT, OUTSTANDING_WRITES, READ_LATENCY
from mensa.sim.engines.model.rows import Rows
from mensa.sim.memory import PortTiming

__all__ = [
    "CopyTiming",
    "DmaTiming",
    "LoadTiming",
    "ReadPort",
    "StoreTiming",
    "WritePort",
    "burst_addresses",
    "row_bursts",
]


@dataclass(frozen=True)
class DmaTiming:
    """A command's time and traffic.

    Attributes
    ----------
    start, done : int
        The cycles of its two strobes.
    bursts, beats : int
        What it transfers; its bytes are beats x `beat_bytes`.
    """

    start: int
    done: int
    bursts: int
    beats: int


class _Port:
    """A channel's state: its credit and its latest beat.

    Parameters
    ----------
    timing : PortTiming
        From `Memory.port_timing`.
    beat_bytes : int
        B, with which bursts find their rows.

    Attributes
    ----------
    latency : int
        L.
    rows : Rows or None
        Its open rows; None where neither rows nor refresh count, nor then addresses.
    """

    def __init__(self, timing: PortTiming, beat_bytes: int = 1):
        self.latency = timing.latency
        self._num, self._den = timing.num, timing.den
        self._bound = timing.den + timing.num - 1
        self._beat_bytes = beat_bytes
        self.rows = Rows(timing) if timing.row_bytes or timing.refresh_interval else None
        self._spent = -self._bound  # z: credit is full in cycle 0
        self._latest = -1  # cycle of the latest beat

    def _transfer(self, offered: int, beats: int) -> tuple[int, int, int]:
        """Transfer a burst's beats that may go from cycle `offered` on.

        Returns
        -------
        first, spent : int
            c and z of the closed form, for the cycles of all beats.
        last : int
            Cycle of the last beat.
        """
        first = max(offered, self._latest + 1)
        spent = max(self._spent, self._num * first - self._bound)
        self._spent = spent + self._den * beats
        self._latest = max(first + beats - 1, -(-self._spent // self._num))
        return first, spent, self._latest

    def _answered(self, cycle: int, accepted: int, beats: int, address: int) -> int:
        """When a burst that would be answered in a cycle is, by its rows."""
        if self.rows is None:
            return cycle
        wait = self.rows.delay(accepted, address, beats * self._beat_bytes)
        return self.rows.after_refresh(cycle + wait)


class ReadPort(_Port):
    """A read channel of the memory between bursts. Bursts must be asked for in order.

    Parameters: as of `_Port`.
    """

    def __init__(self, timing: PortTiming, beat_bytes: int = 1):
        super().__init__(timing, beat_bytes)
        self._ends = deque([-1] * timing.outstanding)  # last beats of as many latest bursts

    def _burst(
        self, request: int, beats: int, ready: int, address: int
    ) -> tuple[int, tuple[int, int, int]]:
        accepted = max(request, self._ends.popleft() + 1)
        offered = self._answered(accepted + self.latency, accepted, beats, address)
        transfer = self._transfer(max(offered, ready), beats)
        self._ends.append(self._latest)
        return accepted, transfer

    def burst(self, request: int, beats: int, ready: int = 0, address: int = 0) -> tuple[int, int]:
        """Read a burst whose ARVALID is high from cycle `request` on, RREADY from `ready` on.

        It is accepted in a = max(request, 1 + the last beat's cycle of the burst `outstanding`
        bursts before), and its beats may go from a + latency on, or as `rows` delays it.

        Returns
        -------
        int
            Cycle in which it is accepted.
        int
            Cycle in which its last beat is transferred.
        """
        accepted, (_, _, last) = self._burst(request, beats, ready, address)
        return accepted, last

    def read(self, request: int, beats: int, address: int = 0) -> tuple[int, list[int]]:
        """Read a burst as `burst` does, RREADY always high, and return the cycles of all beats.

        Returns
        -------
        int
            Cycle in which it is accepted.
        list of int
            Cycle in which each beat is transferred.
        """
        accepted, (first, spent, _) = self._burst(request, beats, 0, address)
        return accepted, [
            max(first + j, -(-(spent + (j + 1) * self._den) // self._num)) for j in range(beats)
        ]


class WritePort(_Port):
    """The write channel of the memory between bursts. Bursts must be asked for in order.

    Parameters: as of `_Port`.
    """

    def __init__(self, timing: PortTiming, beat_bytes: int = 1):
        super().__init__(timing, beat_bytes)
        self._responses = deque([-1] * timing.outstanding)  # of as many latest bursts

    def burst(self, request: int, first: int, beats: int, address: int = 0) -> tuple[int, int]:
        """Write a burst whose AWVALID is high from cycle `request` on, with BREADY always high.

        Its first WVALID is high from cycle `first` on, or from its AWVALID, each next one from the
        cycle after. It is accepted in a = max(request, 1 + the response of the burst `outstanding`
        bursts before), its beats may go from a + 1 on, and its response comes `latency` cycles
        after its last beat, or as `rows` delays it, the responses one a cycle.

        Returns
        -------
        int
            Cycle in which it is accepted.
        int
            Cycle in which its response is transferred.
        """
        accepted = max(request, self._responses.popleft() + 1)
        _, _, last = self._transfer(max(accepted + 1, first), beats)
        before = self._responses[-1] if self._responses else -1
        answer = self._answered(last + self.latency, accepted, beats, address)
        response = max(answer, before + 1)
        self._responses.append(response)
        return accepted, response


def row_bursts(
    machine: Machine, memory_address: int, row_bytes: int, rows: int, memory_pitch: int
) -> list[int]:
    """Beats of each burst of a command, in order.

    A row is cut at every multiple of `burst_bytes`; rows at the same place between two of them
    are cut alike.
    """
    _check("memory_address", memory_address, 0)
    _check("row_bytes", row_bytes, 1)
    _check("rows", rows, 1)
    _check("memory_pitch", memory_pitch, 0)
    beat_bytes, burst_beats = machine.beat_bytes, machine.burst_beats

    def cut(place: int) -> list[int]:
        first = place // beat_bytes
        end = (place + row_bytes - 1) // beat_bytes + 1
        if end <= burst_beats:
            return [end - first]
        full, rest = divmod(end - burst_beats, burst_beats)
        return [burst_beats - first] + [burst_beats] * full + ([rest] if rest else [])

    place = memory_address % machine.burst_bytes
    step = memory_pitch % machine.burst_bytes
    if step == 0:
        return cut(place) * rows
    cuts: dict[int, list[int]] = {}
    bursts: list[int] = []
    for _ in range(rows):
        if place not in cuts:
            cuts[place] = cut(place)
        bursts += cuts[place]
        place = (place + step) % machine.burst_bytes
    return bursts


def burst_addresses(
    machine: Machine, memory_address: int, row_bytes: int, rows: int, memory_pitch: int
) -> Iterator[int]:
    """Address of each of `row_bursts`: a beat's, and after the first of a row a burst's."""
    beat, burst = machine.beat_bytes, machine.burst_bytes
    for row in range(rows):
        start = memory_address + row * memory_pitch
        yield start // beat * beat
        yield from range((start // burst + 1) * burst, start + row_bytes, burst)


class CopyTiming:
    """A copying unit's recurrence; a subclass says what bursts do, and which commands overlap.

    For burst k, with W bursts in flight:

    - prepared  i(k) = max(i(k-1) + 1, a(k-1), d(k-W) + 1), the first of a command at start + 2 at
      the earliest; bursts of commands before count
    - accepted  a(k), and over d(k), as `_burst` says
    - done      d(last) + 1

    Costs a constant time per burst.

    Parameters
    ----------
    machine : Machine
        Whose `beat_bytes` and `burst_beats` count.
    limit : int
        W.
    has_rows : bool
        Whether addresses count.
    """

    def __init__(self, machine: Machine, limit: int, *, has_rows: bool):
        self._machine = machine
        self._has_rows = has_rows
        self._ends = deque([-1] * limit)  # of as many latest bursts
        self._prepared = self._accepted = -1  # of the latest burst
        self._done = [-1, -1]  # the latest commands'

    @property
    def room(self) -> int:
        """First cycle with room for the next command."""
        return self._done[-1] + 1

    def run(
        self, start: int, *, memory_address: int, row_bytes: int, rows: int, memory_pitch: int
    ) -> DmaTiming:
        """Time of a command that starts in cycle `start`, the latest of the unit.

        The buffer's addresses don't count.

        Parameters
        ----------
        start : int
            Cycle of the start strobe.
        memory_address, row_bytes, rows, memory_pitch : int
            The registers.
        """
        bursts = row_bursts(self._machine, memory_address, row_bytes, rows, memory_pitch)
        ready = self._ready(start)
        prepared, accepted, ends = max(start + 1, self._prepared), self._accepted, self._ends
        addresses: Iterator[int] = itertools.repeat(0)  # of no account
        if self._has_rows:
            addresses = burst_addresses(
                self._machine, memory_address, row_bytes, rows, memory_pitch
            )
        for beats, address in zip(bursts, addresses, strict=False):
            prepared = max(prepared + 1, accepted, ends.popleft() + 1)
            accepted, end = self._burst(prepared + 1, beats, ready, address)
            ends.append(end)
        self._prepared, self._accepted = prepared, accepted
        self._done = [self._done[-1], end + 1]
        return DmaTiming(start, end + 1, len(bursts), sum(bursts))

    def _ready(self, start: int) -> int:
        """Cycle from which on the command's beats may go."""
        raise NotImplementedError

    def _burst(self, request: int, beats: int, ready: int, address: int) -> tuple[int, int]:
        """Of a burst that is asked for in a cycle: when it is accepted and when it is over."""
        raise NotImplementedError


class LoadTiming(CopyTiming):
    """The load unit: W = `outstanding_reads`.

    With M = the memory's `outstanding` and L = its latency:

    - accepted  a(k) = max(i(k) + 1, d(k-M) + 1)
    - last beat d(k), as the bandwidth allows, of beats that may go from a(k) + L on, the first one
      of the command not before `LOAD_GAP` after the last one of the command before
    - the next command has room from i(last) + 2 on, if fewer than `LOADS_IN_FLIGHT` run

    Parameters
    ----------
    machine : Machine
        As of `CopyTiming`, and its `outstanding_reads`.
    port : ReadPort
        The data port's read channel.
    """

    def __init__(self, machine: Machine, port: ReadPort):
        assert LOADS_IN_FLIGHT == 2
        super().__init__(machine, machine.outstanding_reads, has_rows=port.rows is not None)
        self._port = port

    @property
    def room(self) -> int:
        """First cycle with room for the next command."""
        return max(self._prepared + 2, self._done[-2] + 1)

    def _ready(self, start: int) -> int:
        return self._ends[-1] + LOAD_GAP

    def _burst(self, request: int, beats: int, ready: int, address: int) -> tuple[int, int]:
        return self._port.burst(request, beats, ready, address)


class StoreTiming(CopyTiming):
    """The store unit: W = `OUTSTANDING_WRITES`.

    With M = the memory's `outstanding` and L = its latency:

    - accepted  a(k) = max(i(k) + 1, d(k-M) + 1)
    - last beat w(k), as the bandwidth allows, of beats that may go from a(k) + 1 on, the first
      one of the command not before start + 3 + READ_LATENCY, its way through the buffer
    - response  d(k) = max(w(k) + L, d(k-1) + 1)

    The beats in the unit's FIFO never count, since it covers the latency of the buffer.

    Parameters
    ----------
    machine : Machine
        As of `CopyTiming`.
    port : WritePort
        The data port's write channel.
    """

    def __init__(self, machine: Machine, port: WritePort):
        super().__init__(machine, OUTSTANDING_WRITES, has_rows=port.rows is not None)
        self._port = port

    def _ready(self, start: int) -> int:
        return start + 3 + READ_LATENCY

    def _burst(self, request: int, beats: int, ready: int, address: int) -> tuple[int, int]:
        return self._port.burst(request, ready, beats, address)


def _check(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
