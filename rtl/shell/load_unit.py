"""The load unit: copies rows from memory to a buffer."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from mensa.rtl import timing
from mensa.rtl.axi import INCR, OKAY, ReadSignature, beat_size
from mensa.rtl.commands import ADDRESS_BITS, BUFFER_ADDRESS_BITS, Space, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.parts.resetless import resetless
from mensa.rtl.parts.unit import UnitFrontend
from mensa.rtl.shell.dma import CopyUnit, check_machine, has_no_copy, walk_beats, walk_bursts
from mensa.rtl.shell.window import is_inside

__all__ = ["LoadUnit", "WriteSignature"]


class WriteSignature(wiring.Signature):
    """A buffer's write port, seen from the unit that writes: it takes a beat in every cycle.

    What is written in cycle t is seen by reads that are requested in t + 1 or later.
    Parameters: `beat_bytes`, a power of two.
    """

    def __init__(self, beat_bytes: int):
        self.beat_bytes = beat_bytes
        super().__init__(
            {
                "valid": Out(1),
                "space": Out(2),  # a commands.Space
                "address": Out(BUFFER_ADDRESS_BITS),  # in bytes, a multiple of beat_bytes
                "data": Out(8 * beat_bytes),
                "mask": Out(beat_bytes),  # one bit per byte
            }
        )


class LoadUnit(CopyUnit):
    """Reads the rows of a command in bursts, several in flight, and writes them to a buffer.

    A command starts when all bursts of the one before have been asked for, so that memory's latency
    is waited for once, not by each of several that follow each other.

    Time, for a command that starts in cycle s and is cut into bursts 0, 1, … (architecture.md,
    "Load and store units"), where O = `outstanding_reads`:

    - Burst k's request is prepared in cycle i(k) = max(i(k-1) + 1, a(k-1), d(k-O) + 1), but i(0) is
      at least s + 2; bursts of the command before count. ARVALID is high from i(k) + 1 until the
      cycle a(k) in which ARREADY is too.
    - d(k) is the cycle in which its last beat is transferred. RREADY is high from s + 3, but
      not before `timing.LOAD_GAP` after the last beat of the command before, until the last beat of
      the command.
    - A beat that is transferred in cycle t is on the write port in t + 1.
    - The next command has room from i(last) + 2 on, and when fewer than `timing.LOADS_IN_FLIGHT`
      are running.
    - The command is done in the cycle after its last beat's transfer, e = d(last) + 1, which is
      when that beat is on the write port.

    So the least duration is L + 4 cycles with a memory that offers data L cycles after it accepts
    a request, and throughput is one beat per cycle across bursts and rows when these are n beats
    long and (O - 1) n >= L + 1.
    A response that isn't OKAY sets `error` in the cycle after; the unit finishes nevertheless.
    Addresses wrap at their width. A command that can't be copied is `refused`, and a burst that
    leaves the window sets `outside` in cycle i(k) + 1; neither asks memory for anything, and the
    unit then waits for `stop`. `reset` while a command runs is undefined.

    While `stop` is high no burst is prepared, and what arrives is written nowhere. `quiet` says
    that no burst is on its way; the unit is to be reset then.

    Parameters
    ----------
    machine : Machine
        Whose `beat_bytes`, `burst_beats` and `outstanding_reads` count.

    Members
    -------
    command, reset, stop, available, take, give, start, idle, tag
        As in `UnitFrontend`.
    refused : Out(1)
        Strobe, two cycles after a command's start.
    done : Out(1)
        Strobe of a command's last cycle.
    bus : Out(axi.ReadSignature(32, beat_bytes))
        Memory.
    write : Out(WriteSignature(beat_bytes))
        The buffers.
    window : In(WindowSignature())
        What may be read.
    error, outside : Out(1)
        Strobes: a beat came with a response other than OKAY; a burst would leave the window.
    quiet : Out(1)
        Every burst that was asked for has come.
    """

    def __init__(self, machine: Machine):
        check_machine(machine)
        super().__init__(
            machine,
            {
                "bus": Out(ReadSignature(ADDRESS_BITS, machine.beat_bytes)),
                "write": Out(WriteSignature(machine.beat_bytes)),
            },
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.frontend = frontend = UnitFrontend(Unit.LOAD, timing.LOADS_IN_FLIGHT)
        frontend.serve(m, self)
        asking = Signal()  # for the bursts of the latest command
        bursts = walk_bursts(m, frontend, self._machine, ~asking)
        with m.If(frontend.start):
            m.d.sync += asking.eq(1)
        with m.Elif(~bursts.start & ~bursts.valid):
            m.d.sync += asking.eq(0)
        m.d.comb += [frontend.done.eq(self.done), frontend.ready.eq(~asking)]
        bus, registers = self.bus, frontend.registers
        wrong = has_no_copy(registers, self._machine) | ~registers.space.matches(*Space)
        frontend.refuse(m, self, wrong)

        # Beats are of the oldest command; one that starts waits until the one before has all.
        waits, takes, busy, begins = Signal(), Signal(), Signal(), Signal()
        taken_for = resetless(registers.shape())
        beats = walk_beats(m, self._machine, registers, taken_for, takes, begins)
        m.d.comb += takes.eq(waits & ~busy)
        m.d.sync += begins.eq(takes)
        with m.If(frontend.start):
            m.d.sync += waits.eq(1)
        with m.Elif(takes):
            m.d.sync += [waits.eq(0), busy.eq(1), taken_for.eq(registers)]

        # Requests. One is in flight from the request register on. `spare` more may be after the
        # next one; it is negative when that one has to wait, too.
        limit = self._machine.outstanding_reads
        spare = Signal(range(-1, limit), init=limit - 1)
        halted, asked = Signal(), Signal()
        m.d.comb += [
            halted.eq(self.stop | self.refused | self.outside),
            self.quiet.eq(spare == limit - 1),
            bursts.step.eq(bursts.valid & (spare >= 0) & (~bus.arvalid | bus.arready) & ~halted),
            asked.eq(bursts.step & is_inside(self.window, bursts.burst_address)),
            bus.arsize.eq(beat_size(self._machine.beat_bytes)),
            bus.arburst.eq(INCR),
        ]
        with m.If(bus.arready):
            m.d.sync += bus.arvalid.eq(0)
        with m.If(bursts.step):
            m.d.sync += [
                bus.arvalid.eq(asked),
                bus.araddr.eq(bursts.burst_address),
                bus.arlen.eq(bursts.burst_length),
            ]

        # Data.
        taken = Signal()
        m.d.comb += [
            bus.rready.eq(beats.valid | self.stop),
            taken.eq(bus.rvalid & bus.rready),
            beats.step.eq(taken),
        ]
        with m.If(taken & beats.last):
            m.d.sync += busy.eq(0)
        m.d.sync += [
            spare.eq(spare - asked + (taken & bus.rlast)),
            self.outside.eq(bursts.step & ~asked),
            self.write.valid.eq(taken & ~self.stop),
            self.write.space.eq(taken_for.space),
            self.write.address.eq(beats.address),
            self.write.data.eq(bus.rdata),
            self.write.mask.eq(beats.mask),
            self.done.eq(taken & beats.last),
            self.error.eq(taken & (bus.rresp != OKAY)),
        ]
        return m
