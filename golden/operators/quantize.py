"""QUANTIZE to 8-bit values, from others or from float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    clamped,
    quantize_multiplier,
    quantized,
    requantize_double,
    wrap32,
)
from mensa.golden.node import Node
from mensa.golden.plan import (
    ZERO_POINT_SHIFT,
    Int8Array,
    Plan,
    Rounding,
    Shape,
)
from mensa.golden.registry import kernel, planner, shapes

Float32Array = npt.NDArray[np.float32]


# Elements of which a few arrays fit a processor's cache.
_BLOCK = 1 << 15


@dataclass(frozen=True, kw_only=True, eq=False)
class RequantPlan(Plan):
    """QUANTIZE: from one scale to another, or from float32.

    ``output = clamp(requantize_double(input - input_zero_point, multiplier, shift) +
    output_zero_point)``; from float, ``clamp(round(input / output_scale) + output_zero_point)``
    in float32, half away from zero, what int32 does not hold as ``-2**31``.

    Parameters
    ----------
    shape : tuple of int
        Of input and output.
    float_input : bool
        Whether the input is float32; multiplier and shift are then 0.
    input_zero_point, output_zero_point, multiplier, shift, clamp_min, clamp_max : int
        As in `ConvPlan`, one for the whole tensor.
    output_scale : float
        Of the output tensor.
    unsigned : bool
        As in `ConvPlan`, of the output.
    """

    shape: Shape
    float_input: bool
    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int
    output_scale: float
    clamp_min: int = -128
    clamp_max: int = 127
    unsigned: bool = False


@shapes("QUANTIZE")
def _quantized(node: Node) -> tuple[Shape, ...]:
    return (node.input(0).shape,)


@planner("QUANTIZE")
def _quantize(node: Node, rounding: Rounding) -> Plan:
    data, output = node.input(0), node.output()
    node.eight_bit(output)
    node.shape(output, data.shape)
    if data.dtype == np.float32:
        return RequantPlan(
            shape=data.shape,
            float_input=True,
            input_zero_point=0,
            output_zero_point=node.zero_point(output),
            multiplier=0,
            shift=0,
            output_scale=float(output.scale[0]),
            unsigned=output.dtype == np.uint8,
        )
    node.eight_bit(data)
    real = float(data.scale[0]) / float(output.scale[0])
    multiplier, shift = quantize_multiplier(real)
    return RequantPlan(
        shape=data.shape,
        float_input=False,
        input_zero_point=node.zero_point(data),
        output_zero_point=node.zero_point(output),
        multiplier=multiplier,
        shift=shift,
        output_scale=float(output.scale[0]),
        unsigned=output.dtype == np.uint8,
    )


@kernel(RequantPlan)
def quantize(plan: RequantPlan, x: Int8Array | Float32Array) -> Int8Array:
    """`x` at the output's scale. Parameters: int8 or float32 ``plan.shape``. Returns: int8."""
    # TFLite adds the file's own zero point in int32, where a very large result wraps.
    domain = ZERO_POINT_SHIFT if plan.unsigned else 0
    zero_point = plan.output_zero_point - domain
    if plan.float_input:
        whole = wrap32(quantized(x, plan.output_scale) + zero_point)
        return clamped(whole, domain, plan.clamp_min, plan.clamp_max)
    values = np.arange(-128, 128, dtype=np.int64) - plan.input_zero_point
    scaled = wrap32(requantize_double(values, plan.multiplier, plan.shift) + zero_point)
    table = clamped(scaled, domain, plan.clamp_min, plan.clamp_max)
    # In the order of the values' bytes, which translate() looks up without an array of indices.
    by_byte = np.roll(table, 128).tobytes()
    flat, out = x.reshape(-1), np.empty(x.size, np.int8)
    for top in range(0, len(out), _BLOCK):
        found = flat[top : top + _BLOCK].tobytes().translate(by_byte)
        out[top : top + _BLOCK] = np.frombuffer(found, np.int8)
    return out.reshape(x.shape)
