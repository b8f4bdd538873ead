"""The exception of lowering."""

from __future__ import annotations


class LoweringError(ValueError):
    """A layer that a machine can't be programmed for.

    The message names the layer, what it needs, what there is, and what to change.
    """

    def __init__(self, layer: str, reason: str) -> None:
        self.layer = layer
        self.reason = reason
        super().__init__(f"{layer}: {reason}")
