"""ELU and GELU of quantised tensors: exponential and Gaussian error linear units.

Each is a table of all values, or of int16 ones an interpolated table. ELU of float32 is in
`floats`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.c_library import c_function
from mensa.golden.arithmetic.interpolation import interpolate, interpolation_table
from mensa.golden.node import EIGHT_BIT, INT16, Node
from mensa.golden.operators.floats import expf
from mensa.golden.operators.lookup import (
    centred_values,
    data_and_output,
    in_single_precision,
    table_plan,
)
from mensa.golden.options import GeluOptions
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import planner, shapes

Float32Array = npt.NDArray[np.float32]

_HALF_ROOT = np.float32(np.sqrt(0.5))
_ROOT_2_OVER_PI = np.float32(np.sqrt(2 / np.pi))


@shapes("ELU", "GELU")
def _same(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


def _elu(x: Float32Array) -> Float32Array:
    return np.where(x < 0, expf(np.minimum(x, 0)) - np.float32(1), x)


def _gelu(x: Float32Array) -> Float32Array:
    """``x / 2 * erfc(-x / sqrt(2))``."""
    return np.float32(0.5) * x * c_function("erfc", x * -_HALF_ROOT)


def _gelu_by_tanh(x: Float32Array) -> Float32Array:
    """``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``."""
    argument = _ROOT_2_OVER_PI * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (np.float32(1) + c_function("tanh", argument))


@planner("ELU")
def _elu_table(node: Node, rounding: Rounding) -> Plan:
    require_kernel(node, node.input(0), rounding, tflm=("int8", "float32"), litert=())
    data, output = data_and_output(node, rounding, EIGHT_BIT)
    return in_single_precision(node, data, output, _elu, rounding)


@planner("GELU")
def _gelu_table(node: Node, rounding: Rounding) -> Plan:
    types = ("int8", "uint8", "int16")
    node.require(
        node.input(0).dtype.kind != "f",
        "floats are not supported here: LiteRT's polynomials depend on the processor",
        node.input(0),
    )
    require_kernel(node, node.input(0), rounding, tflm=(), litert=types)
    data, output = data_and_output(node, rounding, (*EIGHT_BIT, *INT16))
    function = _gelu_by_tanh if node.options(GeluOptions).approximate else _gelu
    if data.dtype != np.int16:
        return in_single_precision(node, data, output, function)
    table = interpolation_table(function, data.scale[0], output.scale[0])
    return table_plan(data, interpolate(table, centred_values(node, data)))
