"""Every family of operators; importing this module registers them all."""

from . import elementwise, kernels, lstm, prepare, softmax, tables  # noqa: F401
