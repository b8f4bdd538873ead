"""Whose arithmetic a network has, and the plan of each of its operators."""

from __future__ import annotations

import numpy as np

from mensa.golden.error import GraphError
from mensa.golden.families import register_all
from mensa.golden.graph import Graph, Operator
from mensa.golden.node import Node
from mensa.golden.plan import Plan, Rounding
from mensa.golden.registry import prepare
from mensa.golden.variables import called, check_order, handles


def default_rounding(graph: Graph) -> Rounding:
    """ "litert" for files with uint8 activations, which TFLM can't load, else "tflm"."""
    return "litert" if graph.activation_dtype == np.dtype(np.uint8) else "tflm"


def resolve_rounding(graph: Graph, rounding: str | None) -> Rounding:
    """`rounding`, or the graph's default for None. Raises: GraphError for any other value."""
    if rounding is None:
        return default_rounding(graph)
    if rounding == "tflm":
        return "tflm"
    if rounding == "litert":
        return "litert"
    raise GraphError(f"rounding must be 'tflm', 'litert' or None, not {rounding!r}")


def plan(graph: Graph, operator: Operator, rounding: str | None = None) -> Plan:
    """What `operator` computes, as TFLite's Prepare works it out.

    The plan is made once per operator and rounding and then kept with the graph.

    Parameters
    ----------
    graph, operator : Graph, Operator
        The operator and the graph that it stands in.
    rounding : "tflm", "litert" or None
        Whose arithmetic; None is the graph's default.

    Raises
    ------
    GraphError
        For an operator that golden can't compute, with the operator, the tensor and the reason.
    """
    profile = resolve_rounding(graph, rounding)
    key = (operator.index, profile)
    found = graph._plans.get(key)
    if found is None:
        # A damaged file's scales may overflow; the makers look at what comes of it.
        register_all()
        with np.errstate(all="ignore"):
            found = prepare(graph, operator, profile)
        if operator.op == "CALL_ONCE":
            _check_called(graph, operator, profile)
        graph._plans[key] = found
    result: Plan = found
    return result


def check_supported(graph: Graph, rounding: str | None = None) -> None:
    """Checks that golden can run all of `graph`.

    Raises: GraphError that names the first operator that it can't, the tensor and the reason.
    """
    profile = resolve_rounding(graph, rounding)
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        if tensor.dtype.kind not in "iufb":
            name = tensor.type_name or tensor.dtype.name
            raise GraphError(f"elements of type {name} are not supported", tensor=str(tensor))
    known = {*graph.inputs, *(t.index for t in graph.tensors if t.data is not None)}
    known.update(tensor.index for tensor in graph.tensors if tensor.is_variable)
    for index in graph.inputs:
        # Plans are made of constants: another value could not reach them.
        if graph.tensors[index].data is not None:
            raise GraphError("is both an input and a constant", tensor=str(graph.tensors[index]))
    for operator in graph.operators:
        plan(graph, operator, profile)
        for index in operator.inputs:
            if index >= 0 and index not in known:
                raise GraphError(
                    "is read before any operator has written it",
                    operator=str(operator),
                    tensor=str(graph.tensors[index]),
                )
        for index in operator.outputs:
            if index in known:
                raise GraphError(
                    "is written although it is an input, a constant or written before",
                    operator=str(operator),
                    tensor=str(graph.tensors[index]),
                )
        known.update(operator.outputs)
    check_order(graph, profile)
    for index in graph.outputs:
        if index in handles(graph):
            raise GraphError("is an output but has no value", tensor=str(graph.tensors[index]))
        if index not in known:
            raise GraphError(
                "is an output but no operator writes it", tensor=str(graph.tensors[index])
            )


def _check_called(graph: Graph, operator: Operator, rounding: Rounding) -> None:
    try:
        check_supported(called(graph, operator), rounding)
    except GraphError as error:
        problem = f"in the subgraph that it calls: {error}"
        raise Node(graph, operator).error(problem) from error
