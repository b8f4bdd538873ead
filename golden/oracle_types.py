"""Which element types an operator has a kernel for, in either oracle."""

from __future__ import annotations

from mensa.golden.graph import Tensor
from mensa.golden.node import Node
from mensa.golden.plan import Rounding

_NAMES: dict[Rounding, str] = {"tflm": "TFLM", "litert": "LiteRT"}
_OTHER: dict[Rounding, Rounding] = {"tflm": "litert", "litert": "tflm"}


def require_kernel(
    node: Node,
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
    known, others = (tflm, litert) if rounding == "tflm" else (litert, tflm)
    name, other = _NAMES[rounding], _OTHER[rounding]
    hint = f"; rounding {other} takes it" if tensor.dtype.name in others else ""
    node.require(bool(known), f"{name} has no such kernel{hint}")
    given = tensor.type_name or tensor.dtype
    node.require(
        tensor.dtype.name in known,
        f"must be {' or '.join(known)} with {name}, not {given}{hint}",
        tensor,
    )
