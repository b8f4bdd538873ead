"""What a layer means: int8 arithmetic, graphs, .tflite files in and out.

``golden.load`` reads a network, ``golden.run`` computes it bit-exact with TensorFlow Lite,
``golden.save`` writes it; ``golden.plan`` says what one operator has to compute.
"""

from .builder import GraphBuilder
from .error import GraphError
from .graph import Graph, Operator, Tensor
from .interpreter import Tensors, check_supported, evaluate, run, run_operator
from .plan import (
    AddPlan,
    ConvPlan,
    Plan,
    PoolPlan,
    RequantPlan,
    ReshapePlan,
    SoftmaxPlan,
    default_rounding,
    plan,
)
from .reader import load, read
from .registry import is_supported
from .writer import save, write

__all__ = [
    "AddPlan",
    "ConvPlan",
    "Graph",
    "GraphBuilder",
    "GraphError",
    "Operator",
    "Plan",
    "PoolPlan",
    "RequantPlan",
    "ReshapePlan",
    "SoftmaxPlan",
    "Tensor",
    "Tensors",
    "check_supported",
    "default_rounding",
    "evaluate",
    "is_supported",
    "load",
    "plan",
    "read",
    "run",
    "run_operator",
    "save",
    "write",
]
