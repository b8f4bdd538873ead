"""Networks with variables: sequences of runs, and what golden refuses."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden.options import CallOnceOptions
from mensa.golden.propagation import propagate
from tests.golden.comparison import equal
from tests.golden.disguise import shapes, with_false_shapes, without_shapes
from tests.golden.oracles import OracleError
from tests.golden.strategies import random_inputs
from tests.golden.streaming import wake_word

STEPS = 10
KINDS = {"scale": 0.1, "zero_point": -3}
SHAPE = (1, 4)


def activations(graph):
    """Indices of all tensors that have a value."""
    made = (index for op in graph.operators for index in op.outputs)
    return sorted(i for i in {*graph.inputs, *made} if graph.tensors[i].type_name != "RESOURCE")


def first(*names, value=5, shape=SHAPE, **kinds):
    """A graph that assigns these variables a constant."""
    builder = golden.GraphBuilder("first")
    for name in names:
        constant = builder.tensor(data=np.full(shape, value), **{**KINDS, **kinds})
        builder.assign_variable(builder.var_handle(name), constant)
    return builder.build([])


def small(*steps, call=None):
    """A network of one input and one variable, with a handle for each of its `steps`.

    A step is "assign", of the input, "read", or "call", of the graph `call`.
    """
    builder = golden.GraphBuilder("small")
    x = builder.input(SHAPE, **KINDS)
    handles = [builder.var_handle("memory") for _ in steps]
    outputs = []
    for handle, step in zip(handles, steps, strict=True):
        if step == "call":
            builder.call_once(call or first("memory"))
        elif step == "read":
            outputs.append(builder.read_variable(handle, SHAPE, **KINDS))
        else:
            builder.assign_variable(handle, x)
    sums = [builder.add(x, each, scale=0.2) for each in outputs]
    return builder.build([*outputs, *sums])


def compare(graph, oracle, steps=STEPS, seed=0):
    """Golden equals the oracle in every tensor, in a sequence and, where it begins, afresh."""
    data = golden.write(graph)
    graph = golden.read(data)
    inputs = random_inputs(graph, steps, seed)
    answers = oracle.run(data, inputs, activations(graph))
    (again,) = oracle.run(data, inputs[-1:], activations(graph))
    state, found = None, []
    for arrays in inputs:
        found.append(golden.run(graph, arrays, keep="all", rounding=oracle.name, state=state))
        state = found[-1].state
    found.append(golden.run(graph, inputs[-1], keep="all", rounding=oracle.name))
    for ours, theirs in zip(found, [*answers, again], strict=True):
        assert set(ours) == set(theirs)
        for index, array in theirs.items():
            assert equal(ours[index], array), graph.tensors[index]
    return found


def refused(graph, *words, rounding="tflm"):
    with pytest.raises(golden.GraphError) as caught:
        golden.run(graph, random_inputs(graph, 1, 0)[0], rounding=rounding)
    for word in words:
        assert word in str(caught.value)


def test_a_detector_of_wake_words_equals_the_oracle_for_ten_steps_and_afresh(oracle):
    *sequence, last, fresh = compare(wake_word(), oracle)
    assert len(sequence) + 1 == STEPS
    # The same input, with what was remembered and without.
    assert any(not np.array_equal(last[index], fresh[index]) for index in fresh)


def test_a_detector_has_its_shapes_whatever_its_file_says(litert):
    graph = wake_word()
    for disguised in (without_shapes(graph), with_false_shapes(graph, seed=4)):
        assert shapes(golden.read(golden.write(disguised))) == shapes(graph)
    compare(without_shapes(graph), litert)


def test_a_variable_has_the_shape_that_is_computed_where_it_gets_its_first_value(litert):
    first = golden.GraphBuilder("first")
    one = first.tensor(data=[[5]], **KINDS)
    sizes = first.tensor(data=SHAPE, dtype=np.int32)
    value = first.tensor(SHAPE, **KINDS)
    first.operator("BROADCAST_TO", (one, sizes), (value,))
    first.assign_variable(first.var_handle("memory"), value)
    graph = without_shapes(small("call", "read", "assign", call=first.build([])))
    compare(graph, litert)
    assert shapes(golden.read(golden.write(graph)))[graph.outputs[0]] == SHAPE


@pytest.mark.parametrize(
    "steps",
    [
        ("call", "read", "assign"),
        ("call", "read", "assign", "read"),
        ("call", "assign", "read", "assign"),
        ("assign", "read"),
        ("assign", "read", "assign", "read"),
    ],
    ids=" ".join,
)
def test_reads_and_assignments_take_effect_in_order(oracle, steps):
    compare(small(*steps), oracle)


def test_a_variable_of_no_value_is_zero_in_tflm_and_refused_by_litert(oracle):
    graph = small("read", "assign")
    if oracle.name == "tflm":
        found = compare(graph, oracle)
        assert np.all(found[0][graph.outputs[0]] == KINDS["zero_point"])
        return
    with pytest.raises(OracleError, match="read_variable"):
        compare(graph, oracle)
    refused(graph, "READ_VARIABLE", "'memory'", "before", rounding="litert")


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("zero_point", [-128, -1, 0, 127])
def test_a_variable_of_no_value_holds_the_zero_point_of_what_is_assigned(dtype, zero_point, tflm):
    builder = golden.GraphBuilder("no value", dtype)
    kinds = {"scale": 0.1, "zero_point": zero_point if dtype == np.int8 else 0}
    x = builder.input(SHAPE, **kinds)
    handle = builder.var_handle("memory")
    y = builder.read_variable(handle, SHAPE, scale=0.1)
    builder.assign_variable(handle, x)
    found = compare(builder.build([builder.add(x, y, scale=0.2)]), tflm)
    assert np.all(found[0][y] == kinds["zero_point"])


def test_names_in_two_containers_are_two_variables(litert):
    # TFLM's wheel makes room for as many variables as there are names, whatever the container.
    builder = golden.GraphBuilder("containers")
    x = builder.input(SHAPE, **KINDS)
    one, other = (builder.var_handle("memory", container) for container in ("one", "other"))
    builder.assign_variable(one, x)
    builder.assign_variable(other, builder.tensor(data=np.full(SHAPE, 7), **KINDS))
    reads = [builder.read_variable(handle, SHAPE, **KINDS) for handle in (one, other)]
    graph = builder.build([builder.add(*reads, scale=0.2)])
    found = compare(graph, litert)
    assert set(found[0].state) == {one, other}


def test_a_state_is_named_by_the_first_handle_and_taken_as_it_is():
    graph = small("call", "read", "assign")
    (arrays,) = random_inputs(graph, 1, 0)
    handle = graph.operators[0].outputs[0]
    found = golden.run(graph, arrays)
    assert set(found.state) == {handle}
    np.testing.assert_array_equal(found.state[handle], arrays[0])
    assert np.all(found[graph.outputs[0]] == 5)
    mine = np.full(SHAPE, 9, np.int8)
    onward = golden.run(graph, arrays, state={handle: mine})
    assert np.all(onward[graph.outputs[0]] == 9)
    # What a run is given and gives is its user's.
    onward[graph.outputs[0]][:] = 0
    arrays[0][:] = 0
    assert np.all(mine == 9)
    assert np.any(onward.state[handle] != 0)
    for wrong in (mine[:, :-1], mine.astype(np.int16)):
        with pytest.raises(golden.GraphError, match="'memory'"):
            golden.run(graph, arrays, state={handle: wrong})


def test_one_operator_computes_what_a_run_computes():
    graph = wake_word()
    (arrays,) = random_inputs(graph, 1, 3)
    wanted = golden.run(graph, arrays, keep="all")
    values, state = dict(zip(graph.inputs, arrays, strict=True)), {}
    for operator in graph.operators:
        found = golden.run_operator(graph, operator, values, state=state)
        values |= found
        state = found.state
    assert values.keys() == wanted.keys()
    assert state.keys() == wanted.state.keys()
    for mine, theirs in ((values, wanted), (state, wanted.state)):
        for index, array in theirs.items():
            np.testing.assert_array_equal(mine[index], array)


def test_a_first_value_after_a_use_is_refused():
    for steps in (("assign", "call", "read"), ("call", "call", "read")):
        refused(small(*steps), "CALL_ONCE", "'memory'", "first value")


def test_a_subgraph_that_is_not_there_is_refused():
    graph = small("call", "read")
    refused(replace(graph, subgraphs=()), "CALL_ONCE", "subgraph 1 of 1")
    for number in (0, 2, -1):
        operators = list(graph.operators)
        place = next(op.index for op in operators if op.op == "CALL_ONCE")
        options = replace(operators[place].options, init_subgraph_index=number)
        operators[place] = replace(operators[place], options=options)
        damaged = golden.write(replace(graph, operators=tuple(operators)))
        with pytest.raises(golden.GraphError, match=f"CALL_ONCE.*subgraph {number}"):
            golden.read(damaged)


def test_a_subgraph_that_can_not_be_called_is_refused():
    builder = golden.GraphBuilder("with an input")
    builder.assign_variable(builder.var_handle("memory"), builder.input(SHAPE, **KINDS))
    refused(small("call", "read", call=builder.build([])), "CALL_ONCE", "inputs")

    builder = golden.GraphBuilder("reads")
    handle = builder.var_handle("memory")
    builder.assign_variable(handle, builder.read_variable(handle, SHAPE, **KINDS))
    refused(small("call", "read", call=builder.build([])), "CALL_ONCE", "reads a variable")

    builder = golden.GraphBuilder("calls")
    builder.call_once(first("memory"))
    builder = golden.GraphBuilder("unknown operator")
    builder.operator("LSH_PROJECTION", (builder.tensor(data=[1]),), (builder.tensor((1,)),))
    graph = small("call", "assign", "read", call=builder.build([]))
    refused(graph, "CALL_ONCE", "LSH_PROJECTION", "not supported")


def within(*steps, outputs=0):
    """A subgraph that takes these steps.

    A number is a call of that subgraph, a pair a variable and what is assigned to it.
    """
    builder = golden.GraphBuilder("within")
    for step in steps:
        if isinstance(step, int):
            builder.operator("CALL_ONCE", (), (), CallOnceOptions(init_subgraph_index=step))
        else:
            name, value = step
            constant = builder.tensor(data=np.full(SHAPE, value), **KINDS)
            builder.assign_variable(builder.var_handle(name), constant)
    return builder.build([builder.tensor(data=[1]) for _ in range(outputs)])


def network(*subgraphs):
    """A network that calls the first of its further subgraphs once, and reads what was assigned."""
    graph = small("call", "read", "assign", call=subgraphs[0])
    return replace(graph, subgraphs=subgraphs)


@st.composite
def calls(draw):
    """Subgraphs of which each but the first is called by one before it."""
    values = iter(range(100))
    steps = [[("memory", next(values))]]
    for number in range(2, draw(st.integers(2, 5)) + 1):
        caller = draw(st.sampled_from(steps))
        caller.insert(draw(st.integers(0, len(caller))), number)
        names = draw(st.lists(st.sampled_from(["memory", "other"]), max_size=2))
        steps.append([(name, next(values)) for name in names])
    return tuple(within(*each) for each in steps)


def test_subgraphs_that_are_called_within_others_equal_the_oracle(oracle):
    first_values = set()

    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(subgraphs=calls())
    def check(subgraphs):
        graph = network(*subgraphs)
        found = compare(graph, oracle, steps=2)
        first_values.add(int(found[0][graph.outputs[0]][0, 0]))
        read = golden.read(golden.write(graph))
        assert len(read.subgraphs) == 1
        # It is saved as it was read.
        compare(read, oracle, steps=2)

    check()
    assert len(first_values) > 2


def test_a_subgraph_that_only_calls_another_gives_its_variables_their_values(oracle):
    graph = network(within(2), within(3), within(("memory", 6)))
    found = compare(graph, oracle)
    assert np.all(found[0][graph.outputs[0]] == 6)


@pytest.mark.parametrize(
    ("subgraphs", "where"),
    [
        ([within(("memory", 5), 1)], "operator 2 .*in subgraph 1: calls subgraph 1"),
        ([within(2), within(("memory", 5), 1)], "operator 2 .*in subgraph 2: calls subgraph 1"),
        ([within(("memory", 5), 0)], "operator 2 .*in subgraph 1: calls subgraph 0"),
    ],
)
def test_calls_that_go_in_a_circle_are_refused(subgraphs, where, oracle):
    content = golden.write(network(*subgraphs))
    with pytest.raises(OracleError):
        oracle.run(content, [[np.zeros(SHAPE, np.int8)]], [])
    with pytest.raises(golden.GraphError, match=f"{where}, of which it is a part"):
        golden.read(content)


def test_a_call_within_that_can_not_be_made_is_refused():
    for others, reason in (
        ([], "calls subgraph 2 of 2"),
        ([within(outputs=1)], "calls subgraph 2, which has inputs or outputs"),
    ):
        content = golden.write(network(within(("memory", 5), 2), *others))
        with pytest.raises(golden.GraphError, match=f"CALL_ONCE.*in subgraph 1: {reason}"):
            golden.read(content)
    graph = within(2)
    (call,) = graph.operators
    graph = replace(
        graph,
        tensors=within(outputs=1).tensors,
        operators=(replace(call, outputs=(0,)),),
    )
    with pytest.raises(golden.GraphError, match=r"CALL_ONCE.*in subgraph 1: takes no inputs"):
        golden.read(golden.write(network(graph, within(("memory", 5)))))


def test_a_second_call_within_which_the_oracles_take_differently_is_refused(oracle):
    graph = network(within(2, ("memory", 7), 2), within(("memory", 5)))
    content, y = golden.write(graph), graph.outputs[0]
    (found,) = oracle.run(content, [[np.zeros(SHAPE, np.int8)]], [y])
    assert np.all(found[y] == {"tflm": 5, "litert": 7}[oracle.name])
    with pytest.raises(golden.GraphError, match=r"operator 3 .*calls subgraph 2 once more: TFLM"):
        golden.read(content)


def test_calls_within_one_another_without_end_are_refused():
    subgraphs = (within(number) for number in range(2, 1000))
    with pytest.raises(golden.GraphError, match=r"CALL_ONCE.*in subgraph 100: is within 100 calls"):
        golden.read(golden.write(network(*subgraphs, within(("memory", 5)))))


def test_shapes_and_types_that_do_not_match_are_refused():
    for kinds in ({"shape": (1, 5)}, {"dtype": np.int16, "zero_point": 0}):
        call = first("memory", **kinds)
        refused(small("call", "read", call=call), "READ_VARIABLE", "variable")
        refused(small("call", "assign", call=call), "ASSIGN_VARIABLE", "variable")


def test_what_is_no_handle_is_refused():
    builder = golden.GraphBuilder()
    x = builder.input(SHAPE, **KINDS)
    y = builder.read_variable(x, SHAPE, **KINDS)
    refused(builder.build([y]), "READ_VARIABLE", "VAR_HANDLE")

    builder = golden.GraphBuilder()
    builder.input(SHAPE, **KINDS)
    handle = builder.var_handle("memory")
    refused(builder.build([handle]), "'memory'", "RESOURCE")


@pytest.mark.parametrize("content", [np.zeros(SHAPE, np.int8), np.zeros((3, 4), np.int8)])
def test_what_a_handle_holds_is_not_what_its_variable_holds(content):
    # A damaged file gives the handle a value of its own.
    graph = small("read", "assign")
    (handle,) = {op.inputs[0] for op in graph.operators if op.op == "READ_VARIABLE"}
    tensors = list(graph.tensors)
    tensors[handle] = replace(tensors[handle], data=content)
    damaged = propagate(replace(graph, tensors=tuple(tensors)), 1 << 20, 1 << 20)
    read = next(op for op in damaged.operators if op.op == "READ_VARIABLE")
    assert damaged.tensors[read.outputs[0]].data is None
