"""Sweeps: networks timed on every combination of settings of a system, on all cores, as a table.

::

    from mensa.sched.sweep import sweep

    table = sweep("net.tflite", {"rows": [8, 16, 32], "memory.bandwidth_bytes_per_s": [8e9, 32e9]})
    table.write_csv("sweep.csv")
"""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mensa import golden
from mensa.golden import Graph, GraphError
from mensa.rtl.machine import Machine
from mensa.rtl.setting import MachineError
from mensa.sched.engines import EngineError
from mensa.sched.frames import table_of
from mensa.sched.journal import Journal
from mensa.sched.lower import Lowered, LoweringError, lower
from mensa.sched.lower.options import LoweringOptions
from mensa.sched.placement import all_on
from mensa.sched.placement.cell import find_system
from mensa.sched.run import Progress, silent, time_lowered
from mensa.sim.energy.technology import TechnologyError
from mensa.sim.host import HostConfigError
from mensa.sim.memory import MemoryConfigError
from mensa.sim.report import Report
from mensa.sim.soc import Setting, SocError, whole_number

if TYPE_CHECKING:
    import polars

__all__ = ["COLUMNS", "SweepError", "grid", "sweep", "without_effect"]

Row = dict[str, Any]

REFUSALS = (
    EngineError,
    GraphError,
    HostConfigError,
    LoweringError,
    MachineError,
    MemoryConfigError,
    SocError,
    TechnologyError,
)
"""What a configuration may be refused with."""

COLUMNS = {
    "cycles": "of all machines, each of its own clock",
    "time_us": "of all layers that are not on the host, microseconds",
    "host_us": "of those that are, an estimate",
    "macs": "of all layers but the host's",
    "utilization": "share of the machines' multiply-accumulates in that time, 0 to 1",
    "read_bytes": "over the data ports, whole beats",
    "write_bytes": "over the data ports",
    "cached_bytes": "of parameters and constants that stay on chip",
    "streamed_bytes": "of those that each inference loads",
    "spilled_bytes": "of results between an operator's own stages that go through memory",
    "energy_uj": "of all layers but the host's, and of machines that wait, microjoule",
    "pj_per_mac": "the same over the multiply-accumulates",
    "setup_cycles": "once, to load what stays on chip",
    "host_layers": "how many layers are on the host",
    "error": "why the configuration can't be; all else is null then",
}
"""What a row has behind the network's name and the settings."""


class SweepError(ValueError):
    """A sweep that can't be; the message says why."""


def grid(settings: Mapping[str, Iterable[Setting]]) -> list[dict[str, Setting]]:
    """Every combination of values, the last setting's changing fastest.

    A name may be several with ``=`` between them, such as ``rows=cols``: they have the same value.
    """
    values = [[whole_number(value) for value in each] for each in settings.values()]
    for name, found in zip(settings, values, strict=True):
        if not found:
            raise SweepError(f"{name} has no value")
    return [
        {
            name: value
            for names, value in zip(settings, chosen, strict=True)
            for name in names.split("=")
        }
        for chosen in itertools.product(*values)
    ]


def sweep(
    models: str | Path | Sequence[str | Path],
    settings: Mapping[str, Iterable[Setting]],
    *,
    soc: str = "edge_tpu",
    machine: str | None = None,
    rounding: str | None = None,
    options: LoweringOptions = LoweringOptions(),  # noqa: B008  it is frozen
    jobs: int | None = None,
    journal: str | Path | None = None,
    progress: Progress = silent,
) -> polars.DataFrame:
    """Time networks on every combination of settings.

    Parameters
    ----------
    models : path or list of paths
        The networks' .tflite files.
    settings : mapping of str to values
        As of `Soc.with_settings`, and of `LoweringOptions`, each with all its values; see `grid`.
    soc, machine : str, str or None
        A named system or a .toml file, and a machine in its place, as of ``mensa run``.
    rounding : "tflm", "litert" or None
        Whose arithmetic; None is each network's default.
    options : LoweringOptions
        How programs are made.
    jobs : int or None
        Processes; None is one for each core that this one may use.
    journal : path or None
        Where rows are kept as they come: the same sweep goes on there after it was stopped.
    progress : callable
        Called before the first row and after each: rows done, all rows, and how many processes.

    Returns
    -------
    polars.DataFrame
        A row for each network and combination, in their order: `network`, the settings, `COLUMNS`.
        A combination that is refused has `error`, and null elsewhere.

    Raises
    ------
    SweepError
        If there is no network or no value, or a process was killed.
    JournalError, FrameError
        If the journal is another sweep's; if polars is not installed.
    GraphError, SocError
        If a file can't be read.
    """
    paths = [Path(models)] if isinstance(models, str | Path) else [Path(each) for each in models]
    if not paths:
        raise SweepError("a sweep needs at least one network")
    combinations = grid(settings)
    table_of([])  # before the work
    for path in paths:
        _network(path)
    stems = [path.stem for path in paths]
    names = {path: path.stem if stems.count(path.stem) == 1 else str(path) for path in paths}
    cases = [(path, combination) for path in paths for combination in combinations]
    measure = functools.partial(_row, soc=soc, machine=machine, rounding=rounding, options=options)
    base = find_system(soc, machine=machine)
    about = {"system": base.to_json(), "rounding": rounding, "options": vars(options)}
    with Journal(journal, about, paths) as kept:
        rows = [kept.get(path, combination) for path, combination in cases]
        missing = [number for number, row in enumerate(rows) if row is None]
        done = len(cases) - len(missing)
        count = max(1, min(jobs or _cores(), len(missing)))
        what = f"timing on {count} processes" if count > 1 else "timing"
        progress(done, len(cases), what)
        for number, row in _measured(measure, cases, missing, count):
            rows[number] = row
            kept.add(*cases[number], row)
            done += 1
            progress(done, len(cases), what)
    return table_of(
        {"network": names[path], **combination, **(row or {})}
        for (path, combination), row in zip(cases, rows, strict=True)
    )


def without_effect(table: polars.DataFrame, settings: Iterable[str]) -> list[str]:
    """The settings with several values of which none changes a time or what moves."""
    numbers = [name for name in COLUMNS if name != "error"]
    names = [name for each in settings for name in each.split("=")]
    found = []
    for each in settings:
        tied = each.split("=")
        others = [name for name in ("network", *names) if name not in tied]
        alike = table.select(*others, *numbers).n_unique() == table.select(others).n_unique()
        if alike and table[tied[0]].n_unique() > 1:
            found.append(each)
    return found


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _measured(
    measure: Callable[[Path, Mapping[str, Setting]], Row],
    cases: Sequence[tuple[Path, Mapping[str, Setting]]],
    missing: Sequence[int],
    count: int,
) -> Iterator[tuple[int, Row]]:
    """Rows of the missing cases with their numbers, as they come from so many processes."""
    if count == 1:
        yield from ((number, measure(*cases[number])) for number in missing)
        return
    # Processes of their own, as threads would wait for each other; started afresh, as the caller
    # may have threads.
    context = multiprocessing.get_context("forkserver")
    with concurrent.futures.ProcessPoolExecutor(count, mp_context=context) as pool:
        pending = {pool.submit(measure, *cases[number]): number for number in missing}
        try:
            for future in concurrent.futures.as_completed(pending):
                yield pending.pop(future), future.result()
        except BrokenProcessPool as error:
            raise SweepError(
                "a process of the sweep was killed: use fewer jobs if memory is short; a script "
                'needs if __name__ == "__main__": around the call'
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _row(
    path: Path,
    settings: Mapping[str, Setting],
    *,
    soc: str,
    machine: str | None,
    rounding: str | None,
    options: LoweringOptions,
) -> Row:
    """What `COLUMNS` says of a network on a system with these settings."""
    ours = {name: settings[name] for name in vars(options) if name in settings}
    others = {name: value for name, value in settings.items() if name not in ours}
    try:
        graph = _network(path)
        switches = {name: _switch(name, value) for name, value in ours.items()}
        system = find_system(soc, others, machine=machine, network=graph, rounding=rounding)
        lowered = _lowered(graph, system.machines[0], rounding, replace(options, **switches))
        report = time_lowered(lowered, system)
    except REFUSALS as error:
        return {**dict.fromkeys(COLUMNS), "error": str(error)}
    return _columns(report, {each.name: each.peak_macs_per_cycle for each in system.machines})


@functools.lru_cache(maxsize=4)
def _lowered(
    graph: Graph, machine: Machine, rounding: str | None, options: LoweringOptions
) -> Lowered:
    """The network's programs: the same for combinations that differ in memory, host or technology,
    which follow each other."""
    golden.check_supported(graph, rounding)
    return lower(graph, all_on(machine), rounding, options, for_time=True)


def _switch(name: str, value: Setting) -> bool:
    if not isinstance(value, bool):
        raise SocError(f"{name} is on or off, not {value!r}")
    return value


def _columns(report: Report, peaks: Mapping[str, int]) -> dict[str, Any]:
    totals = report.machines
    macs = sum(total.macs for total in totals.values())
    most = sum(total.cycles * peaks[name] for name, total in totals.items())
    on_machines = [layer for layer in report.layers if layer.cycles is not None]
    return {
        "cycles": sum(total.cycles for total in totals.values()),
        "time_us": (report.time_ns_without_host or 0.0) / 1000,
        "host_us": (report.host_time_ns or 0.0) / 1000,
        "macs": macs,
        "utilization": macs / most if most else 0.0,
        "read_bytes": sum(layer.dram_read_bytes or 0 for layer in on_machines),
        "write_bytes": sum(layer.dram_write_bytes or 0 for layer in on_machines),
        "cached_bytes": report.parameter_bytes["cached"],
        "streamed_bytes": report.parameter_bytes["streamed"],
        "spilled_bytes": sum(layer.spilled_bytes or 0 for layer in on_machines),
        "energy_uj": sum((report.energy_pj or {}).values()) / 1e6,
        "pj_per_mac": report.pj_per_mac,
        "setup_cycles": sum(report.setup_cycles.values()),
        "host_layers": len(report.host_layers),
        "error": None,
    }


def _network(path: Path) -> Graph:
    """A network, read once in each process as long as its file stays as it is."""
    stamp = path.stat() if path.exists() else None
    return _load(path, stamp and stamp.st_mtime_ns, stamp and stamp.st_size)


@functools.lru_cache(maxsize=8)
def _load(path: Path, _modified: int | None, _size: int | None) -> Graph:
    return golden.load(path)
