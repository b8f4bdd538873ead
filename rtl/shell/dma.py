"""What the load and the store unit share: they walk over the rows of a command twice.

A `BurstWalker` gives the address requests and may run ahead; a `BeatWalker` gives the place of
each beat in the buffer. Both work in whole beats: memory and buffer addresses of a row are equal
modulo a beat, so no byte moves within one.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import ADDRESS_BITS, BUFFER_ADDRESS_BITS, REGISTERS, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import resetless
from mensa.rtl.parts.unit import UnitFrontend, unit_members
from mensa.rtl.shell.window import WindowSignature

__all__ = [
    "BeatWalker",
    "BurstWalker",
    "CopyUnit",
    "check_machine",
    "has_no_copy",
    "log2",
    "walk_beats",
    "walk_bursts",
]

_BITS = {register.name: register.bits for register in REGISTERS[Unit.STORE]}
ROW_BITS = _BITS["ROW_BYTES"]
ROWS_BITS = _BITS["ROWS"]


def log2(n: int) -> int:
    """Exponent of `n`, a power of two."""
    return n.bit_length() - 1


def check_machine(machine: Machine) -> None:
    """Raise TypeError for what is no machine."""
    if not isinstance(machine, Machine):
        raise TypeError(f"Machine must be a mensa.rtl.machine.Machine, not {machine!r}")


class CopyUnit(wiring.Component):
    """What the load and the store unit have for members beside their ports.

    Parameters
    ----------
    machine : Machine
        Whose unit it is.
    ports : dict
        To memory and to the buffers.
    """

    def __init__(self, machine: Machine, ports: dict[str, wiring.Member]):
        self._machine = machine
        super().__init__(
            {
                **unit_members(),
                **ports,
                "window": In(WindowSignature()),
                "error": Out(1),
                "outside": Out(1),
                "quiet": Out(1),
            }
        )

    @property
    def machine(self) -> Machine:
        """The machine whose unit this is."""
        return self._machine


class BurstWalker(wiring.Component):
    """Cuts the rows of a command into bursts.

    A row is cut at every multiple of `burst_bytes`. The first burst is there in the cycle after
    `start`, and each next one in the cycle after `step`. Zero rows or bytes are undefined.

    The first row begins like all others: where it does has been taken before.

    Parameters
    ----------
    machine : Machine
        Whose `beat_bytes` and `burst_beats` count.

    Members
    -------
    take : In(1)
        Take `address` and `rows`; high in the cycle before `start`, low from there to the last row.
    address, rows : In(32), In(24)
        The registers MEMORY_ADDRESS and ROWS.
    start : In(1)
        Begin.
    pitch, row_bytes : In(32), In(28)
        The registers MEMORY_PITCH and ROW_BYTES, valid from `start` on.
    step : In(1)
        Go to the next burst.
    valid : Out(1)
        There is a burst.
    burst_address : Out(32)
        Address of its first beat.
    burst_length : Out(8)
        Its beats - 1.
    """

    def __init__(self, machine: Machine):
        check_machine(machine)
        self._beat_bytes = machine.beat_bytes
        self._burst_beats = machine.burst_beats
        super().__init__(
            {
                "take": In(1),
                "address": In(ADDRESS_BITS),
                "rows": In(ROWS_BITS),
                "start": In(1),
                "pitch": In(ADDRESS_BITS),
                "row_bytes": In(ROW_BITS),
                "step": In(1),
                "valid": Out(1),
                "burst_address": Out(ADDRESS_BITS),
                "burst_length": Out(8),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        low = log2(self._beat_bytes)
        high = low + log2(self._burst_beats)  # bits of an address below a cut
        next_row = resetless(ADDRESS_BITS)  # where the row after the current one starts
        rows = Countdown(ROWS_BITS + 1, "rows")
        beat = Signal(ADDRESS_BITS - low)
        # The row's last byte, counted from the cut after this burst: the sign says that the burst
        # is the row's last, and then the low bits say where the burst ends.
        ahead = Signal(signed(ROW_BITS + 2))
        last = Signal()
        last_beat = Signal(high - low)  # of the burst, counted from the cut before it
        m.d.comb += [
            last.eq(ahead < 0),
            last_beat.eq(Mux(last, ahead[low:high], self._burst_beats - 1)),
            self.burst_address.eq(beat << low),
            self.burst_length.eq(last_beat - beat[: high - low]),
        ]

        with m.If(self.start | (self.step & last)):
            m.d.sync += [
                next_row.eq(next_row + self.pitch),
                rows.step(),
                self.valid.eq(~rows.last),
                beat.eq(next_row >> low),
                ahead.eq(next_row[:high] + self.row_bytes - (1 + (1 << high))),
            ]
        with m.Elif(self.step):
            m.d.sync += [
                beat.eq(Cat(Const(0, high - low), beat[high - low :] + 1)),
                ahead.eq(ahead - (1 << high)),
            ]
        with m.If(self.take):
            m.d.sync += [next_row.eq(self.address), rows.restart(self.rows + 1)]
        return m


class BeatWalker(wiring.Component):
    """Says for each beat of a command where it is in the buffer and which of its bytes count.

    The first beat is there in the cycle after `start`, and each next one in the cycle after
    `step`. Zero rows or bytes are undefined.

    Parameters
    ----------
    machine : Machine
        Whose `beat_bytes` and `burst_beats` count.

    Members
    -------
    take, start : In(1), In(1)
        As of `BurstWalker`.
    memory_address, buffer_address, rows : In
        The registers of these names, valid with `take`.
    memory_pitch, buffer_pitch, row_bytes : In
        The registers of these names, valid from `start` on.
    step : In(1)
        Go to the next beat.
    valid : Out(1)
        There is a beat.
    address : Out(28)
        Its byte address in the buffer, a multiple of `beat_bytes`.
    mask : Out(beat_bytes)
        One bit per byte: it is part of the row.
    last_of_burst : Out(1)
        It is the last beat of its burst, as `BurstWalker` cuts them.
    last : Out(1)
        It is the command's last beat.
    """

    def __init__(self, machine: Machine):
        check_machine(machine)
        self._beat_bytes = machine.beat_bytes
        self._burst_beats = machine.burst_beats
        super().__init__(
            {
                "take": In(1),
                "memory_address": In(ADDRESS_BITS),
                "buffer_address": In(BUFFER_ADDRESS_BITS),
                "rows": In(ROWS_BITS),
                "start": In(1),
                "memory_pitch": In(ADDRESS_BITS),
                "buffer_pitch": In(BUFFER_ADDRESS_BITS),
                "row_bytes": In(ROW_BITS),
                "step": In(1),
                "valid": Out(1),
                "address": Out(BUFFER_ADDRESS_BITS),
                "mask": Out(self._beat_bytes),
                "last_of_burst": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        low = log2(self._beat_bytes)
        high = low + log2(self._burst_beats)  # bits of an address below a cut
        # Where the row after the current one starts: in the buffer, and in memory modulo a burst.
        next_row, next_cut_row = resetless(BUFFER_ADDRESS_BITS), resetless(high)
        rows = Countdown(ROWS_BITS + 1, "rows")
        beat = Signal(BUFFER_ADDRESS_BITS - low)
        position = Signal(high - low)  # of the beat within a burst
        first = Signal()  # of the row
        head = Signal(low)  # first byte of the row's first beat
        # The row's last byte, counted from the end of this beat: the sign says that the beat is the
        # row's last, and then the low bits say where in it the row ends.
        ahead = Signal(signed(ROW_BITS + 2))

        last_of_row, tail = Signal(), ahead[:low]
        m.d.comb += [
            last_of_row.eq(ahead < 0),
            self.address.eq(beat << low),
            self.last_of_burst.eq(last_of_row | (position == self._burst_beats - 1)),
            self.last.eq(last_of_row & rows.last),
            self.mask.eq(
                Cat(
                    (~first | (head <= byte)) & (~last_of_row | (tail >= byte))
                    for byte in range(self._beat_bytes)
                )
            ),
        ]

        with m.If(self.start | (self.step & last_of_row)):
            m.d.sync += [
                next_row.eq(next_row + self.buffer_pitch),
                next_cut_row.eq(next_cut_row + self.memory_pitch),
                rows.step(),
                self.valid.eq(~rows.last),
                beat.eq(next_row >> low),
                position.eq(next_cut_row >> low),
                first.eq(1),
                head.eq(next_row),
                ahead.eq(next_row[:low] + self.row_bytes - (1 + (1 << low))),
            ]
        with m.Elif(self.step):
            m.d.sync += [
                beat.eq(beat + 1),
                position.eq(position + 1),
                first.eq(0),
                ahead.eq(ahead - (1 << low)),
            ]
        with m.If(self.take):
            m.d.sync += [
                next_row.eq(self.buffer_address),
                next_cut_row.eq(self.memory_address),
                rows.restart(self.rows + 1),
            ]
        return m


def has_no_copy(registers: Any, machine: Machine) -> Value:
    """Whether a copying unit's registers say what can't be copied.

    That is nothing, or rows whose memory and buffer addresses differ modulo a beat: what neither
    walker can do.
    """
    low = log2(machine.beat_bytes)
    r = registers
    return (
        ~r.rows.any()
        | ~r.row_bytes.any()
        | (r.memory_address[:low] != r.buffer_address[:low])
        | ((r.rows != 1) & (r.memory_pitch[:low] != r.buffer_pitch[:low]))
    )


def walk_bursts(m: Module, frontend: UnitFrontend, machine: Machine, free: Value) -> BurstWalker:
    """Add a walker that sets out the cycle after a command of a unit's frontend starts.

    Parameters: `free`, whether the walker is through with the command before, as when one starts.
    """
    m.submodules.bursts = bursts = BurstWalker(machine)
    coming, registers = frontend.coming, frontend.registers
    begin = Signal(name="bursts_begin")  # registers are valid from this cycle on
    m.d.sync += begin.eq(frontend.start)
    m.d.comb += [
        bursts.take.eq(free),
        bursts.address.eq(coming.memory_address),
        bursts.rows.eq(coming.rows),
        bursts.start.eq(begin),
        bursts.pitch.eq(registers.memory_pitch),
        bursts.row_bytes.eq(registers.row_bytes),
    ]
    return bursts


def walk_beats(
    m: Module, machine: Machine, coming: Any, registers: Any, take: Value, start: Value
) -> BeatWalker:
    """Add a walker of beats.

    Parameters: a command's registers, as valid with `take` and as valid from `start` on.
    """
    m.submodules.beats = beats = BeatWalker(machine)
    m.d.comb += [
        beats.take.eq(take),
        beats.memory_address.eq(coming.memory_address),
        beats.buffer_address.eq(coming.buffer_address),
        beats.rows.eq(coming.rows),
        beats.start.eq(start),
        beats.memory_pitch.eq(registers.memory_pitch),
        beats.buffer_pitch.eq(registers.buffer_pitch),
        beats.row_bytes.eq(registers.row_bytes),
    ]
    return beats
