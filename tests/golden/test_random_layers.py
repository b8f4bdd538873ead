"""Random one-operator graphs, written by golden, run by the oracles and by golden."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import mensa.golden as golden

from .oracles import OracleError
from .strategies import OPERATORS, layers

# Per operator and oracle.
EXAMPLES = 3000 if os.environ.get("MENSA_REGRESS") else 50
INPUTS = 3


@pytest.mark.parametrize("op", OPERATORS)
def test_a_random_layer_equals_the_oracle(op, oracle):
    dtypes = ("int8",) if oracle.name == "tflm" else ("int8", "uint8")
    compared = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(layer=layers(operators=(op,), dtypes=dtypes, floats=True))
    def compare(layer):
        nonlocal compared
        inputs = layer.inputs(INPUTS)
        data = golden.write(layer.graph)
        graph = golden.read(data)
        (output,) = graph.outputs
        try:
            answers = oracle.run(data, inputs, [output])
        except OracleError as error:
            pytest.fail(f"{layer}: {error}")
        for arrays, wanted in zip(inputs, answers, strict=True):
            found = golden.run(graph, arrays, rounding=oracle.name)[output]
            assert found.dtype == wanted[output].dtype
            np.testing.assert_array_equal(found, wanted[output], err_msg=repr(layer))
        compared += 1

    compare()
    assert compared >= min(EXAMPLES, 10)
