"""Which LSTM cell a network wants."""

from __future__ import annotations

from mensa.golden import Graph
from mensa.golden.planning import resolve_rounding
from mensa.rtl.machine import Machine, MachineError

__all__ = ["with_cell_for"]


def with_cell_for(machine: Machine, graph: Graph, rounding: str | None = None) -> Machine:
    """The machine, with the LSTM cell that has the arithmetic of a network's rounding.

    The machine itself for a network without an LSTM, if it has no cell, and if its `cell_lanes` are
    more than that cell has room for.
    """
    wanted = resolve_rounding(graph, rounding)
    has_lstm = any(each.op == "UNIDIRECTIONAL_SEQUENCE_LSTM" for each in graph.operators)
    if not has_lstm or machine.cell in (None, wanted):
        return machine
    try:
        return machine.replace(cell=wanted)
    except MachineError:
        return machine
