"""The fetch unit: reads the program from memory and hands out its commands."""

from __future__ import annotations

import enum
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.axi import INCR, OKAY, ReadSignature, beat_size
from mensa.rtl.commands import (
    COMMAND_SET_VERSION,
    HEADER_WORDS,
    MAGIC,
    REGISTERS,
    VERSION_BITS,
    WORD_BYTES,
    WORD_COUNT_BITS,
    Opcode,
    Unit,
)
from mensa.rtl.machine import Machine
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import resetless
from mensa.rtl.parts.unit import CommandSignature
from mensa.rtl.registers import FETCH_BURST_WORDS as BURST_WORDS
from mensa.rtl.registers import FETCH_FIFO_WORDS as FIFO_WORDS
from mensa.rtl.registers import PROGRAM_ALIGNMENT_BYTES, ErrorCode
from mensa.rtl.shell.setup_record import SetupRecord
from mensa.rtl.shell.window import WindowSignature, is_inside

__all__ = ["FetchUnit"]


_BURST_BITS = (BURST_WORDS - 1).bit_length()

_PLACES = FIFO_WORDS // BURST_WORDS
"""Bursts that the queue has room for."""


class _State(enum.IntEnum):
    """Bit of the one-hot state."""

    IDLE = 0
    MAGIC = 1  # waits for word 0
    CONFIGURATION = 2  # waits for word 1
    RUN = 3
    TAIL = 4  # ended; what was read beyond the program's end is still coming
    FAILED = 5  # waits for what is owed on the ports


_COMMAND = data.StructLayout(
    {
        "value": 32,
        "tag_high": 8,  # of a GO: bits 39:32 of every command are 0
        "signal": 8,
        "operand": 8,  # register of a SET, tokens to wait for of a GO
        "unit": 4,
        "opcode": 4,
    }
)
_HEADER = data.StructLayout({"low": 32, "high": 32})
_WORD = data.UnionLayout({"command": _COMMAND, "header": _HEADER})

_KIND = data.StructLayout(
    {
        "broken": 1,  # memory answered with an error; nothing else is set
        # Of the header: a good word 0, a good word 1, and if not, which half of it is good.
        "word_0": 1,
        "word_1": 1,
        "magic": 1,
        "configuration": 1,
        # Of the set-up: none is needed, the one needed has ended well, the program is one.
        "no_setup": 1,
        "settled": 1,
        "is_setup": 1,
        # Of a command: its opcode, and its unit if that can take it. A malformed one has neither
        # `unit` nor `end`.
        "set": 1,
        "go": 1,
        "end": 1,
        "unit": data.ArrayLayout(1, len(Unit)),
    }
)


class _Program:
    """How far the program is, and what becomes of its next word, the queue's head."""

    def __init__(self) -> None:
        self.state = Signal(len(_State), init=1 << _State.IDLE)
        self.fetching = Signal()  # MAGIC, CONFIGURATION or RUN
        # The head is handled: a word that another may follow; a GO, told in the cycle after; or
        # END, which is known later.
        self.handle, self.command_done, self.ended = Signal(), Signal(), Signal(name="ended")
        # The head stops the program; why, if it does.
        self.bad, self.problem = Signal(), Signal(8, name="problem")
        self.words_left = Countdown(32, "words_left")
        # Of the set-up that the program names in word 0, as in `_KIND`.
        self.no_setup, self.settled = Signal(), Signal(name="settled")
        self.finished = Signal()  # no unit was running or pending in the cycle before
        self.quiet = Signal()  # FAILED, and nothing was on its way, in the cycle before

    def go_to(self, new: _State) -> list[Any]:
        """Return the assignments that change the state."""
        in_program = new in (_State.MAGIC, _State.CONFIGURATION, _State.RUN)
        return [self.state.eq(1 << new), self.fetching.eq(in_program)]


class _Requests:
    """The bursts of the program. One has its place in the queue until its last word is handled."""

    def __init__(self) -> None:
        self.bursts_left = Signal(signed(33 - _BURST_BITS))  # less 1: its sign says "none"
        self.occupied = Signal(range(-_PLACES, 1))  # less _PLACES: its sign says "not all"
        self.in_flight = Signal(range(_PLACES + 1))  # bursts on their way
        self.held = Signal()  # a request waits for ARREADY
        self.wanted, self.inside = Signal(), Signal(name="inside")  # a burst; it may be asked for
        # Where the burst after it is: so that what is known of it can be known when its turn comes.
        self.ahead = resetless(32)
        self.port_quiet = ~self.in_flight.any() & ~self.held


class _Queue:
    """The words read and not handled yet.

    Words are decoded on their way in, and its head is a register, so that the paths from there to
    the units and back to the memory are short. The head counts as one of FIFO_WORDS: the memory is
    never full, and there is room for every beat asked for.
    """

    def __init__(self, write: memory.WritePort, read: memory.ReadPort):
        self.write, self.read = write, read
        self.waiting = write.addr != read.addr  # in the memory, behind the head
        self.word, self.kind = Signal(_WORD), Signal(_KIND, name="kind")  # the head
        self.there = Signal()  # else there is no head, and `kind` is 0
        self.ends_burst = Signal()  # the head


class FetchUnit(wiring.Component):
    """Reads a program in bursts and handles its words in order, at most one a cycle.

    *Start.* In the cycle after one with `start` high and `active` low,
    `reset` is high; the next is cycle 0, the first one with `busy` high. `start` may be held until
    then.

    *Requests.* All bursts are BURST_WORDS long. ARVALID is high for burst b from cycle

    - 0 for b = 0; for others the latest of
    - 1 + the cycle in which burst b - 1 was accepted,
    - 1 + p(1), since word 1 says how long the program is,
    - 1 + p(BURST_WORDS (b + 1) - FIFO_WORDS - 1), so that there is room for it,

    until it is accepted; p(k) is the cycle in which word k is handled. Only bursts that hold a word
    of the program are requested, so at most BURST_WORDS - 1 words after its end are read.

    *Words.* RREADY is always high. A word whose beat is transferred in cycle t can be handled from
    t + FETCH_LATENCY on. Word k is handled in the first cycle after p(k - 1) in which it is there
    and, for a SET or a GO, its unit is not pending; for END, no unit is running or pending, nor was
    in the cycle before, so that every fault has been told. The
    header's two words wait for nothing else. Throughput is one word a cycle.

    *End.* The cycle in which END is handled is the last busy one. After a bad word no more words
    are handled, after a fault in cycle t not from t + 1 on, and END not in t either. Then `stop` is
    high until no port owes or is owed anything; `flush` is high in its last cycle. `done` comes
    when nothing is on its way: after END in the first cycle in which all that was read beyond it
    has arrived, else with `flush`. A fault between END and `done` counts, too.

    *Set-up.* A program that needs a set-up is refused unless the latest program with a good header
    that did not need the same was that set-up, and has ended well since the last `soft_reset`.

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
    window : In(WindowSignature())
        Where programs may lie; what would be read elsewhere is a fault.
    units_idle : In(1)
        No unit is running; pending is taken from the command ports.
    units_quiet : In(1)
        No unit has a burst on its way, nor will it ask for one while `stop` is high.
    fault : In(1)
        Stops the program, if it comes no later than when END could be handled.
    fault_code, fault_has_word, fault_word : In(8), In(1), In(32)
        In the cycle after: its ErrorCode, whether it is about a command, and its GO's index.
    soft_reset : In(1)
        Forget the set-up. That it is a fault, too, is told by `fault`.
    busy, active, done : Out(1)
        The program runs; it runs or something is on its way; see above.
    reset : Out(1)
        Forget all pending commands and tokens.
    stop, flush : Out(1)
        The units shall begin nothing new; see above.
    handled : Out(1)
        A word was handled in the cycle before.
    error : Out(8)
        ErrorCode of the latest program, from its `done` to the next start.
    word : Out(32)
        Words handled before the last cycle; holds an old number until two cycles after `reset`.
        After an error in a word or about a command, that word's index.
    commands : Out(32)
        GO commands handled, as `word` tells it.
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
                "window": In(WindowSignature()),
                "units_idle": In(1),
                "units_quiet": In(1),
                "fault": In(1),
                "fault_code": In(8),
                "fault_has_word": In(1),
                "fault_word": In(32),
                "soft_reset": In(1),
                "busy": Out(1),
                "active": Out(1),
                "done": Out(1),
                "reset": Out(1),
                "stop": Out(1),
                "flush": Out(1),
                "handled": Out(1),
                "error": Out(8),
                "word": Out(32),
                "commands": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.setups = setups = SetupRecord()
        # An asynchronous read followed by a register would become a block RAM, which is slower.
        m.submodules.fifo = fifo = memory.Memory(
            shape=data.StructLayout({"word": _WORD, "kind": _KIND}),
            depth=FIFO_WORDS,
            init=[],
            attrs={"ram_style": "distributed"},
        )
        write, read = fifo.write_port(), fifo.read_port(domain="comb")
        program, requests, queue = _Program(), _Requests(), _Queue(write, read)
        beat = self.bus.rvalid & self.bus.rready
        self._request_bursts(m, program, requests, queue, beat)
        self._queue_words(m, program, queue, beat, setups)
        self._show_commands(m, queue)
        self._tell_state(m, program, requests)
        self._count(m, program)
        self._use_setup(m, program, queue, setups)

        with m.If(self.reset):
            self._start(m, program, requests, queue)
        with m.If(program.state[_State.MAGIC]):
            self._take_magic(m, program, queue, setups)
        with m.If(program.state[_State.CONFIGURATION]):
            self._take_configuration(m, program, requests, queue, setups)
        with m.If(program.state[_State.RUN]):
            self._take_command(m, program, queue)
        with m.If(program.state[_State.TAIL] & requests.port_quiet & ~self.fault):
            m.d.comb += self.done.eq(1)
            m.d.sync += program.go_to(_State.IDLE)
        # What a unit or this one asked for before it knew is on its way now.
        failed = program.state[_State.FAILED]
        with m.If(failed & self.units_quiet & requests.port_quiet & program.quiet):
            m.d.comb += [self.flush.eq(1), self.done.eq(1)]
            m.d.sync += program.go_to(_State.IDLE)
        self._fail(m, program, requests, queue)
        return m

    @property
    def _ports(self) -> dict[Unit, Any]:
        """The command port of each unit."""
        return {Unit.LOAD: self.load, Unit.COMPUTE: self.compute, Unit.STORE: self.store}

    @property
    def _pending(self) -> Value:
        """A bit per unit: a command waits there."""
        ports = self._ports
        return Cat(ports[unit].pending for unit in Unit)

    def _request_bursts(
        self, m: Module, program: _Program, requests: _Requests, queue: _Queue, beat: Value
    ) -> None:
        """Ask for the bursts of the program, each when there is room for it."""
        bus = self.bus
        accepted = bus.arvalid & bus.arready
        # A program begins with a burst, at address 0: the address says which word ends a burst.
        arrived = beat & queue.write.addr[:_BURST_BITS].all()
        m.d.comb += [
            requests.wanted.eq(
                program.fetching & ~requests.bursts_left[-1] & requests.occupied[-1]
            ),
            bus.arvalid.eq(requests.held | (requests.wanted & requests.inside)),
            bus.arlen.eq(BURST_WORDS - 1),
            bus.arsize.eq(beat_size(WORD_BYTES)),
            bus.arburst.eq(INCR),
            bus.rready.eq(1),
        ]
        m.d.sync += [
            requests.held.eq(bus.arvalid & ~bus.arready),
            requests.in_flight.eq(requests.in_flight + accepted - arrived),
            requests.occupied.eq(
                requests.occupied + accepted - (program.handle & queue.ends_burst)
            ),
        ]
        with m.If(accepted):
            m.d.sync += [
                requests.bursts_left.eq(requests.bursts_left - 1),
                *self._turn_to(requests, requests.ahead),
            ]

    def _turn_to(self, requests: _Requests, address: Value) -> list[Any]:
        """The burst at `address` is the next one to ask for."""
        return [
            self.bus.araddr.eq(address),
            requests.inside.eq(is_inside(self.window, address)),
            requests.ahead.eq(address + PROGRAM_ALIGNMENT_BYTES),
        ]

    def _queue_words(
        self, m: Module, program: _Program, queue: _Queue, beat: Value, setups: SetupRecord
    ) -> None:
        """Put what arrives into the memory, and its oldest word into the head."""
        write, read = queue.write, queue.read
        m.d.comb += [
            write.en.eq(beat),
            write.data.word.eq(self.bus.rdata),
            write.data.kind.eq(self._kind(m, setups)),
        ]
        with m.If(beat):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(~queue.there | program.handle):
            m.d.sync += [
                queue.word.eq(read.data.word),
                queue.kind.eq(Mux(queue.waiting, read.data.kind, 0)),
                queue.there.eq(queue.waiting),
                queue.ends_burst.eq(read.addr[:_BURST_BITS].all()),
                read.addr.eq(read.addr + queue.waiting),
            ]

    def _show_commands(self, m: Module, queue: _Queue) -> None:
        """Show the head to all units; `_take_command` tells one that it is meant."""
        command = queue.word.command
        for port in self._ports.values():
            m.d.comb += [
                port.set_register.eq(command.operand),
                port.set_value.eq(command.value),
                port.go_wait.eq(command.operand),
                port.go_signal.eq(command.signal),
                port.go_tag.eq(command.value),
            ]

    def _tell_state(self, m: Module, program: _Program, requests: _Requests) -> None:
        """Tell the units and control what state it is, and what must be known for its end."""
        state = program.state
        m.d.comb += [
            self.busy.eq(~(state[_State.IDLE] | state[_State.TAIL])),
            self.active.eq(~state[_State.IDLE]),
            self.stop.eq(state[_State.FAILED]),
        ]
        m.d.sync += [
            self.reset.eq(self.start & ~self.reset & state[_State.IDLE]),
            program.finished.eq(self.units_idle & ~self._pending.any()),
            program.quiet.eq(state[_State.FAILED] & self.units_quiet & requests.port_quiet),
        ]

    def _count(self, m: Module, program: _Program) -> None:
        """What is counted is counted a cycle later: that it was handled is known late."""
        word_done, clear = Signal(), Signal()
        m.d.comb += self.handled.eq(word_done)
        m.d.sync += [
            word_done.eq(program.handle | program.ended),
            program.command_done.eq(0),
            clear.eq(self.reset),
        ]
        m.d.sync += [
            self.word.eq(self.word + word_done),
            self.commands.eq(self.commands + program.command_done),
        ]
        with m.If(clear):
            m.d.sync += [self.word.eq(0), self.commands.eq(0)]

    def _use_setup(self, m: Module, program: _Program, queue: _Queue, setups: SetupRecord) -> None:
        """Keep the record of what has been set up."""
        is_setup = queue.kind.is_setup
        m.d.comb += [
            setups.needs_it.eq(program.settled & ~is_setup),
            setups.is_setup.eq(is_setup & ~program.no_setup),
            setups.ended.eq(self.done & program.state[_State.TAIL]),
            setups.forget.eq(self.soft_reset),
        ]

    def _start(self, m: Module, program: _Program, requests: _Requests, queue: _Queue) -> None:
        """Begin with an empty queue, at the program's first burst."""
        m.d.sync += [
            requests.occupied.eq(-_PLACES),
            queue.write.addr.eq(0),
            queue.read.addr.eq(0),
            queue.kind.eq(0),
            queue.there.eq(0),
            self.error.eq(ErrorCode.NONE),
            requests.bursts_left.eq(0),
            *self._turn_to(requests, self.address),
            *program.go_to(_State.MAGIC),
        ]
        with m.If((self.address % PROGRAM_ALIGNMENT_BYTES).any()):
            m.d.sync += self.error.eq(ErrorCode.UNALIGNED_PROGRAM)
            m.d.sync += program.go_to(_State.FAILED)

    def _take_magic(self, m: Module, program: _Program, queue: _Queue, setups: SetupRecord) -> None:
        """Word 0: is it a program, of this command set, and which set-up does it name."""
        kind = queue.kind
        m.d.comb += [
            program.handle.eq(kind.word_0),
            program.bad.eq(queue.there & ~kind.word_0),
            program.problem.eq(Mux(kind.magic, ErrorCode.BAD_VERSION, ErrorCode.BAD_MAGIC)),
        ]
        with m.If(kind.word_0):
            m.d.sync += [
                setups.identifier.eq(queue.word.header.high[VERSION_BITS:]),
                program.no_setup.eq(kind.no_setup),
                program.settled.eq(kind.settled),
            ]
            m.d.sync += program.go_to(_State.CONFIGURATION)

    def _take_configuration(
        self,
        m: Module,
        program: _Program,
        requests: _Requests,
        queue: _Queue,
        setups: SetupRecord,
    ) -> None:
        """Word 1: is the program for this machine, is its set-up there, and how long is it."""
        kind = queue.kind
        words = queue.word.header.high[:WORD_COUNT_BITS]
        allowed = program.no_setup | program.settled | kind.is_setup
        m.d.comb += [
            program.handle.eq(kind.word_1 & allowed),
            program.bad.eq(queue.there & ~program.handle),
            program.problem.eq(ErrorCode.WRONG_CONFIGURATION),
        ]
        with m.If(kind.configuration):
            m.d.comb += program.problem.eq(Mux(allowed, ErrorCode.NO_END, ErrorCode.SETUP_MISSING))
        m.d.sync += program.words_left.restart(words - HEADER_WORDS)
        with m.If(program.handle):
            m.d.comb += setups.begin.eq(1)
            m.d.sync += requests.bursts_left.eq((words - 1 - BURST_WORDS) >> _BURST_BITS)
            m.d.sync += program.go_to(_State.RUN)

    def _take_command(self, m: Module, program: _Program, queue: _Queue) -> None:
        """A SET or a GO goes to its unit when nothing is pending there; END waits for all."""
        kind, pending = queue.kind, self._pending
        for unit, port in self._ports.items():
            mine = kind.unit[unit] & ~port.pending
            m.d.comb += [port.set_valid.eq(mine & kind.set), port.go_valid.eq(mine & kind.go)]
        taken = (kind.unit.as_value() & ~pending).any()
        malformed = ~Cat(kind.unit, kind.end).any()
        m.d.comb += [
            program.handle.eq(taken),
            program.ended.eq(kind.end & program.finished & ~pending.any() & ~self.fault),
            program.bad.eq((queue.there & malformed) | (taken & program.words_left.last)),
            program.problem.eq(Mux(malformed, ErrorCode.BAD_COMMAND, ErrorCode.NO_END)),
        ]
        m.d.sync += program.command_done.eq(taken & kind.go)
        with m.If(taken):
            m.d.sync += program.words_left.step()
        with m.If(program.ended):
            m.d.sync += program.go_to(_State.TAIL)

    def _fail(self, m: Module, program: _Program, requests: _Requests, queue: _Queue) -> None:
        """Stop the program after a bad word or a fault, and keep why."""
        fetching, in_tail = program.fetching, program.state[_State.TAIL]
        # It is a fault when all words before it are handled, so that it is about the next one.
        outside = (
            requests.wanted
            & ~requests.inside
            & ~requests.held
            & ~requests.in_flight.any()
            & ~queue.there
            & ~queue.waiting
        )
        with m.If(program.bad | (fetching & (self.fault | outside))):
            m.d.sync += program.go_to(_State.FAILED)
            m.d.sync += self.error.eq(Mux(queue.kind.broken, ErrorCode.BUS_ERROR, program.problem))
            with m.If(outside):
                m.d.sync += self.error.eq(ErrorCode.FETCH_OUTSIDE)
        # A program that has ended may still fail: what was read beyond it never comes.
        with m.If(in_tail & self.fault):
            m.d.sync += program.go_to(_State.FAILED)
        told = Signal()  # there was a fault in the cycle before
        m.d.sync += told.eq((fetching | in_tail) & self.fault)
        with m.If(told):
            m.d.sync += self.error.eq(self.fault_code)
            with m.If(self.fault_has_word):
                m.d.sync += self.word.eq(self.fault_word)

    def _kind(self, m: Module, setups: SetupRecord) -> data.View[data.StructLayout]:
        """What the word on the bus is."""
        bus = self.bus
        kind = Signal(_KIND, name="arriving")
        word = data.View(_WORD, bus.rdata)
        command, header = word.command, word.header
        with m.If(bus.rresp != OKAY):
            m.d.comb += kind.broken.eq(1)
        with m.Else():
            m.d.comb += [
                kind.magic.eq(header.low == MAGIC),
                kind.configuration.eq(header.low == self._machine.config_hash),
                kind.word_0.eq(kind.magic & (header.high[:VERSION_BITS] == COMMAND_SET_VERSION)),
                kind.word_1.eq(kind.configuration & (header.high[:WORD_COUNT_BITS] > HEADER_WORDS)),
                setups.asked.eq(header.high[VERSION_BITS:]),
                kind.no_setup.eq(~setups.asked.any()),
                kind.settled.eq(setups.settled),
                kind.is_setup.eq(header.high[WORD_COUNT_BITS]),
                kind.set.eq(command.opcode == Opcode.SET),
                kind.go.eq(command.opcode == Opcode.GO),
                kind.end.eq(command.opcode == Opcode.END),
            ]
            for unit in Unit:
                known = kind.go | (kind.set & (command.operand < len(REGISTERS[unit])))
                m.d.comb += kind.unit[unit].eq(known & (command.unit == unit))
        return kind
