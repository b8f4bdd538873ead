"""The jobs of an operator: what its commands do one after another.

Most operators are one job, some are several stages (`stages.py`). The vector unit walks through
both operands of a pair in the same steps, so a computed one that is broadcast is written out in
full before, by a TILE; of constants that is done when the network is lowered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mensa.golden import Graph, Operator, Plan, Tensor
from mensa.golden.operators.elementwise import ExtremumPlan, MulPlan, PreluPlan
from mensa.golden.operators.scaled import ScaledPlan
from mensa.golden.operators.shape_ops import TilePlan

__all__ = ["Job", "Tile", "is_pair", "tiles"]


@dataclass(frozen=True, eq=False)
class Tile:
    """A computed operand that is broadcast.

    Attributes
    ----------
    position : int
        Of the operand among the operator's inputs.
    work, operand : TilePlan, Tensor
        What writes it out, and what that takes: the operand, with as many dimensions as the output.
    """

    position: int
    work: TilePlan
    operand: Tensor


@dataclass(frozen=True, eq=False)
class Job:
    """What some commands of an operator do.

    Attributes
    ----------
    operator : Operator
        Whose they are.
    work, operands : Plan, tuple of Tensor
        What they compute, and what of that are operands of the operator.
    sources, results : tuples of int
        The tensors that they read and write, numbered as in the graph; negative numbers are tensors
        that only lowering knows.
    """

    operator: Operator
    work: Plan
    operands: tuple[Tensor, ...]
    sources: tuple[int, ...]
    results: tuple[int, ...]


def is_pair(work: Plan) -> bool:
    """Whether a plan goes through two operands element by element, which may be broadcast."""
    return isinstance(work, ScaledPlan | MulPlan | ExtremumPlan | PreluPlan)


def tiles(graph: Graph, operator: Operator, work: Plan) -> Iterator[Tile]:
    """The computed operands of an operator that are broadcast."""
    if not is_pair(work):
        return
    shape = graph.tensors[operator.outputs[0]].shape
    for position in work.operands:
        tensor = graph.tensors[operator.inputs[position]]
        if tensor.data is None and tensor.size != graph.tensors[operator.outputs[0]].size:
            sizes = (1,) * (len(shape) - len(tensor.shape)) + tensor.shape
            multiples = tuple(out // size for out, size in zip(shape, sizes, strict=True))
            plan = TilePlan(multiples=multiples, output_shape=shape)
            yield Tile(position, plan, replace(tensor, shape=sizes))
