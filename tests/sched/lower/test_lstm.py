"""LSTM layers as programs: whatever their form, room and history, as golden computes them."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import mensa.golden as golden
import tests.golden.makers  # noqa: F401  registers how layers are drawn
from mensa.golden.arithmetic.gates import MAX_INTEGER_BITS
from mensa.golden.operators.lstm import LstmPlan
from mensa.rtl.commands import Mode, Space, Token, Unit, Width
from mensa.rtl.machine import CELLS, KIB, edge_tpu, pavlov
from mensa.sched.lower import ProgramStep, lower
from mensa.sched.lower.lstm_sums import spills
from mensa.sched.lower.options import LoweringOptions
from mensa.sched.placement import all_on
from mensa.sched.run import run_network
from mensa.sim.host import cortex_a53
from mensa.sim.memory import lpddr4
from mensa.sim.soc import Soc
from tests.golden.recurrent import CELLS as UNITS
from tests.golden.recurrent import FEATURES, Recurrent, recurrent
from tests.golden.strategies import layers
from tests.models import network_path
from tests.sched.runner import assert_equals_golden, random_inputs

FAMILIES = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "families.py"))

LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"

MACHINES = {
    "8x8": edge_tpu.replace(rows=8, cols=8),
    # Parameters find no room, and sums are those of few steps at a time.
    "4x12": edge_tpu.replace(
        rows=4,
        cols=12,
        post_lanes=5,
        constant_entries=4,
        parameter_buffer_bytes=2 * KIB,
        activation_buffer_bytes=8 * KIB,
    ),
    "2x48": edge_tpu.replace(rows=2, cols=48, cell_lanes=12),
    # Reductions come in pieces, and sums of the inputs go through memory.
    "2x4 pavlov": pavlov.replace(
        rows=2,
        cols=4,
        registers=16,
        accumulators=4,
        port_bytes=8,
        activation_buffer_bytes=1024,
    ),
}


def drawn(cell):
    return layers(operators=(LSTM,), dtypes=("int8",), oracle=cell)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", MACHINES)
def test_drawn_layers_are_golden_s(name, cell):
    machine = MACHINES[name].replace(cell=cell)
    accelerated = 0

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(drawn(cell))
    def compare(layer):
        nonlocal accelerated
        lowered = lower(layer.graph, all_on(machine), cell)
        assume(any(isinstance(step, ProgramStep) for step in lowered.steps))
        accelerated += 1
        assert_equals_golden(lowered, layer.inputs()[0])

    compare()
    assert accelerated >= 10


@pytest.mark.parametrize("cell", CELLS)
def test_states_are_kept_from_call_to_call(cell):
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(drawn(cell), st.integers(2, 4))
    def compare(layer, calls):
        machine = MACHINES["8x8"].replace(cell=cell)
        soc = Soc.single("soc", machine, lpddr4, cortex_a53)
        inputs = [random_inputs(layer.graph, seed) for seed in range(calls)]
        result = run_network(
            layer.graph, soc, inputs, engine="functional", rounding=cell, check=True
        )
        assert result.report.passed

    compare()


@pytest.mark.parametrize("cell", CELLS)
def test_sums_that_go_through_memory_are_golden_s(cell):
    machine = MACHINES["2x4 pavlov"].replace(cell=cell)
    found = {"spilled": 0, "in pieces": 0, "of several sequences": 0, "projected": 0}

    @settings(
        max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(
        steps=st.integers(3, 8),
        features=st.integers(6, 20),
        cells=st.integers(5, 12),
        projection=st.integers(1, 10) if cell == "litert" else st.just(0),
        batch=st.integers(1, 2),
        seed=st.integers(0, 99),
    )
    def compare(seed, **sizes):
        graph = FAMILIES["Lstm"](**sizes).graph()
        work = golden.plan(graph, graph.operators[0], cell)
        assume(spills(work, machine))
        lowered = lower(graph, all_on(machine), cell)
        found["spilled"] += 1
        found["in pieces"] += any(command["KEEP"] for command in computes(lowered))
        found["of several sequences"] += work.batch > 1
        found["projected"] += work.projection is not None
        assert_equals_golden(lowered, random_inputs(graph, seed))

    compare()
    assert found.pop("projected") or cell == "tflm"
    assert min(found.values()) >= 3, found


def test_weights_of_inputs_are_loaded_once_for_a_sequence_of_32_steps():
    """An LSTM of 512 cells over 32 steps, of the issue that asked for Pavlov."""
    graph = FAMILIES["PAPER_LSTM"].graph()
    work = golden.plan(graph, graph.operators[0], "tflm")
    assert spills(work, pavlov)
    assert not spills(work, edge_tpu)
    lowered = lower(graph, all_on(pavlov))
    (program,) = lowered.programs
    loads = [
        command
        for command in program.commands()
        if command.unit is Unit.LOAD and command["SPACE"] == Space.PARAMETER
    ]
    times = Counter(command["MEMORY_ADDRESS"] for command in loads)
    counted = Counter(times[command["MEMORY_ADDRESS"]] for command in loads)
    pieces = 4 * 512 // 64 * 2  # of 256 bytes of the reduction, for 64 outputs
    assert counted == {1: pieces, 32: 32 * pieces}
    assert sum(command["ROW_BYTES"] for command in loads) == (1 + 32) * 4 * 512 * 512
    # Sums of int16, of four gates, go out and come back.
    assert lowered.layers[0].traffic.spilled_bytes == 2 * 32 * 4 * 512 * 2


def test_the_rest_of_a_set_whose_first_load_waits_stands_behind_the_command_that_runs_meanwhile():
    """Else the fetcher would reach that command only when the slot is free."""
    lowered = lower(FAMILIES["PAPER_LSTM"].graph(), all_on(pavlov), for_time=True)
    (program,) = lowered.programs
    commands = list(program.commands())
    waiting = [
        number
        for number, command in enumerate(commands)
        if command.unit is Unit.LOAD
        and Token.PARAMETERS_FREE in command.wait
        and Token.PARAMETERS_READY not in command.signal
    ]
    assert len(waiting) > 1000
    at_once = 0  # behind the sums that go through memory, no command runs
    for number in waiting:
        between, last = commands[number + 1 : number + 3]
        if between.unit is not Unit.COMPUTE:
            at_once, last = at_once + 1, between
        assert last.unit is Unit.LOAD
        assert last["SPACE"] == Space.CONSTANT
        assert last.wait == frozenset()
        assert last.signal == {Token.PARAMETERS_READY}
    assert at_once == 1


def computes(lowered):
    return [
        command
        for program in lowered.programs
        for command in program.commands()
        if command.unit is Unit.COMPUTE
    ]


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_are_multiplied_for_all_steps_at_once_and_the_rest_step_by_step(cell):
    graph = golden.load(network_path("trained_lstm_int8"))
    lowered = lower(graph, all_on(edge_tpu.replace(cell=cell)), cell)
    commands = computes(lowered)[: 1 + 3 * 28]
    (first, *steps) = commands
    assert (first["PIXELS"], first["WIDTH"]) == (28, Width.INT16)
    assert [Mode(each["MODE"]) for each in steps] == 28 * [
        Mode.CONV,
        Mode.CELL_STATE,
        Mode.HIDDEN_STATE,
    ]
    wide = Width.INT32 if cell == "litert" else Width.INT16
    assert {each["WIDTH"] for each in steps[::3]} == {wide}


def test_recurrent_weights_that_stay_are_not_loaded_again():
    graph = golden.load(network_path("trained_lstm_int8"))
    layer, *_ = lower(graph, all_on(edge_tpu)).layers
    assert layer.streamed_bytes == 0
    small = edge_tpu.replace(parameter_buffer_bytes=8 * KIB)
    streamed, *_ = lower(
        graph, all_on(small.replace(rows=8, cols=8)), options=LoweringOptions()
    ).layers
    assert streamed.streamed_bytes < 28 * 4 * 20 * 20


def reason(graph, machine, rounding):
    lowered = lower(graph, all_on(machine), rounding)
    (layer,) = (each for each in lowered.layers if each.op == LSTM)
    return layer.reason


def test_what_keeps_a_layer_on_the_host_is_said():
    graph = golden.load(network_path("trained_lstm_int8"))
    assert reason(graph, edge_tpu, "tflm") is None
    for machine, says in (
        (edge_tpu.replace(cell=None), "has no LSTM cell"),
        (edge_tpu.replace(cell="litert"), "one with cell=tflm would run it"),
        (edge_tpu.replace(activation_buffer_bytes=1 * KIB), "raise activation_buffer_bytes"),
    ):
        assert says in reason(graph, machine, "tflm")


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn("litert"))
def test_layers_with_what_the_cell_does_not_know_are_on_the_host(layer):
    graph = layer.graph
    work = golden.plan(graph, graph.operators[-1], "litert")
    assert isinstance(work, LstmPlan)
    gates = work.gates.values()
    peepholes = any(gate.peephole_weights is not None for gate in gates)
    peepholes = peepholes and work.output_shape[2] != work.cells
    norms = any(gate.layer_norm is not None for gate in gates)
    assert 0 <= 15 + work.cell_power <= MAX_INTEGER_BITS
    why = reason(graph, edge_tpu.replace(cell="litert"), "litert")
    zero_point = not -128 <= work.output_zero_point <= 127
    assert (why is not None) == (peepholes or norms or zero_point), why


def test_a_layer_without_room_beside_others_has_a_program_of_its_own():
    graph = recurrent()
    lowered = lower(graph, all_on(edge_tpu.replace(rows=8, cols=8)))
    assert all(isinstance(step, ProgramStep) for step in lowered.steps)
    assert_equals_golden(lowered, random_inputs(graph, 3))
    machine = edge_tpu.replace(rows=8, cols=8, activation_buffer_bytes=2 * KIB)
    made = Recurrent(2)
    b = made.builder
    x = b.input((1, FEATURES), scale=1 / 32)
    large = made.connected(x, FEATURES, 1000)  # is there while the LSTM runs
    y, _ = made.lstm(made.connected(x, FEATURES, 8))
    graph = b.build([b.reshape(y, (1, UNITS)), b.add(large, large, scale=1 / 8)])
    lowered = lower(graph, all_on(machine))
    assert [len(program.layers) for program in lowered.programs] == [3, 1, 2]
    assert_equals_golden(lowered, random_inputs(graph, 4))


def test_without_residency_the_layer_has_a_program_of_its_own():
    graph = golden.load(network_path("trained_lstm_int8"))
    lowered = lower(graph, all_on(MACHINES["8x8"]), options=LoweringOptions(residency=False))
    assert [program.layers for program in lowered.programs] == [(0,), (1, 2, 3)]
    assert_equals_golden(lowered, random_inputs(graph, 6))


def test_machines_from_small_to_large_give_the_same():
    graph = golden.load(network_path("trained_lstm_int8"))
    inputs = random_inputs(graph, 5)
    for machine in MACHINES.values():
        assert_equals_golden(lower(graph, all_on(machine)), inputs)
    assert np.prod(graph.tensors[graph.outputs[0]].shape) == 10


def odd_machines(cell):
    """Of few rows, columns and lanes, with small buffers or none that matter."""
    return st.builds(
        edge_tpu.replace,
        rows=st.sampled_from([1, 2, 3]),
        cols=st.sampled_from([2, 4, 5, 9, 64]),
        post_lanes=st.sampled_from([None, 1, 2]),
        cell=st.just(cell),
        activation_buffer_bytes=st.sampled_from([8 * KIB, 64 * KIB]),
        parameter_buffer_bytes=st.sampled_from([2 * KIB, 8 * KIB]),
    )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("op", [LSTM, "SVDF"])
def test_odd_machines_run_a_layer_or_say_why_not(op, cell):
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(layers(operators=(op,), dtypes=("int8",), oracle=cell), odd_machines(cell))
    def compare(layer, machine):
        lowered = lower(layer.graph, all_on(machine), cell)
        assert_equals_golden(lowered, layer.inputs()[0])

    compare()
