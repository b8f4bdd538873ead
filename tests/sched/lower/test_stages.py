"""Operators that are computed in stages."""

import numpy as np
import pytest

from mensa import golden
from mensa.sched.lower import LoweringOptions, ProgramStep, lower
from mensa.sched.placement import all_on
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, machine_of, random_inputs

ROOMY = machine_of(8, 8, 1 << 17, 1 << 14)
SMALL = machine_of(4, 3, 1500, 700)


@pytest.mark.parametrize("rounding", ["tflm", "litert"])
@pytest.mark.parametrize(
    ("scales", "zero_points"),
    [
        ((0.1, 0.01, 0.1), (0, 0, 0)),
        ((0.1, 0.01, 0.03), (-128, 127, 5)),
        ((0.05, 0.1, 0.9), (127, -128, -128)),
        ((0.1, 0.004, 0.00003), (-3, 17, 127)),
        ((1.0, 0.01, 2.0**-27), (-3, 17, 0)),  # sums wrap
    ],
)
def test_prelu_equals_golden_for_all_values_and_slopes(scales, zero_points, rounding):
    builder = golden.GraphBuilder("prelu")
    kinds = [{"scale": s, "zero_point": z} for s, z in zip(scales, zero_points, strict=True)]
    values = np.arange(-128, 128).astype(np.int8)
    x = builder.input((256, 256), **kinds[0])
    slopes = builder.tensor(data=values, dtype=np.int8, **kinds[1])
    graph = builder.build([builder.apply("PRELU", x, slopes, **kinds[2])])
    lowered = lower(graph, all_on(ROOMY), rounding)
    assert [type(step) for step in lowered.steps] == [ProgramStep]
    assert_equals_golden(lowered, [np.repeat(values[:, None], 256, axis=1)])


@pytest.mark.parametrize("shape", [(1, 1, 6), (5, 7, 6), (5, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("machine", [ROOMY, SMALL], ids=["roomy", "small"])
@pytest.mark.parametrize("residency", [True, False])
def test_slopes_may_be_computed(shape, machine, residency):
    builder = golden.GraphBuilder("prelu")
    kinds = {"scale": 0.1, "zero_point": 3}
    x, slopes = builder.input((2, 5, 7, 6), **kinds), builder.input(shape, **kinds)
    slopes = builder.apply("RELU", slopes, **kinds)
    graph = builder.build([builder.apply("PRELU", x, slopes, **kinds)])
    lowered = lower(graph, all_on(machine), options=LoweringOptions(residency=residency))
    assert [type(step) for step in lowered.steps] == [ProgramStep]
    assert_equals_golden(lowered, random_inputs(graph, 2), Watcher)
