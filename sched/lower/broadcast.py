"""Computed operands that are broadcast: written out in full, by other operators' plans.

- Where whole tensors are repeated, by a TILE; of few bytes by two, so that the second one moves
  many at a time.
- Where every element is repeated, by the array: a convolution with weights of 1, as a lane of the
  vector unit sees no other's byte.
- Otherwise by a TILE, a run of neighbouring bytes at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mensa.golden import ConvPlan, Graph, Operator, Plan, Tensor
from mensa.golden.operators.elementwise import ExtremumPlan, MulPlan, PreluPlan
from mensa.golden.operators.scaled import ScaledPlan
from mensa.golden.operators.shape_ops import TilePlan

__all__ = ["Spread", "Step", "is_pair", "spreads"]

Shape = tuple[int, ...]

_WIDE = 128
"""Bytes that are enough for every machine's lanes."""

_MOST_CHANNELS = 1 << 12
"""Times that an element is repeated at most by the array, which needs a weight for each."""


@dataclass(frozen=True, eq=False)
class Step:
    """One of the plans that write an operand out.

    Attributes
    ----------
    work, operand : Plan, Tensor
        What, and from what, under the shape that it takes.
    nbytes : int
        What it gives.
    """

    work: Plan
    operand: Tensor
    nbytes: int


@dataclass(frozen=True, eq=False)
class Spread:
    """A computed operand that is broadcast.

    Attributes
    ----------
    position : int
        Of the operand among the operator's inputs.
    tensor, shape : Tensor, tuple of int
        What it is, and the shape that it is broadcast to.
    steps : tuple of Step
        What writes it out, each from the result of the one before.
    """

    position: int
    tensor: Tensor
    shape: Shape
    steps: tuple[Step, ...]


def is_pair(work: Plan) -> bool:
    """Whether a plan goes through two operands element by element, which may be broadcast."""
    return isinstance(work, ScaledPlan | MulPlan | ExtremumPlan | PreluPlan)


def spreads(graph: Graph, operator: Operator, work: Plan) -> Iterator[Spread]:
    """The computed operands of an operator that are broadcast."""
    if not is_pair(work):
        return
    output = graph.tensors[operator.outputs[0]]
    for position in work.operands:
        tensor = graph.tensors[operator.inputs[position]]
        if tensor.data is None and tensor.size != output.size:
            yield Spread(position, tensor, output.shape, tuple(_steps(tensor, output.shape)))


def _steps(tensor: Tensor, shape: Shape) -> Iterator[Step]:
    sizes = (1,) * (len(shape) - len(tensor.shape)) + tensor.shape
    multiples = tuple(out // size for out, size in zip(shape, sizes, strict=True))
    own = [axis for axis, size in enumerate(sizes) if size > 1]
    repeated = [axis for axis, times in enumerate(multiples) if times > 1]
    count, times = tensor.size, math.prod(multiples)
    if not own or max(repeated) < min(own):
        few = next((each for each in _divisors(times) if each * count >= _WIDE), times)
        for each, run in ((few, count), (times // few, few * count)):
            if each > 1:
                yield _tile(tensor, (1, run), (each, 1))
    elif max(own) < min(repeated) and times <= _MOST_CHANNELS:
        yield Step(_ones(count, times), tensor, count * times)
    else:
        yield _tile(tensor, sizes, multiples)


def _divisors(number: int) -> Iterator[int]:
    return (each for each in range(1, number + 1) if number % each == 0)


def _tile(tensor: Tensor, sizes: Shape, multiples: Shape) -> Step:
    shape = tuple(size * times for size, times in zip(sizes, multiples, strict=True))
    work = TilePlan(multiples=multiples, output_shape=shape)
    return Step(work, replace(tensor, shape=sizes), math.prod(shape))


def _ones(pixels: int, channels: int) -> ConvPlan:
    """A convolution that gives each of so many bytes in so many channels."""
    return ConvPlan(
        kind="conv",
        input_shape=(1, 1, pixels, 1),
        output_shape=(1, 1, pixels, channels),
        weights=np.ones((channels, 1, 1, 1), np.int8),
        bias=np.zeros(channels, np.int32),
        input_zero_point=0,
        weight_zero_point=0,
        output_zero_point=0,
        multiplier=np.full(channels, 1 << 30, np.int32),
        shift=np.ones(channels, np.int32),
        requant="double",
        scale=np.ones(channels),
    )
