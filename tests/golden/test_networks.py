"""Real networks: every tensor equals the oracle's."""

import numpy as np
import pytest

import mensa.golden as golden
from tests.golden.comparison import REGRESS, equal
from tests.golden.disguise import shapes, with_false_shapes, without_shapes
from tests.golden.oracles import OracleError
from tests.golden.strategies import random_inputs

# Those of a recurrent network are steps in a row.
INPUTS = 20
# Networks of more work than this see all of them in `make regress` only.
LARGE_MACS = 30_000_000
INPUTS_LARGE = INPUTS if REGRESS else 2


def activations(graph):
    """Indices of all tensors that a run computes, is given or keeps for the next."""
    states = (tensor.index for tensor in graph.tensors if tensor.is_variable)
    made = (index for op in graph.operators for index in op.outputs)
    return sorted({*graph.inputs, *made, *states})


def differences(graph, found, wanted):
    """Words about each tensor that differs, in the order of execution."""
    lines = []
    for index in activations(graph):
        ours, theirs = found[index], np.asarray(wanted[index])
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            lines.append(
                f"{graph.tensors[index]}: {ours.shape} {ours.dtype}, "
                f"oracle {theirs.shape} {theirs.dtype}"
            )
        elif not equal(ours, theirs):
            wrong = np.count_nonzero(ours != theirs)
            makers = [str(op) for op in graph.operators if index in op.outputs]
            lines.append(
                f"{graph.tensors[index]} of {makers}: {wrong} of {ours.size} elements differ"
            )
    return lines


def sequences(graph, inputs):
    """Inputs that the oracle is asked about at a time: a state goes from each to the next.

    A recurrent network sees all of them in a row, any other each on a fresh interpreter.
    """
    if any(tensor.is_variable for tensor in graph.tensors):
        return [inputs]
    return [[arrays] for arrays in inputs]


def test_every_tensor_of_a_real_network_equals_the_oracle(network, oracle):
    graph = golden.load(network)
    count = INPUTS_LARGE if golden.total_macs(graph) > LARGE_MACS else INPUTS
    for inputs in sequences(graph, random_inputs(graph, count, seed=7)):
        try:
            answers = oracle.run(network.read_bytes(), inputs, activations(graph))
        except OracleError as error:
            refused = str(error).startswith("tflm: RuntimeError")
            if not refused or golden.default_rounding(graph) == "tflm":
                raise
            pytest.skip(f"NOT COMPARED: a uint8 network or input that TFLM can't run: {error}")
        state = None
        for arrays, wanted in zip(inputs, answers, strict=True):
            found = golden.run(graph, arrays, keep="all", rounding=oracle.name, state=state)
            state = found.state
            assert differences(graph, found, wanted) == []


def test_a_saved_network_computes_the_same(network, litert, tmp_path):
    """The file that golden writes gives the original's tensors, in golden and in LiteRT."""
    graph = golden.load(network)
    golden.save(graph, tmp_path / "again.tflite")
    again = golden.load(tmp_path / "again.tflite")
    assert len(again.tensors) == len(graph.tensors)
    inputs = random_inputs(graph, 1 if golden.total_macs(graph) > LARGE_MACS else 2, seed=8)
    answers = litert.run((tmp_path / "again.tflite").read_bytes(), inputs, activations(graph))
    state = None
    for arrays, theirs in zip(inputs, answers, strict=True):
        wanted = golden.run(graph, arrays, keep="all", rounding="litert", state=state)
        found = golden.run(again, arrays, keep="all", rounding="litert", state=state)
        state = found.state
        assert differences(graph, found, wanted) == []
        assert differences(graph, wanted, theirs) == []


def test_a_network_has_its_operators_shapes_whatever_its_file_says(network):
    graph = golden.load(network)
    for disguised in (without_shapes(graph), with_false_shapes(graph, seed=11)):
        assert shapes(golden.read(golden.write(disguised))) == shapes(graph)


def test_default_rounding_follows_the_type_of_the_activations(network):
    graph = golden.load(network)
    found = golden.run(graph, random_inputs(graph, 1, seed=9)[0])
    unsigned = graph.tensors[graph.inputs[0]].dtype == np.uint8
    assert found.rounding == ("litert" if unsigned else "tflm")


def test_keeping_only_outputs_gives_the_same_outputs(network):
    graph = golden.load(network)
    (arrays,) = random_inputs(graph, 1, seed=10)
    everything = golden.run(graph, arrays, keep="all")
    outputs = golden.run(graph, dict(zip(graph.inputs, arrays, strict=True)))
    assert list(outputs) == list(graph.outputs)
    for index in graph.outputs:
        np.testing.assert_array_equal(outputs[index], everything[index])
