"""What stops a program from outside its words, and which command it is about."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import Unit
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import resetless
from mensa.rtl.parts.unit import TOKEN_COUNT, TokenCounters
from mensa.rtl.registers import ErrorCode

__all__ = ["Faults"]

_UNITS = len(Unit)


class Faults(wiring.Component):
    """Gathers the faults of all units, looks for deadlock, and counts cycles without progress.

    *Deadlock.* A GO must wait only for tokens that GOs before it give. So those promised are
    counted as GOs are handled; one that is missing then is a fault two cycles later.

    *Watchdog.* After `watchdog` cycles in a row with `busy` and without `progress`, if it is not 0,
    the waiting unit is named: the first that runs of load, store and compute; else the first that
    has a command pending; else fetch.

    Members
    -------
    reset : In(1)
        Forget the tokens promised; for the start of a program.
    go : In(3)
        A bit per `Unit`: a GO for it is handled in this cycle.
    go_wait, go_signal : In(8)
        That GO's tokens.
    handled : In(32)
        Words that were handled before the last cycle.
    start, running, pending : In(3)
        As of the units.
    load_done : In(1)
        As of the load unit.
    conflict : In(1)
        Two users of a bank of a buffer.
    bus_error, outside, refused : In(3)
        Strobes of the units, about the command that started last; a bus error of the load unit
        about the oldest that runs.
    busy, progress : In(1)
        A program runs; something moved.
    watchdog : In(32)
        The control register.
    soft_reset : In(1)
        Strobe.
    fault : Out(1)
        There is a fault in this cycle.
    code : Out(8)
        What it is, in the cycle after: an ErrorCode.
    has_word, word : Out(1), Out(32)
        In the cycle after, whether it is about a command, and the index of that command's GO.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "reset": In(1),
                "go": In(_UNITS),
                "go_wait": In(TOKEN_COUNT),
                "go_signal": In(TOKEN_COUNT),
                "handled": In(32),
                "start": In(_UNITS),
                "running": In(_UNITS),
                "pending": In(_UNITS),
                "load_done": In(1),
                "conflict": In(1),
                "bus_error": In(_UNITS),
                "outside": In(_UNITS),
                "refused": In(_UNITS),
                "busy": In(1),
                "progress": In(1),
                "watchdog": In(32),
                "soft_reset": In(1),
                "fault": Out(1),
                "code": Out(8),
                "has_word": Out(1),
                "word": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()

        # The index of a GO is the number of words handled before it, which is known a cycle later.
        gone = Signal(_UNITS)
        m.d.sync += gone.eq(self.go)
        pending_word = [resetless(32, name=f"pending_word_{unit.name.lower()}") for unit in Unit]
        running_word = [resetless(32, name=f"running_word_{unit.name.lower()}") for unit in Unit]
        for unit in Unit:
            with m.If(gone[unit]):
                m.d.sync += pending_word[unit].eq(self.handled)
            with m.If(self.start[unit]):
                m.d.sync += running_word[unit].eq(pending_word[unit])

        # Two loads may be under way: what comes from memory is the older one's.
        oldest_load = resetless(32)
        with m.If(self.start[Unit.LOAD] & (self.load_done | ~self.running[Unit.LOAD])):
            m.d.sync += oldest_load.eq(pending_word[Unit.LOAD])
        with m.Elif(self.load_done):
            m.d.sync += oldest_load.eq(running_word[Unit.LOAD])
        oldest_word = [*running_word]
        oldest_word[Unit.LOAD] = oldest_load

        # Tokens promised by the GOs so far.
        m.submodules.promised = promised = TokenCounters()
        lacks, deadlock = Signal(_UNITS), Signal(_UNITS)
        m.d.comb += promised.reset.eq(self.reset)
        with m.If(self.go.any()):
            m.d.comb += [promised.take.eq(self.go_wait), promised.give.eq(self.go_signal)]
        m.d.sync += [
            lacks.eq(Mux((self.go_wait & ~promised.available).any(), self.go, 0)),
            deadlock.eq(lacks),
        ]

        left = Countdown(32, "left")
        enabled, expired = Signal(), Signal()
        quiet = self.busy & ~self.progress
        m.d.sync += [enabled.eq(self.watchdog.any()), expired.eq(quiet & left.last & enabled)]
        with m.If(quiet):
            m.d.sync += left.step()
        with m.Else():
            m.d.sync += left.restart(self.watchdog)

        faults: list[tuple[Any, ErrorCode, Signal | None]] = [
            (self.conflict, ErrorCode.BANK_CONFLICT, None)
        ]
        for strobe, words, codes in (
            (
                self.bus_error,
                oldest_word,
                {Unit.LOAD: "LOAD_BUS_ERROR", Unit.STORE: "STORE_BUS_ERROR"},
            ),
            (
                self.outside,
                running_word,
                {Unit.LOAD: "LOAD_OUTSIDE", Unit.STORE: "STORE_OUTSIDE"},
            ),
            (self.refused, running_word, dict.fromkeys(Unit, "REFUSED")),
        ):
            faults += [(strobe[unit], ErrorCode[code], words[unit]) for unit, code in codes.items()]
        faults += [(deadlock[unit], ErrorCode.DEADLOCK, pending_word[unit]) for unit in Unit]
        for waiting, words in ((self.running, oldest_word), (self.pending, pending_word)):
            faults += [
                (expired & waiting[unit], ErrorCode[f"WATCHDOG_{unit.name}"], words[unit])
                for unit in (Unit.LOAD, Unit.STORE, Unit.COMPUTE)
            ]
        faults += [
            (expired, ErrorCode.WATCHDOG_FETCH, None),
            (self.soft_reset, ErrorCode.RESET, None),
        ]
        m.d.comb += self.fault.eq(Cat(strobe for strobe, _, _ in faults).any())
        condition = m.If
        for strobe, code, word in faults:
            with condition(strobe):
                m.d.sync += [self.code.eq(code), self.has_word.eq(word is not None)]
                if word is not None:
                    m.d.sync += self.word.eq(word)
            condition = m.Elif
        return m
