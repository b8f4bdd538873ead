"""Layers that golden refuses for their scales although an oracle runs them, by operator.

docs/operators.md has this as a table; test_far_scales.py lets golden refuse nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

COMPARISONS = ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")


class Refused(NamedTuple):
    """The beginning of golden's reason, which layers it is given for, and why."""

    reason: str
    layers: str
    because: str


_NO_CLAMP = Refused(
    "its scale",
    "with a fused activation whose bound, divided by the scale, is beyond int32",
    "LiteRT goes on without the activation; both oracles refuse a convolution like that",
)
_TWO_ANSWERS = "LiteRT's vector instructions and the rest of its loop give different results"
_NEGATIVE_SHIFT = Refused(
    "its scale is too large to be compared",
    "of a scale above about 2**16, or 2**9 of int16 values",
    f"{_TWO_ANSWERS}; TFLM stops at scales of 1 and more",
)

#: What golden refuses of files that an oracle does run.
REFUSED = {
    "AVERAGE_POOL_2D": _NO_CLAMP,
    **dict.fromkeys(COMPARISONS, _NEGATIVE_SHIFT),
    "L2_NORMALIZATION": Refused(
        "this operator gives scale",
        "whose output has another scale than 1/128",
        "LiteRT stops there; TFLM takes no notice of the scale",
    ),
    "MAX_POOL_2D": _NO_CLAMP,
    "SUB": Refused(
        "its scale is too small for that of the inputs",
        "whose output's scale is finer than the coarser input's by 2**19, or by 2**14 of int16 "
        "values",
        f"{_TWO_ANSWERS}; TFLM stops",
    ),
}
