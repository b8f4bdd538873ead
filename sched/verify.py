"""Whether a run gave what it should: values as golden's, times as the timing model's."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden import Graph, Operator, Tensors
from mensa.golden.variables import handles, variables_of
from mensa.sched.engines import TimingModel
from mensa.sched.lower import Lowered
from mensa.sim.engines.events import LayerTiming, RunTrace, timing_by_layer
from mensa.sim.report import TimingCheck
from mensa.sim.soc import Soc

__all__ = ["compare_times", "compare_values"]

Values = npt.NDArray[Any]


def compare_values(
    lowered: Lowered, values: Mapping[int, Values], state: Mapping[int, Values], wanted: Tensors
) -> dict[int, bool]:
    """Which operators gave golden's bits in one inference.

    Parameters
    ----------
    lowered : Lowered
        The network.
    values, state : mappings of int to array
        What the engine gave: tensors by index, and what it remembers afterwards, numbered as
        golden's state. One that is missing is not golden's.
    wanted : Tensors
        All tensors of golden, and its state afterwards.

    Returns
    -------
    dict of int to bool
        By operator index: whether all that it computes, and what of the state it reads, changes or
        names, have golden's type, shape and bits. One NaN is as good as another. Of an operator
        that is in another one's table: whether that one's result has.
    """
    graph = lowered.graph
    same = _equal(values, wanted) | _equal(state, wanted.state)
    found = {
        operator.index: all(same[index] for index in _results(graph, operator, wanted.state))
        for operator in graph.operators
    }
    in_tables = {
        layer.index: found[layer.table_of] for layer in lowered.layers if layer.table_of is not None
    }
    return found | in_tables


def _equal(found: Mapping[int, Values], wanted: Mapping[int, Values]) -> dict[int, bool]:
    """Which arrays of golden's were found equal, by index."""
    return {
        index: index in found and _same_bits(found[index], array) for index, array in wanted.items()
    }


def _same_bits(ours: Values, theirs: Values) -> bool:
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return False
    if ours.dtype.kind == "f":
        ours, theirs = (np.where(np.isnan(each), np.nan, each) for each in (ours, theirs))
    return ours.tobytes() == theirs.tobytes()


def _results(graph: Graph, operator: Operator, state: Container[int]) -> set[int]:
    """Tensors that an operator computes, and what of the state it reads, changes or names."""
    known = handles(graph)
    kept = {*operator.inputs, *variables_of(graph, operator)}
    return {index for index in kept if index in state} | {
        index for index in operator.outputs if index not in known
    }


def compare_times(
    lowered: Lowered,
    soc: Soc,
    setups: Mapping[str, RunTrace | None],
    inferences: Sequence[Sequence[RunTrace | None]],
) -> TimingCheck:
    """Compare every number of every layer, and every command of every program.

    Parameters
    ----------
    lowered, soc : Lowered, Soc
        What ran, and on what.
    setups : mapping of str to RunTrace
        What the engine gave of loading the parameters that stay on chip, by machine.
    inferences : list of lists of RunTrace
        What it gave of each program of each inference, at least one.
    """
    model = TimingModel(lowered, soc)
    wanted = model.inference()
    theirs, ours = timing_by_layer(wanted), timing_by_layer(inferences[0])
    differences = []
    for layer in sorted(theirs.keys() | ours.keys()):
        for name, our, their in _numbers(ours.get(layer), theirs.get(layer)):
            if our != their:
                where = f"layer {layer} {lowered.graph.operators[layer].op}"
                differences.append(f"{where}: {name} {our}, the timing model says {their}")
    if not differences:
        differences = [
            f"inference {number}: the events of program {place} differ from the timing model's"
            for number, traces in enumerate(inferences)
            for place, (trace, right) in enumerate(zip(traces, wanted, strict=True))
            if trace != right
        ]
    differences += [
        f"setup of {name}: its events differ from the timing model's"
        for name, trace in model.setups().items()
        if setups.get(name) != trace
    ]
    cycles = {layer: timing.cycles for layer, timing in theirs.items()}
    return TimingCheck(cycles=cycles, differences=tuple(differences))


def _numbers(
    ours: LayerTiming | None, theirs: LayerTiming | None
) -> list[tuple[str, int | None, int | None]]:
    """What is compared of a layer: its name, our number and the timing model's."""
    if ours is None or theirs is None:
        return [
            ("cycles", None if ours is None else ours.cycles, theirs.cycles if theirs else None)
        ]
    return [
        ("cycles", ours.cycles, theirs.cycles),
        *((f"{name} cycles", ours.stalls[name], theirs.stalls[name]) for name in theirs.stalls),
        ("beats read", ours.read_beats, theirs.read_beats),
        ("beats written", ours.write_beats, theirs.write_beats),
    ]
