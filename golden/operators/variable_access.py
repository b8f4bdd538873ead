"""VAR_HANDLE, CALL_ONCE, READ_VARIABLE and ASSIGN_VARIABLE."""

from __future__ import annotations

from dataclasses import dataclass

from mensa.golden.graph import Tensor
from mensa.golden.node import Node
from mensa.golden.options import VarHandleOptions
from mensa.golden.plan import Plan, Rounding, Shape
from mensa.golden.registry import Array, kernel, planner, shapes
from mensa.golden.schema import RESOURCE
from mensa.golden.variables import called, contents, handles


@dataclass(frozen=True, kw_only=True, eq=False)
class DeclarationPlan(Plan):
    """VAR_HANDLE or CALL_ONCE, which say what variables there are and what they start from.

    A run has nothing to compute for them.
    """

    raw = True
    declares = True


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadVariablePlan(Plan):
    """READ_VARIABLE: a copy of the variable's value.

    Parameters
    ----------
    shape : tuple of int
        Of the value.
    """

    raw = True

    shape: Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class AssignVariablePlan(Plan):
    """ASSIGN_VARIABLE: the variable's value becomes that of a tensor.

    Parameters
    ----------
    shape : tuple of int
        Of the value.
    """

    raw = True

    shape: Shape

    @property
    def operands(self) -> tuple[int, ...]:
        """The new value."""
        return (1,)

    @property
    def states(self) -> tuple[int, ...]:
        """The variable."""
        return (0,)


@shapes("VAR_HANDLE")
def _handle_shape(node: Node) -> tuple[Shape, ...]:
    return ((),)


@shapes("READ_VARIABLE")
def _value_shape(node: Node) -> tuple[Shape, ...]:
    variable = handles(node.graph).get(node.input(0).index, -1)
    content = contents(node.graph).get(variable)
    if content is None:
        raise node.error("nothing is assigned to this variable", node.input(0))
    return (content.shape,)


@planner("VAR_HANDLE")
def _handle(node: Node, rounding: Rounding) -> Plan:
    node.options(VarHandleOptions)
    node.require(not node.operator.inputs, "takes no inputs")
    output = node.output()
    node.require(
        output.type_name == RESOURCE, f"must be {RESOURCE}, not {output.type_name}", output
    )
    return DeclarationPlan()


@planner("CALL_ONCE")
def _call_once(node: Node, rounding: Rounding) -> Plan:
    operator = node.operator
    node.require(not operator.inputs and not operator.outputs, "takes no inputs and gives none")
    graph = called(node.graph, operator)
    node.require(
        not graph.inputs and not graph.outputs, "calls a subgraph that has inputs or outputs"
    )
    node.require(
        all(operator.op != "READ_VARIABLE" for operator in graph.operators),
        "calls a subgraph that reads a variable",
    )
    return DeclarationPlan()


def _access(node: Node, value: Tensor) -> None:
    """Requires that the first input is a handle, and that its variable holds tensors as `value`."""
    handle = node.input(0)
    variable = handles(node.graph).get(handle.index)
    if variable is None:
        raise node.error("must be the output of a VAR_HANDLE", handle)
    content = contents(node.graph).get(variable, value)
    node.require(
        (value.shape, value.dtype) == (content.shape, content.dtype),
        f"is {list(value.shape)} of {value.dtype}, the variable {list(content.shape)} of "
        f"{content.dtype}",
        value,
    )
    node.require(value.dtype.kind != "V", f"is {value.type_name}", value)


@planner("READ_VARIABLE")
def _read(node: Node, rounding: Rounding) -> Plan:
    node.require(len(node.operator.inputs) == 1, "takes one input")
    output = node.output()
    _access(node, output)
    return ReadVariablePlan(shape=output.shape)


@planner("ASSIGN_VARIABLE")
def _assign(node: Node, rounding: Rounding) -> Plan:
    operator = node.operator
    node.require(len(operator.inputs) == 2 and not operator.outputs, "takes two inputs")
    value = node.input(1)
    _access(node, value)
    return AssignVariablePlan(shape=value.shape)


@kernel(ReadVariablePlan)
def read(plan: ReadVariablePlan, value: Array) -> Array:
    """A copy of the value. Parameters: of ``plan.shape``."""
    return value.copy()


@kernel(AssignVariablePlan)
def assign(plan: AssignVariablePlan, value: Array) -> Array:
    """A copy of the variable's new value. Parameters: of ``plan.shape``."""
    return value.copy()
