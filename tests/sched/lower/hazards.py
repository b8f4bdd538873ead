"""Finds commands that share a port of a bank, or bytes, and that no token keeps apart.

What is checked doesn't depend on time: two commands of different units are in order only if a
chain of tokens and of the units' own order says so. (Commands of the compute unit overlap; that
none of them reads too early is the functional engine's own check.)
"""

from __future__ import annotations

from collections import deque

import pytest

from mensa.rtl.commands import Space, Token, Unit
from mensa.rtl.machine import CHANNEL_RECORD_BYTES
from mensa.rtl.program import Program
from mensa.sim.engines import functional as functional_engine
from mensa.sim.engines.command_order import CommandOrder
from mensa.sim.engines.functional import FunctionalEngine


class Watcher(FunctionalEngine):
    """A functional engine that notes what each command touches.

    What is touched is a set of ("read" or "write", what, first, last): bytes of memory, of a buffer
    or of a bank of the activation buffer, or such a bank's port.
    """

    def __init__(self, machine, hook=lambda command, buffers: None):
        self._now = set()
        self._hook = hook
        self._original = functional_engine._checked
        super().__init__(machine, on_command=self._note)
        self._order = _NotingOrder(self)

    def run(self, program: Program, memory):
        self.touched = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(functional_engine, "_checked", self._checked)
            super().run(program, memory)
        check(program, self.touched)

    def note(self, kind, what, addresses):
        if what != Space.ACTIVATION:
            self._now.add((kind, what, int(addresses.min()), int(addresses.max())))
            return
        banks = addresses // self.machine.activation_bank_bytes
        for bank in range(int(banks.min()), int(banks.max()) + 1):
            within = addresses[banks == bank]
            if within.size:
                self._now.add((kind, what, int(within.min()), int(within.max())))
                self._now.add((kind, "port of bank", bank, bank))

    def _checked(self, command, where, addresses, place):
        if where == "memory":
            self.note("write" if command.unit == Unit.STORE else "read", where, addresses)
        for space in (Space.PARAMETER, Space.CONSTANT):
            if place is self.buffers[space]:
                self.note("write" if command.unit == Unit.LOAD else "read", space, addresses)
        return self._original(command, where, addresses, place)

    def _note(self, command, buffers):
        if command.unit == Unit.COMPUTE and not command["UNIFORM"] and command["KEEP"] < 2:
            pitch = self.machine.constant_entry_bytes
            first = command["CONSTANT_ENTRY"] * pitch
            last = first + (command["GROUPS"] - 1) * pitch + CHANNEL_RECORD_BYTES - 1
            self._now.add(("read", Space.CONSTANT, first, last))
        self.touched.append(self._now)
        self._now = set()
        self._hook(command, buffers)


class _NotingOrder(CommandOrder):
    """Tells a watcher what is read and written in the activation buffer."""

    def __init__(self, watcher):
        super().__init__(watcher.machine.activation_buffer_bytes)
        self._watcher = watcher

    def written(self, unit, addresses):
        self._watcher.note("write", Space.ACTIVATION, addresses)
        super().written(unit, addresses)

    def read(self, unit, addresses):
        self._watcher.note("read", Space.ACTIVATION, addresses)
        return super().read(unit, addresses)


def check(program, touched):
    commands = program.commands()
    given = {token: deque() for token in Token}
    done = {unit: dict.fromkeys(Unit, 0) for unit in Unit}  # what a unit knows to be done
    clocks = []
    for command in commands:
        clock = done[command.unit]
        for token in command.wait:
            for unit, count in given[token].popleft().items():
                clock[unit] = max(clock[unit], count)
        clocks.append(dict(clock))
        clock[command.unit] += 1
        for token in command.signal:
            given[token].append(dict(clock))
    number = dict.fromkeys(Unit, 0)
    numbers = []
    for command in commands:
        numbers.append(number[command.unit])
        number[command.unit] += 1
    for late, b in enumerate(commands):
        for early in range(late):
            a = commands[early]
            if a.unit == b.unit or clocks[late][a.unit] > numbers[early]:
                continue
            clash = _clash(touched[early], touched[late])
            assert not clash, f"{a} and {b} may both use {clash} at the same time"


def _clash(a, b):
    for touch in a:
        for other in b:
            if _share(touch, other):
                return touch, other
    return None


def _share(a, b):
    (kind, what, first, last), (other, elsewhere, start, end) = a, b
    if what != elsewhere or first > end or start > last:
        return False
    # A port has one user; bytes have one writer, or only readers.
    return kind == other if what == "port of bank" else "write" in (kind, other)
