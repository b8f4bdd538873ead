"""Which LSTM cell a network wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mensa.golden import Graph
from mensa.golden.planning import resolve_rounding
from mensa.rtl.machine import Machine, MachineError
from mensa.sim.soc import Setting, Soc, find, socs

__all__ = ["find_system", "fitted", "says_cell", "with_cell_for"]


def find_system(
    soc: str = "edge_tpu",
    settings: Mapping[str, Setting] | None = None,
    *,
    machine: str | None = None,
    network: Graph | None = None,
    rounding: str | None = None,
) -> Soc:
    """The system of a name or a .toml file, as the options of ``mensa run`` make it.

    Parameters
    ----------
    soc : str
        One of `mensa.sim.soc.socs`, or a file.
    settings : mapping
        As of `Soc.with_settings`.
    machine : str or None
        A machine in its place, see `Soc.with_machine`.
    network, rounding : Graph, str or None
        What it is for: a named system then has the LSTM cell of that arithmetic, if no setting
        says which.

    Raises
    ------
    SocError, MachineError, MemoryConfigError, HostConfigError, TechnologyError
        The message says what there is, or what a setting may be.
    """
    chosen = find(soc)
    if machine is not None:
        chosen = chosen.with_machine(machine)
    settings = settings or {}
    chosen = chosen.with_settings(settings)
    if network is None or soc not in socs or says_cell(settings):
        return chosen
    return fitted(chosen, network, rounding)


def says_cell(names: Iterable[str]) -> bool:
    """Whether one of these settings is about the LSTM cell."""
    return any(name.rpartition(".")[2] == "cell" for name in names)


def fitted(soc: Soc, graph: Graph, rounding: str | None = None) -> Soc:
    """The system, its only machine `with_cell_for` a network; itself if it has several."""
    if len(soc.machines) > 1:
        return soc
    return soc.with_settings({"cell": with_cell_for(soc.machine, graph, rounding).cell})


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
