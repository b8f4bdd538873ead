"""Random one-operator graphs, written by golden, run by the oracles and by golden."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import mensa.golden as golden
from tests.golden.comparison import EXAMPLES, INPUTS, Comparison, differ, equal, runs_with
from tests.golden.disguise import NOTICED, shapes, with_false_shapes, without_shapes
from tests.golden.makers import MAKERS
from tests.golden.oracles import OracleError
from tests.golden.strategies import layers


def compare(layer, oracle):
    """Golden equals the oracle on a few inputs in a row. Returns: the oracle's answers."""
    inputs = layer.inputs(INPUTS)
    data = golden.write(layer.graph)
    graph = golden.read(data)
    outputs = list(graph.outputs)
    try:
        answers = oracle.run(data, inputs, outputs)
    except OracleError as error:
        pytest.fail(f"{layer}: {error}")
    state = None
    for arrays, wanted in zip(inputs, answers, strict=True):
        found = golden.run(graph, arrays, rounding=oracle.name, state=state)
        state = found.state
        for output in outputs:
            if not equal(found[output], wanted[output]):
                # Says what differs; types and signs of zeros are all that it would let pass.
                np.testing.assert_array_equal(found[output], wanted[output], err_msg=repr(layer))
                pytest.fail(f"{layer}: the type or the sign of a zero differs")
    return answers


def compare_disguised(layer, oracle, answers):
    """What the file says of the outputs' shapes makes no difference, to golden nor to LiteRT."""
    graph = layer.graph
    disguised = [without_shapes(graph), with_false_shapes(graph, layer.seed)]
    for each in disguised:
        assert shapes(golden.read(golden.write(each))) == shapes(graph), layer
    if oracle.name == "litert":
        noticed = any(operator.op in NOTICED for operator in graph.operators)
        one = disguised[0 if noticed else layer.seed % 2]
        found = oracle.run(golden.write(one), layer.inputs(INPUTS), list(graph.outputs))
        assert not differ(found, answers), layer


@pytest.mark.parametrize("op", sorted(MAKERS))
def test_a_random_layer_equals_the_oracle(op, oracle, litert_beside, record_property):
    dtypes = MAKERS[op].types[oracle.name]
    if isinstance(dtypes, str):
        Comparison.not_made(op, oracle.name, dtypes, record_property)
        pytest.skip(f"NOT COMPARED with {oracle.name}: {dtypes}")
    comparison = Comparison(op, oracle.name)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(layer=layers(operators=(op,), dtypes=dtypes, floats=True, oracle=oracle.name))
    def check(layer):
        answers = compare(layer, oracle)
        compare_disguised(layer, oracle, answers)
        differs = None
        if litert_beside is not None and runs_with(layer.graph, litert_beside):
            differs = differ(answers, compare(layer, litert_beside))
        comparison.add(layer.graph, differs)

    check()
    comparison.finish(record_property)
