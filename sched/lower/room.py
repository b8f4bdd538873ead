"""Whether a machine has room for a layer that the host could run instead."""

from __future__ import annotations

from dataclasses import replace

from mensa.golden import (
    AddPlan,
    ConvPlan,
    Graph,
    Operator,
    Plan,
    PoolPlan,
    RequantPlan,
    ReshapePlan,
    Tensor,
    plan,
)
from mensa.rtl.commands import TABLE_BYTES
from mensa.rtl.machine import Machine
from mensa.sched.lower.broadcast import spreads
from mensa.sched.lower.buffer_plan import buffer_plans
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.lowerings import LOWERINGS, PARAMETERISED
from mensa.sched.lower.options import LoweringOptions
from mensa.sched.lower.stages import stages_of
from mensa.sched.lower.tables import has_tables
from mensa.sched.lower.work import Home, LayerSite

__all__ = ["lacks_room"]

_MUST_RUN = (AddPlan, ConvPlan, PoolPlan, RequantPlan, ReshapePlan)
"""What a network is made of: if one of these has no room, the machine is too small for it."""


def lacks_room(
    graph: Graph, operator: Operator, rounding: str, machine: Machine, options: LoweringOptions
) -> str | None:
    """Why an operator runs on the host for want of room on a machine, or None.

    It is asked for the smallest slots that a program may give it: those where all is streamed.
    """
    work = plan(graph, operator, rounding)
    (buffers,) = buffer_plans((), machine, replace(options, residency=False))
    operands = tuple(graph.tensors[operator.inputs[each]] for each in work.operands)
    wanted: list[tuple[Plan, tuple[Tensor, ...], int]] = [
        (step.work, (step.operand,), 1)
        for spread in spreads(graph, operator, work)
        for step in spread.steps
    ]
    if not isinstance(work, _MUST_RUN):
        wanted += [
            (stage.work, operands, len(stage.sources)) for stage in stages_of(work, operands)
        ]
    if any(has_tables(each) for each, _, _ in wanted):
        slot = machine.parameter_buffer_bytes // 2 - machine.beat_bytes
        if slot < TABLE_BYTES:
            return (
                f"its table of {TABLE_BYTES} B may find no room in {machine.name}'s parameter "
                f"buffer of {machine.parameter_buffer_bytes} B"
            )
    anywhere = Home(0)
    for each, taken, sources in wanted:
        site = LayerSite(machine, buffers, str(operator), taken)
        lowering = PARAMETERISED.get(type(each)) or LOWERINGS[type(each)]
        try:
            lowering(each, site, [anywhere] * sources, [anywhere] * len(operator.outputs))
        except LoweringError as error:
            return f"{machine.name} has no room for it: {error.reason}"
    return None
