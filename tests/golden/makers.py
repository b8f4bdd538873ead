"""How random layers of every operator are drawn: importing this registers all of them."""

from tests.golden import (  # noqa: F401
    elementwise_layers,
    logical_layers,
    moving_layers,
    product_layers,
    recurrent_layers,
    shape_layers,
    tail_layers,
    unary_layers,
    variable_layers,
)
from tests.golden.strategies import MAKERS

__all__ = ["MAKERS"]
