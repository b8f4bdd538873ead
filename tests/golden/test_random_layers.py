"""Random one-operator graphs, written by golden, run by the oracles and by golden."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import mensa.golden as golden

from . import (  # noqa: F401  register their layers
    elementwise_layers,
    product_layers,
    recurrent_layers,
    shape_layers,
    tail_layers,
)
from .oracles import OracleError
from .strategies import MAKERS, layers

# Per operator and oracle.
EXAMPLES = 3000 if os.environ.get("MENSA_REGRESS") else 50
INPUTS = 3


@pytest.mark.parametrize("op", sorted(MAKERS))
def test_a_random_layer_equals_the_oracle(op, oracle):
    dtypes = MAKERS[op].types[oracle.name]
    if isinstance(dtypes, str):
        pytest.skip(f"NOT COMPARED with {oracle.name}: {dtypes}")
    compared = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(layer=layers(operators=(op,), dtypes=dtypes, floats=True, oracle=oracle.name))
    def compare(layer):
        nonlocal compared
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
                assert found[output].dtype == wanted[output].dtype
                np.testing.assert_array_equal(found[output], wanted[output], err_msg=repr(layer))
        compared += 1

    compare()
    assert compared >= min(EXAMPLES, 10)
