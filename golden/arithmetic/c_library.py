"""Functions of float32 numbers as the C library of this machine has them.

The oracles call the same. Their last bits are not the same everywhere: glibc, for one, rounds some
of them correctly only since 2.41.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]

LIBRARIES = (None, "libm.so.6")
"""Where functions are looked for; None is what this process has loaded."""


@cache
def find(name: str, libraries: tuple[str | None, ...] = LIBRARIES) -> Callable[[float], float]:
    """The function `name` of a float in the first library that has it, else in double precision."""
    found: Any = getattr(np, name, None) or getattr(math, name)
    with suppress(ImportError):
        import ctypes

        for library in libraries:
            with suppress(OSError, AttributeError, TypeError):
                found = getattr(ctypes.CDLL(library), f"{name}f")
                found.argtypes, found.restype = [ctypes.c_float], ctypes.c_float
                break
    result: Callable[[float], float] = found
    return result


def c_function(name: str, x: Float32Array) -> Float32Array:
    """The function of each element, by the name that `math` gives it, such as "tanh"."""
    function = find(name)
    found = np.array([function(each) for each in x.ravel().tolist()], dtype=np.float32)
    return found.reshape(x.shape)
