"""Which element types an operator has a kernel for, in either oracle."""

from __future__ import annotations

from .graph import Tensor
from .place import Place
from .plan import Rounding

_NAMES = {"tflm": "TFLM", "litert": "LiteRT"}


def require_kernel(
    place: Place,
    tensor: Tensor,
    rounding: Rounding,
    *,
    tflm: tuple[str, ...],
    litert: tuple[str, ...],
) -> None:
    """Requires that the oracle of `rounding` has a kernel for elements of the tensor's type.

    Parameters: `tflm` and `litert` the names of NumPy's types that each takes, none where it has
    no such kernel. Raises: GraphError.
    """
    known = tflm if rounding == "tflm" else litert
    name = _NAMES[rounding]
    place.require(bool(known), f"{name} has no such kernel")
    place.require(
        tensor.dtype.name in known,
        f"{name} has no kernel for {tensor.type_name or tensor.dtype}",
        tensor,
    )
