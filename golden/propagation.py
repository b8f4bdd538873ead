"""What follows from a file without its inputs: shapes of computed tensors, and constants.

What a file says of a computed tensor's shape may be missing or false. The operators give it, as
in LiteRT, which works out all shapes before it runs. Shapes are static, so SHAPE is a constant,
and what is computed from constants alone is one, too: operators that do nothing else are left out.
One stays that only writes the graph's outputs: no other would gain by the constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from mensa.golden.error import GraphError
from mensa.golden.families import register_all
from mensa.golden.graph import Graph, Operator, check_shape, shape_fault
from mensa.golden.interpreter import outputs_of
from mensa.golden.macs import operator_macs
from mensa.golden.plan import Rounding
from mensa.golden.planning import plan
from mensa.golden.registry import Array, output_shapes
from mensa.golden.variables import handles

# Operators whose outputs follow from the shapes of their inputs.
_OF_SHAPES = ("RANK", "SHAPE")


def propagate(graph: Graph, max_bytes: int, max_macs: int) -> Graph:
    """The graph with its operators' shapes, without operators that compute constants.

    The shapes of tensors that an operator golden does not know writes stay as they are, and so do
    those of an operator that its plan will refuse.

    Parameters: `max_bytes` that all constants may take which are computed here together, and
    `max_macs` that computing one may take; others stay computed.
    """
    given = {tensor.index for tensor in graph.tensors if tensor.is_variable} | {*graph.inputs}
    read = {index for operator in graph.operators for index in operator.inputs}
    used: set[int] = set()
    kept: list[Operator] = []
    folded: list[Operator] = []
    for operator in graph.operators:
        for index in operator.inputs:
            if index >= 0:  # what wrote it, if anything did, has given it its shape
                check_shape(graph.tensors[index])
        graph = _with_shapes(graph, operator, given)
        constants, outputs = None, {*operator.outputs}
        ends = outputs & {*graph.outputs} and not outputs & read
        if not ends and not outputs & used and _is_static(graph, operator, given):
            size = sum(graph.tensors[index].nbytes for index in operator.outputs)
            if size <= max_bytes and operator_macs(graph, operator) <= max_macs:
                constants = _constants(graph, operator)
        if constants is None:
            kept.append(replace(operator, index=len(kept)))
            used.update(operator.inputs)
        else:
            max_bytes -= size
            folded.append(operator)
            graph = _changed(graph, {index: {"data": data} for index, data in constants.items()})
    if not folded:
        return graph
    # The file's numbers are those of no operator here: what is made has its own all the same.
    names = ", ".join(f"{each.op} ({graph.first_output(each)})" for each in folded)
    note = f"computed when the file was read, from constants and shapes alone: {names}"
    return replace(
        graph,
        operators=tuple(kept),
        folded=tuple(sorted(index for operator in folded for index in operator.outputs)),
        notes=(*graph.notes, note),
    )


def _changed(graph: Graph, changes: Mapping[int, Mapping[str, Any]]) -> Graph:
    """The graph with some fields of some tensors changed."""
    tensors = list(graph.tensors)
    for index, fields in changes.items():
        tensors[index] = replace(tensors[index], **fields)
    return replace(graph, tensors=tuple(tensors))


def _with_shapes(graph: Graph, operator: Operator, given: set[int]) -> Graph:
    """The graph in which the outputs of `operator` have the shapes that it gives them."""
    try:
        register_all()
        shapes = output_shapes(graph, operator)
    except GraphError:
        return graph
    changes = {
        index: {"shape": shape}
        for index, shape in zip(operator.outputs, shapes, strict=False)
        if index >= 0
        and index not in given
        and graph.tensors[index].data is None
        and graph.tensors[index].shape != shape
        and shape_fault(shape) is None
    }
    return _changed(graph, changes) if changes else graph


def _is_static(graph: Graph, operator: Operator, given: set[int]) -> bool:
    """Whether nothing but constants and shapes makes the outputs of `operator`."""
    inputs = [index for index in operator.inputs if index >= 0]
    if any(index in handles(graph) for index in inputs):
        return False  # what a variable holds is no constant, whatever its handle is
    if not inputs or any(
        index < 0 or index in given or graph.tensors[index].data is not None
        for index in operator.outputs
    ):
        return False
    return operator.op in _OF_SHAPES or all(
        index not in given and graph.tensors[index].data is not None for index in inputs
    )


def _constants(graph: Graph, operator: Operator) -> dict[int, Array] | None:
    """The outputs of an operator on constants; None where golden can't say what they are.

    They are what both oracles give. One that can't run the operator has no say.
    """
    found: dict[int, Array] | None = None
    for rounding in get_args(Rounding):
        try:
            work = plan(graph, operator, rounding)
            outputs = outputs_of(graph, operator, work, {})
        except GraphError:
            continue
        if work.states or (found is not None and not _same(found, outputs)):
            return None
        found = outputs
    for array in (found or {}).values():
        array.setflags(write=False)
    return found


def _same(one: Mapping[int, Array], other: Mapping[int, Array]) -> bool:
    return all(array.tobytes() == other[index].tobytes() for index, array in one.items())
