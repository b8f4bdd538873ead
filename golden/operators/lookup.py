"""Operators on one quantised tensor, element by element: each is a table of all its values.

LOGISTIC, TANH, HARD_SWISH, LEAKY_RELU, ABS, RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1. The table is
worked out with the plan, so that hardware can hold it as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.c_library import c_function
from mensa.golden.arithmetic.fixed_point import (
    INT32_MAX,
    quantize_multiplier,
    requantize_double,
    round_half_away,
    rounding_divide_by_pot,
    scale_ratio,
    to_int32,
    wrap32,
)
from mensa.golden.arithmetic.fixed_point_functions import logistic, tanh
from mensa.golden.arithmetic.gates import interpolate_sigmoid, interpolate_tanh
from mensa.golden.graph import Tensor
from mensa.golden.node import EIGHT_BIT, INT16, Node, limits, scale_power
from mensa.golden.operators.floats import expf
from mensa.golden.options import LeakyReluOptions
from mensa.golden.oracle_types import require_kernel
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes

Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

# Integer bits of the fixed-point arguments of LOGISTIC and TANH in TFLM.
_INTEGER_BITS = 4
# Types of ABS.
_ABSOLUTE = (np.dtype(np.int8), *INT16)
_RELUS = ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
_UNARY = ("LOGISTIC", "TANH", "HARD_SWISH", "LEAKY_RELU", *_RELUS)


@dataclass(frozen=True, kw_only=True, eq=False)
class TablePlan(Plan):
    """A function of each element, as a table.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    table : int8 array ``[256]`` or int16 array ``[65536]``
        ``table[v - lowest]`` is the output for the input v, the lowest of which is -128 or
        -32768.
    """

    shape: Shape
    table: Array


@kernel(TablePlan)
def table_function(plan: TablePlan, x: Array) -> Array:
    """The table's entry of each element. Parameters: int8 or int16. Returns: the same."""
    return entries_of(plan.table, x)


def entries_of(table: Array, x: Array) -> Array:
    """Entries of a `TablePlan`'s table. Parameters: int8 or int16. Returns: the same."""
    unsigned = np.dtype(f"u{x.itemsize}")
    middle = unsigned.type(1 << (8 * x.itemsize - 1))
    result: Array = table[x.view(unsigned) ^ middle]
    return result


@shapes(*_UNARY)
def _same(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


def data_and_output(
    node: Node, rounding: Rounding, types: tuple[np.dtype[np.generic], ...]
) -> tuple[Tensor, Tensor]:
    """Input and output: quantised, of one shape and of one of `types`. Raises: GraphError."""
    data, output = node.input(0), node.output()
    node.quantized(data, types)
    node.require(rounding == "litert" or data.dtype != np.uint8, "TFLM has no uint8 kernel", data)
    node.same_type(data, output)
    node.quantized(output, types)
    node.shape(output, data.shape)
    return data, output


def centred_values(node: Node, data: Tensor) -> Int64Array:
    """Every value of the input less its zero point."""
    low, high = limits(data.dtype)
    return np.arange(low, high + 1, dtype=np.int64) - node.zero_point(data)


def table_plan(data: Tensor, values: Int64Array) -> TablePlan:
    """Plan of a function whose `values` of all inputs are clamped to the output's type."""
    kind = np.int16 if data.dtype == np.int16 else np.int8
    return TablePlan(shape=data.shape, table=np.clip(values, *limits(data.dtype)).astype(kind))


def in_single_precision(
    node: Node,
    data: Tensor,
    output: Tensor,
    function: Callable[[Float32Array], Float32Array],
    rounding: Rounding = "litert",
) -> TablePlan:
    """A table (``LUTPopulate``): dequantise, compute and quantise as float32."""
    real = data.scale[0] * centred_values(node, data).astype(np.float32)
    inverse = np.float32(1) / output.scale[0]
    quantized = round_half_away(function(real) * inverse) + np.float32(node.zero_point(output))
    # What int32 does not hold LiteRT's kernel of int8 values saturates; that of uint8 values, and
    # TFLM's, cast it.
    if data.dtype == np.uint8 or rounding == "tflm":
        return table_plan(data, to_int32(quantized))
    return table_plan(data, np.clip(quantized, -(2.0**30), 2.0**30).astype(np.int64))


def _in_fixed_point(
    node: Node, data: Tensor, function: Callable[[Int64Array, int], Int64Array], bits: int
) -> Int64Array:
    """TFLM's int8 kernels: `function` of arguments with 4 integer bits, `bits` bits of its value.

    Returns: for each input value, -2**31 and 2**31 where the argument is out of range.
    """
    real = float(data.scale[0]) * (1 << (31 - _INTEGER_BITS))
    # Without what `quantize_multiplier` does about very small factors.
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * (1 << 31) + 0.5)
    # A shift of 64 bits counts modulo 64, and its result has a sign.
    step = 1 << (shift & 63) if shift & 63 < 63 else -(1 << 63)
    radius = math.floor(((1 << _INTEGER_BITS) - 1) * (1 << (31 - _INTEGER_BITS)) / step)
    x = centred_values(node, data)
    below = x <= -radius
    above = ~below & (x >= radius)
    argument = requantize_double(np.where(below | above, 0, x), multiplier, shift)
    value = rounding_divide_by_pot(function(argument, _INTEGER_BITS), 31 - bits)
    return np.where(below, -(1 << 31), np.where(above, 1 << 31, value))


def _logistic32(x: Float32Array) -> Float32Array:
    return np.float32(1) / (np.float32(1) + expf(-x))


def _tanh32(x: Float32Array) -> Float32Array:
    return c_function("tanh", x)


# Both oracles look the sigmoid of int16 values up in a table of steps of 1/24 and interpolate 512
# values in between: arguments come in units of 1 / 12288.
_UNITS = 12288.0


def _interpolated(
    node: Node, powers: tuple[int, ...], function: Callable[[Int64Array], Int64Array]
) -> TablePlan:
    """LOGISTIC or TANH of int16 values by a table of sigmoid.

    Parameters: an input scale of ``2**power``, for one of `powers`, takes another way than others.
    """
    data, output = node.input(0), node.output()
    for tensor in (data, output):
        node.quantized(tensor, INT16)
    node.shape(output, data.shape)
    node.require(float(output.scale[0]) == 1 / 32768, "its scale must be 1/32768", output)
    x = np.arange(-(1 << 15), 1 << 15, dtype=np.int64)
    power = scale_power(data)
    if power is not None and power in powers:
        return table_plan(data, function(x * (3 << (power + 12))))
    multiplier, shift = float(data.scale[0]) * _UNITS, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = 2.0 * multiplier, shift + 1
    whole = int(to_int32(np.array(multiplier)))
    if whole == 0:
        # The kernels take that for a power of two, and shift 3 instead.
        whole, shift = int(wrap32(3 << shift)), 0
    scaled = wrap32(x * whole + ((1 << shift) >> 1))
    return table_plan(data, function(scaled >> shift))


@planner("LOGISTIC", types=("int16",))
def _int16_logistic(node: Node, rounding: Rounding) -> Plan:
    return _interpolated(node, (-12,), interpolate_sigmoid)


@planner("TANH", types=("int16",))
def _int16_tanh(node: Node, rounding: Rounding) -> Plan:
    return _interpolated(node, (-12, -11), interpolate_tanh)


@planner("LOGISTIC")
def _logistic(node: Node, rounding: Rounding) -> Plan:
    data, output = data_and_output(node, rounding, EIGHT_BIT)
    if rounding == "litert":
        node.require(float(output.scale[0]) == 1 / 256, "its scale must be 1/256", output)
        return in_single_precision(node, data, output, _logistic32)
    node.require(node.zero_point(output) == -128, "its zero point must be -128", output)
    return table_plan(data, _in_fixed_point(node, data, logistic, 8) - 128)


@planner("TANH")
def _tanh(node: Node, rounding: Rounding) -> Plan:
    data, output = data_and_output(node, rounding, EIGHT_BIT)
    if rounding == "litert":
        return in_single_precision(node, data, output, _tanh32)
    # TFLM takes the output's scale as 1/128 and its zero point as 0, whatever the file says.
    return table_plan(data, _in_fixed_point(node, data, tanh, 7))


def _scaled(x: Int64Array, real: float) -> Int64Array:
    multiplier, shift = quantize_multiplier(abs(real))
    result = requantize_double(x, multiplier, shift)
    return -result if real < 0 else result


@planner("LEAKY_RELU")
def _leaky_relu(node: Node, rounding: Rounding) -> Plan:
    options = node.options(LeakyReluOptions)
    data, output = data_and_output(node, rounding, (*EIGHT_BIT, *INT16))
    x = centred_values(node, data)
    scale, alpha = data.scale[0], np.float32(options.alpha)
    above = _scaled(x, scale_ratio(rounding, [scale], output.scale[0]))
    below = _scaled(x, scale_ratio(rounding, [scale, alpha], output.scale[0]))
    return table_plan(data, np.where(x >= 0, above, below) + node.zero_point(output))


def absolute(node: Node, rounding: Rounding) -> TablePlan:
    """Plan of ABS of quantised values."""
    data, output = data_and_output(node, rounding, _ABSOLUTE)
    ratio = scale_ratio(rounding, [data.scale[0]], output.scale[0])
    return table_plan(
        data, _scaled(np.abs(centred_values(node, data)), ratio) + node.zero_point(output)
    )


def _quantized(node: Node, real: float, tensor: Tensor) -> int:
    """`real` at the tensor's scale and zero point, in int32 and with the file's own zero point."""
    whole = to_int32(round_half_away(np.array(np.float32(real) / tensor.scale[0])))
    domain = node.zero_point(tensor) - int(tensor.zero_point[0])
    return int(wrap32(whole + int(tensor.zero_point[0]))) + domain


def _six(tensor: Tensor) -> int:
    """6 at an int8 or int16 tensor's scale, as TFLM's RELU6 has it (``FloatToQuantizedType``)."""
    whole = round_half_away(np.array(np.float32(6) / tensor.scale[0])).astype(np.float64)
    lowest, highest = limits(tensor.dtype)
    return min(max(int(to_int32(whole + int(tensor.zero_point[0]))), lowest), highest)


@planner(*_RELUS)
def _relu(node: Node, rounding: Rounding) -> Plan:
    op = node.operator.op
    if op in ("RELU_N1_TO_1", "RELU_0_TO_1"):
        require_kernel(node, node.input(0), rounding, tflm=(), litert=("int8", "uint8"))
    data, output = data_and_output(node, rounding, (*EIGHT_BIT, *INT16))
    lowest, highest = limits(data.dtype)
    x = centred_values(node, data)
    if rounding == "tflm" and op == "RELU6":
        # TFLM clamps the input's own values and takes no notice of the output's scale.
        zero, six = node.zero_point(data), _six(data)
        value = x + zero
        return table_plan(data, np.where(value > six, six, np.maximum(value, zero)))
    ranges = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}
    low, high = ranges.get(op, (0.0, None))
    clamp_min = max(lowest, _quantized(node, low, output))
    clamp_max = highest if high is None else min(highest, _quantized(node, high, output))
    scaled = _scaled(x, scale_ratio(rounding, [data.scale[0]], output.scale[0]))
    scaled += node.zero_point(output)
    clamped = np.minimum(np.maximum(scaled, clamp_min), clamp_max)
    # A highest value that overflowed is below what the type holds, and loses its upper bits.
    return TablePlan(shape=data.shape, table=clamped.astype(f"i{data.dtype.itemsize}"))


def _narrow(multiplier: int) -> int:
    """The 16-bit multiplier nearest to a 31-bit one (``DownScaleInt32ToInt16Multiplier``)."""
    return 32767 if multiplier >= INT32_MAX - (1 << 15) else (multiplier + (1 << 15)) >> 16


def _saturate16(x: Int64Array) -> Int64Array:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)


def _high_mul16(x: Int64Array, multiplier: int) -> Int64Array:
    """``x * multiplier / 2**15`` of 16-bit numbers, rounded half up."""
    return (x * multiplier + (1 << 14)) >> 15


def _divide16(x: Int64Array, exponent: int) -> Int64Array:
    """`rounding_divide_by_pot` of 16-bit numbers, which have a mask of 16 bits."""
    return rounding_divide_by_pot(x, exponent) if exponent < 16 else np.where(x < 0, -1, 1)


@planner("HARD_SWISH")
def _hard_swish(node: Node, rounding: Rounding) -> Plan:
    """``x * relu6(x + 3) / 6`` in 16-bit fixed point."""
    data, output = data_and_output(node, rounding, EIGHT_BIT)
    fine_scale = np.float32(1 / 128) * data.scale[0]
    factors = []
    for real in (fine_scale / output.scale[0], fine_scale / np.float32(3 / 32768)):
        multiplier, exponent = quantize_multiplier(float(real))
        factors.append((_narrow(multiplier), exponent))
    (scale, scale_exponent), (gate, gate_exponent) = factors
    node.require(scale_exponent <= 0, "its scale does not fit the input's", output)
    fine = centred_values(node, data) << 7
    scaled = _high_mul16(fine, scale)
    # The gate is the input over 3, from -1 to 1; the last bit of a left shift saturates.
    value = fine
    if gate_exponent > 0:
        value = _saturate16(fine * int(wrap32(1 << ((gate_exponent - 1) & 31))))
    value = _high_mul16(value, gate)
    if gate_exponent > 0:
        value = _saturate16(value << 1)
    elif gate_exponent < 0:
        value = _divide16(value, -gate_exponent)
    value = (value + (1 << 15)) >> 1
    product = value * scaled
    product = np.sign(product) * (np.abs(product) >> 15)
    return table_plan(data, _divide16(product, -scale_exponent) + node.zero_point(output))
