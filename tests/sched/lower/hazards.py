"""Finds commands that share a port of a bank, or bytes, and that no token keeps apart.

What is checked doesn't depend on time: two commands of different units are in order only if a
chain of tokens and of the units' own order says so. (Commands of the compute unit overlap; that
none of them reads too early is the functional engine's own check.)
"""

from __future__ import annotations

from collections import deque

import numpy as np

from mensa.rtl.commands import Space, Token, Unit
from mensa.rtl.program import Program
from mensa.sim.engines.functional import FunctionalEngine

MOST_RUNS = 16
"""That an access is cut into, such as the operands of a sum, between which another may lie."""


class Watcher:
    """A functional engine that notes what each command touches.

    What is touched is a set of ("read" or "write", what, first, last): bytes of memory, of a buffer
    or of a bank of the activation buffer, or such a bank's port.
    """

    def __init__(self, machine, hook=lambda command, buffers: None):
        self.machine = machine
        self.touched = []
        self._now = set()
        self._hook = hook
        self._engine = FunctionalEngine(machine, on_command=self._command, on_access=self._access)

    @property
    def buffers(self):
        return self._engine.buffers

    def run(self, program: Program, memory):
        self.touched = []
        self._engine.run(program, memory)
        check(program, self.touched)

    def _access(self, access):
        kind, addresses = "write" if access.writes else "read", access.addresses
        if access.space != Space.ACTIVATION:
            self._now.add((kind, access.space, int(addresses.min()), int(addresses.max())))
            return
        banks = addresses // self.machine.activation_bank_bytes
        for bank in range(int(banks.min()), int(banks.max()) + 1):
            within = addresses[banks == bank]
            if within.size:
                for first, last in _runs(within):
                    self._now.add((kind, access.space, first, last))
                self._now.add((kind, "port of bank", bank, bank))

    def _command(self, command, buffers):
        self.touched.append(self._now)
        self._now = set()
        self._hook(command, buffers)


def _runs(addresses):
    """First and last of the bytes that lie side by side; of very many, of all together."""
    ordered = np.unique(addresses)
    breaks = np.flatnonzero(np.diff(ordered) > 1)
    if len(breaks) > MOST_RUNS:
        return [(int(ordered[0]), int(ordered[-1]))]
    starts, ends = ordered[np.r_[0, breaks + 1]], ordered[np.r_[breaks, len(ordered) - 1]]
    return list(zip(map(int, starts), map(int, ends), strict=True))


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
