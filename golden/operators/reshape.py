"""RESHAPE: the same elements in another shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mensa.golden.node import Node
from mensa.golden.options import (
    ReshapeOptions,
)
from mensa.golden.plan import (
    Plan,
    Rounding,
    Shape,
)
from mensa.golden.registry import Array, kernel, planner, shapes


@dataclass(frozen=True, kw_only=True, eq=False)
class ReshapePlan(Plan):
    """RESHAPE: the same elements in the same order.

    Parameters
    ----------
    input_shape, output_shape : tuples of int
        With equal numbers of elements.
    """

    raw = True

    input_shape: Shape
    output_shape: Shape


def _new_shape(node: Node) -> Shape | None:
    """The shape that a RESHAPE is asked for, None where only the file's output says it.

    As LiteRT has it: a vector of int32 as second input counts before the option, and without
    either the only element becomes a scalar; anything else as second input LiteRT does not read.
    """
    data, wanted = node.input(0), node.optional(1)
    options = node.operator.options
    given = options.new_shape if isinstance(options, ReshapeOptions) else ()
    vector = wanted is not None and wanted.dtype == np.int32 and len(wanted.shape) == 1
    if given and not vector:
        # Old files mean a scalar by [0].
        shape = () if given == (0,) else given
    elif data.size == 1 and not vector:
        shape = ()
    elif wanted is not None:
        node.require(wanted.data is not None, "the new shape must be a constant", wanted)
        shape = tuple(int(size) for size in node.constant(1, np.int32, np.int64).ravel())
    else:
        return None
    if shape.count(-1) == 1:
        rest = -math.prod(shape)
        node.require(rest > 0 and data.size % rest == 0, f"can't become {list(shape)}", data)
        shape = tuple(data.size // rest if size == -1 else size for size in shape)
    node.require(
        min(shape, default=0) >= 0 and data.size == math.prod(shape),
        f"{data.size} elements can't become {list(shape)}",
        data,
    )
    return shape


@shapes("RESHAPE")
def _reshaped(node: Node) -> tuple[Shape, ...]:
    shape = _new_shape(node)
    if shape is None:
        raise node.error("nothing says what the new shape is")
    return (shape,)


@planner("RESHAPE")
def _reshape(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    node.same_type(data, output)
    shape = _new_shape(node)
    if shape is not None:
        node.shape(output, shape)
    node.require(
        data.size == output.size, f"{data.size} elements can't become {list(output.shape)}", data
    )
    return ReshapePlan(input_shape=data.shape, output_shape=output.shape)


@kernel(ReshapePlan)
def reshape(plan: ReshapePlan, x: Array) -> Array:
    """`x` in the output's shape."""
    return x.reshape(plan.output_shape)
