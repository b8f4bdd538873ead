"""Layers of 8-bit activations whose weights are computed, as attention has them.

CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED and TRANSPOSE_CONV. Their plans are those of the same
layers with constant weights, which each run puts in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mensa.golden.graph import Graph
from mensa.golden.node import EIGHT_BIT, Node
from mensa.golden.operators.convolution import ConvPlan
from mensa.golden.operators.transpose_conv import TransposeConvPlan
from mensa.golden.plan import Int8Array, Plan, Rounding
from mensa.golden.registry import Array, compute, kernel, planner, prepare

# Position of the weights.
_WEIGHTS = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class ComputedWeightsPlan(Plan):
    """A layer of which the weights are an operand.

    Parameters
    ----------
    layer : ConvPlan or TransposeConvPlan
        The layer, with weights of zeros.
    """

    layer: ConvPlan | TransposeConvPlan

    @property
    def operands(self) -> tuple[int, ...]:
        """The layer's own, and the weights."""
        return (*self.layer.operands, _WEIGHTS)


@planner("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", computed=_WEIGHTS)
def _computed(node: Node, rounding: Rounding) -> Plan:
    graph, weights = node.graph, node.input(_WEIGHTS)
    node.require(weights.dtype in EIGHT_BIT, f"weights can't be {weights.dtype}", weights)
    zeros = replace(weights, data=np.zeros(weights.shape, weights.dtype))
    tensors = tuple(zeros if tensor is weights else tensor for tensor in graph.tensors)
    stand_in = Graph(tensors, graph.operators, graph.inputs, graph.outputs)
    layer = prepare(stand_in, node.operator, rounding)
    if not isinstance(layer, ConvPlan | TransposeConvPlan):
        raise node.error("weights of a layer of int16 activations must be a constant", weights)
    return ComputedWeightsPlan(layer=layer)


@kernel(ComputedWeightsPlan)
def layer(plan: ComputedWeightsPlan, x: Array, weights: Int8Array) -> Array:
    """Output of the layer. Parameters: its input, and int8 weights of any shape that fits."""
    work = replace(plan.layer, weights=weights.reshape(plan.layer.weights.shape))
    return compute(work, x)[0]
