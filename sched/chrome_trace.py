"""The command events of a run as a Chrome trace, which Perfetto and about:tracing show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mensa.golden import Graph
from mensa.rtl.commands import Unit
from mensa.rtl.strict_json import json_text
from mensa.sim.engines.events import ProgramTrace

__all__ = ["chrome_trace"]

MICROSECONDS = 1_000_000


def chrome_trace(graph: Graph, traces: Sequence[ProgramTrace]) -> str:
    """Return the trace's JSON: a process per machine, a row per unit, a bar per command.

    Parameters
    ----------
    graph : Graph
        Whose layers the bars are named after.
    traces : sequence of ProgramTrace
        When each program ran, and on which machine.

    Notes
    -----
    The format counts in microseconds; bars are exact to the nanosecond and below. The host has
    no bars and takes no time here: its time is estimated, what is shown is not.
    """
    clocks = {each.machine.name: each.machine.clock_hz for each in traces}
    numbers = {name: number for number, name in enumerate(clocks)}
    rows: list[dict[str, Any]] = []
    for name, number in numbers.items():
        process = {"ph": "M", "pid": number}
        label = f"{clocks[name] / 1e6:g} MHz"
        rows.append({**process, "name": "process_name", "args": {"name": name}})
        rows.append({**process, "name": "process_labels", "args": {"labels": label}})
        rows += [
            {**process, "tid": int(u), "name": "thread_name", "args": {"name": u.name.lower()}}
            for u in Unit
        ]
    for each in traces:
        clock = each.machine.clock_hz
        for event in each.trace.events:
            rows.append(
                {
                    "ph": "X",
                    "pid": numbers[each.machine.name],
                    "tid": int(event.unit),
                    "name": f"{event.tag} {graph.operators[event.tag].op}",
                    "ts": each.start_ns / 1000 + event.start * MICROSECONDS / clock,
                    "dur": (event.done + 1 - event.start) * MICROSECONDS / clock,
                    "args": {"layer": event.tag, "cycle": event.start, "beats": event.beats},
                }
            )
    about = {"clock_hz": clocks}
    return json_text(
        {"displayTimeUnit": "ns", "otherData": about, "traceEvents": rows}, indent=None
    )
