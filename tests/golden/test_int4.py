"""Constants of 4 bits: how a file has them, and which operators take them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden.int4 import TAKEN, unpack
from tests.golden.comparison import equal
from tests.golden.makers import MAKERS
from tests.golden.mutants import graphs_of
from tests.golden.oracles import OracleError
from tests.golden.strategies import random_inputs

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def dequantized(data, **kinds):
    """A graph of the real numbers that a constant stands for, and of one that is an input."""
    builder = golden.GraphBuilder("real numbers")
    x = builder.input((1,), dtype=np.float32)
    constant = builder.tensor(data=data, dtype=np.int8, type_name="INT4", **kinds)
    y = builder.tensor(np.shape(data), dtype=np.float32)
    builder.operator("DEQUANTIZE", (constant,), (y,))
    z = builder.apply("ADD", y, x)
    return builder.build([y, z])


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shape=SHAPES, seed=st.integers(0, 1000), channels=st.booleans(), zero_point=st.integers(-8, 7)
)
def test_every_number_of_elements_is_written_as_litert_reads_it(
    litert, shape, seed, channels, zero_point
):
    generator = np.random.default_rng(seed)
    data = generator.integers(-8, 8, shape).astype(np.int8)
    kinds = {"scale": 0.3, "zero_point": zero_point}
    if channels:
        kinds = {
            "scale": generator.uniform(0.1, 2, shape[-1]),
            "quantized_dimension": len(shape) - 1,
        }
    content = golden.write(dequantized(data, **kinds))
    graph = golden.read(content)
    constant = graph.tensors[1]
    np.testing.assert_array_equal(constant.data, data)
    assert (constant.type_name, constant.dtype) == ("INT4", np.int8)
    assert golden.write(golden.read(golden.write(graph))) == golden.write(graph)
    inputs = [np.ones(1, np.float32)]
    (wanted,) = litert.run(content, [inputs], list(graph.outputs))
    found = golden.run(graph, inputs, rounding="litert")
    for index, array in wanted.items():
        assert equal(found[index], array)


def narrowed(graph):
    """Copies of a graph in each of which one int8 tensor that is given is a constant of int4."""
    for tensor in graph.tensors:
        given = tensor.index in graph.inputs or tensor.data is not None
        if given and tensor.dtype == np.int8 and tensor.size:
            generator = np.random.default_rng(tensor.size)
            data = generator.integers(-8, 8, tensor.shape).astype(np.int8)
            zero_point = np.clip(tensor.zero_point, -8, 7)
            tensors = list(graph.tensors)
            tensors[tensor.index] = replace(
                tensor, data=data, type_name="INT4", zero_point=zero_point
            )
            inputs = tuple(index for index in graph.inputs if index != tensor.index)
            yield replace(graph, tensors=tuple(tensors), inputs=inputs)


@pytest.mark.parametrize("op", sorted(MAKERS))
def test_where_golden_takes_int4_the_oracle_does_too(op, oracle):
    types = MAKERS[op].types[oracle.name]
    taken = set()
    for dtype in () if isinstance(types, str) else types:
        for drawn in graphs_of(op, dtype, oracle.name):
            for graph in narrowed(drawn):
                try:
                    golden.check_supported(graph, oracle.name)
                except golden.GraphError:
                    continue
                # Else it is read by what makes the operator's operands.
                read = [graph.tensors[i] for i in graph.operators[-1].inputs if i >= 0]
                if any(tensor.type_name == "INT4" for tensor in read):
                    taken.add(read[0].type_name.lower())
                content, inputs = golden.write(graph), random_inputs(graph, 2, 1)
                try:
                    answers = oracle.run(content, inputs, list(graph.outputs))
                except OracleError as error:
                    pytest.fail(f"golden takes {graph.operators}: {error}")
                for arrays, wanted in zip(inputs, answers, strict=True):
                    found = golden.run(graph, arrays, rounding=oracle.name)
                    assert all(equal(found[index], wanted[index]) for index in graph.outputs)
    _, wanted = TAKEN.get(op, (0, {}))
    assert taken == set(wanted.get(oracle.name, ()))


@pytest.mark.parametrize("size", [0, 4, 6, 9])
def test_a_buffer_of_the_wrong_size_is_refused(size):
    with pytest.raises(golden.GraphError, match=f"tensor 1: .*{size} bytes.*needs 5"):
        unpack(np.zeros(size, np.uint8), (3, 3), "tensor 1")


def test_an_element_of_more_bits_is_not_written():
    for value in (8, -9):
        with pytest.raises(golden.GraphError, match=r"tensor 1 .*-8 to 7"):
            golden.write(dequantized(np.full(3, value), scale=0.5))
