"""What an operator costs a host: operations and bytes, roughly counted.

Everything is counted in multiply-accumulates of int8, which are what `Host.operations_per_cycle`
is about. The counts follow from shapes alone; how an element's type or a kernel's quality changes
them is not in them.
"""

from __future__ import annotations

from collections.abc import Iterable

from mensa.golden import Graph, Operator, Tensor, operator_macs

__all__ = ["operations", "traffic_bytes"]

OPERATIONS_PER_ELEMENT = 8
"""Of an operator that multiplies no matrices, for every element that it reads or writes: zero
points, requantising and clamping take some 4 cycles of a core that does 2 multiply-accumulates a
cycle [R-l]."""

OPERATIONS_OF_A_MOVE = 1
"""The same where elements stay as they are: a load or a store, and a part of an address [R-l]."""

OPERATIONS_OF_A_FUNCTION = 32
"""The same where every result takes an exponential, a root or a division: some 32 cycles of that
core for an element read and one written [R-l]. A kernel that looks int8 values up in a table takes
less."""

MOVES = frozenset({
    "ASSIGN_VARIABLE", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE",
    "DYNAMIC_UPDATE_SLICE", "EMBEDDING_LOOKUP", "EXPAND_DIMS", "GATHER", "GATHER_ND", "MIRROR_PAD",
    "PACK", "PAD", "PADV2", "READ_VARIABLE", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR",
    "REVERSE_SEQUENCE", "REVERSE_V2", "SCATTER_ND", "SELECT", "SELECT_V2", "SHAPE", "SLICE",
    "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE",
    "TRANSPOSE", "UNPACK",
})  # fmt: skip
"""Operators that move elements and change none."""

FUNCTIONS = frozenset({
    "DIV", "ELU", "EXP", "FLOOR_DIV", "GELU", "LOGISTIC", "LOG_SOFTMAX", "RSQRT", "SOFTMAX",
    "SQRT", "TANH",
})  # fmt: skip
"""Operators that take a function of every element that is no polynomial."""

SELECTED = {
    "EMBEDDING_LOOKUP": 1,
    "GATHER": 0,
    "GATHER_ND": 0,
    "SHAPE": 0,
    "SLICE": 0,
    "STRIDED_SLICE": 0,
}
"""Operators that read of one operand, whose position this is, no more than what they write."""


def operations(graph: Graph, operator: Operator) -> int:
    """Operations of an operator: its multiply-accumulates, or if it has none its elements' work.

    An operator that multiplies matrices has them only: what an LSTM does besides is small.
    """
    macs = operator_macs(graph, operator)
    if macs:
        return macs
    return _per_element(operator.op) * sum(each.size for each in _moved(graph, operator))


def traffic_bytes(graph: Graph, operator: Operator) -> int:
    """Bytes that an operator reads and writes: inputs, constants and outputs, each once."""
    return sum(each.nbytes for each in _moved(graph, operator))


def _per_element(op: str) -> int:
    if op in MOVES:
        return OPERATIONS_OF_A_MOVE
    return OPERATIONS_OF_A_FUNCTION if op in FUNCTIONS else OPERATIONS_PER_ELEMENT


def _moved(graph: Graph, operator: Operator) -> list[Tensor]:
    """The tensors that are read or written; for what is selected of one, the outputs again."""
    inputs = list(operator.inputs)
    outputs = _distinct(operator.outputs)
    again: list[int] = []
    position = SELECTED.get(operator.op)
    if position is not None and position < len(inputs):
        del inputs[position]
        again = outputs
    return [graph.tensors[index] for index in (*_distinct(inputs), *outputs, *again)]


def _distinct(indices: Iterable[int]) -> list[int]:
    """Each index once, those of absent tensors left out."""
    return [index for index in dict.fromkeys(indices) if index >= 0]
