"""Graphs with odd ends (constants, inputs and states among the outputs, ...) as the oracles."""

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings

import mensa.golden as golden
from tests.golden.comparison import REGRESS, equal
from tests.golden.graph_ends import ENDS, odd_ends
from tests.golden.strategies import random_inputs


def compare(graph, inputs, oracle):
    """Every output of a graph, written and read again, for each of several inputs."""
    data = golden.write(graph)
    again = golden.read(data)
    assert (again.inputs, again.outputs) == (graph.inputs, graph.outputs)
    wanted = oracle.run(data, inputs, list(graph.outputs))
    for arrays, answers in zip(inputs, wanted, strict=True):
        for keep in ("outputs", "all"):
            found = golden.run(again, arrays, keep=keep, rounding=oracle.name)
            for index in graph.outputs:
                assert equal(found[index], answers[index]), (keep, graph.tensors[index])


@pytest.mark.parametrize("name", ENDS)
def test_odd_ends_are_what_the_oracles_make_of_them(name, oracle):
    graph = ENDS[name]
    compare(graph, random_inputs(graph, 3, seed=1), oracle)


def test_any_tensor_may_be_an_output(oracle):
    counts = {"constants": 0, "inputs": 0, "twice": 0}

    @settings(
        max_examples=500 if REGRESS else 100,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(layer=odd_ends(oracle.name))
    def sweep(layer):
        graph = layer.graph
        compare(graph, layer.inputs(2), oracle)
        tensors = [graph.tensors[index] for index in graph.outputs]
        counts["constants"] += any(tensor.data is not None for tensor in tensors)
        counts["inputs"] += any(tensor.index in graph.inputs for tensor in tensors)
        counts["twice"] += len(set(graph.outputs)) < len(graph.outputs)

    sweep()
    assert min(counts.values()) > 5, counts


def test_an_input_that_is_a_constant_is_refused():
    graph = ENDS["constant_that_is_read_is_output"]
    (constant,) = (each.index for each in graph.tensors if each.data is not None)
    graph = dataclasses.replace(graph, inputs=(*graph.inputs, constant))
    with pytest.raises(golden.GraphError, match="input and a constant") as caught:
        golden.run(graph, random_inputs(graph, 1, seed=1)[0])
    assert caught.value.tensor == "tensor 1 'constant'"
