"""JSON that every reader of JSON takes: numbers that are not finite become null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["json_text"]


def json_text(tree: Any, indent: int | None = 2) -> str:
    """Return a tree of JSON values as text that ends in a new line.

    JSON has no NaN and no infinities: null stands for each of them.
    """
    return json.dumps(_finite(tree), indent=indent, allow_nan=False) + "\n"


def _finite(tree: Any) -> Any:
    if isinstance(tree, float):
        return tree if math.isfinite(tree) else None
    if isinstance(tree, Mapping):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return tree
