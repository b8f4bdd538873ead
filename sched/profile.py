"""Where golden's time goes: every operator of a network, run on its own and timed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich import box
from rich.table import Table

from mensa.golden import Graph, Operator, Tensors, evaluate, plan
from mensa.golden.error import printable
from mensa.golden.variables import handles

__all__ = ["OperatorTime", "operator_times", "table"]

Values = npt.NDArray[Any]

REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class OperatorTime:
    """How long golden takes over one operator.

    Attributes
    ----------
    index, op, shape : int, str, tuple of int
        The operator and the shape of its output.
    time_ns : int
        The fastest of a few evaluations of its plan on the values of this run.
    """

    index: int
    op: str
    shape: tuple[int, ...]
    time_ns: int

    def to_json(self) -> dict[str, Any]:
        """Return the operator as JSON values."""
        return {"index": self.index, "op": self.op, "time_ns": self.time_ns}


def operator_times(
    graph: Graph, tensors: Tensors, rounding: str | None = None
) -> list[OperatorTime]:
    """Time the evaluation of every operator.

    Parameters
    ----------
    graph : Graph
        The network.
    tensors : Tensors
        All its activations, as ``golden.run(..., keep="all")`` gives them.
    rounding : str or None
        As that run's.
    """
    return [
        OperatorTime(
            index=operator.index,
            op=operator.op,
            shape=() if (output := graph.first_output(operator)) is None else output.shape,
            time_ns=_fastest(graph, operator, {**tensors.state, **tensors}, rounding),
        )
        for operator in graph.operators
    ]


def _fastest(
    graph: Graph, operator: Operator, tensors: Mapping[int, Values], rounding: str | None
) -> int:
    work = plan(graph, operator, rounding)
    if work.declares:
        return 0
    operands = []
    for position in work.operands:
        index = handles(graph).get(operator.inputs[position], operator.inputs[position])
        array = tensors[index] if index in tensors else graph.tensors[index].data
        assert array is not None
        # Plans take uint8 networks shifted to int8.
        shifted = array.dtype == np.uint8 and not work.raw
        operands.append(array.view(np.int8) ^ np.int8(-128) if shifted else array)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        evaluate(work, *operands)
        times.append(time.perf_counter_ns() - start)
    return min(times)


def table(times: Sequence[OperatorTime]) -> Table:
    """Return a row per operator, and their sum."""
    total = sum(each.time_ns for each in times)
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("#", "operator", "output", "time us", "share"):
        left = heading in ("operator", "output")
        rows.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for each in times:
        shape = "x".join(map(str, each.shape))
        rows.add_row(str(each.index), printable(each.op), shape, *_cells(each.time_ns, total))
    rows.add_section()
    rows.add_row("", "all", "", *_cells(total, total))
    return rows


def _cells(time_ns: int, total_ns: int) -> tuple[str, str]:
    return f"{time_ns / 1000:,.1f}", f"{time_ns / total_ns:.1%}" if total_ns else "-"
