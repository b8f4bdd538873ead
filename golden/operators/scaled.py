"""ADD, SUB and SQUARED_DIFFERENCE of quantised tensors: both inputs are brought to one scale first.

This is the plan that they have in common, and how its numbers are worked out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mensa.golden.arithmetic.fixed_point import quantize_multiplier
from mensa.golden.graph import Tensor
from mensa.golden.node import Node
from mensa.golden.plan import PairPlan, Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaledPlan(PairPlan):
    """Sum or difference of two quantised tensors whose scales differ.

    ``scaled_i = requantise((input_i - zero_point_i) << left_shift, multiplier_i, shift_i)``;
    ``output = clamp(requantise(scaled_1 +- scaled_2, output_multiplier, output_shift) +
    output_zero_point)``, all by `requantize_double`, shifts not positive.

    Parameters
    ----------
    input_shapes : two tuples of int
        As in the file; they broadcast to `output_shape`.
    output_shape : tuple of int
        Of the output.
    zero_points, multipliers, shifts : two int each
        Of the inputs.
    left_shift : int
        Bits that both inputs gain before they are scaled.
    output_zero_point, output_multiplier, output_shift, clamp_min, clamp_max : int
        Of the output.
    """

    input_shapes: tuple[Shape, Shape]
    output_shape: Shape
    zero_points: tuple[int, int]
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    left_shift: int
    output_zero_point: int
    output_multiplier: int
    output_shift: int
    clamp_min: int
    clamp_max: int


def scaled_fields(
    node: Node,
    tensors: tuple[Tensor, Tensor, Tensor],
    left_shift: int,
    activation: str,
    power: int = 1,
    enlarges: bool = False,
) -> dict[str, Any]:
    """Fields of a `ScaledPlan`.

    Parameters: what is rescaled to the output is the `power` of a sum, by a factor that may be 1
    or more where the kernel `enlarges`.
    """
    first, second, output = tensors
    scales = float(first.scale[0]), float(second.scale[0])
    twice = 2.0 * max(scales)
    factors = [quantize_multiplier(scale / twice) for scale in scales]
    unit = twice**power / (1 << left_shift * power)
    last, last_shift = quantize_multiplier(unit / float(output.scale[0]))
    node.require(
        enlarges or last_shift <= 0, "its scale is too small for that of the inputs", output
    )
    clamp_min, clamp_max = node.clamp(activation, output)
    return {
        "input_shapes": (first.shape, second.shape),
        "output_shape": output.shape,
        "zero_points": (node.zero_point(first), node.zero_point(second)),
        "multipliers": (factors[0][0], factors[1][0]),
        "shifts": (factors[0][1], factors[1][1]),
        "left_shift": left_shift,
        "output_zero_point": node.zero_point(output),
        "output_multiplier": last,
        "output_shift": last_shift,
        "clamp_min": clamp_min,
        "clamp_max": clamp_max,
    }
