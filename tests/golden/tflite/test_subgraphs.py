"""Composites: what golden makes of them, compared with LiteRT, which inlines them too."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden.options import CallOnceOptions, FullyConnectedOptions
from tests.golden.comparison import EXAMPLES, equal
from tests.golden.composites import KINDS, add_composite, composite_network, copies, sums, wrapped
from tests.golden.disguise import shapes, with_false_shapes, without_shapes
from tests.golden.makers import MAKERS
from tests.golden.strategies import layers, random_inputs

VARIABLES = {"ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE"}
# By oracle and type, what can be drawn: operators that keep nothing from run to run.
OPERATORS = sorted(
    op
    for op in MAKERS.keys() - VARIABLES - {"SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
    if not isinstance(MAKERS[op].types["litert"], str)
)


def compare(graph, oracle, seed=0):
    """Golden equals the oracle in all outputs. Returns: the graph that golden reads."""
    content = golden.write(graph)
    read = golden.read(content)
    assert all(operator.op != "STABLEHLO_COMPOSITE" for operator in read.operators)
    inputs = random_inputs(graph, 2, seed)
    for arrays, wanted in zip(
        inputs, oracle.run(content, inputs, list(graph.outputs)), strict=True
    ):
        found = golden.run(read, arrays, rounding=oracle.name)
        for index in graph.outputs:
            assert equal(found[index], wanted[index])
    return read


@st.composite
def any_layer(draw):
    op = draw(st.sampled_from(OPERATORS))
    dtype = draw(st.sampled_from(MAKERS[op].types["litert"]))
    return draw(layers(operators=(op,), dtypes=(dtype,), floats=True, oracle="litert"))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(layer=any_layer(), times=st.integers(1, 2))
def test_a_composite_of_any_layer_equals_litert(litert, layer, times):
    graph = wrapped(layer.graph, times)
    compare(graph, litert, layer.seed)
    compare(without_shapes(graph), litert, layer.seed)


def test_composites_within_composites_equal_litert_and_are_saved_inlined(litert, oracle):
    graph = compare(composite_network(), litert)
    assert [operator.op for operator in graph.operators] == ["ADD"] * 5
    assert not graph.subgraphs
    # TFLM has no composites, but takes the network that golden has read.
    again = compare(graph, oracle)
    assert len(again.operators) == len(graph.operators)


def test_scales_within_a_composite_are_its_own(litert):
    graph = replace(wrapped(sums()), subgraphs=(sums(scale=0.3, zero_point=7),))
    assert "RESHAPE" in {operator.op for operator in compare(graph, litert).operators}


def with_scales(graph, factor):
    """The same with other scales."""
    tensors = (replace(tensor, scale=factor * tensor.scale) for tensor in graph.tensors)
    return replace(graph, tensors=tuple(tensors))


@pytest.mark.parametrize("factor", [1, 3])
def test_shapes_within_and_after_composites_are_computed(litert, factor):
    """Also where scales within differ, so that inputs and outputs are copied."""
    graph = composite_network()
    inner, outer = graph.subgraphs
    graph = replace(graph, subgraphs=(with_scales(inner, np.float32(factor)), outer))
    wanted = shapes(compare(graph, litert))
    for disguised in (without_shapes(graph), with_false_shapes(graph, seed=5)):
        assert shapes(compare(disguised, litert)) == wanted


def test_outputs_that_nothing_within_computes_are_copied(litert):
    builder = golden.GraphBuilder("passes on")
    x, y = (builder.input((1, 4), **KINDS) for _ in range(2))
    z = builder.add(x, y, **KINDS)
    constant = builder.tensor(data=[[1, 2, 3, 4]], **KINDS)
    compare(wrapped(builder.build([x, z, x, y, constant]), times=2), litert)


def test_a_composite_that_calls_once_is_its_graphs_own(litert):
    first = golden.GraphBuilder("first")
    value = first.tensor(data=[[1, 2, 3, 4]], **KINDS)
    first.assign_variable(first.var_handle("memory"), value)

    builder = golden.GraphBuilder("remembers")
    x = builder.input((1, 4), **KINDS)
    builder.call_once(first.build([]))
    handle = builder.var_handle("memory")
    before = builder.read_variable(handle, (1, 4), **KINDS)
    builder.assign_variable(handle, x)
    inner = builder.build([builder.add(before, x, **KINDS)])
    # In the file, what it calls is subgraph 1, and itself 2.
    graph = wrapped(replace(inner, subgraphs=()))
    options = replace(graph.operators[0].options, decomposition_subgraph_index=2)
    operators = (replace(graph.operators[0], options=options),)
    content = golden.write(
        replace(graph, operators=operators, subgraphs=(first.build([]), *graph.subgraphs))
    )
    read = golden.read(content)
    assert len(read.subgraphs) == 1
    inputs = random_inputs(read, 4, 1)
    state = None
    for arrays, wanted in zip(inputs, litert.run(content, inputs, list(read.outputs)), strict=True):
        found = golden.run(read, arrays, rounding="litert", state=state)
        state = found.state
        for index in read.outputs:
            assert equal(found[index], wanted[index])


def calls_once(number):
    """A subgraph that calls another one once, and adds its input to itself."""
    builder = golden.GraphBuilder("calls")
    builder.operator("CALL_ONCE", (), (), CallOnceOptions(init_subgraph_index=number))
    x = builder.input((1, 4), **KINDS)
    return builder.build([builder.add(x, x, **KINDS)])


def first_values(number):
    """A subgraph that assigns a variable what a composite gives."""
    builder = golden.GraphBuilder("first values")
    value = builder.tensor(data=[[1, 2, 3, 4]], **KINDS)
    result = builder.tensor((1, 4), **KINDS)
    add_composite(builder, number, (value,), (result,))
    builder.assign_variable(builder.var_handle("memory"), result)
    return builder.build([])


def test_what_a_composite_calls_within_what_is_called_once_equals_litert(litert):
    other = golden.GraphBuilder("other")
    other.assign_variable(other.var_handle("other"), other.tensor(data=[[5, 6, 7, 8]], **KINDS))
    builder = golden.GraphBuilder("network")
    for graph in (first_values(2), calls_once(3), other.build([])):
        builder.subgraph(graph)
    builder.operator("CALL_ONCE", (), (), CallOnceOptions(init_subgraph_index=1))
    x = builder.input((1, 4), **KINDS)
    reads = [
        builder.read_variable(builder.var_handle(name), (1, 4), **KINDS)
        for name in ("memory", "other")
    ]
    graph = compare(builder.build([*reads, builder.add(x, reads[0], **KINDS)]), litert)
    assert [operator.op for operator in graph.subgraphs[0].operators].count("VAR_HANDLE") == 2
    assert golden.read(golden.write(graph)).subgraphs


def test_composites_and_calls_in_a_circle_are_refused():
    graph = wrapped(calls_once(2))
    content = golden.write(replace(graph, subgraphs=(*graph.subgraphs, first_values(1))))
    with pytest.raises(golden.GraphError, match="in subgraph 2: calls subgraph 2, of which"):
        golden.read(content)


def refused(graph, *words):
    with pytest.raises(golden.GraphError) as caught:
        golden.read(golden.write(graph))
    for word in ("STABLEHLO_COMPOSITE", *words):
        assert word in str(caught.value)


def with_composite(number=1, inputs=2, inner=None, **kinds):
    """One composite, of which something is wrong."""
    inner = sums() if inner is None else inner
    builder = golden.GraphBuilder("wrong")
    builder.subgraph(inner)
    places = [builder.input((1, 4), **KINDS) for _ in range(inputs)]
    outputs = copies(builder, inner, inner.outputs)
    add_composite(builder, number, places, outputs)
    return builder.build(outputs)


def test_a_subgraph_that_is_not_there_is_refused():
    for number in (2, -1, 1 << 30):
        refused(with_composite(number), f"subgraph {number} of 2")


def test_a_subgraph_with_an_output_or_an_input_twice_is_refused():
    inner = sums()
    refused(with_composite(inner=replace(inner, outputs=inner.outputs * 2)), "output twice")
    refused(with_composite(inner=replace(inner, inputs=(0, 0))), "input or output twice")


def test_a_subgraph_that_calls_itself_is_refused():
    refused(with_composite(0), "subgraph 0, of which it is a part")
    builder = golden.GraphBuilder("itself")
    x, y = (builder.input((1, 4), **KINDS) for _ in range(2))
    z = builder.tensor((1, 4), **KINDS)
    add_composite(builder, 1, (x, y), (z,))
    refused(with_composite(inner=builder.build([z])), "subgraph 1, of which it is a part")


def test_what_does_not_fit_is_refused():
    refused(with_composite(inputs=1), "inputs [0]", "wants 2")
    refused(with_composite(inputs=3), "inputs [0, 1, 2]", "wants 2")
    graph = with_composite()
    x, y, *rest = graph.tensors
    other = replace(y, dtype=np.dtype(np.uint8), type_name="UINT8")
    refused(replace(graph, tensors=(x, other, *rest)), "tensor 1", "is UINT8", "it is INT8")


def with_weights(outside, within):
    """A composite of a layer that gets its weights from outside, of these types."""
    inner = golden.GraphBuilder("layer")
    x = inner.input((1, 4), **KINDS)
    weights = inner.input((2, 4), scale=0.02)
    y = inner.operator(
        "FULLY_CONNECTED",
        (x, weights, -1),
        (inner.tensor((1, 2), scale=0.3),),
        FullyConnectedOptions(),
    )
    layer = inner.build([y])
    tensors = list(layer.tensors)
    # A file's int4 tensors without data have no type here.
    dtype = np.dtype(np.void if within == "INT4" else np.int8)
    tensors[weights] = replace(tensors[weights], dtype=dtype, type_name=within)

    builder = golden.GraphBuilder("composite")
    number = builder.subgraph(replace(layer, tensors=tuple(tensors)))
    x = builder.input((1, 4), **KINDS)
    values = np.arange(8).reshape(2, 4) - 4
    weights = builder.tensor(data=values, scale=0.02, type_name=outside)
    y = builder.tensor((1, 2), scale=0.3)
    add_composite(builder, number, (x, weights), (y,))
    return builder.build([y])


def test_weights_of_four_bits_are_not_those_of_eight(litert):
    for kind in ("INT4", "INT8"):
        compare(with_weights(kind, kind), litert)
    refused(with_weights("INT4", "INT8"), "tensor 1", "is INT4", "it is INT8")
    refused(with_weights("INT8", "INT4"), "tensor 1", "is INT8", "it is INT4")


def test_shapes_are_those_of_the_composites_inputs(litert):
    """Whatever its subgraph says, for which no sizes are known."""
    for scale in (0.1, 0.3):
        (inner,) = wrapped(sums(scale=scale)).subgraphs
        given = tuple(replace(t, shape=()) if t.index in inner.inputs else t for t in inner.tensors)
        graph = replace(wrapped(sums()), subgraphs=(replace(inner, tensors=given),))
        compare(graph, litert)


def test_composites_that_multiply_are_refused_before_they_do():
    builder = golden.GraphBuilder("doubles")
    for level in range(40):
        inner = golden.GraphBuilder("twice")
        x = inner.input((1, 4), **KINDS)
        if level == 0:
            y = inner.add(x, x, **KINDS)
        for _ in range(2 if level else 0):
            y = inner.tensor((1, 4), **KINDS)
            add_composite(inner, level, (x,), (y,))
            x = y
        number = builder.subgraph(inner.build([y]))
    x = builder.input((1, 4), **KINDS)
    y = builder.tensor((1, 4), **KINDS)
    add_composite(builder, number, (x,), (y,))
    refused(builder.build([y]), "more than 65536")


def test_damage_in_a_subgraph_is_told_with_its_number():
    graph = with_composite()
    (inner,) = graph.subgraphs
    tensors = (replace(inner.tensors[0], scale=np.full(1, -1.0)), *inner.tensors[1:])
    damaged = replace(graph, subgraphs=(replace(inner, tensors=tensors),))
    with pytest.raises(golden.GraphError, match=r"tensor 0 .*subgraph 1: .*scale"):
        golden.read(golden.write(damaged))


def test_a_subgraph_that_nothing_calls_is_not_read():
    builder = golden.GraphBuilder("calls nothing")
    builder.subgraph(replace(sums(), inputs=(99,)))
    x = builder.input((1, 4), **KINDS)
    graph = builder.build([builder.add(x, x, **KINDS)])
    assert golden.read(golden.write(graph)).subgraphs == ()
