"""Tensors whose bytes are those of others, so that operators on the machine need no commands.

A RESHAPE gives its operand under another shape. What takes neighbouring bytes out of a tensor gives
parts of it; and what joins tensors whole, each to neighbouring bytes, needs not move those that
the same program computes, as they can be computed where they belong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mensa.golden import Graph, Operator, Plan, ReshapePlan, Tensor, plan
from mensa.sched.lower.moves import Move, is_move, moves

__all__ = ["Place", "Views"]

_LEAST_SHARE = 2
"""Parts of a tensor are copied out of it if all are less than one byte in so many: else the whole
would have to stay for them."""


@dataclass(frozen=True)
class Place:
    """Bytes of a tensor, from `offset` on."""

    tensor: int
    offset: int = 0


class Views:
    """Which tensors are others', and which operators need no commands for that.

    Parameters
    ----------
    graph, rounding : Graph, str
        The network, and whose arithmetic.
    programs : mapping of int to int
        A number for each program, by the operators that it computes.
    parts : bool
        Whether tensors may be parts of others; else they are whole ones, reshaped.

    Attributes
    ----------
    operators : set of int
        Those without commands.
    """

    def __init__(
        self, graph: Graph, rounding: str, programs: Mapping[int, int], *, parts: bool
    ) -> None:
        self.operators: set[int] = set()
        self._graph = graph
        self._programs = programs
        self._of: dict[int, Place] = {}
        self._makers = {tensor: op.index for op in graph.operators for tensor in op.outputs}
        for operator in graph.operators:
            if operator.index not in programs:
                continue
            work = plan(graph, operator, rounding)
            found = None
            if isinstance(work, ReshapePlan):
                found = {operator.outputs[0]: Place(operator.inputs[0])}
            elif parts and is_move(work):
                found = self._taken(operator, work) or self._joined(operator, work)
            if found is not None:
                self._of |= found
                self.operators.add(operator.index)

    @property
    def tensors(self) -> tuple[int, ...]:
        """Those that are others' bytes."""
        return tuple(self._of)

    def place(self, tensor: int) -> Place:
        """Where a tensor's bytes are; itself, if it is no other's."""
        offset = 0
        while tensor in self._of:
            offset += self._of[tensor].offset
            tensor = self._of[tensor].tensor
        return Place(tensor, offset)

    def _moves(self, operator: Operator, work: Plan) -> tuple[list[Move], list[Tensor]] | None:
        """Its moves, if each is of neighbouring bytes, and its operands."""
        operands = [self._graph.tensors[operator.inputs[each]] for each in work.operands]
        found = []
        for move in moves(work, operands):
            if move.loops or move.is_fill or move.table is not None:
                return None
            found.append(move)
        return found, operands

    def _taken(self, operator: Operator, work: Plan) -> dict[int, Place] | None:
        """The results as parts of operands, if all are and nothing but the program needs them."""
        known = self._moves(operator, work)
        if known is None or len(known[0]) != len(operator.outputs):
            return None
        found = {}
        for move in known[0]:
            source = known[1][move.source]
            result = operator.outputs[move.target]
            if sum(move.nbytes for move in known[0]) * _LEAST_SHARE < source.nbytes:
                return None
            if self._is_kept(source) or not self._stays(operator, result):
                return None
            found[result] = Place(source.index, move.source_start)
        return found if len(found) == len(operator.outputs) else None

    def _joined(self, operator: Operator, work: Plan) -> dict[int, Place] | None:
        """The operands as parts of the result, if all are and the program computes them."""
        known = self._moves(operator, work)
        if known is None or len(operator.outputs) != 1:
            return None
        found: dict[int, Place] = {}
        for move in known[0]:
            source = known[1][move.source]
            place = self.place(source.index)
            whole = self._graph.tensors[place.tensor]
            if (
                move.nbytes != source.nbytes
                or whole.nbytes != source.nbytes
                or place.tensor in found
                or not self._is_computed_by(whole, operator)
            ):
                return None
            found[place.tensor] = Place(operator.outputs[0], move.target_start)
        return found if len(found) == len(known[1]) else None

    def _is_kept(self, tensor: Tensor) -> bool:
        """Whether a tensor's root is a constant or stays from one inference to the next."""
        root = self._graph.tensors[self.place(tensor.index).tensor]
        return root.data is not None or root.is_variable

    def _stays(self, operator: Operator, tensor: int) -> bool:
        """Whether all that reads a tensor is in the operator's program."""
        readers: Sequence[int] = [op.index for op in self._graph.operators if tensor in op.inputs]
        here = self._programs[operator.index]
        return tensor not in self._graph.outputs and all(
            self._programs.get(reader) == here for reader in readers
        )

    def _is_computed_by(self, tensor: Tensor, operator: Operator) -> bool:
        """Whether commands of the operator's program write a tensor, or all of its parts."""
        maker = self._makers.get(tensor.index)
        return (
            maker is not None
            and not tensor.is_variable
            and self._programs.get(maker) == self._programs[operator.index]
        )
