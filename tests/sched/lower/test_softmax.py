"""SOFTMAX on the machine: rows in passes, cut into blocks, with a table of their own."""

import numpy as np
import pytest

from mensa import golden
from mensa.rtl.commands import Mode, Unit
from mensa.sched.lower import LoweringOptions, lower
from mensa.sched.lower.supported import why_on_host
from mensa.sched.placement import all_on
from tests.sched.lower.drawn_layers import assert_drawn_layers_equal_golden
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, machine_of, random_inputs

MACHINES = {
    "roomy": machine_of(8, 8, 1 << 14, 1 << 13),
    "few lanes": machine_of(4, 16, 1 << 12, 5000).replace(post_lanes=3),
    "one lane": machine_of(3, 5, 900, 5000, port=4).replace(softmax_lanes=1),
}


def softmax_of(shape, scale=0.1, dtype=np.int8):
    builder = golden.GraphBuilder("softmax", dtype)
    x = builder.input(shape, scale=scale, zero_point=0 if dtype == np.int8 else 128)
    return builder.build([builder.softmax(x)])


def commands_of(lowered):
    return [
        command
        for program in lowered.programs
        for command in program.commands()
        if command.unit is Unit.COMPUTE
    ]


@pytest.mark.parametrize("name", MACHINES)
def test_random_layers_equal_golden(name):
    assert_drawn_layers_equal_golden("SOFTMAX", MACHINES[name], examples=40, least=25)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("shape", [(1, 1), (7,), (2, 3, 5, 9), (40, 33), (300, 2)])
@pytest.mark.parametrize("residency", [True, False])
def test_rows_are_cut_into_blocks(name, dtype, shape, residency):
    graph = softmax_of(shape, dtype=dtype)
    lowered = lower(graph, all_on(MACHINES[name]), options=LoweringOptions(residency=residency))
    assert lowered.layers[0].reason is None
    assert {command["MODE"] for command in commands_of(lowered)} == {Mode.SOFTMAX}
    assert sum(command["PIXELS"] for command in commands_of(lowered)) == np.prod(shape[:-1])
    for seed in range(2):
        assert_equals_golden(lowered, random_inputs(graph, seed), Watcher)


@pytest.mark.parametrize("scale", [1e-6, 0.003, 0.7, 12.0])
@pytest.mark.parametrize("elements", [2, 600, 4095])
def test_longest_rows_and_all_scales(elements, scale):
    graph = softmax_of((2, elements), scale)
    lowered = lower(graph, all_on(machine_of(8, 8, 1 << 14, 1 << 13)))
    assert lowered.layers[0].reason is None
    assert_equals_golden(lowered, random_inputs(graph, 1))
    for level in (-128, 127):
        assert_equals_golden(lowered, [np.full((2, elements), level, np.int8)])


def test_longer_rows_stay_on_the_host():
    graph = softmax_of((1, 4096))
    reason = why_on_host(graph, graph.operators[0])
    assert reason == "the rows of a softmax must not have more than 4095 elements (they have 4096)"


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (MACHINES["roomy"].replace(softmax_lanes=0), "has no softmax unit"),
        (machine_of(3, 3, 1 << 12, 1 << 12), "has no softmax unit"),
        (machine_of(3, 4, 1 << 12, 500), "its table of 1024 B may find no room"),
        (machine_of(3, 4, 64, 5000), "does not fit a slot"),
    ],
)
def test_a_machine_without_unit_or_room(machine, reason):
    graph = softmax_of((2, 90))
    lowered = lower(graph, all_on(machine), options=LoweringOptions(residency=False))
    assert reason in lowered.layers[0].reason
    assert_equals_golden(lowered, random_inputs(graph, 1))


def test_two_layers_with_tables_of_their_own():
    builder = golden.GraphBuilder("two")
    x = builder.input((4, 20), scale=0.05)
    first = builder.softmax(x)
    graph = builder.build([builder.softmax(builder.add(first, x, scale=0.06))])
    lowered = lower(graph, all_on(MACHINES["roomy"]))
    assert [each.cached_bytes for each in lowered.layers] == [1024, 0, 1024]
    assert_equals_golden(lowered, random_inputs(graph, 1), Watcher)
