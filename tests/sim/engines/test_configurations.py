"""Every configuration that `Machine` accepts works, or lowering says what it lacks."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mensa.sched.lower import LoweringError, lower
from mensa.sched.placement import all_on
from mensa.sim.engines.events import layer_timing
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.memory import lpddr4
from tests.golden.networks import networks
from tests.golden.strategies import layers
from tests.machines import any_machine, any_options
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden
from tests.sim.pool import REGRESS


class _WithModel(Watcher):
    """A functional engine that watches for clashes, and asks the model for the time."""

    def __init__(self, machine, hook):
        super().__init__(machine, hook)
        self._model = ModelEngine(machine, lpddr4)

    def run(self, program, memory):
        super().run(program, memory)
        trace = self._model.run(program)
        assert len(trace.events) == len(program.commands())
        assert sum(trace.categories) == trace.cycles
        if trace.events:  # a lone RESHAPE has no command
            assert sum(layer.cycles for layer in layer_timing(trace)) == trace.cycles


def _as_advised(machine, error):
    """The machine that the error says would do."""
    field, least = re.search(r"(activation_buffer_bytes) at least (\d+)$", str(error)).groups()
    return machine.replace(**{field: int(least)})


@settings(
    max_examples=3000 if REGRESS else 80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    st.one_of(layers(), networks()), any_machine(), any_options, st.sampled_from(["tflm", "litert"])
)
def test_any_machine_equals_golden_or_says_what_it_lacks(layer, machine, options, rounding):
    for _ in layer.graph.operators:
        try:
            lowered = lower(layer.graph, all_on(machine), rounding, options)
        except LoweringError as error:
            machine = _as_advised(machine, error)
        else:
            break
    else:
        lowered = lower(layer.graph, all_on(machine), rounding, options)
    assert_equals_golden(lowered, layer.inputs()[0], _WithModel)
