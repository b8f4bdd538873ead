"""Variables: values that a network keeps by name from one run to the next.

VAR_HANDLE makes a tensor that stands for a variable, and several may stand for one. READ_VARIABLE,
ASSIGN_VARIABLE and a subgraph that CALL_ONCE calls in the first run work on what it stands for.
A graph's variables are numbered like its first handle of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mensa.golden.error import GraphError
from mensa.golden.graph import Graph, Operator, Tensor
from mensa.golden.options import CallOnceOptions, VarHandleOptions
from mensa.golden.plan import Rounding

_Name = tuple[str, str]


def handles(graph: Graph) -> dict[int, int]:
    """The variable that each handle of `graph` stands for; made once and kept with the graph."""
    if "handles" not in graph._kept:
        numbers: dict[_Name, int] = {}
        graph._kept["handles"] = {
            index: numbers.setdefault(_name(operator.options), index)
            for operator in graph.operators
            for index in operator.outputs
            if isinstance(operator.options, VarHandleOptions)
        }
    found: dict[int, int] = graph._kept["handles"]
    return found


def _name(options: VarHandleOptions) -> _Name:
    return options.container, options.shared_name


def names(graph: Graph) -> dict[_Name, int]:
    """The variables of `graph` by container and name."""
    known = handles(graph)
    return {
        _name(operator.options): known[index]
        for operator in graph.operators
        for index in operator.outputs
        if isinstance(operator.options, VarHandleOptions)
    }


def called(graph: Graph, operator: Operator) -> Graph:
    """The subgraph that a CALL_ONCE calls. Raises: GraphError when there is none."""
    options = operator.options
    number = options.init_subgraph_index if isinstance(options, CallOnceOptions) else 0
    if not 1 <= number <= len(graph.subgraphs):
        count = 1 + len(graph.subgraphs)
        raise GraphError(f"calls subgraph {number} of {count}", operator=str(operator))
    return graph.subgraphs[number - 1]


def contents(graph: Graph) -> dict[int, Tensor]:
    """A tensor for each variable that has its shape and type: the first that is assigned to it."""
    if "contents" not in graph._kept:
        found: dict[int, Tensor] = {}
        for operator in graph.operators:
            for variable, tensor in _assigned(graph, operator):
                found.setdefault(variable, tensor)
        graph._kept["contents"] = found
    kept: dict[int, Tensor] = graph._kept["contents"]
    return kept


def _assigned(graph: Graph, operator: Operator) -> Iterator[tuple[int, Tensor]]:
    """The variables that `operator` assigns, and what to each."""
    if operator.op == "CALL_ONCE":
        ours, first = names(graph), called(graph, operator)
        theirs = contents(first)
        for name, variable in names(first).items():
            if name in ours and variable in theirs:
                yield ours[name], theirs[variable]
    elif operator.op == "ASSIGN_VARIABLE" and len(operator.inputs) == 2:
        handle, value = operator.inputs
        if handle in handles(graph) and value >= 0:
            yield handles(graph)[handle], graph.tensors[value]


def remembered(graph: Graph) -> dict[int, Tensor]:
    """What `graph` keeps from one run to the next, by number: variables and variable tensors.

    Of a variable it is a tensor of its name, shape, type and scales. A variable tensor that is an
    input is not kept: it is what is put in, as with the oracles.
    """
    named = {variable: "/".join(filter(None, name)) for name, variable in names(graph).items()}
    found = {
        variable: replace(
            content, index=variable, name=named[variable], data=None, is_variable=True
        )
        for variable, content in contents(graph).items()
    }
    found |= {
        tensor.index: tensor
        for tensor in graph.tensors
        if tensor.is_variable and tensor.data is None and tensor.index not in graph.inputs
    }
    return dict(sorted(found.items()))


def variables_of(graph: Graph, operator: Operator) -> set[int]:
    """The variables that `operator` names, reads or assigns."""
    known = handles(graph)
    named = {known[index] for index in (*operator.inputs, *operator.outputs) if index in known}
    return named | {variable for variable, _ in _assigned(graph, operator)}


def check_order(graph: Graph, rounding: Rounding) -> None:
    """Checks that every variable is assigned before it is read, and by CALL_ONCE before all else.

    Then its value at the start of a sequence is what CALL_ONCE gives it. TFLM gives a variable
    that has no such value the zero point of what is assigned later; LiteRT stops.

    Raises: GraphError that names the operator and the handle.
    """
    used: dict[int, Operator] = {}
    assigned = set(contents(graph)) if rounding == "tflm" else set()
    for operator in graph.operators:
        variables = set() if operator.op == "VAR_HANDLE" else variables_of(graph, operator)
        for variable in variables:
            tensor = str(graph.tensors[variable])
            if operator.op == "CALL_ONCE" and variable in used:
                raise GraphError(
                    f"gives this variable its first value after {used[variable]} has used it",
                    operator=str(operator),
                    tensor=tensor,
                )
            if operator.op == "READ_VARIABLE" and variable not in assigned:
                raise GraphError(
                    "this variable is read before anything has assigned it",
                    operator=str(operator),
                    tensor=tensor,
                )
        assigned |= variables
        used |= dict.fromkeys(variables, operator)
