"""What only moves neighbouring bytes needs no commands where tensors can be parts of others."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mensa import golden
from mensa.golden.options import (
    ConcatenationOptions,
    PackOptions,
    SplitOptions,
    UnpackOptions,
)
from mensa.rtl.commands import Mode, Unit
from mensa.sched.lower import lower
from mensa.sched.placement import all_on
from tests.machines import any_options
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, machine_of, random_inputs

KINDS = {"scale": 0.1, "zero_point": 3}
ROOMY = machine_of(8, 8, 1 << 14, 1 << 14)
MACHINES = [
    ROOMY,
    machine_of(8, 8, 512, 1 << 14),
    machine_of(4, 3, 64, 700, port=4),
    machine_of(2, 5, 100, 64, banks=2, port=16),
]


def copies(lowered):
    """How many commands take one tap as it is."""
    return sum(
        command.unit == Unit.COMPUTE and command["MODE"] == Mode.MAX and command["KERNEL_H"] == 1
        for program in lowered.programs
        for command in program.commands()
    )


def added(builder, *operands):
    first, last = operands[0], operands[-1]
    return builder.add(first, last, **KINDS)


def turned(builder, x):
    """What only the host does."""
    axis = builder.tensor(data=[0], dtype=np.int32)
    return builder.apply("REVERSE_V2", x, axis, **KINDS)


def joined(builder, *tensors, axis=0):
    options = ConcatenationOptions(axis=axis)
    return builder.apply("CONCATENATION", *tensors, options=options, **KINDS)


def detector():
    """Predictions of images of two sizes, one behind the other."""
    builder = golden.GraphBuilder("detector")
    x = builder.input((1, 9, 9, 5), **KINDS)
    weights = np.random.default_rng(1).integers(-127, 128, (12, 3, 3, 5), np.int8)
    found = []
    for stride, boxes in ((1, 9 * 9 * 3), (3, 3 * 3 * 3)):
        y = builder.conv2d(
            x, weights, np.zeros(12), weight_scale=0.01, stride=(stride, stride), **KINDS
        )
        found.append(builder.reshape(y, (1, boxes, 4)))
    return builder.build([joined(builder, *found, axis=1)])


def halves():
    """Halves of a tensor, each used by itself, and together again."""
    builder = golden.GraphBuilder("halves")
    x = added(builder, builder.input((2, 7, 9), **KINDS))
    axis = builder.tensor(data=0, dtype=np.int32)
    first, second = builder.apply_all(
        "SPLIT", axis, x, options=SplitOptions(num_splits=2), dtype=np.int8, **KINDS
    )
    results = added(builder, first, second), added(builder, second, second)
    again = joined(builder, *results)
    return builder.build([added(builder, again, x), added(builder, first)])


def stack():
    """Rows that are taken apart, changed and put together."""
    builder = golden.GraphBuilder("stack")
    x = added(builder, builder.input((3, 50), **KINDS))
    rows = builder.apply_all("UNPACK", x, options=UnpackOptions(num=3, axis=0), **KINDS)
    rows = [added(builder, row) for row in rows]
    packed = builder.apply("PACK", *rows, options=PackOptions(values_count=3, axis=0), **KINDS)
    return builder.build([added(builder, packed, x), rows[1]])


def nested():
    """Joined tensors that are joined again, and are needed by themselves."""
    builder = golden.GraphBuilder("nested")
    x = builder.input((11,), **KINDS)
    first, second, third = (added(builder, x) for _ in range(3))
    inner = joined(builder, first, second)
    outer = joined(builder, third, inner)
    return builder.build([added(builder, outer), second, turned(builder, inner)])


@pytest.mark.parametrize("make", [detector, halves, stack, nested])
@pytest.mark.parametrize("machine", MACHINES, ids=range(len(MACHINES)))
@settings(max_examples=6, deadline=None)
@given(options=any_options)
def test_parts_need_no_commands(machine, make, options):
    graph = make()
    lowered = lower(graph, all_on(machine), options=options)
    assert_equals_golden(lowered, random_inputs(graph, 2), Watcher)
    if machine == ROOMY:
        assert copies(lowered) == 0
        assert not any(layer.copies for layer in lowered.layers)
        for layer in lowered.layers:
            if layer.op in ("CONCATENATION", "PACK", "SPLIT", "UNPACK"):
                assert not layer.traffic.commands


def of_an_input(builder, x):
    return joined(builder, x, added(builder, x))


def twice(builder, x):
    y = added(builder, x)
    return joined(builder, y, y)


def of_a_constant(builder, x):
    constant = builder.tensor(data=np.arange(11, dtype=np.int8), **KINDS)
    return joined(builder, constant, added(builder, x))


def of_the_host(builder, x):
    return joined(builder, added(builder, x), turned(builder, x))


def to_the_host(builder, x):
    begin, size = (builder.tensor(data=[n], dtype=np.int32) for n in (1, 9))
    return turned(builder, builder.apply("SLICE", added(builder, x), begin, size, **KINDS))


def of_little(builder, x):
    begin, size = (builder.tensor(data=[n], dtype=np.int32) for n in (1, 3))
    return added(builder, builder.apply("SLICE", added(builder, x), begin, size, **KINDS))


def between(builder, x):
    y = builder.reshape(added(builder, x), (11, 1))
    return added(builder, joined(builder, y, y, axis=1))


@pytest.mark.parametrize(
    "make", [of_an_input, twice, of_a_constant, of_the_host, to_the_host, of_little, between]
)
def test_others_are_copied(make):
    builder = golden.GraphBuilder("copied")
    graph = builder.build([make(builder, builder.input((11,), **KINDS))])
    for machine in MACHINES:
        lowered = lower(graph, all_on(machine))
        assert copies(lowered) > 0
        assert any(layer.copies for layer in lowered.layers)
        assert_equals_golden(lowered, random_inputs(graph, 2), Watcher)


@st.composite
def graphs(draw):
    """Vectors that are added, cut, joined, reshaped and, rarely, given to the host."""
    builder = golden.GraphBuilder("vectors")
    known = [(builder.input((size,), **KINDS), size) for size in draw(sizes)]
    for _ in range(draw(st.integers(2, 9))):
        y, size = draw(st.sampled_from(known))
        kind = draw(st.sampled_from(["add", "add", "add", "cut", "cut", "join", "join", "host"]))
        if kind == "add":
            y = added(builder, y)
        elif kind == "cut":
            first = draw(st.integers(0, size - 1))
            count = draw(st.integers(1, size - first))
            constants = (builder.tensor(data=[n], dtype=np.int32) for n in (first, count))
            y, size = builder.apply("SLICE", y, *constants, **KINDS), count
        elif kind == "join":
            others = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
            y = joined(builder, y, *(each for each, _ in others))
            size += sum(each for _, each in others)
        else:
            y = turned(builder, y)
        if size > 400:
            continue
        if draw(st.booleans()):
            y = builder.reshape(builder.reshape(y, (1, size)), (size,))
        known.append((y, size))
    outputs = [
        each
        for each, _ in draw(
            st.lists(st.sampled_from(known[1:]), min_size=1, max_size=3, unique=True)
        )
    ]
    return builder.build(outputs)


sizes = st.lists(st.integers(1, 90), min_size=2, max_size=3)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs(), st.sampled_from(MACHINES), any_options)
def test_any_vectors_equal_golden(graph, machine, options):
    lowered = lower(graph, all_on(machine), options=options)
    assert_equals_golden(lowered, random_inputs(graph, 3), Watcher)
