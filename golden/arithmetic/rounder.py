"""Requantisation in floats: int8 outputs of exact sums, and which of them are in doubt.

An output is ``clamp(round(sum * scale + addend))``, where TFLite rounds in a way of its own. All
ways agree as long as the real number is far enough from the middle between two whole numbers.
There a float finds the output too; the few others are for exact arithmetic to find.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.plan import Int8Array

Kind = type[np.float32] | type[np.float64]
FloatArray = npt.NDArray[Any]
Float64Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

#: Integers up to here are exact in float32, in whatever order they are added.
EXACT = 1 << 24
# Elements that NumPy should find in a row: to set up fewer takes longer than to compute them.
_ROW = 1 << 13
# An error up to here leaves few doubts.
_LARGEST_ERROR = 2.0**-5


def rounding_error(addend: npt.ArrayLike) -> float:
    """How wrong float32 can be about ``sum * scale + addend`` that is less than 256 from zero.

    Scale and addend are rounded, and so are their product with the sum, which is at most
    ``256 + |addend|``, and the result: less than ``768 + 3 |addend|`` units of ``2**-24``.
    """
    return math.ldexp(256.0 + float(np.max(np.abs(addend))), -22)


class Rounder:
    """Rounds ``sums * scale + addend`` to int8, column by column.

    Parameters
    ----------
    scale, addend : float64 arrays ``[columns]``
        Of the real number that is rounded, zero point included.
    low, high : int
        The outputs' range, in ``[-128, 127]``.
    error : float
        How far from the middle between two whole numbers a real number may be and still be rounded
        to the wrong one: `rounding_error`, and the difference between rounding to the nearest and
        TFLite's way.
    kind : type
        float32, or float64 where sums would not be exact in it.
    """

    def __init__(
        self,
        scale: Float64Array,
        addend: Float64Array,
        low: int,
        high: int,
        error: float,
        kind: Kind = np.float32,
    ) -> None:
        self._scale: FloatArray = scale.astype(kind)
        self._addend: FloatArray = addend.astype(kind)
        self._low, self._high = kind(low), kind(high)
        self._sure = kind(0.5 - error)
        # Rows of sums that are worked on as one.
        self._fold = max(1, _ROW // len(scale))

    @staticmethod
    def useful(error: float) -> bool:
        """Whether so large an error leaves few enough doubts."""
        return error <= _LARGEST_ERROR

    def rows(self, count: int) -> int:
        """The rows that an array for `count` rows of sums must have."""
        fold = min(count, self._fold)
        return -(-count // fold) * fold

    def rounding(self, sums: FloatArray) -> Callable[[int], tuple[Int8Array, Indices]]:
        """Prepares to round what `sums` ``[rows, columns]`` holds, again and again.

        Parameters: `sums` is contiguous, with a number of rows that `rows` gives. Returns: a
        function that takes a number of rows and gives their outputs, in an array that the next
        call overwrites, and the flat indices of those that are in doubt.
        """
        rows, columns = sums.shape
        fold = min(rows, self._fold)
        scale, addend = np.empty((2, fold, columns), sums.dtype)
        scale[:], addend[:] = self._scale, self._addend
        value, nearest = np.empty((2, *sums.shape), sums.dtype)
        out = np.empty(sums.shape, np.int8)

        def rounded(count: int) -> tuple[Int8Array, Indices]:
            top = -(-count // fold) * fold
            sums[count:top] = 0
            part = value[:top].reshape(-1, fold, columns)
            np.multiply(sums[:top].reshape(part.shape), scale, out=part)
            part += addend
            part = value[:count]
            np.clip(part, self._low, self._high, out=part)
            whole = np.rint(part, out=nearest[:count])
            result = out[:count]
            result[:] = whole
            part -= whole
            np.abs(part, out=part)
            return result, np.flatnonzero(part > self._sure)

        return rounded
