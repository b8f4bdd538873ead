"""Operators on one tensor of plain numbers: FLOOR, CEIL, ROUND, SIGN, NEG, SQUARE, ABS.

ABS of quantised tensors is in `lookup`; NEG takes no notice of scales and zero points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mensa.golden.node import Node
from mensa.golden.operators.lookup import absolute
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

_Types = tuple[str, ...]

#: Types that TFLM and LiteRT have kernels for.
_TYPES: dict[str, tuple[_Types, _Types]] = {
    "ABS": (("int16", "float32"), ("int16", "int32", "float32")),
    "CEIL": (("float32",), ()),
    "FLOOR": (("float32",), ("float16", "float32")),
    "NEG": (("float32",), ("int8", "int16", "int32", "int64", "float16", "float32")),
    "ROUND": (("float32",), ()),
    "SIGN": ((), ("int32", "float32", "float64")),
    "SQUARE": (("float32",), ("float32",)),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class UnaryPlan(Plan):
    """A function of each number; the lowest integer, which has no opposite, stays.

    Parameters
    ----------
    op : str
        The operator's name.
    shape : tuple of int
        Of input and output.
    """

    raw = True

    op: str
    shape: Shape


@shapes(*_TYPES)
def _same(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


@planner(*_TYPES)
def _unary(node: Node, rounding: Rounding) -> Plan:
    data, output, op = node.input(0), node.output(), node.operator.op
    if op == "ABS" and (data.scale.size or data.dtype.itemsize == 1):
        return absolute(node, rounding)
    tflm, litert = _TYPES[op]
    require_kernel(node, data, rounding, tflm=tflm, litert=litert)
    node.same_type(data, output)
    node.shape(output, data.shape)
    return UnaryPlan(op=op, shape=data.shape)


def _round(x: Array) -> Array:
    """Whole numbers, halves to even ones; -0.0 only of itself (``RoundToNearest``)."""
    down = np.floor(x)
    rest = x - down
    even = np.fmod(down, np.float32(2)) == 0
    return np.where((rest < 0.5) | ((rest == 0.5) & even), down, down + np.float32(1))


def _sign(x: Array) -> Array:
    """-1, 0 or 1, never -0.0; NaN of itself."""
    signs: Array = np.sign(x) + x.dtype.type(0)
    return signs


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "ABS": np.abs,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "NEG": np.negative,
    "ROUND": _round,
    "SIGN": _sign,
    "SQUARE": np.square,
}


@kernel(UnaryPlan)
def unary(plan: UnaryPlan, x: Array) -> Array:
    """The function of each element of `x`, of ``plan.shape`` and the same type."""
    with np.errstate(all="ignore"):
        return _FUNCTIONS[plan.op](x)
