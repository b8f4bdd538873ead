"""Every family of operators; importing this module registers them all."""

from . import kernels, lstm, prepare, softmax  # noqa: F401
