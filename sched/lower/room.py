"""Whether a machine has room for a layer that the host could run instead."""

from __future__ import annotations

from dataclasses import replace

from mensa.golden import (
    AddPlan,
    ConvPlan,
    Graph,
    Operator,
    PoolPlan,
    RequantPlan,
    ReshapePlan,
    plan,
)
from mensa.golden.operators.lookup import TablePlan
from mensa.rtl.commands import TABLE_BYTES
from mensa.rtl.machine import Machine
from mensa.sched.lower.buffer_plan import buffer_plans
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.lowerings import LOWERINGS, PARAMETERISED
from mensa.sched.lower.options import LoweringOptions
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
    if isinstance(work, _MUST_RUN):
        return None
    if isinstance(work, TablePlan):
        slot = machine.parameter_buffer_bytes // 2 - machine.beat_bytes
        if slot < TABLE_BYTES:
            return (
                f"its table of {TABLE_BYTES} B may find no room in {machine.name}'s parameter "
                f"buffer of {machine.parameter_buffer_bytes} B"
            )
    (buffers,) = buffer_plans((), machine, replace(options, residency=False))
    operands = tuple(graph.tensors[operator.inputs[each]] for each in work.operands)
    site = LayerSite(machine, buffers, str(operator), operands)
    lowering = PARAMETERISED.get(type(work)) or LOWERINGS[type(work)]
    anywhere = Home(0)
    try:
        lowering(work, site, [anywhere for _ in operands], [anywhere for _ in operator.outputs])
    except LoweringError as error:
        return f"{machine.name} has no room for it: {error.reason}"
    return None
