"""Functions of one 8-bit value that a network takes several operators for: one table of them all.

Converters leave tails in floating point: DEQUANTIZE, SQRT, QUANTIZE. If each of the operators works
element by element, and nothing but them sees what lies between, then every result is a function of
one 8-bit value, whatever happens on the way, and golden says what it is for all 256.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from mensa.golden import Graph, GraphError, Operator, Tensor, plan, run_operator
from mensa.golden.operators.lookup import TablePlan
from mensa.sched.lower.memory_map import tensor_from_memory, tensor_to_memory

__all__ = ["ELEMENTWISE", "Function", "functions"]

ELEMENTWISE = frozenset({
    "ABS", "ADD", "CAST", "CEIL", "COS", "DEQUANTIZE", "DIV", "ELU", "EXP", "EXPAND_DIMS", "FLOOR",
    "FLOOR_DIV", "FLOOR_MOD", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "MAXIMUM",
    "MINIMUM", "MUL", "NEG", "POW", "QUANTIZE", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1",
    "RESHAPE", "ROUND", "RSQRT", "SIGN", "SIN", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SQUEEZE",
    "SUB", "TANH",
})  # fmt: skip
"""Operators whose results depend on the operands' elements at the same place alone."""

_EIGHT_BIT = (np.dtype(np.int8), np.dtype(np.uint8))
_VALUES = 256


@dataclass(frozen=True, eq=False)
class Function:
    """Operators that together compute a function of each byte of a tensor.

    Attributes
    ----------
    operators : tuple of int
        At least two, in order; the last gives the result.
    source, result : Tensor
        Of 8 bits, and of one size.
    work : TablePlan
        The table, of bytes as they are in memory.
    """

    operators: tuple[int, ...]
    source: Tensor
    result: Tensor
    work: TablePlan


_known: WeakKeyDictionary[Graph, dict[str, tuple[Function, ...]]] = WeakKeyDictionary()


def functions(graph: Graph, rounding: str) -> tuple[Function, ...]:
    """All functions of a network, in the arithmetic of a rounding; no operator is of two."""
    kept = _known.setdefault(graph, {})
    if rounding not in kept:
        kept[rounding] = tuple(_find(graph, rounding))
    return kept[rounding]


def _find(graph: Graph, rounding: str) -> Iterator[Function]:
    makers = {tensor: operator for operator in graph.operators for tensor in operator.outputs}
    readers: dict[int, set[int]] = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            readers.setdefault(tensor, set()).add(operator.index)
    for operator in graph.operators:
        members, sources = _before(graph, operator, makers, rounding)
        between = {graph.operators[each].outputs[0] for each in members - {operator.index}}
        if (
            len(members) > 1
            and len(sources) == 1
            and not between & set(graph.outputs)
            and all(readers[tensor] <= members for tensor in between)
        ):
            source, result = graph.tensors[sources.pop()], graph.tensors[operator.outputs[0]]
            ordered = tuple(sorted(members))
            try:
                table = _table(graph, ordered, source, result, rounding)
            except GraphError:
                continue  # of some bytes, that may never occur, it has no value
            yield Function(ordered, source, result, TablePlan(shape=result.shape, table=table))


def _before(
    graph: Graph, last: Operator, makers: Mapping[int, Operator], rounding: str
) -> tuple[set[int], set[int]]:
    """The operators from 8-bit tensors to another, and these tensors; none if others are needed."""
    none: tuple[set[int], set[int]] = set(), set()
    if len(last.outputs) != 1 or graph.tensors[last.outputs[0]].dtype not in _EIGHT_BIT:
        return none
    size = graph.tensors[last.outputs[0]].size
    if not size:
        return none
    members: set[int] = set()
    sources: set[int] = set()
    waiting = [last]
    while waiting:
        operator = waiting.pop()
        if operator.op not in ELEMENTWISE or len(operator.outputs) != 1:
            return none
        try:
            positions = plan(graph, operator, rounding).operands
        except GraphError:
            return none  # golden doesn't know what it computes
        members.add(operator.index)
        for position in positions:
            tensor = graph.tensors[operator.inputs[position]]
            if tensor.scale.size > 1:
                return none  # its bytes mean something else in each channel
            if tensor.data is not None:
                if tensor.size != 1:
                    return none
            elif tensor.size != size or tensor.is_variable:
                return none
            elif tensor.dtype in _EIGHT_BIT:
                sources.add(tensor.index)
            elif tensor.index not in makers:
                return none
            elif makers[tensor.index].index not in members:
                waiting.append(makers[tensor.index])
    return members, sources


def _table(
    graph: Graph, operators: Sequence[int], source: Tensor, result: Tensor, rounding: str
) -> npt.NDArray[np.int8]:
    """What golden gives for each byte that `source` may have, int8 [256]."""
    bytes_of = np.resize(
        np.arange(_VALUES, dtype=np.uint8), (-(-_VALUES // source.size), source.size)
    )
    found = np.zeros(_VALUES, np.int8)
    for each in bytes_of:
        signed = each.view(np.int8)
        values = {source.index: tensor_from_memory(source, each, 0)}
        for operator in operators:
            values |= run_operator(graph, graph.operators[operator], values, rounding)
        found[signed.astype(np.int64) + 128] = tensor_to_memory(result, values[result.index]).view(
            np.int8
        )
    return found
