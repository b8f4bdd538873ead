"""What commands are said to do is what the functional engine does, and what layers are made of."""

from __future__ import annotations

from collections import Counter

import pytest

from mensa.golden import operator_macs
from mensa.rtl.buffer_reads import buffer_reads
from mensa.rtl.command_events import CommandEvents, command_events
from mensa.rtl.commands import Keep, Mode, Space, Unit, Width
from mensa.rtl.machine import edge_tpu, jacquard, pascal, pavlov
from mensa.rtl.timing import feed_cycles
from mensa.sched.lower import lower
from mensa.sched.placement import all_on
from mensa.sim.engines.functional import FunctionalEngine
from tests.sched.runner import any_network

MACHINES = {
    "edge_tpu": edge_tpu.replace(rows=8, cols=8),
    "lanes": edge_tpu.replace(rows=4, cols=12, post_lanes=5),
    "jacquard": jacquard,
    "pascal": pascal,
    "pavlov": pavlov,
}
ARRAY = {Mode.CONV, Mode.DEPTHWISE, Mode.FILTER}
NETWORKS = ("pretrainedResnet_quant", "trained_lstm_int8", "digits")


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
def test_results_and_operands_are_the_bytes_that_the_functional_engine_moves(name, machine):
    lowered = lower(any_network(name), all_on(machine))
    written, cell_reads = Counter(), Counter()

    def access(each):
        if each.command.unit is Unit.COMPUTE:
            if each.writes:
                assert each.space is Space.ACTIVATION
                written[each.command.tag] += each.addresses.size
            elif Mode(each.command["MODE"]).is_cell:
                cell_reads[each.command.word_index] += each.addresses.size

    engine = FunctionalEngine(machine, on_access=access)
    memory = lowered.initial_memory()
    for setup in lowered.setups.values():
        engine.run(setup, memory)
    for program in lowered.programs:
        cell_reads.clear()
        engine.run(program, memory)
        for command in program.commands():
            if command.word_index in cell_reads:
                events = command_events(machine, command.registers)
                exact = command["LAST_GROUP_CHANNELS"] == machine.state_lanes
                assert events.activation_reads >= cell_reads[command.word_index]
                assert not exact or events.activation_reads == cell_reads[command.word_index]
    found, _, _ = by_layer(lowered)
    assert written
    assert {tag: each.activation_writes for tag, each in found.items()} == written


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_macs_are_those_of_the_layers_and_of_zeros_beside_weights(name, machine):
    graph = any_network(name)
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


def registers_of(**values):
    plain = dict.fromkeys(("PIXELS", "OUT_WIDTH", "KERNEL_H", "KERNEL_W", "GROUPS"), 1)
    return {"UNIFORM": 0, "EDGE_CHANNELS": 0, "KEEP": 0, "WIDTH": Width.BYTE} | plain | values


def test_a_convolution_worked_out_by_hand():
    """Ten pixels of three taps of 20 bytes, 70 channels in groups of 64 on 64 x 64."""
    events = command_events(
        edge_tpu,
        registers_of(
            MODE=Mode.CONV, PIXELS=10, OUT_WIDTH=5, KERNEL_W=3, SEGMENT=20, LAST_SEGMENT=20,
            GROUPS=2, GROUP_CHANNELS=64, LAST_GROUP_CHANNELS=6,
        ),
    )  # fmt: skip
    assert events.macs == 10 * 70 * 3 * 20
    assert events.requantised == events.activation_writes == 10 * 70
    assert events.parameter_reads == 2 * 3 * 20 * 64  # a word of a byte for each column, a tile
    assert events.activation_reads == 2 * 10 * 3 * 64  # a chunk of 64 bytes, of which 20 count
    assert events.constant_reads == 2 * 10 * 64 * 9
    assert events.kept_sums == 0


def test_of_an_output_row_s_last_pixel_only_some_channels_are_counted():
    given = registers_of(
        MODE=Mode.CONV, PIXELS=10, OUT_WIDTH=5, SEGMENT=7, LAST_SEGMENT=7, GROUP_CHANNELS=12,
        LAST_GROUP_CHANNELS=12,
    )  # fmt: skip
    assert command_events(edge_tpu, given).requantised == 120
    edge = command_events(edge_tpu, given | {"EDGE_CHANNELS": 5})
    assert edge.requantised == edge.activation_writes == 120 - 2 * 7
    assert edge.macs == 7 * edge.requantised


def test_sums_that_are_kept_are_counted_where_they_go_to_a_memory():
    given = registers_of(
        MODE=Mode.CONV, PIXELS=10, OUT_WIDTH=10, SEGMENT=7, LAST_SEGMENT=7, GROUP_CHANNELS=64,
        LAST_GROUP_CHANNELS=64,
    )  # fmt: skip
    for keep, times in ((0, 0), (Keep.UNDRAINED, 1), (Keep.CONTINUE, 1), (3, 2)):
        events = command_events(pavlov, given | {"KEEP": keep})
        assert events.kept_sums == times * 10 * 64 * 4
        assert command_events(edge_tpu, given | {"KEEP": keep}).kept_sums == 0
        leaves = not keep & Keep.UNDRAINED
        assert events.requantised == events.activation_writes == 640 * leaves
        assert bool(events.constant_reads) == leaves
        assert events.macs == 640 * 7


@pytest.mark.parametrize("shape", [(12, 20), (20, 12)])
def test_a_word_of_a_filter_is_of_all_columns(shape):
    machine = edge_tpu.replace(rows=shape[0], cols=shape[1])
    lowered = lower(any_network("kws_ref_model"), all_on(machine))
    found = {Mode.FILTER: 0, Mode.CONV: 0}
    for program in lowered.programs:
        for command in program.commands():
            if command.unit is Unit.COMPUTE and command["MODE"] in found:
                words = buffer_reads(machine, command.registers).activations
                width = shape[1] if command["MODE"] == Mode.FILTER else shape[0]
                events = command_events(machine, command.registers)
                assert events.activation_reads == words * width
                found[Mode(command["MODE"])] += words
    assert min(found.values()) > 0
