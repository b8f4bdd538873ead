"""What is told of signatures and subgraphs that are not run."""

import copy
import re

import numpy as np
import pytest

import mensa.golden as golden
from tests.golden.tflite.model_files import changed


@pytest.fixture
def data():
    builder = golden.GraphBuilder("first")
    x = builder.input((1, 4), scale=0.5)
    return golden.write(builder.build([builder.softmax(x)]))


def with_subgraphs(model, *names):
    """Copies of the first subgraph, so named."""
    for name in names:
        subgraph = copy.deepcopy(model.subgraphs[0])
        subgraph.name = name.encode()
        model.subgraphs.append(subgraph)


def signature(schema, name, subgraph):
    found = schema.SignatureDefT()
    found.signatureKey, found.subgraphIndex = name.encode(), subgraph
    found.inputs, found.outputs = [], []
    return found


def test_a_file_of_one_subgraph_has_nothing_to_tell(data):
    def change(model, schema):
        model.signatureDefs = [signature(schema, "serving_default", 0)]

    assert golden.read(changed(data, change)).notes == ()


def test_subgraphs_that_nobody_calls_are_told(data):
    graph = golden.read(changed(data, lambda model, _: with_subgraphs(model, "one", "two")))
    (note,) = graph.notes
    assert "1 'one', 2 'two'" in note
    assert "does not call" in note
    (output,) = graph.outputs
    assert golden.run(graph, [np.zeros((1, 4), np.int8)])[output].shape == (1, 4)


def test_signatures_of_other_subgraphs_are_told(data):
    def change(model, schema):
        with_subgraphs(model, "one", "two")
        names = {"encode": 0, "decode": 1, "prefill": 2}
        model.signatureDefs = [signature(schema, *each) for each in names.items()]

    (note,) = golden.read(changed(data, change)).notes
    assert "'decode' (subgraph 1), 'prefill' (subgraph 2)" in note
    assert "encode" not in note


def test_all_signatures_of_one_subgraph_are_told(data):
    def change(model, schema):
        with_subgraphs(model, "one")
        entries = [("encode", 0), ("decode", 1), ("again", 0), ("decode_long", 1)]
        model.signatureDefs = [signature(schema, *each) for each in entries]

    (note,) = golden.read(changed(data, change)).notes
    assert note.endswith("signature 'decode' (subgraph 1), 'decode_long' (subgraph 1)")


CALLERS = ("CALL_ONCE", "IF", "WHILE", "STABLEHLO_COMPOSITE")


def calling(op):
    """The change that adds three subgraphs, the first with a signature, and a call of it.

    IF and WHILE call the second, too.
    """

    def change(model, schema):
        with_subgraphs(model, "one", "two", "three")
        model.signatureDefs = [signature(schema, "begin", 1), signature(schema, "serve", 0)]
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, op)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.inputs, operator.outputs = [], []
        kind = {"CALL_ONCE": "CallOnce", "IF": "If", "WHILE": "While"}.get(op)
        if kind is None:
            options = schema.StableHLOCompositeOptionsT()
            options.decompositionSubgraphIndex = 1
            operator.builtinOptions2 = options
            main = model.subgraphs[0]
            main.tensors.append(copy.deepcopy(main.tensors[main.outputs[0]]))
            operator.inputs, operator.outputs = main.inputs, [len(main.tensors) - 1]
            operator.builtinOptions2Type = schema.BuiltinOptions2.StableHLOCompositeOptions
        else:
            options = getattr(schema, f"{kind}OptionsT")()
            for number, name in enumerate(vars(options)):
                setattr(options, name, 1 + number)
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind}Options")
        model.subgraphs[0].operators.append(operator)

    return change


@pytest.mark.parametrize("op", CALLERS)
def test_a_subgraph_that_is_called_is_not_told(op, data):
    graph = golden.read(changed(data, calling(op)))
    # A composite stands there as what it is made of.
    assert graph.operators[-1].op == ("SOFTMAX" if op == "STABLEHLO_COMPOSITE" else op)
    (note,) = graph.notes
    left = ["3 'three'"] if op in ("IF", "WHILE") else ["2 'two'", "3 'three'"]
    assert note.endswith(f"subgraph {', '.join(left)}")


@pytest.mark.parametrize("op", ["IF", "WHILE"])
def test_what_calls_subgraphs_as_values_go_is_refused_by_name(op, data):
    graph = golden.read(changed(data, calling(op)))
    name = re.escape(f"operator 1 ({op})")
    with pytest.raises(golden.GraphError, match=f"^{name}: this operator is not supported$"):
        golden.run(graph, [np.zeros((1, 4), np.int8)])
