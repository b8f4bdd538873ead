"""How programs are made: choices of lowering that any core of the same configuration runs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LoweringOptions"]


@dataclass(frozen=True, kw_only=True)
class LoweringOptions:
    """Options of `lower`. They are of no account for the hardware.

    Attributes
    ----------
    prefetch : bool
        Whether programs load parameters and inputs ahead of the phase that needs them.
    residency : bool
        Whether programs keep parameters and activations on chip where they fit.
    """

    prefetch: bool = True
    residency: bool = True
