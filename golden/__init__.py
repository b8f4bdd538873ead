"""What a layer means: int8 arithmetic, graphs, .tflite files in and out.

``golden.load`` reads a network, ``golden.run`` computes it bit-exact with TensorFlow Lite,
``golden.save`` writes it; ``golden.plan`` says what one operator has to compute.
"""

from mensa.golden.builder import GraphBuilder
from mensa.golden.error import GraphError
from mensa.golden.families import is_supported
from mensa.golden.graph import Graph, Operator, Tensor
from mensa.golden.interpreter import Tensors, evaluate, run, run_operator
from mensa.golden.macs import operator_macs, total_macs
from mensa.golden.operators.addition import AddPlan
from mensa.golden.operators.convolution import ConvPlan
from mensa.golden.operators.pooling import PoolPlan
from mensa.golden.operators.quantize import RequantPlan
from mensa.golden.operators.reshape import ReshapePlan
from mensa.golden.operators.softmax import SoftmaxPlan
from mensa.golden.plan import Plan
from mensa.golden.planning import check_supported, default_rounding, plan
from mensa.golden.tflite.reader import load, read
from mensa.golden.tflite.writer import save, write

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
    "operator_macs",
    "plan",
    "read",
    "run",
    "run_operator",
    "save",
    "total_macs",
    "write",
]
