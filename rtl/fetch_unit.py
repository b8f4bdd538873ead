"""The fetch unit: reads the program from memory and hands out its commands."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, memory, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.axi import INCR, OKAY, ReadSignature, beat_size
from mensa.rtl.commands import (
    COMMAND_SET_VERSION,
    HEADER_WORDS,
    MAGIC,
    REGISTERS,
    WORD_BYTES,
    Opcode,
    Unit,
)
from mensa.rtl.machine import Machine
from mensa.rtl.registers import FETCH_BURST_WORDS as BURST_WORDS
from mensa.rtl.registers import FETCH_FIFO_WORDS as FIFO_WORDS
from mensa.rtl.registers import PROGRAM_ALIGNMENT_BYTES, ErrorCode
from mensa.rtl.unit import CommandSignature

__all__ = ["FetchUnit"]


class _State(enum.Enum):
    IDLE = 0
    MAGIC = 1  # waits for word 0
    CONFIGURATION = 2  # waits for word 1
    RUN = 3
    FAILED = 4  # waits for the units


_WORD = data.StructLayout(
    {
        "value": 32,
        "tag_high": 8,  # of a GO: bits 39:32 of every command are 0
        "signal": 8,
        "operand": 8,  # register of a SET, tokens to wait for of a GO
        "unit": 4,
        "opcode": 4,
    }
)


class FetchUnit(wiring.Component):
    """Reads a program in bursts and handles its words in order, at most one a cycle.

    *Start.* In a cycle with `start` high, `busy` low and no old read on its way, `reset` is high;
    the cycle after is cycle 0, the first one with `busy` high. `start` may be held until then.

    *Requests.* All bursts are BURST_WORDS long. ARVALID is high for burst b from cycle

    - 0 for b = 0; for others the latest of
    - 1 + the cycle in which burst b - 1 was accepted,
    - 1 + p(1), since word 1 says how long the program is,
    - 1 + p(BURST_WORDS (b + 1) - FIFO_WORDS - 1), so that there is room for it,

    until it is accepted; p(k) is the cycle in which word k is handled. Only bursts that hold a word
    of the program are requested, so at most BURST_WORDS - 1 words after its end are read.

    *Words.* RREADY is always high. A word whose beat is transferred in cycle t can be handled from
    t + 1 on. Word k is handled in the first cycle after p(k - 1) in which it is there and, for a
    SET or a GO, its unit is not pending; for END, no unit is running or pending. The header's two
    words wait for nothing else. Throughput is one word a cycle.

    *End.* The cycle in which END is handled is the last busy one; `done` is high in it. After an
    error no more words are handled, and `done` comes when no unit has been running for two cycles.

    Parameters
    ----------
    machine : Machine
        Whose programs it accepts.

    Members
    -------
    bus : Out(ReadSignature(32, 8))
        The command port.
    start : In(1)
        Start the program at `address`.
    address : In(32)
        A multiple of PROGRAM_ALIGNMENT_BYTES; must hold still from start to done.
    load, compute, store : Out(CommandSignature())
        To the units.
    units_idle : In(1)
        No unit is running; pending is taken from the command ports.
    fault : In(8)
        An ErrorCode other than 0 stops the program with that error.
    busy, done : Out(1)
        See above.
    reset : Out(1)
        Forget all pending commands and tokens.
    error : Out(8)
        ErrorCode of the latest program, from its `done` to the next start.
    word : Out(32)
        Words handled; after an error that the unit found in a word, that word's index.
    commands : Out(32)
        GO commands handled.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "bus": Out(ReadSignature(32, WORD_BYTES)),
                "start": In(1),
                "address": In(32),
                "load": Out(CommandSignature()),
                "compute": Out(CommandSignature()),
                "store": Out(CommandSignature()),
                "units_idle": In(1),
                "fault": In(8),
                "busy": Out(1),
                "done": Out(1),
                "reset": Out(1),
                "error": Out(8),
                "word": Out(32),
                "commands": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.fifo = fifo = memory.Memory(shape=65, depth=FIFO_WORDS, init=[])
        write, read = fifo.write_port(), fifo.read_port(domain="comb")

        reserved = Signal(range(FIFO_WORDS + 1))  # words on their way or in the FIFO
        in_flight = Signal(range(FIFO_WORDS + 1))  # words on their way
        bursts_left = Signal(32)
        next_address = Signal(32)
        held = Signal()  # a request waits for ARREADY
        requesting = Signal()  # the program may want more bursts
        handle = Signal()

        # Requests.
        room = reserved <= FIFO_WORDS - BURST_WORDS
        accepted = self.bus.arvalid & self.bus.arready
        beat = self.bus.rvalid & self.bus.rready
        m.d.comb += [
            self.bus.arvalid.eq(held | (requesting & bursts_left.any() & room)),
            self.bus.araddr.eq(next_address),
            self.bus.arlen.eq(BURST_WORDS - 1),
            self.bus.arsize.eq(beat_size(WORD_BYTES)),
            self.bus.arburst.eq(INCR),
            self.bus.rready.eq(1),
        ]
        m.d.sync += [
            held.eq(self.bus.arvalid & ~self.bus.arready),
            in_flight.eq(in_flight + Mux(accepted, BURST_WORDS, 0) - beat),
            reserved.eq(reserved + Mux(accepted, BURST_WORDS, 0) - handle),
        ]
        with m.If(accepted):
            m.d.sync += [
                bursts_left.eq(bursts_left - 1),
                next_address.eq(next_address + PROGRAM_ALIGNMENT_BYTES),
            ]

        # The FIFO. There is room for every beat that was asked for.
        level = Signal(range(FIFO_WORDS + 1))
        m.d.comb += [
            write.en.eq(beat),
            write.data.eq(Cat(self.bus.rdata, self.bus.rresp != OKAY)),
        ]
        m.d.sync += [
            write.addr.eq(write.addr + beat),
            read.addr.eq(read.addr + handle),
            level.eq(level + beat - handle),
        ]
        there = level.any()
        word = data.View(_WORD, read.data[:64])
        broken = read.data[64]

        # Commands.
        ports = {Unit.LOAD: self.load, Unit.COMPUTE: self.compute, Unit.STORE: self.store}
        for port in ports.values():
            m.d.comb += [
                port.set_register.eq(word.operand),
                port.set_value.eq(word.value),
                port.go_wait.eq(word.operand),
                port.go_signal.eq(word.signal),
                port.go_tag.eq(word.value),
            ]
        any_pending = Cat(port.pending for port in ports.values()).any()

        state = Signal(_State)
        words_left = Signal(32)
        problem = Signal(8)  # what is wrong with the word at hand
        quiet = Signal()  # no unit was running in the cycle before
        m.d.comb += self.busy.eq(state != _State.IDLE)
        m.d.sync += [quiet.eq(self.units_idle), self.word.eq(self.word + handle)]

        with m.Switch(state):
            with m.Case(_State.IDLE), m.If(self.start & ~in_flight.any() & ~held):
                m.d.comb += self.reset.eq(1)
                m.d.sync += [
                    reserved.eq(0),
                    write.addr.eq(0),
                    read.addr.eq(0),
                    level.eq(0),
                    self.word.eq(0),
                    self.commands.eq(0),
                    self.error.eq(ErrorCode.NONE),
                    bursts_left.eq(1),
                    next_address.eq(self.address),
                ]
                with m.If((self.address % PROGRAM_ALIGNMENT_BYTES).any()):
                    m.d.sync += self.error.eq(ErrorCode.UNALIGNED_PROGRAM)
                    m.d.sync += state.eq(_State.FAILED)
                with m.Else():
                    m.d.sync += [requesting.eq(1), state.eq(_State.MAGIC)]
            with m.Case(_State.MAGIC), m.If(there):
                with m.If(broken):
                    m.d.comb += problem.eq(ErrorCode.BUS_ERROR)
                with m.Elif(read.data[:32] != MAGIC):
                    m.d.comb += problem.eq(ErrorCode.BAD_MAGIC)
                with m.Elif(read.data[32:64] != COMMAND_SET_VERSION):
                    m.d.comb += problem.eq(ErrorCode.BAD_VERSION)
                with m.Else():
                    m.d.comb += handle.eq(1)
                    m.d.sync += state.eq(_State.CONFIGURATION)
            with m.Case(_State.CONFIGURATION), m.If(there):
                words = read.data[32:64]
                with m.If(broken):
                    m.d.comb += problem.eq(ErrorCode.BUS_ERROR)
                with m.Elif(read.data[:32] != self._machine.config_hash):
                    m.d.comb += problem.eq(ErrorCode.WRONG_CONFIGURATION)
                with m.Elif(words <= HEADER_WORDS):
                    m.d.comb += problem.eq(ErrorCode.NO_END)
                with m.Else():
                    m.d.comb += handle.eq(1)
                    m.d.sync += [
                        words_left.eq(words - HEADER_WORDS),
                        bursts_left.eq((words - 1) >> (BURST_WORDS - 1).bit_length()),
                        state.eq(_State.RUN),
                    ]
            with m.Case(_State.RUN):
                with m.If(~words_left.any()):
                    m.d.comb += problem.eq(ErrorCode.NO_END)
                with m.Elif(there & broken):
                    m.d.comb += problem.eq(ErrorCode.BUS_ERROR)
                with m.Elif(there & ~self.fault.any()), m.Switch(word.opcode):
                    with m.Case(Opcode.SET), m.Switch(word.unit):
                        for unit, port in ports.items():
                            with m.Case(unit):
                                with m.If(word.operand >= len(REGISTERS[unit])):
                                    m.d.comb += problem.eq(ErrorCode.BAD_COMMAND)
                                with m.Elif(~port.pending):
                                    m.d.comb += [port.set_valid.eq(1), handle.eq(1)]
                        with m.Default():
                            m.d.comb += problem.eq(ErrorCode.BAD_COMMAND)
                    with m.Case(Opcode.GO), m.Switch(word.unit):
                        for unit, port in ports.items():
                            with m.Case(unit), m.If(~port.pending):
                                m.d.comb += [port.go_valid.eq(1), handle.eq(1)]
                                m.d.sync += self.commands.eq(self.commands + 1)
                        with m.Default():
                            m.d.comb += problem.eq(ErrorCode.BAD_COMMAND)
                    with m.Case(Opcode.END), m.If(self.units_idle & ~any_pending):
                        m.d.comb += [self.done.eq(1), handle.eq(1)]
                        m.d.sync += [requesting.eq(0), state.eq(_State.IDLE)]
                    with m.Default():
                        m.d.comb += problem.eq(ErrorCode.BAD_COMMAND)
                with m.If(handle):
                    m.d.sync += words_left.eq(words_left - 1)
            # A unit that starts in this cycle is still idle, but not in the next.
            with m.Case(_State.FAILED), m.If(self.units_idle & quiet):
                m.d.comb += self.done.eq(1)
                m.d.sync += state.eq(_State.IDLE)

        with m.If(self.fault.any() & self.busy & (state != _State.FAILED)):
            m.d.comb += problem.eq(self.fault)
        with m.If(problem.any()):
            m.d.sync += [self.error.eq(problem), requesting.eq(0), state.eq(_State.FAILED)]
        return m
