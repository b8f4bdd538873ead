"""REDUCE_MAX, REDUCE_MIN, REDUCE_ANY and REDUCE_ALL over whole dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mensa.golden.node import QUANTIZED, Node
from mensa.golden.operators.reduce import reduced_axes, reduced_shape
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

_OPS = ("REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL")


@dataclass(frozen=True, kw_only=True, eq=False)
class ReduceExtremumPlan(Plan):
    """The largest or smallest element over some dimensions; of bools, whether any or all are true.

    Parameters
    ----------
    largest : bool
        Whether the largest is wanted.
    input_shape, output_shape : tuples of int
        As in the file.
    axes : tuple of int
        The dimensions that the output lacks or has with size 1.
    from_first : bool
        Floats: whether the first element is what all others are compared with, as LiteRT has it
        where all dimensions are reduced; if not, the finite number furthest from the wanted end
        is. Nothing is larger or smaller than a NaN.
    """

    raw = True

    largest: bool
    input_shape: Shape
    output_shape: Shape
    axes: tuple[int, ...]
    from_first: bool


shapes(*_OPS)(reduced_shape)


@planner(*_OPS)
def _reduce(node: Node, rounding: Rounding) -> Plan:
    data, output, op = node.input(0), node.output(), node.operator.op
    if op in ("REDUCE_ANY", "REDUCE_ALL"):
        tflm = ("bool",) if op == "REDUCE_ALL" else ()
        require_kernel(node, data, rounding, tflm=tflm, litert=("bool",))
    else:
        integers = ("bool", "int8", "uint8", "int16", "int32", "int64")
        require_kernel(
            *(node, data, rounding), tflm=("int8", "float32"), litert=(*integers, "float32")
        )
    if data.dtype in QUANTIZED:
        node.same_quantization(data, output)
        if data.scale.size:
            node.quantized(data)
    node.same_type(data, output)
    node.require(data.size > 0, "is empty", data)
    node.shape(output, reduced_shape(node)[0])
    axes = reduced_axes(node)
    return ReduceExtremumPlan(
        largest=op in ("REDUCE_MAX", "REDUCE_ANY"),
        input_shape=data.shape,
        output_shape=output.shape,
        axes=axes,
        from_first=rounding == "litert" and len(axes) == len(data.shape),
    )


@kernel(ReduceExtremumPlan)
def reduce_extremum(plan: ReduceExtremumPlan, x: Array) -> Array:
    """Extrema of ``plan.output_shape``. Parameters: `x` of ``plan.input_shape``."""
    data = x.reshape(plan.input_shape)
    if data.dtype.kind != "f":
        reduce = np.max if plan.largest else np.min
        return np.asarray(reduce(data, axis=plan.axes)).reshape(plan.output_shape)
    kept = [axis for axis in range(data.ndim) if axis not in plan.axes]
    rows = data.transpose(*kept, *plan.axes).reshape(*(data.shape[axis] for axis in kept), -1)
    furthest = np.finfo(data.dtype).min if plan.largest else np.finfo(data.dtype).max
    worst = data.dtype.type(-np.inf if plan.largest else np.inf)
    # The first of equal ones, which tells 0.0 from -0.0.
    search = np.argmax if plan.largest else np.argmin
    first = np.expand_dims(search(np.where(np.isnan(rows), worst, rows), axis=-1), -1)
    found: Array = np.take_along_axis(rows, first, -1)[..., 0]
    if plan.from_first:
        found = np.where(np.isnan(rows[..., 0]), rows[..., 0], found)
    else:
        beyond = (found > furthest) if plan.largest else (found < furthest)
        found = np.where(beyond, found, furthest)
    return found.reshape(plan.output_shape)
