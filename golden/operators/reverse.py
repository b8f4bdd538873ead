"""Operators that turn the order of elements around: REVERSE_V2, REVERSE_SEQUENCE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import INT32_MIN
from mensa.golden.node import Node
from mensa.golden.options import ReverseSequenceOptions
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

_TFLM_REVERSED = ("int8", "uint8", "int16", "int32", "int64", "bool", "float32")
_SEQUENCES = ("uint8", "int16", "int32", "int64", "float32")
# REVERSE_V2 of TFLM takes so many dimensions at most.
_TFLM_MAX_RANK = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class ReversePlan(Plan):
    """REVERSE_V2.

    Parameters
    ----------
    axes : tuple of int
        The dimensions that are reversed.
    """

    raw = True

    axes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReverseSequencePlan(Plan):
    """REVERSE_SEQUENCE: the first steps of each sequence reversed, the others left.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    seq_dim, batch_dim : int
        The dimension of the steps, and the one that counts the sequences.
    """

    raw = True

    shape: Shape
    seq_dim: int
    batch_dim: int

    @property
    def operands(self) -> tuple[int, ...]:
        """The sequences, and how many steps of each are reversed."""
        return (0, 1)

    @property
    def indices(self) -> dict[int, tuple[npt.ArrayLike, npt.ArrayLike]]:
        """Lengths."""
        return {1: (0, self.shape[self.seq_dim])}


@shapes("REVERSE_V2", "REVERSE_SEQUENCE")
def _same(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


@planner("REVERSE_V2")
def _reverse(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    require_kernel(node, data, rounding, tflm=_TFLM_REVERSED, litert=(*_TFLM_REVERSED, "float16"))
    node.require(
        rounding == "litert" or len(data.shape) <= _TFLM_MAX_RANK,
        f"{len(data.shape)} dimensions, TensorFlow Lite Micro takes {_TFLM_MAX_RANK}",
        data,
    )
    node.same_type(data, output)
    node.shape(output, data.shape)
    given = node.constant(1, np.int32).ravel().tolist()
    axes = sorted(node.axis(axis, len(data.shape)) for axis in given)
    # The kernels reverse the elements of these dimensions as if they were one.
    node.require(
        len(axes) > 0 and axes == list(range(axes[0], axes[-1] + 1)),
        f"dimensions {given} are not one or more that follow one another",
        node.input(1),
    )
    return ReversePlan(axes=tuple(axes))


@kernel(ReversePlan)
def reverse(plan: ReversePlan, x: Array) -> Array:
    """`x`, reversed. Returns: the same shape."""
    return np.flip(x, plan.axes).copy()


@planner("REVERSE_SEQUENCE")
def _reverse_sequence(node: Node, rounding: Rounding) -> Plan:
    data, lengths, output = node.input(0), node.input(1), node.output()
    options = node.options(ReverseSequenceOptions)
    require_kernel(node, data, rounding, tflm=(), litert=_SEQUENCES)
    node.same_type(data, output)
    node.of_type(lengths, "int32", "int64")
    rank = len(data.shape)
    node.require(
        0 <= options.seq_dim < rank
        and 0 <= options.batch_dim < rank
        and options.seq_dim != options.batch_dim,
        f"dimensions {options.seq_dim} and {options.batch_dim} are not two of {rank}",
        data,
    )
    node.shape(lengths, (data.shape[options.batch_dim],))
    node.shape(output, data.shape)
    return ReverseSequencePlan(
        shape=data.shape, seq_dim=options.seq_dim, batch_dim=options.batch_dim
    )


@kernel(ReverseSequencePlan)
def reverse_sequence(plan: ReverseSequencePlan, x: Array, lengths: Array) -> Array:
    """The sequences of `x`, each reversed up to its length. Returns: ``plan.shape``."""
    steps = plan.shape[plan.seq_dim]
    # The kernel reverses nothing of a length below zero, but takes one off first.
    wrong = (lengths > steps) | (lengths <= INT32_MIN)
    if np.any(wrong):
        raise ValueError(f"a length is {int(lengths[np.argmax(wrong)])}, there are {steps} steps")
    sequences = np.moveaxis(x.reshape(plan.shape), (plan.batch_dim, plan.seq_dim), (0, 1))
    step = np.arange(steps)
    length = lengths.astype(np.int64)[:, None]
    source = np.where(step < length, length - 1 - step, step)
    turned = sequences[np.arange(len(lengths))[:, None], source]
    return np.ascontiguousarray(np.moveaxis(turned, (0, 1), (plan.batch_dim, plan.seq_dim)))
