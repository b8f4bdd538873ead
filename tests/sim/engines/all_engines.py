"""Programs on RTL, functional engine and model, which must agree in every byte and every cycle."""

from __future__ import annotations

from collections import deque

import numpy as np

from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES, CHANNEL_RECORD_USED_BYTES
from mensa.rtl.commands import Space, Unit
from mensa.sim.engines.events import layer_timing
from mensa.sim.engines.functional import FunctionalEngine
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.engines.rtl import RtlEngine
from mensa.sim.memory import lpddr4


class AllEngines:
    """Runs programs on RTL, functional engine and model, and compares all that they have."""

    def __init__(self, memory=lpddr4, every_command=False):
        self.memory = memory
        self._every_command = every_command
        self.commands_compared = 0

    def __call__(self, machine, hook):
        """Begin with fresh engines; the hook is told of the RTL's commands."""
        self._hook = hook
        self._changes = {unit: deque() for unit in Unit}
        self._functional = FunctionalEngine(
            machine, on_command=_recorder(self._changes) if self._every_command else None
        )
        self._rtl = RtlEngine(machine, self.memory, on_command=self._compare)
        self._model = ModelEngine(machine, self.memory)
        return self

    def run(self, program, memory):
        functional_memory = memory.copy()
        self._functional.run(program, functional_memory)
        trace = self._rtl.run(program, memory)
        assert np.array_equal(memory, functional_memory)
        # Nothing was written beside what the commands wrote.
        ours, wanted = self._rtl.buffers, self._functional.buffers
        assert np.array_equal(ours.activation, wanted.activation)
        assert np.array_equal(ours.parameter, wanted.parameter)
        assert trace == self._model.run(program)
        assert sum(trace.categories) == trace.cycles
        if trace.events:  # a lone RESHAPE has no command
            assert sum(layer.cycles for layer in layer_timing(trace)) == trace.cycles
        for layer in layer_timing(trace):
            assert sum(layer.stalls.values()) == layer.cycles
            assert min(layer.stalls.values()) >= 0
        return trace

    def _compare(self, event, buffers):
        self._hook(event, buffers)
        if self._every_command:
            for space, places, values in self._changes[event.unit].popleft():
                assert np.array_equal(buffers[space][places], values), (event, space)
            self.commands_compared += 1


def _recorder(changes):
    """For every command, unit by unit: which bytes of which buffer it changed, and to what."""
    before = {}

    def record(command, buffers):
        changed = []
        for space in Space:
            now = buffers[space].copy()
            places = np.flatnonzero(now != before.get(space, 0))
            if space is Space.CONSTANT:
                places = places[places % CHANNEL_RECORD_BYTES < CHANNEL_RECORD_USED_BYTES]
            if places.size:
                changed.append((space, places, now[places]))
            before[space] = now
        changes[command.unit].append(changed)

    return record
