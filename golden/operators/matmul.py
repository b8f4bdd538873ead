"""BATCH_MATMUL: products of two tensors' matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mensa.golden.arithmetic.fixed_point import requantize_double, requantize_int64, wrap32
from mensa.golden.graph import Tensor
from mensa.golden.node import INT16, Node, limits
from mensa.golden.operators.filters import channel_multipliers
from mensa.golden.options import BatchMatMulOptions
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, macs, planner, shapes

# Ranks that the kernels take.
_RANKS = (2, 3, 4, 5)
_MAX_DEPTH = 1 << 22


@dataclass(frozen=True, kw_only=True, eq=False)
class MatMulPlan(Plan):
    """BATCH_MATMUL of quantised tensors; dimensions but the last two broadcast.

    ``output = clamp(requantise(sum over k of (first[..., m, k] - zero_point_1) *
    (second[..., k, n] - zero_point_2)) + output_zero_point)``, sums in wrapping int32 or, of
    int16 operands, in int64.

    Parameters
    ----------
    input_shapes, output_shape : tuples of int
        As in the file.
    adjoints : two bools
        Whether the last two dimensions of an operand are swapped first.
    zero_points, output_zero_point, multiplier, shift : int
        Of the operands and the output, for `requantize_double`.
    int16 : bool
        Whether the first operand and the output are int16; `requantize_int64` it is then.
    """

    input_shapes: tuple[Shape, Shape]
    output_shape: Shape
    adjoints: tuple[bool, bool]
    zero_points: tuple[int, int]
    output_zero_point: int
    multiplier: int
    shift: int
    int16: bool = False

    @property
    def operands(self) -> tuple[int, ...]:
        """Both inputs."""
        return (0, 1)


def _matrices(tensor: Tensor, adjoint: bool) -> Shape:
    """The tensor's shape, its last two dimensions swapped for an adjoint."""
    *rest, rows, columns = tensor.shape
    return (*rest, columns, rows) if adjoint else tensor.shape


@shapes("BATCH_MATMUL")
def _shape(node: Node) -> tuple[Shape, ...]:
    options = node.options(BatchMatMulOptions)
    tensors = node.input(0), node.input(1)
    for tensor in tensors:
        node.require(
            len(tensor.shape) in _RANKS,
            f"must have 2 to 5 dimensions, not {len(tensor.shape)}",
            tensor,
        )
    first, second = (
        _matrices(tensor, adjoint)
        for tensor, adjoint in zip(tensors, (options.adj_x, options.adj_y), strict=True)
    )
    node.require(
        first[-1] == second[-2],
        f"matrices of {list(first[-2:])} and {list(second[-2:])} have no product",
        tensors[1],
    )
    try:
        batches = np.broadcast_shapes(first[:-2], second[:-2])
    except ValueError:
        raise node.error(
            f"shapes {list(first)} and {list(second)} do not broadcast", tensors[1]
        ) from None
    return ((*batches, first[-2], second[-1]),)


@macs("BATCH_MATMUL")
def _products(node: Node) -> int:
    first, options, output = node.optional(0), node.operator.options, node.first_output()
    if first is None or node.optional(1) is None or output is None or len(first.shape) < 2:
        return 0
    adjoint = isinstance(options, BatchMatMulOptions) and options.adj_x
    return output.size * first.shape[-2 if adjoint else -1]


@planner("BATCH_MATMUL")
def _matmul(node: Node, rounding: Rounding) -> Plan:
    options = node.options(BatchMatMulOptions)
    first, second, output = node.input(0), node.input(1), node.output()
    eight = (np.dtype(np.int8),)
    for tensor in (first, second, output):
        node.quantized(tensor, (*eight, *INT16))
    node.same_type(first, output)
    int16 = first.dtype == np.int16
    if second.dtype != first.dtype:
        node.require(
            rounding == "litert" and int16, f"can't be {second.dtype} with {first.dtype}", second
        )
        node.require(node.zero_point(second) == 0, "its zero point must be 0", second)
    node.shape(output, _shape(node)[0])
    depth = first.shape[-2 if options.adj_x else -1]
    node.require(depth <= _MAX_DEPTH, f"{depth} products to a sum are too many", first)
    # TFLM multiplies the scales in double precision, LiteRT in float32.
    fused = rounding == "litert"
    multiplier, shift, _ = channel_multipliers(node, first, second, output, 1, fused)
    return MatMulPlan(
        input_shapes=(first.shape, second.shape),
        output_shape=output.shape,
        adjoints=(options.adj_x, options.adj_y),
        zero_points=(node.zero_point(first), node.zero_point(second)),
        output_zero_point=node.zero_point(output),
        multiplier=int(multiplier[0]),
        shift=int(shift[0]),
        int16=int16,
    )


@kernel(MatMulPlan)
def matmul(plan: MatMulPlan, first: Array, second: Array) -> Array:
    """Products of the operands' matrices. Returns: ``plan.output_shape``."""
    # A product has at most 31 bits, and `_MAX_DEPTH` of them 53, which float64 holds.
    matrices = [
        x.astype(np.float64) - zero_point
        for x, zero_point in zip((first, second), plan.zero_points, strict=True)
    ]
    left, right = (
        x.swapaxes(-1, -2) if adjoint else x
        for x, adjoint in zip(matrices, plan.adjoints, strict=True)
    )
    total = (left @ right).astype(np.int64)
    if plan.int16:
        scaled = requantize_int64(total, plan.multiplier, plan.shift)
    else:
        scaled = requantize_double(wrap32(total), plan.multiplier, plan.shift)
    value = wrap32(scaled + plan.output_zero_point)
    result: Array = np.clip(value, *limits(first.dtype)).astype(first.dtype)
    return result
