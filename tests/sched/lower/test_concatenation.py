"""Concatenations that rescale some of their inputs, by tables."""

import numpy as np
import pytest

from mensa import golden
from mensa.golden.options import ConcatenationOptions
from mensa.rtl.commands import TABLE_BYTES
from mensa.sched.lower import LoweringOptions, lower
from mensa.sched.placement import all_on
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, machine_of, random_inputs

MACHINES = (
    machine_of(8, 8, 1 << 14, 1 << 14),
    machine_of(3, 4, 200, 600),
    machine_of(2, 2, 64, 600, port=4),
)


def rescaled(*scales, shape=(5, 9, 10), axis=0):
    """A concatenation of inputs of these scales at that of 0.5."""
    builder = golden.GraphBuilder(dtype=np.uint8)
    inputs = [builder.input(shape, scale=scale, zero_point=3) for scale in scales]
    options = ConcatenationOptions(axis=axis)
    y = builder.apply("CONCATENATION", *inputs, options=options, scale=0.5, zero_point=3)
    return builder.build([y])


@pytest.mark.parametrize("residency", [True, False])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_inputs_of_a_concatenation_are_rescaled_by_tables(axis, residency):
    graph = rescaled(0.5, 0.25, 0.5, 0.7, 0.25, axis=axis)  # by two tables
    for machine in MACHINES:
        lowered = lower(graph, all_on(machine), options=LoweringOptions(residency=residency))
        assert lowered.layers[0].reason is None
        assert not lowered.layers[0].copies
        assert lowered.layers[0].cached_bytes == (2 * TABLE_BYTES if residency else 0)
        assert_equals_golden(lowered, random_inputs(graph, 6), Watcher)


def test_a_concatenation_whose_tables_find_no_room_runs_on_the_host():
    lowered = lower(rescaled(0.5, 0.25), all_on(machine_of(2, 1, 512, 64, port=4)))
    assert lowered.layers[0].reason.startswith("its table of 256 B may find no room in 2x1's")
    assert_equals_golden(lowered, random_inputs(lowered.graph, 7))
