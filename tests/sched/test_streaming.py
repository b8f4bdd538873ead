"""A network with variables: they go from step to step, the rest is computed on the machine."""

import json
from pathlib import Path

import numpy as np
import pytest

from mensa import golden
from mensa.sched.cli.main import invoke
from mensa.sched.cli.settings import choose_soc
from mensa.sched.inputs import make_inputs
from mensa.sched.lower import HostStep, lower
from mensa.sched.placement import all_on
from mensa.sched.run import run_network
from tests.golden.streaming import wake_word

STEPS = 10
# The machine "8x8" of tests/sim/pool.py, so that both need one build.
SETTINGS = (
    "rows=8", "cols=8", "parameter_buffer_bytes=524288", "activation_buffer_bytes=524288",
)  # fmt: skip
VARIABLE_OPERATORS = {"CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}


@pytest.fixture
def soc():
    return choose_soc("edge_tpu", None, list(SETTINGS))


@pytest.fixture
def steps():
    graph = wake_word()
    return [make_inputs(graph, "random", seed) for seed in range(STEPS)]


@pytest.mark.parametrize("engine", ["rtl", "functional"])
def test_ten_steps_are_bit_exact_and_keep_the_variables(tmp_path, monkeypatch, steps, engine):
    monkeypatch.chdir(tmp_path)
    graph = wake_word()
    golden.save(graph, "wake_word.tflite")
    arguments = ["run", "wake_word.tflite", "--engine", engine, "--check", "--json", "r.json"]
    arguments += ["--steps", str(STEPS)]
    for setting in SETTINGS:
        arguments += ["--set", setting]
    assert invoke(arguments) == 0
    report = json.loads(Path("r.json").read_text())
    assert report["totals"]["bit_exact"] is True
    assert all(layer["bit_exact"] is True for layer in report["layers"])
    on_machine = {layer["op"] for layer in report["layers"] if layer["machine"] != "host"}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} <= on_machine


@pytest.mark.parametrize("engine", ["model", "functional"])
def test_outputs_are_those_of_golden_with_its_state(soc, steps, engine):
    graph = wake_word()
    found = run_network(graph, soc, steps, engine=engine).outputs
    state, fresh = None, []
    for arrays, outputs in zip(steps, found, strict=True):
        wanted = golden.run(graph, arrays, state=state)
        state = wanted.state
        fresh.append(golden.run(graph, arrays))
        for index in graph.outputs:
            np.testing.assert_array_equal(outputs[index], wanted[index])
    # Without what they remember, some would be others.
    (output,) = graph.outputs
    assert any(ours[output] != new[output] for ours, new in zip(found, fresh, strict=True))


def test_a_variable_that_differs_is_reported(monkeypatch, soc, steps):
    graph = wake_word()
    (wrong, *_) = (op.index for op in graph.operators if op.op == "ASSIGN_VARIABLE")

    right = golden.run

    def differing(*arguments, **options):
        tensors = right(*arguments, **options)
        tensors.state = {
            i: a ^ 1 if i == min(tensors.state) else a for i, a in tensors.state.items()
        }
        return tensors

    monkeypatch.setattr(golden, "run", differing)
    layers = run_network(graph, soc, steps[:1], engine="functional", check=True).report.layers
    assert layers[wrong].bit_exact is False
    # The first memory's handle, its reader and what initialises it are told too, no other layer.
    told = {layer.op for layer in layers if layer.bit_exact is False}
    assert told == VARIABLE_OPERATORS


def test_a_declaration_is_nobodys_work_and_does_not_split_a_program(soc):
    builder = golden.GraphBuilder("handle between")
    x = builder.input((1, 8), scale=0.1)
    first = golden.GraphBuilder("first")
    first.assign_variable(first.var_handle("memory"), first.tensor(data=np.ones((1, 8)), scale=0.1))
    builder.call_once(first.build([]))
    y = builder.add(x, x, scale=0.2)
    handle = builder.var_handle("memory")
    y = builder.add(y, x, scale=0.3)
    builder.assign_variable(handle, y)
    graph = builder.build(
        [builder.add(builder.read_variable(handle, (1, 8), scale=0.3), y, scale=1)]
    )
    lowered = lower(graph, all_on(soc.machine))
    assert [
        graph.operators[step.operator].op
        if isinstance(step, HostStep)
        else len(step.program.layers)
        for step in lowered.steps
    ] == [2, "ASSIGN_VARIABLE", "READ_VARIABLE", 1]
    assert handle not in lowered.tensors
