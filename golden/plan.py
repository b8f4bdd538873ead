"""What one operator has to compute: everything that TFLite's Prepare functions work out.

A plan is all that is needed to evaluate an operator on int8 values: shapes, padding, zero
points, multipliers, clamps. Golden's kernels evaluate from it and the hardware compiler lowers
from the very same plan.

All values are in the int8 domain. Where a file has uint8 tensors, their data and zero points
are shifted by -128 (`ZERO_POINT_SHIFT`), which leaves every ``value - zero_point`` as it was.
Weights of uint8 files then have a zero point that need not be 0, and ``weight - zero_point``
needs 9 bits.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

Rounding = Literal["tflm", "litert"]
Requant = Literal["double", "float64"]
Shape = tuple[int, ...]
Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]

#: What is added to uint8 values and zero points to bring them into the int8 domain.
ZERO_POINT_SHIFT = -128


class Plan:
    """What one operator has to compute; the base class of all plans.

    A plan's operands are int8 arrays, or of the file's own types where `raw` says so.
    """

    #: Whether the kernel takes and gives the file's own types: uint8 values are then not shifted.
    raw: ClassVar[bool] = False
    #: Whether the operator only says something about variables, so that a run computes nothing.
    declares: ClassVar[bool] = False

    @property
    def operands(self) -> tuple[int, ...]:
        """Positions of the operator's inputs that its kernel takes."""
        return (0,)

    @property
    def states(self) -> tuple[int, ...]:
        """Positions of those operands that are variable tensors, which the kernel gives anew."""
        return ()

    @property
    def indices(self) -> dict[int, tuple[npt.ArrayLike, npt.ArrayLike]]:
        """Positions of those operands that are indices, counts or lengths.

        With each come the least and the largest value that means something, which broadcast to
        the operand's shape.
        """
        return {}


class PairPlan(Plan):
    """A plan whose operands are the operator's first two inputs."""

    @property
    def operands(self) -> tuple[int, ...]:
        """Both inputs."""
        return (0, 1)
