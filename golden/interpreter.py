"""Running a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.error import GraphError
from mensa.golden.graph import Graph, Operator, Tensor
from mensa.golden.node import to_int8
from mensa.golden.plan import Plan, Rounding
from mensa.golden.planning import check_supported, plan, resolve_rounding
from mensa.golden.registry import compute
from mensa.golden.variables import called, handles, names, remembered

Array = npt.NDArray[Any]
# An operator, its plan, and the tensors that nothing reads after it.
_Step = tuple[Operator, Plan, tuple[int, ...]]


class Tensors(dict[int, Array]):
    """Arrays by tensor index, as `run` returns them.

    Attributes
    ----------
    state : dict
        Values of the variable tensors after the run, by tensor index, and of variables by that
        of their first handle: what the next `run` of the same sequence takes as its `state`.
    rounding : str
        Whose arithmetic it was, "tflm" or "litert".
    """

    def __init__(self, state: dict[int, Array], rounding: Rounding) -> None:
        super().__init__()
        self.state = state
        self.rounding = rounding


def run(
    graph: Graph,
    inputs: Sequence[npt.ArrayLike] | Mapping[int, npt.ArrayLike],
    keep: str = "outputs",
    rounding: str | None = None,
    state: Mapping[int, Array] | None = None,
) -> Tensors:
    """Computes `graph` on `inputs`, bit-exact with TensorFlow Lite.

    Parameters
    ----------
    graph : Graph
        The network.
    inputs : list or dict
        Arrays in the graph's input order, or by tensor index, of the file's shapes and types.
    keep : "outputs" or "all"
        Which tensors to return: the graph's outputs, or every activation, with inputs, with what
        was folded when the file was read, and with outputs that are constants.
    rounding : "tflm", "litert" or None
        Equal TensorFlow Lite Micro or LiteRT's BUILTIN_REF; None takes "tflm" for int8 files
        and "litert" for files with uint8 activations, which TFLM can't load.
    state : mapping or None
        The `.state` of the run before; None starts afresh.

    Returns
    -------
    Tensors
        Arrays by tensor index, in the file's own types.

    Raises
    ------
    GraphError
        For an operator that golden can't compute, or inputs that do not fit.
    """
    if keep not in ("outputs", "all"):
        raise GraphError(f"keep must be 'outputs' or 'all', not {keep!r}")
    resolved = resolve_rounding(graph, rounding)
    steps = _steps(graph, resolved)
    values = take_inputs(graph, inputs)
    before = _before(graph, resolved, state or {})
    values |= before
    for operator, work, last_used in steps:
        values |= outputs_of(graph, operator, work, values)
        if keep == "outputs":
            for index in last_used:
                values.pop(index, None)
    results = Tensors(_after(graph, values), resolved)
    known = handles(graph)
    wanted = graph.outputs
    if keep == "all":
        kept = {*values, *graph.folded, *graph.outputs} - known.keys()
        wanted = tuple(sorted(kept))
    for index in wanted:
        constant = graph.tensors[index].data
        if index in values:
            results[index] = values[index]
        elif constant is not None:
            results[index] = constant
    return results


def _steps(graph: Graph, rounding: Rounding) -> list[_Step]:
    """The operators of a graph that golden can run, in order."""
    key = ("steps", rounding)
    if key not in graph._kept:
        check_supported(graph, rounding)
        last_use = {index: operator for operator in graph.operators for index in operator.outputs}
        last_use |= {index: operator for operator in graph.operators for index in operator.inputs}
        for index in graph.outputs:
            last_use.pop(index, None)
        last_used: dict[int, list[int]] = {operator.index: [] for operator in graph.operators}
        for index, operator in last_use.items():
            kept = index in handles(graph) or graph.tensors[index].is_variable
            if index >= 0 and not kept:
                last_used[operator.index].append(index)
        graph._kept[key] = [
            (operator, plan(graph, operator, rounding), tuple(last_used[operator.index]))
            for operator in graph.operators
        ]
    steps: list[_Step] = graph._kept[key]
    return steps


def take_inputs(
    graph: Graph, inputs: Sequence[npt.ArrayLike] | Mapping[int, npt.ArrayLike]
) -> dict[int, Array]:
    """Copies of the inputs of `run`, by tensor index.

    Raises: GraphError if they are not those of the graph, in number, shape and type.
    """
    if isinstance(inputs, Mapping):
        unknown = [index for index in inputs if index not in graph.inputs]
        if unknown:
            raise GraphError(
                f"{unknown[0]!r} is not an input; the inputs are tensors {list(graph.inputs)}"
            )
        given = {index: inputs[index] for index in inputs}
    elif not isinstance(inputs, Sequence):
        raise GraphError("inputs must be a list in the graph's order or a dict by tensor index")
    else:
        if len(inputs) != len(graph.inputs):
            raise GraphError(f"{len(inputs)} inputs given, the graph has {len(graph.inputs)}")
        given = dict(zip(graph.inputs, inputs, strict=True))
    values: dict[int, Array] = {}
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if index not in given:
            raise GraphError("this input is missing", tensor=str(tensor))
        values[index] = _take_input(tensor, given[index])
    return values


def _take_input(tensor: Tensor, value: npt.ArrayLike) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise GraphError(f"the input is not an array: {error}", tensor=str(tensor)) from error
    if array.shape != tensor.shape:
        raise GraphError(
            f"the input has shape {list(array.shape)}, wants {list(tensor.shape)}",
            tensor=str(tensor),
        )
    if array.dtype != tensor.dtype:
        raise GraphError(
            f"the input has type {array.dtype}, wants {tensor.dtype}", tensor=str(tensor)
        )
    # A copy, because the result may hold it when the caller reuses the array.
    return np.array(array, order="C")


def initial_state(tensor: Tensor) -> Array:
    """Value of a variable tensor before the first run: real zero, as TFLite sets it."""
    zero = int(tensor.zero_point[0]) if tensor.dtype == np.int8 and tensor.scale.size else 0
    return np.full(tensor.shape, zero, tensor.dtype)


def outputs_of(
    graph: Graph, operator: Operator, work: Plan, values: Mapping[int, Array]
) -> dict[int, Array]:
    """The operator's outputs and its new states, in the file's types and shapes.

    Parameters: `values` of the operands that are no constants, by tensor index. Raises: GraphError.
    """
    if work.declares:
        return {}
    known = handles(graph)
    operands = []
    for position in work.operands:
        index = known.get(operator.inputs[position], operator.inputs[position])
        found = values[index] if index in values else graph.tensors[index].data
        assert found is not None
        operands.append(to_int8(found) if found.dtype == np.uint8 and not work.raw else found)
    try:
        found_all = compute(work, *operands)
    except (MemoryError, ValueError) as error:
        raise GraphError(str(error), operator=str(operator)) from error
    # Operands that were brought into the int8 domain are not held beside results of their size.
    operands.clear()
    indices = (*operator.outputs, *(operator.inputs[position] for position in work.states))
    results = {}
    for index, result in zip(indices, found_all, strict=True):
        if index in known:
            results[known[index]] = result
            continue
        tensor = graph.tensors[index]
        result = result.reshape(tensor.shape)
        if tensor.dtype == np.uint8 and not work.raw:
            result = result.view(np.uint8) ^ np.uint8(0x80)
        results[index] = result
    return results


def evaluate(work: Plan, *operands: Array) -> Array:
    """Evaluates one plan on int8 activations, of the file's shapes or the plan's.

    Returns: int8, of the plan's output shape; of several outputs the first. Raises: GraphError
    for the wrong number or size of operands.
    """
    try:
        return compute(work, *operands)[0]
    except (TypeError, ValueError) as error:
        raise GraphError(f"{type(work).__name__}: {error}") from error


def run_operator(
    graph: Graph,
    operator: Operator,
    values: Mapping[int, Array],
    rounding: str | None = None,
    state: Mapping[int, Array] | None = None,
) -> Tensors:
    """Computes one operator of a graph that golden can run.

    Parameters
    ----------
    graph, operator : Graph, Operator
        Which operator.
    values : mapping
        Its inputs that are not constants, by tensor index, and any others.
    rounding, state
        As in `run`.

    Returns
    -------
    Tensors
        Its outputs, and with them the state after it.

    Raises
    ------
    GraphError
        As `run`.
    """
    resolved = resolve_rounding(graph, rounding)
    before = _before(graph, resolved, state or {})
    found = outputs_of(graph, operator, plan(graph, operator, resolved), {**values, **before})
    results = Tensors(_after(graph, before | found), resolved)
    results |= {index: found[index] for index in operator.outputs if index in found}
    return results


def first_values(graph: Graph, rounding: str | None = None) -> dict[int, Array]:
    """What variable tensors and variables are at the start of a sequence.

    Returns: arrays by number, as `Tensors.state`; made once and kept with the graph.
    """
    resolved = resolve_rounding(graph, rounding)
    key = ("first values", resolved)
    if key not in graph._kept:
        ours = names(graph)
        found = {
            # LiteRT gives variables nothing, and a network may not read them then.
            index: _zero_points(tensor) if index in handles(graph) else initial_state(tensor)
            for index, tensor in remembered(graph).items()
        }
        for operator in graph.operators:
            if operator.op == "CALL_ONCE":
                first = called(graph, operator)
                state = run(first, [], rounding=resolved).state
                theirs = names(first)
                found |= {
                    ours[name]: state[theirs[name]]
                    for name in ours.keys() & theirs.keys()
                    if theirs[name] in state
                }
        graph._kept[key] = found
    values: dict[int, Array] = graph._kept[key]
    return values


def _before(graph: Graph, rounding: Rounding, state: Mapping[int, Array]) -> dict[int, Array]:
    """Values of variable tensors and of variables before a run."""
    values = {**first_values(graph, rounding), **state}
    return {
        index: _take_input(tensor, values[index]) for index, tensor in remembered(graph).items()
    }


def _zero_points(content: Tensor) -> Array:
    """What TFLM fills a variable with: bytes of the zero point of what is first assigned to it."""
    zero_point = int(content.zero_point[0]) if content.zero_point.size else 0
    raw = np.full(content.nbytes, zero_point & 0xFF, np.uint8)
    return raw.view(content.dtype).reshape(content.shape)


def _after(graph: Graph, values: Mapping[int, Array]) -> dict[int, Array]:
    """Of all values those of variable tensors and of variables."""
    return {index: values[index] for index in remembered(graph) if index in values}
