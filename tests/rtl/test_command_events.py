"""What commands are said to do is what the functional engine does, and what layers are made of."""

from __future__ import annotations

from collections import Counter

import pytest

from mensa.golden import operator_macs
from mensa.rtl.command_events import CommandEvents, command_events
from mensa.rtl.commands import Mode, Space, Unit
from mensa.rtl.machine import edge_tpu, jacquard, pascal, pavlov
from mensa.rtl.timing import feed_cycles
from mensa.sched import digits
from mensa.sched.lower import lower
from mensa.sched.placement import all_on
from mensa.sim.engines.functional import FunctionalEngine
from tests.sched.runner import load_network

MACHINES = {
    "edge_tpu": edge_tpu.replace(rows=8, cols=8),
    "lanes": edge_tpu.replace(rows=4, cols=12, post_lanes=5),
    "jacquard": jacquard,
    "pascal": pascal,
    "pavlov": pavlov,
}
ARRAY = {Mode.CONV, Mode.DEPTHWISE, Mode.FILTER}
NETWORKS = ("pretrainedResnet_quant", "trained_lstm_int8", "digits")


def network(name):
    return digits.load_network() if name == "digits" else load_network(name)


def by_layer(lowered):
    found, modes, most = {}, {}, {}
    for program in lowered.programs:
        for command in program.commands():
            if command.unit is Unit.COMPUTE:
                events = command_events(program.machine, command.registers)
                found[command.tag] = found.get(command.tag, CommandEvents()) + events
                modes.setdefault(command.tag, set()).add(Mode(command["MODE"]))
                cycles = feed_cycles(program.machine, command.registers)
                fed = cycles * program.machine.peak_macs_per_cycle
                most[command.tag] = most.get(command.tag, 0) + fed
    return found, modes, most


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_results_are_the_bytes_that_the_functional_engine_writes(name, machine):
    lowered = lower(network(name), all_on(machine))
    written = Counter()

    def access(each):
        if each.command.unit is Unit.COMPUTE and each.writes:
            assert each.space is Space.ACTIVATION
            written[each.command.tag] += each.addresses.size

    engine = FunctionalEngine(machine, on_access=access)
    memory = lowered.initial_memory()
    for setup in lowered.setups.values():
        engine.run(setup, memory)
    for program in lowered.programs:
        engine.run(program, memory)
    found, _, _ = by_layer(lowered)
    assert written
    assert {tag: each.activation_writes for tag, each in found.items()} == written


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_macs_are_those_of_the_layers_and_of_zeros_beside_weights(name, machine):
    graph = network(name)
    lowered = lower(graph, all_on(machine))
    found, modes, most = by_layer(lowered)
    exact = 0
    for operator in graph.operators:
        macs = operator_macs(graph, operator)
        if operator.index in found and modes[operator.index] & {
            Mode.CONV,
            Mode.DEPTHWISE,
            Mode.FILTER,
        }:
            counted = found[operator.index].macs
            assert macs <= counted <= most[operator.index]
            exact += counted == macs
    assert exact
