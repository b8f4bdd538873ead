"""Which functions know an operator: each family of operators registers its own here.

A family is a module that `mensa.golden.families` imports; this module knows none of them. Of every
operator it registers, by name, a `planner` that makes its plan and, for `GraphBuilder.apply`, the
`shapes` of its outputs; of those that multiply matrices, the `macs`; of every class of plans a
`kernel` that computes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy.typing as npt

from mensa.golden.compiled import why_compiled
from mensa.golden.graph import Graph, Operator
from mensa.golden.int4 import check_int4
from mensa.golden.node import Node
from mensa.golden.plan import Plan, Rounding, Shape

Array = npt.NDArray[Any]
Planner = Callable[[Node, Rounding], Plan]
Shapes = Callable[[Node], tuple[Shape, ...]]
Macs = Callable[[Node], int]

_AnyPlanner = TypeVar("_AnyPlanner", bound=Planner)
_AnyShapes = TypeVar("_AnyShapes", bound=Shapes)
_AnyMacs = TypeVar("_AnyMacs", bound=Macs)
_AnyKernel = TypeVar("_AnyKernel", bound=Callable[..., Any])

_PLANNERS: dict[str, Planner] = {}
_TYPED_PLANNERS: dict[tuple[str, str], Planner] = {}
_COMPUTED_PLANNERS: dict[str, tuple[int, Planner]] = {}
_SHAPES: dict[str, Shapes] = {}
_LIKENESS: dict[str, tuple[int, npt.DTypeLike | None]] = {}
_MACS: dict[str, Macs] = {}
_KERNELS: dict[type[Plan], Callable[..., Any]] = {}


def planner(
    *ops: str, types: tuple[str, ...] = (), computed: int | None = None
) -> Callable[[_AnyPlanner], _AnyPlanner]:
    """Registers the function that makes plans of the operators `ops`.

    Parameters: with `computed`, it makes only those of operators whose input of that number is
    no constant; with `types`, names of NumPy's types, of the rest those with an activation of one
    of them; with neither, all others.
    """

    def register(function: _AnyPlanner) -> _AnyPlanner:
        for op in ops:
            if computed is not None:
                assert op not in _COMPUTED_PLANNERS, op
                _COMPUTED_PLANNERS[op] = computed, function
            elif not types:
                assert op not in _PLANNERS, op
                _PLANNERS[op] = function
            for name in types:
                assert (op, name) not in _TYPED_PLANNERS, (op, name)
                _TYPED_PLANNERS[op, name] = function
        return function

    return register


def shapes(
    *ops: str, like: int = 0, dtype: npt.DTypeLike | None = None
) -> Callable[[_AnyShapes], _AnyShapes]:
    """Registers the function that gives the output shapes of the operators `ops`.

    It goes by the operator's inputs and options; `GraphBuilder.apply` asks it before there are
    outputs. Where LiteRT's kernel keeps what the file says of an output, as those of SELECT do
    where every tensor has one element, it may look at the output's shape, if there is one.

    Parameters: `like` the position of the input whose type, scale and zero point the outputs have
    unless others are given; with `dtype`, they have this type and no scale.
    """

    def register(function: _AnyShapes) -> _AnyShapes:
        for op in ops:
            assert op not in _SHAPES, op
            _SHAPES[op] = function
            _LIKENESS[op] = like, dtype
        return function

    return register


def macs(*ops: str) -> Callable[[_AnyMacs], _AnyMacs]:
    """Registers the function that counts the multiply-accumulates of the operators `ops`.

    It goes by shapes alone, padding included, of whatever type the tensors are. It is asked before
    there are plans, so the shapes may be those of no such operator: it never raises, and an
    operator without the tensors that it wants counts 0.
    """

    def register(function: _AnyMacs) -> _AnyMacs:
        for op in ops:
            assert op not in _MACS, op
            _MACS[op] = function
        return function

    return register


def kernel(kind: type[Plan]) -> Callable[[_AnyKernel], _AnyKernel]:
    """Registers the function that computes plans of class `kind`.

    It takes the plan and one array per position in ``plan.operands``, and returns one array, or
    a tuple of one array per output and then one per position in ``plan.states``. A ValueError
    from it becomes a GraphError.
    """

    def register(function: _AnyKernel) -> _AnyKernel:
        assert kind not in _KERNELS, kind
        _KERNELS[kind] = function
        return function

    return register


def supported() -> tuple[str, ...]:
    """Names of all operators that are registered, sorted."""
    return tuple(sorted(_PLANNERS))


def prepare(graph: Graph, operator: Operator, rounding: Rounding) -> Plan:
    """The plan of `operator`. Raises: GraphError when golden can't compute it."""
    node = Node(graph, operator)
    planners = _PLANNERS
    if operator.op not in planners:
        raise node.error(why_compiled(operator.op) or "this operator is not supported")
    check_int4(graph, operator, rounding)
    if operator.op in _COMPUTED_PLANNERS:
        position, found = _COMPUTED_PLANNERS[operator.op]
        tensor = node.optional(position)
        if tensor is not None and tensor.data is None:
            return found(node, rounding)
    inputs = (graph.tensors[index] for index in operator.inputs if index >= 0)
    activations = [tensor for tensor in inputs if tensor.data is None]
    activations += [graph.tensors[index] for index in operator.outputs if index >= 0]
    for tensor in activations:
        typed = _TYPED_PLANNERS.get((operator.op, tensor.dtype.name))
        if typed is not None:
            return typed(node, rounding)
    return planners[operator.op](node, rounding)


def output_shapes(graph: Graph, operator: Operator) -> tuple[Shape, ...]:
    """Shapes of the outputs of `operator`, which need not have outputs yet."""
    node = Node(graph, operator)
    known = _SHAPES
    if operator.op not in known:
        raise node.error("the shapes of its outputs are not known here: give its tensors")
    return known[operator.op](node)


def output_likeness(op: str) -> tuple[int, npt.DTypeLike | None]:
    """Position of the input that the outputs of `op` are like, and their type if it is another."""
    return _LIKENESS.get(op, (0, None))


def count_macs(graph: Graph, operator: Operator) -> int:
    """Multiply-accumulates of `operator`; 0 of one whose family registers no count."""
    count = _MACS.get(operator.op)
    return 0 if count is None else count(Node(graph, operator))


def compute(work: Plan, *operands: Array) -> tuple[Array, ...]:
    """Evaluates a plan. Returns: its outputs, then its new states. Raises: ValueError."""
    result = _KERNELS[type(work)](work, *operands)
    return result if isinstance(result, tuple) else (result,)
