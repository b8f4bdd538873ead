"""What stays on chip: what shares the parameter buffer, what is loaded and stored, and when."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.rtl.commands import EXPONENTIAL_BYTES, Token, Unit
from mensa.rtl.machine import KIB, edge_tpu
from mensa.rtl.program import Header
from mensa.sched.lower import lower
from mensa.sched.lower.options import LoweringOptions
from mensa.sched.lower.residency import Demand, parameter_plan
from mensa.sched.placement import all_on
from mensa.sched.run import run_network
from mensa.sim import soc
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.memory import lpddr4
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, load_network, machine_of, random_inputs

MACHINE = machine_of(8, 8, 4 * KIB, 4 * KIB, entries=16, banks=4)


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 9), st.booleans()), max_size=9),
    st.sampled_from([600, 4000, 20000]),
    st.sampled_from([2, 4, 16, 64]),
    st.booleans(),
    st.booleans(),
)
def test_parameters_that_stay_and_places_for_others_share_nothing(
    sizes, nbytes, entries, prefetch, residency
):
    machine = machine_of(5, 3, 1000, nbytes, entries=entries, port=4)
    options = LoweringOptions(prefetch=prefetch, residency=residency)
    demands = [
        Demand(number, words, count, -(-words // count), can_stay)
        for number, (words, count, can_stay) in enumerate(sizes)
    ]
    plan = parameter_plan(demands, machine, options)
    assert plan.resident.keys() <= {each.layer for each in demands if each.can_stay and residency}
    buffers = (
        (machine.parameter_buffer_bytes, plan.start, plan.slot_bytes),
        (machine.constant_entries, plan.first_entry, plan.slot_entries),
    )
    for which, (size, start, of_place) in enumerate(buffers):
        spans = [(start + n * of_place, start + (n + 1) * of_place) for n in range(plan.slots)]
        for each in demands:
            if each.layer in plan.resident:
                first = plan.resident[each.layer][which]
                spans.append((first, first + (each.nbytes, each.entries)[which]))
        spans = sorted(span for span in spans if span[0] < span[1])
        assert all(a >= 0 and b <= size for a, b in spans)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    if len(plan.resident) < len(demands):
        assert plan.slot_bytes >= machine.array.group
        assert plan.slot_entries >= 1
        assert plan.start % machine.beat_bytes == plan.slot_bytes % machine.beat_bytes == 0


def cycles(lowered):
    engine = ModelEngine(lowered.machine, lpddr4)
    return sum(engine.run(program).cycles for program in lowered.programs)


def test_prefetch_and_residency_can_be_switched_off_and_are_worth_something():
    graph = load_network("pretrainedResnet_quant")
    machine = edge_tpu.replace(rows=16, cols=16)
    plain, streaming, late = (
        lower(graph, all_on(machine), options=LoweringOptions(**settings))
        for settings in ({}, {"residency": False}, {"residency": False, "prefetch": False})
    )
    assert sum(layer.cached_bytes for layer in plain.layers) > 0
    assert sum(layer.streamed_bytes for layer in plain.layers) == 0
    assert streaming.setup is None
    assert sum(layer.streamed_bytes for layer in streaming.layers) > 0
    assert cycles(plain) < cycles(streaming) < cycles(late)


def test_only_a_networks_input_and_output_cross_the_data_port_where_all_fits():
    graph = load_network("mobilenet_v1_0.25_128_quant")
    lowered = lower(graph, all_on(edge_tpu))
    (program,) = lowered.programs
    output = graph.output_tensor(graph.operators[program.layers[-1]])
    moved = {
        unit: sum(c["ROWS"] * c["ROW_BYTES"] for c in program.commands() if c.unit == unit)
        for unit in (Unit.LOAD, Unit.STORE)
    }
    assert moved[Unit.LOAD] == sum(graph.tensors[index].nbytes for index in graph.inputs)
    assert moved[Unit.STORE] == output.nbytes


def test_the_report_says_what_is_cached_and_what_is_streamed():
    graph = load_network("kws_ref_model")
    inputs = [random_inputs(graph, 1)]
    for residency in (True, False):
        system, options = soc.edge_tpu, LoweringOptions(residency=residency)
        tree = run_network(graph, system, inputs, options=options).report.to_json()
        assert tree["provenance"]["lowering"] == {"prefetch": True, "residency": residency}
        lowered = lower(graph, all_on(system.machine), options=options)
        for entry, layer in zip(tree["layers"], lowered.layers, strict=True):
            if entry["machine"] == "host":
                assert entry["parameter_bytes"] is None
                continue
            operator = graph.operators[layer.index]
            weights = 0 if operator.op == "RESHAPE" else graph.parameter_bytes(operator)
            weights += EXPONENTIAL_BYTES if operator.op == "SOFTMAX" else 0
            kept, loaded = entry["parameter_bytes"]["cached"], entry["parameter_bytes"]["streamed"]
            assert (kept > 0) == (residency and weights > 0)
            assert (loaded > 0) == (not residency and weights > 0)
        assert bool(tree["totals"]["setup_cycles"]) == residency


def test_halves_of_a_layer_let_the_next_one_begin_while_results_drain():
    builder = golden.GraphBuilder()
    x = builder.input((1, 16, 16, 32), scale=0.5)
    weights = np.ones((32, 1, 1, 32), np.int8)
    for _ in range(3):
        x = builder.conv2d(x, weights, np.zeros(32), weight_scale=0.01, scale=0.5)
    lowered = lower(builder.build([x]), all_on(edge_tpu.replace(rows=16, cols=16)))
    (program,) = lowered.programs
    compute = [c for c in program.commands() if c.unit == Unit.COMPUTE]
    middle = [c for c in compute if c.tag == 1]
    assert len(middle) == 2
    assert all(Token.SETTLED in command.wait for command in middle)
    trace = ModelEngine(lowered.machine, lpddr4).run(program)
    events = [event for event in trace.events if event.unit == Unit.COMPUTE]
    assert all(later.start < earlier.done for earlier, later in itertools.pairwise(events))


def test_a_layer_begins_before_all_its_input_is_there_and_stores_before_all_is_computed():
    builder = golden.GraphBuilder()
    x = builder.input((1, 16, 16, 32), scale=0.5)
    weights = np.ones((32, 1, 1, 32), np.int8)
    y = builder.conv2d(x, weights, np.zeros(32), weight_scale=0.01, scale=0.5)
    lowered = lower(builder.build([y]), all_on(edge_tpu.replace(rows=16, cols=16)))
    trace = ModelEngine(lowered.machine, lpddr4).run(*lowered.programs)
    times = {unit: [e for e in trace.events if e.unit == unit] for unit in Unit}
    assert times[Unit.COMPUTE][0].start < times[Unit.LOAD][-1].done
    assert times[Unit.STORE][0].start < times[Unit.COMPUTE][-1].start
    assert_equals_golden(lowered, random_inputs(lowered.graph, 1), Watcher)


@pytest.mark.parametrize("name", ["movenet_single_pose_lightning_ptq"])
def test_outputs_that_the_host_reads_are_stored(name):
    graph = load_network(name)
    lowered = lower(graph, all_on(edge_tpu))
    read = {
        tensor
        for step in lowered.steps
        if not hasattr(step, "program")
        for tensor in graph.operators[step.operator].inputs
        if tensor >= 0 and graph.tensors[tensor].data is None
    }
    assert read | set(graph.outputs) <= set(lowered.tensors)


def test_a_network_with_another_parameter_has_another_setup():
    graph = load_network("kws_ref_model")
    weights = next(t for t in graph.tensors if t.data is not None and t.data.dtype == np.int8)
    changed = weights.data.copy()
    changed.flat[0] ^= 1
    tensors = list(graph.tensors)
    tensors[weights.index] = dataclasses.replace(weights, data=changed)
    other = dataclasses.replace(graph, tensors=tuple(tensors))
    headers = []
    for each in (graph, other, graph):
        lowered = lower(each, all_on(edge_tpu))
        setup = Header.of(lowered.setup.words)
        assert setup.is_setup
        for program in lowered.programs:
            header = Header.of(program.words)
            assert (header.setup, header.is_setup) == (setup.setup, False)
        headers.append(setup)
    assert headers[0] == headers[2]
    assert headers[0].setup != headers[1].setup
