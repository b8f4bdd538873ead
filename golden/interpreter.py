"""Running a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import kernels
from .error import GraphError
from .graph import Graph, Operator, Tensor
from .plan import (
    AddPlan,
    ConvPlan,
    Plan,
    PoolPlan,
    RequantPlan,
    ReshapePlan,
    Rounding,
    SoftmaxPlan,
    plan,
    resolve_rounding,
)
from .prepare import to_int8
from .softmax import softmax

Array = npt.NDArray[Any]


class Tensors(dict[int, Array]):
    """Arrays by tensor index, as `run` returns them.

    Attributes
    ----------
    state : dict
        Values of the variable tensors after the run, by tensor index: what the next `run` of
        the same sequence takes as its `state`.
    rounding : str
        Whose arithmetic it was, "tflm" or "litert".
    """

    def __init__(self, state: dict[int, Array], rounding: Rounding) -> None:
        super().__init__()
        self.state = state
        self.rounding = rounding


def check_supported(graph: Graph, rounding: str | None = None) -> None:
    """Checks that golden can run all of `graph`.

    Raises: GraphError that names the first operator that it can't, the tensor and the reason.
    """
    profile = resolve_rounding(graph, rounding)
    known = {*graph.inputs, *(t.index for t in graph.tensors if t.data is not None)}
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
    for index in graph.outputs:
        if index not in known:
            raise GraphError(
                "is an output but no operator writes it", tensor=str(graph.tensors[index])
            )


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
        Which tensors to return: the graph's outputs, or every activation, inputs included.
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
    profile = resolve_rounding(graph, rounding)
    check = ("supported", profile)
    if check not in graph._plans:
        check_supported(graph, profile)
        graph._plans[check] = True
    values = _take_inputs(graph, inputs)
    last_use = {index: len(graph.operators) for index in graph.outputs}
    for operator in graph.operators:
        for index in operator.inputs:
            last_use[index] = max(last_use.get(index, 0), operator.index)
    for operator in graph.operators:
        result = _compute(graph, operator, plan(graph, operator, profile), values)
        values[operator.outputs[0]] = result
        if keep == "outputs":
            for index in {*operator.inputs, *operator.outputs}:
                if last_use.get(index, -1) <= operator.index:
                    values.pop(index, None)
    results = Tensors(dict(state or {}), profile)
    wanted = graph.outputs if keep == "outputs" else sorted(values)
    for index in wanted:
        tensor = graph.tensors[index]
        if index in values:
            results[index] = values[index]
        elif tensor.data is not None:
            results[index] = tensor.data
    return results


def _take_inputs(
    graph: Graph, inputs: Sequence[npt.ArrayLike] | Mapping[int, npt.ArrayLike]
) -> dict[int, Array]:
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


def _compute(graph: Graph, operator: Operator, work: Plan, values: dict[int, Array]) -> Array:
    """The operator's output, in the file's type and shape."""
    output = graph.output_tensor(operator)

    def operand(position: int) -> Array:
        index = operator.inputs[position]
        data = values.get(index)
        found = graph.tensors[index].data if data is None else data
        assert found is not None
        return found

    if isinstance(work, ReshapePlan):
        return operand(0).reshape(work.output_shape)
    if isinstance(work, RequantPlan) and work.float_input:
        result = kernels.quantize(work, operand(0))
    else:
        result = evaluate(
            work, *(to_int8(operand(place)) for place in range(2 if _is_add(work) else 1))
        )
    result = result.reshape(output.shape)
    return (result.view(np.uint8) ^ np.uint8(0x80)) if output.dtype == np.uint8 else result


def _is_add(work: Plan) -> bool:
    return isinstance(work, AddPlan)


def evaluate(work: Plan, *operands: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Evaluates one plan on int8 activations, of the file's shapes or the plan's.

    Returns: int8, of the plan's output shape. Raises: GraphError for the wrong number or size
    of operands.
    """
    try:
        if isinstance(work, ConvPlan):
            (x,) = operands
            return kernels.convolve(work, x.reshape(work.input_shape))
        if isinstance(work, AddPlan):
            first, second = operands
            return kernels.add(work, first, second)
        if isinstance(work, PoolPlan):
            (x,) = operands
            return kernels.pool(work, x.reshape(work.input_shape))
        if isinstance(work, RequantPlan):
            (x,) = operands
            return kernels.quantize(work, x)
        if isinstance(work, SoftmaxPlan):
            (x,) = operands
            return softmax(work, x.reshape(work.shape))
        (x,) = operands
        return x.reshape(work.output_shape)
    except ValueError as error:
        raise GraphError(f"{type(work).__name__}: {error}") from error
