"""A run that differs from golden or the timing model is told, wherever it differs."""

import dataclasses

import numpy as np
import pytest

from mensa import golden
from mensa.rtl.commands import Unit
from mensa.rtl.machine import edge_tpu
from mensa.sched.engines import EngineError, TimingModel
from mensa.sched.inputs import make_inputs
from mensa.sched.lower import lower
from mensa.sched.placement import all_on
from mensa.sched.run import run_network
from mensa.sched.verify import compare_times, compare_values
from mensa.sim.memory import lpddr4
from mensa.sim.soc import Soc
from tests.small_network import small_network

SOC = Soc.single("soc", edge_tpu.replace(rows=8, cols=8), lpddr4)
GRAPH = small_network()
LOWERED = lower(GRAPH, all_on(SOC.machine))


@pytest.fixture(scope="module")
def times():
    """The timing model's set-up, and its programs of an inference."""
    model = TimingModel(LOWERED, SOC)
    return model.setups(), model.inference()


def changed(trace, place, **fields):
    """A trace with another event at that place."""
    events = list(trace.events)
    events[place] = dataclasses.replace(events[place], **fields)
    return dataclasses.replace(trace, events=tuple(events))


def test_equal_times_are_equal(times):
    setup, traces = times
    assert set(setup) == {SOC.machine.name}
    assert compare_times(LOWERED, SOC, setup, [traces, traces]).equal


def test_a_beat_more_is_told_with_its_layer(times):
    setup, (first, *rest) = times
    place, load = next((i, e) for i, e in enumerate(first.events) if e.unit == Unit.LOAD)
    wrong = changed(first, place, beats=load.beats + 1)
    found = compare_times(LOWERED, SOC, setup, [[wrong, *rest]])
    (line,) = found.differences
    assert line.startswith(f"layer {load.tag} {GRAPH.operators[load.tag].op}: beats read ")


def test_an_event_of_a_later_inference_and_of_the_set_up_are_told(times):
    setup, (first, *rest) = times
    later = changed(first, 0, start=first.events[0].start + 1)
    found = compare_times(LOWERED, SOC, setup, [[first, *rest], [later, *rest]])
    assert found.differences == (
        "inference 1: the events of program 0 differ from the timing model's",
    )
    ((name, trace),) = setup.items()
    late = {name: dataclasses.replace(trace, cycles=trace.cycles + 1)}
    for wrong in (late, {}):
        found = compare_times(LOWERED, SOC, wrong, [[first, *rest]])
        assert found.differences == (f"setup of {name}: its events differ from the timing model's",)


def test_layers_without_times_are_told(times):
    setup, traces = times
    found = compare_times(LOWERED, SOC, setup, [[None] * len(traces)])
    assert len(found.differences) == len(found.cycles)
    assert all("cycles None, the timing model says" in line for line in found.differences)


@pytest.mark.parametrize("change", ["value", "type", "shape", "missing"])
def test_an_output_that_differs_is_told_of_its_operator_alone(change):
    wanted = golden.run(GRAPH, make_inputs(GRAPH, "random", 1), keep="all")
    right = compare_values(LOWERED, dict(wanted), wanted.state, wanted)
    assert right == {operator.index: True for operator in GRAPH.operators}
    for operator in GRAPH.operators:
        values = dict(wanted)
        (output,) = operator.outputs
        array = values.pop(output)
        if change != "missing":
            changes = {"value": array ^ 1, "type": array.astype(np.int16), "shape": array[None]}
            values[output] = changes[change]
        found = compare_values(LOWERED, values, wanted.state, wanted)
        assert [index for index, same in found.items() if not same] == [operator.index]


def test_one_nan_is_as_good_as_another():
    builder = golden.GraphBuilder("one operator")
    x = builder.input((1, 2), scale=0.1)
    graph = builder.build([builder.add(x, x, scale=0.2)])
    lowered = lower(graph, all_on(SOC.machine))
    (output,) = graph.outputs
    wanted = golden.run(graph, make_inputs(graph, "zeros", 0), keep="all")
    quiet, negative = np.array([[0x7FC00000, 0xFFC00001]], np.uint32).view(np.float32).T
    wanted[output] = quiet
    assert compare_values(lowered, {**wanted, output: negative}, {}, wanted) == {0: True}
    assert compare_values(lowered, {**wanted, output: np.float32([0])}, {}, wanted) == {0: False}


@pytest.mark.parametrize(
    ("name", "options", "able"),
    [
        ("model", {"check": True}, ("rtl", "functional")),
        ("model", {"vcd": "waves.vcd"}, ("rtl",)),
        ("functional", {"vcd": "waves.vcd"}, ("rtl",)),
    ],
)
def test_what_an_engine_cannot_do_is_refused_with_those_that_can(name, options, able):
    (option,) = options
    inputs = [make_inputs(GRAPH, "zeros", 0)]
    wanted = f"--{option} needs --engine {' or '.join(able)}; the engine '{name}' has "
    with pytest.raises(EngineError, match=wanted):
        run_network(GRAPH, SOC, inputs, engine=name, **options)
