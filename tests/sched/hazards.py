"""Finds commands that share a bank, a half or memory and that no token keeps apart.

What is checked doesn't depend on time: two commands of different units are in order only if a
chain of tokens and of the units' own order says so.
"""

from __future__ import annotations

from collections import deque

import pytest

from mensa.rtl.commands import Space, Token, Unit
from mensa.rtl.program import Program
from mensa.sim import functional_engine
from mensa.sim.functional_engine import FunctionalEngine


class Watcher(FunctionalEngine):
    """A functional engine that notes what each command touches."""

    def __init__(self, machine):
        super().__init__(machine)
        self.touched = []  # of each command of the last program: a set of things
        self._now = set()
        self._original = functional_engine._checked

    def run(self, program: Program, memory):
        self.touched = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(functional_engine, "_checked", self._checked)
            self._on_command = self._note
            super().run(program, memory)
        check(program, self.touched)

    def _checked(self, command, where, addresses, place):
        span = int(addresses.min()), int(addresses.max())
        machine = self.machine
        if where == "memory":
            kind = "write" if command.unit == Unit.STORE else "read"
            self._now.add((f"memory {kind}", span))
        else:
            for space, part in (
                (Space.ACTIVATION, machine.activation_bank_bytes),
                (Space.PARAMETER, machine.parameter_buffer_bytes // 2),
                (Space.CONSTANT, machine.constant_entries // 2 * machine.constant_entry_bytes),
            ):
                if place is self.buffers[space]:
                    first, last = span[0] // part, span[1] // part
                    self._now |= {(space.name, number) for number in range(first, last + 1)}
        return self._original(command, where, addresses, place)

    def _note(self, command, buffers):
        if command.unit == Unit.COMPUTE and not command["UNIFORM"] and command["KEEP"] < 2:
            half = self.machine.constant_entries // 2
            for group in range(command["GROUPS"]):
                self._now.add((Space.CONSTANT.name, (command["CONSTANT_ENTRY"] + group) // half))
        self.touched.append(self._now)
        self._now = set()


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
    for what, where in a:
        for other, elsewhere in b:
            if what.startswith("memory") and other.startswith("memory"):
                written = "memory write" in (what, other)
                if written and where[0] <= elsewhere[1] and elsewhere[0] <= where[1]:
                    return what, where, elsewhere
            elif (what, where) == (other, elsewhere):
                return what, where
    return None
