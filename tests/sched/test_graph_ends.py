"""Networks with odd ends: every engine gives golden's outputs, and drivers find them in memory."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings

from mensa import golden
from mensa.golden.interpreter import initial_state
from mensa.golden.options import AddOptions, ReshapeOptions
from mensa.sched.compile import memory_map
from mensa.sched.compile_header import network_header
from mensa.sched.engines import ENGINES
from mensa.sched.lower import lower, tensor_from_memory
from mensa.sched.placement import all_on
from mensa.sched.run import run_network
from mensa.sim.memory import lpddr4
from mensa.sim.soc import Soc
from tests.golden.comparison import equal
from tests.golden.graph_ends import ENDS
from tests.golden.makers import MAKERS
from tests.golden.strategies import layers, random_inputs
from tests.sim.pool import POOL, ROOMY

MACHINE = POOL[ROOMY]
LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
assert LSTM in MAKERS


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ENDS)
def test_every_engine_gives_goldens_outputs(name, engine):
    graph = ENDS[name]
    inputs = random_inputs(graph, 2, seed=3)
    soc = Soc.single("soc", MACHINE, lpddr4)
    result = run_network(graph, soc, inputs, engine=engine, check=engine != "model")
    assert result.report.passed
    assert result.report.bit_exact is (None if engine == "model" or not graph.operators else True)
    for arrays, outputs in zip(inputs, result.outputs, strict=True):
        wanted = golden.run(graph, arrays)
        assert outputs.keys() == set(graph.outputs)
        for index in graph.outputs:
            assert equal(outputs[index], wanted[index])


@pytest.mark.parametrize("name", ENDS)
def test_a_driver_finds_every_input_and_output(name):
    graph = ENDS[name]
    lowered = lower(graph, all_on(MACHINE))
    about = memory_map(lowered)
    placed = {entry["index"]: entry["address"] for entry in about["tensors"]}
    assert {*graph.inputs, *graph.outputs} <= placed.keys()
    header = network_header(about)
    for role, indices in (("INPUT", graph.inputs), ("OUTPUT", graph.outputs)):
        assert f"#define MENSA_{role}S {len(indices)}u" in header
        for number, index in enumerate(indices):
            assert f"#define MENSA_{role}_{number}_ADDRESS 0x{placed[index]:08X}u" in header
    # What nobody computes is there from the start, and among what a driver copies there.
    memory = lowered.initial_memory()
    copied = {part["address"]: part["bytes"] for part in about["parameters"]["segments"]}
    for index in graph.outputs:
        tensor = graph.tensors[index]
        content = initial_state(tensor) if tensor.is_variable else tensor.data
        if content is not None and index not in graph.inputs:
            assert copied[placed[index]] == tensor.nbytes
            assert np.array_equal(tensor_from_memory(tensor, memory, placed[index]), content)


@settings(max_examples=30, deadline=None, database=None, derandomize=True)
@given(layer=layers(operators=(LSTM,), dtypes=("int8",), oracle="tflm"))
def test_a_state_is_read_by_the_accelerator_as_the_host_left_it(layer):
    """Before the layer that changes it, and after; and it is an output."""
    lstm = layer.graph
    (state,) = (each for each in lstm.tensors if each.is_variable and each.dtype == np.int8)
    tensors, operators = list(lstm.tensors), []

    def append(operator):
        operators.append(dataclasses.replace(operator, index=len(operators)))

    def twice():
        """ADD of the state and itself, and a RESHAPE of the state."""
        for op, options in (
            ("ADD", AddOptions()),
            ("RESHAPE", ReshapeOptions(new_shape=state.shape)),
        ):
            output = dataclasses.replace(state, index=len(tensors), is_variable=False)
            tensors.append(output)
            inputs = (state.index,) * (2 if op == "ADD" else 1)
            append(golden.Operator(0, op, inputs, (output.index,), options))

    twice()
    append(lstm.operators[0])
    twice()
    outputs = (*lstm.outputs, state.index, *(each.outputs[0] for each in operators))
    graph = golden.Graph(tuple(tensors), tuple(operators), lstm.inputs, outputs)
    inputs = random_inputs(graph, 3, layer.seed)
    soc = Soc.single("soc", MACHINE, lpddr4)
    result = run_network(graph, soc, inputs, engine="functional", check=True)
    assert result.report.passed
    assert any(each.machine == MACHINE.name for each in result.report.layers)
    kept = None
    for arrays, found in zip(inputs, result.outputs, strict=True):
        wanted = golden.run(graph, arrays, state=kept)
        kept = wanted.state
        for index in outputs:
            assert equal(found[index], wanted[index])
