"""SVDF layers as programs, as golden computes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mensa.golden as golden
import tests.golden.makers  # noqa: F401  registers how layers are drawn
from mensa.rtl.commands import Mode, Unit
from mensa.rtl.machine import CELLS, edge_tpu
from mensa.sched.lower import ProgramStep, lower
from mensa.sched.placement import all_on
from mensa.sched.run import run_network
from mensa.sim.host import cortex_a53
from mensa.sim.memory import lpddr4
from mensa.sim.soc import Soc
from tests.golden.recurrent import recurrent
from tests.golden.strategies import layers
from tests.sched.lower.test_lstm import MACHINES
from tests.sched.runner import assert_equals_golden, random_inputs

drawn = {cell: layers(operators=("SVDF",), dtypes=("int8",), oracle=cell) for cell in CELLS}


@pytest.mark.parametrize("rounding", CELLS)
@pytest.mark.parametrize("name", MACHINES)
def test_drawn_layers_are_golden_s(name, rounding):
    accelerated = 0

    @settings(max_examples=25, deadline=None)
    @given(drawn[rounding])
    def compare(layer):
        nonlocal accelerated
        machine = MACHINES[name].replace(constant_entries=32)
        lowered = lower(layer.graph, all_on(machine), rounding)
        assume(any(isinstance(step, ProgramStep) for step in lowered.steps))
        accelerated += 1
        assert_equals_golden(lowered, layer.inputs()[0])

    compare()
    assert accelerated >= 5


@settings(max_examples=8, deadline=None)
@given(drawn["tflm"], st.integers(2, 5))
def test_what_is_remembered_moves_from_call_to_call(layer, calls):
    soc = Soc.single("soc", MACHINES["8x8"], lpddr4, cortex_a53)
    inputs = [random_inputs(layer.graph, seed) for seed in range(calls)]
    result = run_network(layer.graph, soc, inputs, engine="functional", rounding="tflm", check=True)
    assert result.report.passed


def test_units_are_added_up_side_by_side():
    graph = recurrent()
    (program,) = lower(graph, all_on(MACHINES["8x8"].replace(cell_lanes=4))).programs
    (dot,) = (
        command
        for command in program.commands()
        if command.unit is Unit.COMPUTE and command["MODE"] == Mode.DOT
    )
    work = golden.plan(graph, graph.operators[1], "tflm")
    units, times = work.output_shape[1], work.time_weights.size
    assert (dot["GROUPS"], dot["GROUP_CHANNELS"]) == (units // 4, 4)
    assert dot["KERNEL_H"] == times // units
    assert np.prod(work.output_shape) == units


def test_what_keeps_a_layer_on_the_host_is_said():
    graph = recurrent()

    def reason(machine):
        return next(
            each for each in lower(graph, all_on(machine)).layers if each.op == "SVDF"
        ).reason

    assert reason(edge_tpu) is None
    small = edge_tpu.replace(rows=8, cols=8)
    assert "has no LSTM cell" in reason(small.replace(cell=None))
    assert "constant_entries" in reason(small.replace(constant_entries=4))
