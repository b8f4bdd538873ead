"""The command events of a run as a Chrome trace, which Perfetto and about:tracing show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mensa.golden import Graph
from mensa.rtl.commands import Unit
from mensa.rtl.strict_json import json_text
from mensa.sim.engines.events import RunTrace
from mensa.sim.soc import Soc

__all__ = ["chrome_trace"]

MICROSECONDS = 1_000_000


def chrome_trace(graph: Graph, soc: Soc, traces: Sequence[tuple[float, RunTrace]]) -> str:
    """Return the trace's JSON: a row per unit, a bar per command.

    Parameters
    ----------
    graph : Graph
        Whose layers the bars are named after.
    soc : Soc
        Whose clock turns cycles into time.
    traces : pairs of float and RunTrace
        Start of each program in nanoseconds, and its events.

    Notes
    -----
    The format counts in microseconds; bars are exact to the nanosecond and below.
    """
    clock = soc.machine.clock_hz
    rows: list[dict[str, Any]] = [
        {"ph": "M", "pid": 0, "name": "process_name", "args": {"name": soc.machine.name}}
    ]
    rows += [
        {
            "ph": "M",
            "pid": 0,
            "tid": int(u),
            "name": "thread_name",
            "args": {"name": u.name.lower()},
        }
        for u in Unit
    ]
    for start_ns, trace in traces:
        for event in trace.events:
            rows.append(
                {
                    "ph": "X",
                    "pid": 0,
                    "tid": int(event.unit),
                    "name": f"{event.tag} {graph.operators[event.tag].op}",
                    "ts": start_ns / 1000 + event.start * MICROSECONDS / clock,
                    "dur": (event.done + 1 - event.start) * MICROSECONDS / clock,
                    "args": {"layer": event.tag, "cycle": event.start, "beats": event.beats},
                }
            )
    return json_text({"displayTimeUnit": "ns", "traceEvents": rows}, indent=None)
