"""Every family of operators; importing this module registers them all."""

from . import kernels, prepare, softmax  # noqa: F401
