"""Further subgraphs of a file: composites become operators, what CALL_ONCE calls is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

import numpy as np

from mensa.golden.error import GraphError
from mensa.golden.graph import Graph, Operator, Tensor
from mensa.golden.options import (
    CallOnceOptions,
    ReshapeOptions,
    ShapeOptions,
    StableHLOCompositeOptions,
)

_CALL_ONCE, _COMPOSITE = "CALL_ONCE", "STABLEHLO_COMPOSITE"
# Operators and tensors that all calls may bring: composites within one another multiply.
_MAX_INLINED = 1 << 16
_MAX_DEPTH = 100


def joined(read: Callable[[int], Graph], count: int) -> tuple[Graph, tuple[int, ...]]:
    """The first of a file's `count` subgraphs, with all that its operators call.

    In place of a STABLEHLO_COMPOSITE stand the operators of its decomposition; tensors of the
    subgraph itself keep their numbers, and those within come after them. A subgraph that CALL_ONCE
    calls is one of the graph's `subgraphs`; in place of a CALL_ONCE in it stand the operators that
    this one calls, which both oracles run then and there. One that nothing calls is not read.

    Parameters: `read` gives a subgraph by its number. Returns: the graph, and the numbers in the
    file of its `subgraphs`. Raises: GraphError for a subgraph that can't be called.
    """
    inliner = _Inliner(read, count)
    main = inliner.graph(0)
    numbers: dict[int, int] = {}
    operators = []
    for operator in main.operators:
        if isinstance(operator.options, CallOnceOptions):
            called = inliner.callee(operator, operator.options.init_subgraph_index)
            number = numbers.setdefault(called, 1 + len(numbers))
            operator = replace(operator, options=CallOnceOptions(init_subgraph_index=number))
        operators.append(operator)
    called_once = tuple(inliner.called_once(number) for number in numbers)
    return replace(main, operators=tuple(operators), subgraphs=called_once), tuple(numbers)


@contextmanager
def within(number: int) -> Iterator[None]:
    """Errors raised here say that they are of this subgraph, if it is not the first."""
    try:
        yield
    except GraphError as error:
        if number == 0 or error.reason.startswith("in subgraph "):
            raise
        raise GraphError(
            f"in subgraph {number}: {error.reason}", operator=error.operator, tensor=error.tensor
        ) from error


class _Inliner:
    """The subgraphs of one file, without composites."""

    def __init__(self, read: Callable[[int], Graph], count: int) -> None:
        self._read = read
        self._count = count
        self._graphs: dict[int, Graph] = {}
        self._open: list[int] = []
        self._called_within: set[int] = set()
        self._inlined = 0

    def callee(self, operator: Operator, number: int) -> int:
        """The subgraph that `operator` calls, which must be there and must not call itself."""
        if not 0 <= number < self._count:
            raise GraphError(f"calls subgraph {number} of {self._count}", operator=str(operator))
        if number == 0 or number in self._open:
            raise GraphError(
                f"calls subgraph {number}, of which it is a part", operator=str(operator)
            )
        if len(self._open) >= _MAX_DEPTH:
            raise GraphError(f"is within {_MAX_DEPTH} calls", operator=str(operator))
        return number

    def graph(self, number: int) -> Graph:
        """A subgraph with the operators of its composites in their places."""
        if number not in self._graphs:
            with self._opened(number):
                graph = self._expanded(self._read(number), _COMPOSITE, self._decomposition)
            self._graphs[number] = graph
        return self._graphs[number]

    def called_once(self, number: int) -> Graph:
        """A subgraph for CALL_ONCE, with the operators of what it calls itself in their places."""
        with self._opened(number):
            return self._expanded(self.graph(number), _CALL_ONCE, self._called_operators)

    @contextmanager
    def _opened(self, number: int) -> Iterator[None]:
        self._open.append(number)
        with within(number):
            yield
        self._open.pop()

    def _expanded(
        self, graph: Graph, op: str, expand: Callable[[Operator, list[Tensor]], list[Operator]]
    ) -> Graph:
        """The graph in which `expand` replaces each operator `op` and adds to the tensors."""
        if all(operator.op != op for operator in graph.operators):
            return graph
        tensors = list(graph.tensors)
        operators: list[Operator] = []
        for operator in graph.operators:
            operators += expand(operator, tensors) if operator.op == op else [operator]
        return replace(
            graph,
            tensors=tuple(tensors),
            operators=tuple(replace(op, index=number) for number, op in enumerate(operators)),
        )

    def _bring(self, inner: Graph, operator: Operator) -> None:
        """Counts what stands in the place of `operator`. Raises: GraphError if it is too much."""
        self._inlined += len(inner.operators) + len(inner.tensors)
        if self._inlined > _MAX_INLINED:
            raise GraphError(
                f"the calls up to this one bring more than {_MAX_INLINED} operators and tensors",
                operator=str(operator),
            )

    def _called_operators(self, call: Operator, tensors: list[Tensor]) -> list[Operator]:
        """The operators that a CALL_ONCE calls, on tensors that join `tensors`."""
        options = call.options
        assert isinstance(options, CallOnceOptions)
        number = self.callee(call, options.init_subgraph_index)
        if call.inputs or call.outputs:
            raise GraphError("takes no inputs and gives none", operator=str(call))
        if number in self._called_within:
            raise GraphError(
                f"calls subgraph {number} once more: TFLM would run it again, LiteRT would not",
                operator=str(call),
            )
        self._called_within.add(number)
        inner = self.called_once(number)
        self._bring(inner, call)
        if inner.inputs or inner.outputs:
            raise GraphError(
                f"calls subgraph {number}, which has inputs or outputs", operator=str(call)
            )
        index_of = {-1: -1} | {each.index: len(tensors) + each.index for each in inner.tensors}
        tensors += [replace(each, index=index_of[each.index]) for each in inner.tensors]
        return [_moved(operator, index_of) for operator in inner.operators]

    def _decomposition(self, composite: Operator, tensors: list[Tensor]) -> list[Operator]:
        """The operators of a composite on `tensors`, which its inner ones join."""
        options = composite.options
        assert isinstance(options, StableHLOCompositeOptions)
        number = self.callee(composite, options.decomposition_subgraph_index)
        inner = self.graph(number)
        self._bring(inner, composite)
        for kind, given, wanted in (
            ("inputs", composite.inputs, inner.inputs),
            ("outputs", composite.outputs, inner.outputs),
        ):
            if len(given) != len(wanted) or -1 in given:
                raise GraphError(
                    f"has {kind} {list(given)}, its subgraph {number} wants {len(wanted)}",
                    operator=str(composite),
                )
        computed = {index for operator in inner.operators for index in operator.outputs}
        results = [index for index in inner.outputs if index in computed]
        # LiteRT leaves the first of two such outputs without a value.
        if len({*inner.inputs}) < len(inner.inputs) or len({*results}) < len(results):
            raise GraphError(
                f"calls subgraph {number}, which has an input or output twice",
                operator=str(composite),
            )
        index_of: dict[int, int] = {-1: -1}
        before: dict[int, int] = {}
        after = []
        for ours, theirs in zip(composite.inputs, inner.inputs, strict=True):
            if _alike(composite, tensors[ours], inner.tensors[theirs]):
                index_of[theirs] = ours
            else:
                before[theirs] = ours
        for ours, theirs in zip(composite.outputs, inner.outputs, strict=True):
            alike = _alike(composite, tensors[ours], inner.tensors[theirs])
            if theirs in computed and alike:
                index_of[theirs] = ours
            else:
                after.append((theirs, ours))
        for tensor in inner.tensors:
            if tensor.index not in index_of:
                index_of[tensor.index] = len(tensors)
                like = tensors[before[tensor.index]] if tensor.index in before else tensor
                tensors.append(replace(tensor, index=len(tensors), shape=like.shape))
        copies_in = [_copy(tensors, ours, index_of[theirs]) for theirs, ours in before.items()]
        copies_out = [_copy(tensors, index_of[theirs], ours) for theirs, ours in after]
        within = [_moved(operator, index_of) for operator in inner.operators]
        return [*chain(*copies_in), *within, *chain(*copies_out)]


def _alike(composite: Operator, ours: Tensor, theirs: Tensor) -> bool:
    """Whether values of two tensors mean the same; if not, one can be copied to the other.

    Shapes follow from the composite's inputs, as in LiteRT, whatever the subgraph says.

    Raises: GraphError where it can't.
    """
    if ours.type_name != theirs.type_name:
        raise GraphError(
            f"is {ours.type_name}, within the composite it is {theirs.type_name}",
            operator=str(composite),
            tensor=str(ours),
        )
    return (
        np.array_equal(ours.scale, theirs.scale)
        and np.array_equal(ours.zero_point, theirs.zero_point)
        and ours.quantized_dimension == theirs.quantized_dimension
    )


def _copy(tensors: list[Tensor], source: int, target: int) -> tuple[Operator, Operator]:
    """Operators that copy a tensor to one of other scales, whatever its shape turns out to be."""
    sizes = len(tensors)
    name = f"shape of {tensors[source].name}"
    tensors.append(Tensor(sizes, name, (), np.dtype(np.int32), type_name="INT32"))
    return (
        Operator(0, "SHAPE", (source,), (sizes,), ShapeOptions(out_type="INT32")),
        Operator(0, "RESHAPE", (source, sizes), (target,), ReshapeOptions()),
    )


def _moved(operator: Operator, index_of: dict[int, int]) -> Operator:
    return replace(
        operator,
        inputs=tuple(index_of[index] for index in operator.inputs),
        outputs=tuple(index_of[index] for index in operator.outputs),
        intermediates=tuple(index_of[index] for index in operator.intermediates),
    )
