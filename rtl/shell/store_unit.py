"""The store unit: copies rows from the activation buffer to memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from mensa.rtl.axi import INCR, OKAY, WriteSignature, beat_size
from mensa.rtl.commands import ADDRESS_BITS, BUFFER_ADDRESS_BITS, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.parts.unit import UnitFrontend
from mensa.rtl.shell.dma import CopyUnit, check_machine, has_no_copy, walk_beats, walk_bursts
from mensa.rtl.shell.window import is_inside
from mensa.rtl.timing import OUTSTANDING_WRITES, READ_LATENCY

__all__ = ["ReadSignature", "StoreUnit"]

FIFO_BEATS = READ_LATENCY + 2
"""Beats between buffer and bus. A beat's place is free again READ_LATENCY + 2 cycles before the
beat that is read into it can leave, so with this many the buffer is never what limits."""


class ReadSignature(wiring.Signature):
    """A buffer's read port, seen from the unit that reads: it takes a request in every cycle.

    `data` belongs to the request of `READ_LATENCY` cycles before, and holds for that cycle only.
    Parameters: `beat_bytes`, a power of two.
    """

    def __init__(self, beat_bytes: int):
        self.beat_bytes = beat_bytes
        super().__init__(
            {
                "valid": Out(1),
                "address": Out(BUFFER_ADDRESS_BITS),  # in bytes, a multiple of beat_bytes
                "data": In(8 * beat_bytes),
            }
        )


class StoreUnit(CopyUnit):
    """Reads the rows of a command from the activation buffer and writes them in bursts.

    Time, for a command that starts in cycle s and is cut into bursts 0, 1, … (architecture.md,
    "Load and store units"):

    - Burst k's request is prepared in cycle i(k) = max(i(k-1) + 1, a(k-1), b(k-4) + 1), with
      i(0) = s + 2; AWVALID is high from i(k) + 1 until the cycle a(k) in which AWREADY is too.
    - Buffer reads begin in cycle s + 2 and run up to `FIFO_BEATS` beats ahead of the bus. WVALID
      is high for the command's first beat from s + 3 + READ_LATENCY on, for beat j from the cycle
      after beat j - 1 was transferred, but not before its burst's AWVALID. It doesn't wait for
      AWREADY.
    - BREADY is high while a response is owed. With b(k) the cycle in which burst k's is
      transferred, the command is done in e = b(last) + 1.

    So throughput inside a burst is one beat per cycle, and from burst to burst it is the memory's.
    A response that isn't OKAY sets `error` in the cycle after; the unit finishes nevertheless.
    Addresses wrap at their width. Bytes of WDATA whose strobe is low are 0. A command that can't
    be copied is `refused`, and a burst that leaves the window sets `outside` in cycle i(k) + 1;
    neither asks memory for anything, and the unit then waits for `stop`. `reset` while a command
    runs is undefined.

    While `stop` is high no burst is prepared, and beats that are still owed are given with no
    strobe; only one that WREADY has kept waiting stays as it is. `quiet` says that all bursts are
    answered; the unit is to be reset then.

    Parameters
    ----------
    machine : Machine
        Whose `beat_bytes` and `burst_beats` count.

    Members
    -------
    command, reset, stop, available, take, give, start, idle, tag
        As in `UnitFrontend`.
    refused : Out(1)
        Strobe, two cycles after a command's start.
    done : Out(1)
        Strobe of a command's last cycle.
    bus : Out(axi.WriteSignature(32, beat_bytes))
        Memory.
    read : Out(ReadSignature(beat_bytes))
        The activation buffer.
    window : In(WindowSignature())
        What may be written.
    error, outside : Out(1)
        Strobes: a burst was answered by a response other than OKAY; one would leave the window.
    quiet : Out(1)
        Every burst that was asked for is answered.
    """

    def __init__(self, machine: Machine):
        check_machine(machine)
        super().__init__(
            machine,
            {
                "bus": Out(WriteSignature(ADDRESS_BITS, machine.beat_bytes)),
                "read": Out(ReadSignature(machine.beat_bytes)),
            },
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.frontend = frontend = UnitFrontend(Unit.STORE)
        frontend.serve(m, self)
        m.d.comb += frontend.done.eq(self.done)
        bursts = walk_bursts(m, frontend, self._machine, frontend.idle)
        beats = walk_beats(
            m, self._machine, frontend.coming, frontend.registers, bursts.take, bursts.start
        )
        bus = self.bus
        beat_bytes = self._machine.beat_bytes
        frontend.refuse(m, self, has_no_copy(frontend.registers, self._machine))

        # Requests. A burst is unanswered, and unsent, from the request register on. `free` more may
        # be unanswered after the next one; it is negative when that one has to wait, too.
        none, one = OUTSTANDING_WRITES - 1, OUTSTANDING_WRITES - 2  # are unanswered
        free = Signal(range(-1, OUTSTANDING_WRITES), init=none)
        unsent = Signal(range(OUTSTANDING_WRITES + 1))
        halted, asked = Signal(), Signal()
        m.d.comb += [
            halted.eq(self.stop | self.refused | self.outside),
            self.quiet.eq(free == none),
            bursts.step.eq(bursts.valid & (free >= 0) & (~bus.awvalid | bus.awready) & ~halted),
            asked.eq(bursts.step & is_inside(self.window, bursts.burst_address)),
            bus.awsize.eq(beat_size(beat_bytes)),
            bus.awburst.eq(INCR),
        ]
        with m.If(bus.awready):
            m.d.sync += bus.awvalid.eq(0)
        with m.If(bursts.step):
            m.d.sync += [
                bus.awvalid.eq(asked),
                bus.awaddr.eq(bursts.burst_address),
                bus.awlen.eq(bursts.burst_length),
            ]

        # Data. A beat is held from the request at the buffer until it leaves; `spare` more have
        # room after the next one, negative when that one has none.
        beat = data.StructLayout({"data": 8 * beat_bytes, "mask": beat_bytes, "last": 1})
        m.submodules.fifo = fifo = SyncFIFO(width=beat.size, depth=FIFO_BEATS)
        spare = Signal(range(-1, FIFO_BEATS), init=FIFO_BEATS - 1)
        sent = Signal()
        void = Signal()  # what leaves is only owed
        m.d.comb += [
            self.read.valid.eq(beats.valid & (spare >= 0)),
            self.read.address.eq(beats.address),
            beats.step.eq(self.read.valid),
        ]
        arriving = [self.read.valid, beats.mask, beats.last_of_burst]
        for stage in range(READ_LATENCY):
            delayed = [
                Signal.like(signal, name=f"{name}_{stage + 1}")
                for name, signal in zip(("valid", "mask", "last"), arriving, strict=True)
            ]
            m.d.sync += [new.eq(old) for new, old in zip(delayed, arriving, strict=True)]
            arriving = delayed
        arrived = Signal(beat)
        leaving = Signal(beat)
        m.d.comb += [
            arrived.data.eq(self.read.data),
            arrived.mask.eq(arriving[1]),
            arrived.last.eq(arriving[2]),
            fifo.w_en.eq(arriving[0]),
            fifo.w_data.eq(arrived),
            leaving.eq(fifo.r_data),
            bus.wvalid.eq(fifo.r_rdy & unsent.any()),
            bus.wstrb.eq(leaving.mask & ~void.replicate(beat_bytes)),
            bus.wdata.eq(leaving.data & Cat(strobe.replicate(8) for strobe in bus.wstrb)),
            bus.wlast.eq(leaving.last),
            sent.eq(bus.wvalid & bus.wready),
            fifo.r_en.eq(sent),
        ]

        with m.If(self.stop & (~bus.wvalid | bus.wready)):
            m.d.sync += void.eq(1)

        # Responses.
        answered = Signal()
        m.d.comb += [
            bus.bready.eq(free != none),
            answered.eq(bus.bvalid & bus.bready),
        ]
        m.d.sync += [
            spare.eq(spare - self.read.valid + sent),
            unsent.eq(unsent + asked - (sent & leaving.last)),
            free.eq(free - asked + answered),
            self.outside.eq(bursts.step & ~asked),
            self.done.eq(answered & ~bursts.valid & (free == one)),
            self.error.eq(answered & (bus.bresp != OKAY)),
        ]
        return m
