"""Every family of operators; importing this module registers them all."""

from . import (  # noqa: F401
    conversion,
    detection,
    elementwise,
    floats,
    indexing,
    kernels,
    lstm,
    matmul,
    prepare,
    reduce,
    resize,
    roots,
    shape_ops,
    softmax,
    svdf,
    tables,
    transpose_conv,
    wide,
    wide_pool,
    wide_softmax,
)
