"""Which operators there are: every family, imported when the first operator is looked up.

So importing golden stays quick.
"""

from __future__ import annotations

from functools import cache

from mensa.golden import registry

__all__ = ["is_supported", "register_all", "supported"]


@cache
def register_all() -> None:
    """Import every family, which registers its operators in `mensa.golden.registry`."""
    from mensa.golden.operators import (  # noqa: F401
        addition,
        broadcast,
        comparison,
        computed_weights,
        conversion,
        convolution,
        convolution_kernel,
        cumsum,
        detection,
        elementwise,
        floats,
        indexing,
        int16_convolution,
        int16_pool,
        int16_softmax,
        linear_units,
        log_softmax,
        logical,
        lookup,
        lstm,
        matmul,
        pooling,
        quantize,
        reduce,
        reduce_extremum,
        reshape,
        resize,
        reverse,
        roots,
        scatter,
        select,
        shape_of,
        shape_ops,
        softmax,
        space_batch,
        squared_difference,
        svdf,
        top_k,
        transpose_conv,
        unary,
        variable_access,
    )


def is_supported(op: str) -> bool:
    """Whether golden has a kernel for operators of this name."""
    return op in supported()


@cache
def supported() -> tuple[str, ...]:
    """Names of all operators that golden has a kernel for, sorted."""
    register_all()
    return registry.supported()
