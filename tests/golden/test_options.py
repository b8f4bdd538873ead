"""Files that have no options of an operator, or another operator's, against both oracles."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

import mensa.golden as golden
from mensa.golden.options import OPTIONS, LeakyReluOptions, NoOptions, ShapeOptions
from tests.golden.comparison import equal
from tests.golden.makers import MAKERS
from tests.golden.oracles import OracleError
from tests.golden.strategies import layers

#: The last operators of their networks are others, and without a name there is no variable.
_VARIABLES = {"ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE"}
WITH_OPTIONS = sorted(op for op in MAKERS if OPTIONS[op].union_type and op not in _VARIABLES)
#: Operators that do nothing, or nothing defined, without their options: golden refuses them.
NOTHING_WITHOUT = {
    "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "MAX_POOL_2D", "PACK",
    "REVERSE_SEQUENCE", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SVDF", "TRANSPOSE_CONV", "UNPACK",
}  # fmt: skip

#: What one of them can't do without options, and the other does by the tensors or in one way only.
REFUSED = {(op, "litert") for op in ("ARG_MAX", "ARG_MIN", "MIRROR_PAD", "SHAPE")}
REFUSED |= {("UNIDIRECTIONAL_SEQUENCE_LSTM", "tflm")}


def with_options(graph, options):
    """A copy whose last operator has these."""
    *others, last = graph.operators
    return replace(graph, operators=(*others, replace(last, options=options)))


@pytest.mark.parametrize("op", WITH_OPTIONS)
def test_options_of_another_operator_are_as_good_as_none(op, oracle):
    types = MAKERS[op].types[oracle.name]
    if isinstance(types, str):
        pytest.skip(f"NOT COMPARED with {oracle.name}: {types}")
    other = ShapeOptions(out_type="INT64") if op == "LEAKY_RELU" else LeakyReluOptions(alpha=0.5)
    compared = []

    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(layer=layers(operators=(op,), dtypes=types, floats=True, oracle=oracle.name))
    def check(layer):
        without, wrong = (
            golden.write(with_options(layer.graph, options)) for options in (NoOptions(), other)
        )
        graph = golden.read(wrong)
        assert graph.operators[-1].options == golden.read(without).operators[-1].options
        outputs, inputs = list(layer.graph.outputs), layer.inputs()
        try:
            found = golden.run(graph, inputs[0], rounding=oracle.name)
        except golden.GraphError:
            return
        # TFLM believes the file's shapes, which the options that are lost gave.
        true = golden.write(with_options(graph, other))
        try:
            (wanted,) = oracle.run(true, inputs, outputs)
        except OracleError:
            return
        assert all(equal(found[index], wanted[index]) for index in outputs), layer
        compared.append(layer)

    check()
    assert compared or op in NOTHING_WITHOUT or (op, oracle.name) in REFUSED
