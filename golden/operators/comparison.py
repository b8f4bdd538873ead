"""EQUAL, NOT_EQUAL, GREATER, GREATER_EQUAL, LESS and LESS_EQUAL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from mensa.golden.graph import Tensor
from mensa.golden.node import Node
from mensa.golden.operators.lookup import centred_values, entries_of
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

Int64Array = npt.NDArray[np.int64]

_FUNCTIONS: dict[str, Callable[[Array, Array], Array]] = {
    "EQUAL": np.equal,
    "NOT_EQUAL": np.not_equal,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
}
# Those that also compare bools and, with LiteRT, quantised int16 values by their scales.
_EQUALITIES = ("EQUAL", "NOT_EQUAL")
_TFLM = ("int8", "int32", "int64", "float32")
_LITERT = (*_TFLM, "uint8", "int16", "float16")
# Bits that values gain before they are multiplied by their scales.
_LEFT_SHIFT = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparisonPlan(Plan):
    """A comparison of two tensors of one type that broadcast; its outputs are bools.

    Parameters
    ----------
    op : str
        The operator's name.
    output_shape : tuple of int
        What the inputs broadcast to.
    reals : two int64 arrays ``[256]`` or ``[65536]``, or None
        What is compared in place of the values v of either input, ``table[v - lowest]``: real
        numbers in units of ``2**-8``, rounded. None where the values themselves are.
    """

    op: str
    output_shape: Shape
    reals: tuple[Int64Array, Int64Array] | None

    @property
    def operands(self) -> tuple[int, ...]:
        """Both inputs."""
        return (0, 1)


@shapes(*_FUNCTIONS, dtype=np.bool_)
def _broadcast(node: Node) -> tuple[Shape, ...]:
    return (node.broadcast(node.input(0), node.input(1)),)


def _scaled(node: Node, tensor: Tensor, rounding: Rounding) -> Int64Array:
    """A table of `ComparisonPlan`.

    Of a scale above 1 the kernels shift right by a number below 0. TFLM's and that of the very
    scale of 1 abort; of others a sign is left, until bits are that LiteRT's vector instructions
    and the rest of its loop treat differently.
    """
    node.quantized(tensor)
    scale = float(tensor.scale[0])
    node.require(
        scale < 1.0 or (rounding == "litert" and scale > 1.0),
        f"its scale must be {'other than' if rounding == 'litert' else 'below'} 1",
        tensor,
    )
    multiplier, shift = quantize_multiplier(scale)
    high = saturating_rounding_doubling_high_mul(
        centred_values(node, tensor) << _LEFT_SHIFT, multiplier
    )
    node.require(
        shift <= 0 or (shift < 32 and bool(np.all(np.isin(high >> (32 - shift), (0, -1))))),
        "its scale is too large to be compared",
        tensor,
    )
    return rounding_divide_by_pot(high, -shift)


def _is_scaled(node: Node, first: Tensor) -> bool:
    """Whether the kernel compares what the numbers stand for."""
    if first.dtype.name in ("int8", "uint8"):
        return True
    if first.dtype != np.int16 or node.operator.op not in _EQUALITIES:
        return False
    node.require(
        node.operator.op == "EQUAL" or bool(first.scale.size),
        "LiteRT does not compare int16 values without a scale here",
        first,
    )
    return bool(first.scale.size)


@planner(*_FUNCTIONS)
def _comparison(node: Node, rounding: Rounding) -> Plan:
    first, second, output, op = node.input(0), node.input(1), node.output(), node.operator.op
    bools = ("bool",) if op in _EQUALITIES else ()
    # TFLM's GREATER of int16 values takes multipliers that nothing has set: it counts as none.
    require_kernel(node, first, rounding, tflm=(*_TFLM, *bools), litert=(*_LITERT, *bools))
    node.same_type(first, second)
    node.require(output.dtype == np.bool_, f"must be bool, not {output.type_name}", output)
    node.shape(output, _broadcast(node)[0])
    reals = None
    if _is_scaled(node, first):
        reals = _scaled(node, first, rounding), _scaled(node, second, rounding)
    return ComparisonPlan(op=op, output_shape=output.shape, reals=reals)


@kernel(ComparisonPlan)
def compare(plan: ComparisonPlan, first: Array, second: Array) -> Array:
    """Bools of ``plan.output_shape``. Parameters: two arrays that broadcast to it."""
    if plan.reals is not None:
        first, second = (
            entries_of(table, x) for table, x in zip(plan.reals, (first, second), strict=True)
        )
    with np.errstate(invalid="ignore"):
        return _FUNCTIONS[plan.op](first, second)
