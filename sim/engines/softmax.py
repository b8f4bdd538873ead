"""What the softmax unit computes, in NumPy: the arithmetic of `mensa.golden`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import (
    INT32_MAX,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from mensa.golden.arithmetic.fixed_point_functions import leading_zeros, one_over_one_plus
from mensa.golden.operators.softmax import SUM_BITS

__all__ = ["Rows", "softmax_rows"]

Int64 = npt.NDArray[np.int64]

_RESULT_BITS = 8


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a softmax before they are scaled.

    Attributes
    ----------
    exponentials : int64 array [rows, elements]
        In Q0.31.
    multiplier, shift : int64 arrays [rows, 1]
        What scales them to results in units of 2**-8; the shift is to the right.
    """

    exponentials: Int64
    multiplier: Int64
    shift: Int64

    def scaled(self, first: int, last: int, bias: int) -> Int64:
        """The results of elements `first` to `last` - 1, int64 [rows, elements]."""
        values = self.exponentials[:, first:last] + bias
        values = values.astype(np.int32).astype(np.int64)
        high = saturating_rounding_doubling_high_mul(values, self.multiplier)
        # The kernel's numbers have 32 bits, which is what becomes of larger shifts: see golden's.
        return np.where(
            self.shift >= 32,
            (high >> (self.shift & 31)) + 1,
            rounding_divide_by_pot(high, self.shift & 31),
        )


def softmax_rows(values: Int64, table: npt.NDArray[np.int32]) -> Rows:
    """Exponentials of rows, and what scales them.

    Parameters
    ----------
    values : int64 array [rows, elements]
        Of int8; at most `mensa.rtl.commands.MOST_SOFTMAX_ELEMENTS` a row.
    table : int32 array [256]
        Entry d is the exponential of a value d below its row's largest, in Q0.31; that of the
        largest itself is always 2**31 - 1, and those below zero add nothing to the sum.
    """
    below = values.max(axis=1, keepdims=True) - values
    entries = table.astype(np.int64)
    entries[0] = INT32_MAX
    exponentials: Int64 = entries[below]
    addends = rounding_divide_by_pot(np.maximum(exponentials, 0), SUM_BITS)
    total = addends.sum(axis=1, keepdims=True)
    zeros = leading_zeros(total)
    multiplier = one_over_one_plus((total << zeros) - (1 << 31))
    return Rows(exponentials, multiplier, SUM_BITS - zeros + 31 - _RESULT_BITS)
