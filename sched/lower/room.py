"""Whether a machine has room for a layer that the host could run instead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy.typing as npt

from mensa.golden import (
    AddPlan,
    ConvPlan,
    Graph,
    Operator,
    Plan,
    PoolPlan,
    RequantPlan,
    ReshapePlan,
    SoftmaxPlan,
    Tensor,
    plan,
)
from mensa.golden.operators.lstm import LstmPlan
from mensa.golden.operators.svdf import SvdfPlan
from mensa.rtl.commands import TABLE_BYTES
from mensa.rtl.machine import Machine
from mensa.sched.lower import lstm_sums, svdf
from mensa.sched.lower.broadcast import spreads
from mensa.sched.lower.buffer_plan import Lifetime, allocate, buffer_plans, rings_bytes
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.lowerings import LOWERINGS, PARAMETERISED
from mensa.sched.lower.lstm_sums import peepholes
from mensa.sched.lower.options import LoweringOptions
from mensa.sched.lower.stages import stages_of
from mensa.sched.lower.tables import table_bytes
from mensa.sched.lower.work import Home, LayerSite

__all__ = ["lacks_room", "lacks_table", "own_bytes", "own_constants", "states"]

_MUST_RUN = (AddPlan, ConvPlan, PoolPlan, RequantPlan, ReshapePlan)
"""What a network is made of: if one of these has no room, the machine is too small for it. But a
pool over a whole image is a mean, whose window may be larger than any other."""


def lacks_room(
    graph: Graph, operator: Operator, rounding: str, machine: Machine, options: LoweringOptions
) -> str | None:
    """Why an operator runs on the host for want of room on a machine, or None.

    It is asked for the smallest slots that a program may give it: those where all is streamed.
    """
    work = plan(graph, operator, rounding)
    if isinstance(work, LstmPlan | SvdfPlan):
        return _lacks_cell(work, machine) or _lacks_room_on_chip(graph, operator, work, machine)
    (buffers,) = buffer_plans((), machine, replace(options, residency=False))
    operands = tuple(graph.tensors[operator.inputs[each]] for each in work.operands)
    wanted: list[tuple[Plan, tuple[Tensor, ...], int]] = [
        (step.work, (step.operand,), 1)
        for spread in spreads(graph, operator, work)
        for step in spread.steps
    ]
    is_mean = isinstance(work, PoolPlan) and work.output_shape[1:3] == (1, 1)
    if is_mean or not isinstance(work, _MUST_RUN):
        wanted += [
            (stage.work, operands, len(stage.sources)) for stage in stages_of(work, operands)
        ]
    if any(isinstance(each, SoftmaxPlan) for each, _, _ in wanted) and (
        not machine.exponential_lanes
    ):
        few = ", as an array of fewer than 4 channels a group" if machine.softmax_lanes else ""
        return f"{machine.name} has no softmax unit{few}"
    longest = max((table_bytes(each) for each, _, _ in wanted), default=0)
    if longest and (reason := lacks_table(machine, longest)):
        return reason
    anywhere = Home(0)
    for each, taken, sources in wanted:
        site = LayerSite(machine, buffers, str(operator), taken)
        lowering = PARAMETERISED.get(type(each)) or LOWERINGS[type(each)]
        try:
            lowering(each, site, [anywhere] * sources, [anywhere] * len(operator.outputs))
        except LoweringError as error:
            return f"{machine.name} has no room for it: {error.reason}"
    return None


def lacks_table(machine: Machine, nbytes: int = TABLE_BYTES) -> str | None:
    """Why a machine may find no room for an operator's table of so many bytes, or None."""
    if machine.parameter_bytes // 2 - machine.parameter_unit_bytes < nbytes:
        return (
            f"its table of {nbytes} B may find no room in {machine.name}'s "
            f"{machine.parameter_memory}"
        )
    return None


def states(graph: Graph, operator: Operator, rounding: str) -> list[int]:
    """The variable tensors that an operator gives anew, in its plan's order."""
    return [operator.inputs[position] for position in plan(graph, operator, rounding).states]


def own_constants(work: Plan) -> list[npt.NDArray[Any]]:
    """Constants that a layer's commands read from the activation buffer; none for most."""
    if isinstance(work, LstmPlan):
        return list(peepholes(work).values())
    return [svdf.time_weights(work)] if isinstance(work, SvdfPlan) else []


def own_bytes(work: Plan, machine: Machine) -> int:
    """Bytes of the activation buffer that a layer has for itself; 0 for most."""
    if isinstance(work, LstmPlan):
        return lstm_sums.own_bytes(work, machine)
    return svdf.own_bytes(work, machine) if isinstance(work, SvdfPlan) else 0


def _lacks_cell(work: LstmPlan | SvdfPlan, machine: Machine) -> str | None:
    if not machine.state_lanes:
        return f"{machine.name} has no LSTM cell"
    if isinstance(work, SvdfPlan) and machine.lanes < 2:
        return f"{machine.name} has a single lane, which can't move numbers of two bytes"
    if isinstance(work, LstmPlan) and machine.cell != work.rounding:
        return (
            f"{machine.name}'s LSTM cell has the arithmetic of {machine.cell}, not of "
            f"{work.rounding}; one with cell={work.rounding} would run it"
        )
    return None


def _lacks_room_on_chip(
    graph: Graph, operator: Operator, work: LstmPlan | SvdfPlan, machine: Machine
) -> str | None:
    """It is asked for the layer alone in a program."""
    tensors = {*(operator.inputs[each] for each in work.operands), *operator.outputs}
    sizes = [graph.tensors[tensor].nbytes for tensor in tensors]
    sizes += [content.nbytes for content in own_constants(work)]
    lifetimes = [
        Lifetime(number, nbytes, 0, 0)
        for number, nbytes in enumerate([*sizes, own_bytes(work, machine)])
    ]
    size = machine.activation_buffer_bytes
    if isinstance(work, LstmPlan) and lstm_sums.spills(work, machine):
        size -= rings_bytes(machine)
    if len(allocate(lifetimes, size, machine.beat_bytes)) < len(lifetimes):
        return (
            f"{machine.name} has no room for it: its tensors, states and sums take "
            f"{sum(each.nbytes for each in lifetimes)} B and must be on chip together, and the "
            f"activation buffer has {size} B for them; raise activation_buffer_bytes"
        )
    if not isinstance(work, LstmPlan):
        groups = -(-work.output_shape[1] // machine.state_lanes)
        if groups > machine.constant_entries // 8:
            return (
                f"the biases of its units find no room in {machine.name}'s "
                f"{machine.constant_entries} constant_entries, of which an eighth is for them; "
                f"they want {groups}"
            )
    return None
