"""Functions of int16 values by a table of 513 entries, with straight lines in between.

TFLite's kernels make such tables from a function and the scales (``LUTPopulate`` and
``LUTLookup``, common.h), in single or in double precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import round_half_away

Floats = npt.NDArray[np.floating[Any]]
Int64Array = npt.NDArray[np.int64]

_LOWEST, _HIGHEST = -(1 << 15), (1 << 15) - 1
_STEPS = 512


def interpolation_table(
    function: Callable[[Floats], Floats],
    input_scale: np.floating[Any],
    output_scale: np.floating[Any],
    zero_point: int = 0,
) -> Int64Array:
    """The table of `function`, computed in the precision of the scales.

    Each entry but the last is moved by half of the straight line's error in the middle.

    Parameters: `zero_point` of the input; the output's is 0. Returns: int64 ``[513]``.
    """
    kind = type(input_scale)
    low = input_scale * kind(_LOWEST - zero_point)
    high = input_scale * kind(_HIGHEST - zero_point)
    step = (high - low) / kind(_STEPS)
    # The whole of the output's range, and not the scale itself, has the last bit that counts.
    full = output_scale * kind(_HIGHEST) - output_scale * kind(_LOWEST)
    inverse = kind(1 << 16) / full
    distance = np.arange(_STEPS + 1, dtype=kind) * step
    value = function(low + distance) * inverse
    middle = function(low + distance[:-1] + step / kind(2)) * inverse
    sample = round_half_away(value[:-1])
    line = round_half_away((value[1:] + sample) / kind(2))
    bias = round_half_away((line - round_half_away(middle)) / kind(2))
    table = np.append(sample - bias, round_half_away(function(np.array([high], kind)) * inverse))
    result: Int64Array = np.clip(table, _LOWEST, _HIGHEST).astype(np.int64)
    return result


def interpolate(table: Int64Array, x: Int64Array) -> Int64Array:
    """The function of int16 values `x`, by its `interpolation_table`."""
    entry = (x >> 7) + 256
    base = table[entry]
    # The difference of two entries wraps to 16 bits.
    slope = (table[entry + 1] - base).astype(np.int16).astype(np.int64)
    result: Int64Array = base + ((slope * (x & 127) + 64) >> 7)
    return result.astype(np.int16).astype(np.int64)
