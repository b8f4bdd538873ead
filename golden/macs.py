"""Multiply-accumulates: what the products of matrices in a network cost.

They follow from shapes, so they are known before there are plans, and of operators that golden
can't compute.
"""

from __future__ import annotations

from mensa.golden import registry
from mensa.golden.families import register_all
from mensa.golden.graph import Graph, Operator


def operator_macs(graph: Graph, operator: Operator) -> int:
    """Multiply-accumulates of `operator`, padding included; 0 if it does not multiply matrices."""
    register_all()
    return registry.count_macs(graph, operator)


def total_macs(graph: Graph) -> int:
    """Multiply-accumulates of one inference."""
    return sum(operator_macs(graph, operator) for operator in graph.operators)
