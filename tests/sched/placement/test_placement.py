"""Operators where a placement wants them: on several machines and the host, bit-exact."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mensa.rtl.machine import edge_tpu
from mensa.sched.lower import lower
from mensa.sched.lower.network import HostStep
from mensa.sched.placement import Placement, PlacementError, all_on, load_placement
from tests.sched.runner import assert_equals_golden, load_network, random_inputs
from tests.small_network import small_network

SQUARE = edge_tpu.replace(
    name="square", rows=8, cols=8, parameter_buffer_bytes=32768, activation_buffer_bytes=32768
)
WIDE = edge_tpu.replace(
    name="wide", rows=4, cols=12, port_bytes=64, parameter_buffer_bytes=16384,
    activation_buffer_bytes=65536,
)  # fmt: skip
NAMES = (SQUARE.name, WIDE.name, None)


def placements(operators):
    """Any placement of so many operators on two machines and the host."""
    return st.builds(
        Placement,
        st.permutations((SQUARE, WIDE)).map(tuple),
        st.dictionaries(st.integers(0, operators - 1), st.sampled_from(NAMES)),
    )


def assert_where_it_was_placed(lowered):
    wanted = {op.index: lowered.placement.machine(op.index) for op in lowered.graph.operators}
    for step in lowered.steps:
        if isinstance(step, HostStep):
            unsupported = lowered.layers[step.operator].reason != "it is placed on the host"
            assert wanted[step.operator] is None or unsupported
        else:
            assert {wanted[operator] for operator in step.program.layers} == {step.program.machine}


@settings(max_examples=25, deadline=None)
@given(placements(len(small_network().operators)), st.integers(0, 2**32 - 1))
def test_every_placement_computes_the_same(placement, seed):
    graph = small_network()
    lowered = lower(graph, placement)
    assert_where_it_was_placed(lowered)
    assert_equals_golden(lowered, random_inputs(graph, seed % 1000))


@pytest.mark.parametrize("name", ["kws_ref_model", "trained_lstm_int8"])
def test_a_network_in_turns(name):
    graph = load_network(name)
    turns = {op.index: NAMES[op.index // 2 % 3] for op in graph.operators}
    lowered = lower(graph, Placement((SQUARE, WIDE), turns))
    assert_where_it_was_placed(lowered)
    assert_equals_golden(lowered, random_inputs(graph, 1))
    assert {program.machine.name for program in lowered.programs} == {"square", "wide"}
    assert lowered.setups.keys() == {"square", "wide"}


def test_each_machine_has_a_set_up_of_its_own():
    graph = small_network()
    both = Placement((SQUARE, WIDE), {0: SQUARE.name, 1: WIDE.name})
    lowered = lower(graph, both)
    assert lowered.setups.keys() == {SQUARE.name, WIDE.name}
    with pytest.raises(ValueError, match="too many values"):
        lowered.machine  # noqa: B018
    addresses = [each.program_address for each in (*lowered.setups.values(), *lowered.programs)]
    assert len(set(addresses)) == len(addresses)
    assert_equals_golden(lowered, random_inputs(graph, 2))


def test_all_on_one_machine_is_the_simplest_placement():
    graph = small_network()
    simple = lower(graph, all_on(SQUARE))
    named = Placement((SQUARE, WIDE), {op.index: SQUARE.name for op in graph.operators})
    same = lower(graph, named)
    assert simple.setups.keys() == same.setups.keys() == {SQUARE.name}
    assert [len(program.words) for program in simple.programs] == [
        len(program.words) for program in same.programs
    ]
    assert simple.machine == SQUARE


@pytest.mark.parametrize(
    ("machines", "operators", "message"),
    [
        ((), {}, "a placement needs at least one machine"),
        ((SQUARE, SQUARE), {}, "machines need names of their own: square, square"),
        ((SQUARE,), {3: "wide"}, "operator 3 is placed on 'wide'; machines are square"),
    ],
)
def test_a_placement_that_cannot_be_is_refused(machines, operators, message):
    with pytest.raises(PlacementError, match=re.escape(message)):
        Placement(machines, operators)


def placed(tmp_path, text):
    path = tmp_path / "placement.json"
    path.write_text(text)
    return load_placement(path, (SQUARE, WIDE))


def test_a_placement_from_a_file(tmp_path):
    found = placed(tmp_path, '{"0": "wide", "12": "host"}')
    assert found == Placement((SQUARE, WIDE), {0: "wide", 12: None})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "an object of operators and machines"),
        ('{"0": "far"}', "operator 0 is placed on 'far'; machines are square, wide"),
        ('{"-1": "wide"}', "'-1': 'wide' is not an operator's index"),
        ('{"first": "wide"}', "'first': 'wide' is not"),
        ('{"0": 1}', "'0': 1 is not"),
        ('{"0": null}', "'0': None is not"),
    ],
)
def test_a_file_that_places_nothing_is_refused_with_its_name(tmp_path, text, message):
    with pytest.raises(PlacementError, match=re.escape(message)) as caught:
        placed(tmp_path, text)
    assert "placement.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_placement_that_can_not_be_read_is_refused(tmp_path):
    with pytest.raises(PlacementError, match=r"can't read .*missing\.json"):
        load_placement(tmp_path / "missing.json", (SQUARE,))


def test_no_machine_is_called_host():
    with pytest.raises(PlacementError, match="can't be called 'host'"):
        Placement((SQUARE.replace(name="host"),))
