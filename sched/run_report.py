"""The report of a run, put together from what was lowered, when it happened and how it compared."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from mensa.rtl.registers import CATEGORIES
from mensa.sched.engines import Engine
from mensa.sched.lower import Lowered, ProgramStep
from mensa.sched.roofline import bytes_per_cycle, roofline
from mensa.sim.energy.model import PICO, EnergyModel, LayerEvents, layer_events
from mensa.sim.engines.events import LayerTiming, RunTrace, timing_by_layer
from mensa.sim.host import HOST, NANOSECONDS, Host
from mensa.sim.host_work import operations, traffic_bytes
from mensa.sim.report import LayerReport, Report, TimingCheck
from mensa.sim.soc import Soc

__all__ = ["events_by_layer", "make_report"]


def make_report(
    lowered: Lowered,
    soc: Soc,
    engine: Engine,
    *,
    setups: Mapping[str, RunTrace | None],
    traces: Sequence[RunTrace | None],
    exact: Sequence[Mapping[int, bool]] | None,
    timing: TimingCheck | None,
    provenance: Mapping[str, Any],
) -> Report:
    """Return the report of a run, layer by layer.

    Parameters
    ----------
    lowered, soc, engine : Lowered, Soc, Engine
        What ran, on what, and who says so.
    setups : mapping of str to RunTrace or None
        Loading the parameters that stay on chip, by machine, where it took a program; None from an
        engine without times.
    traces : list of RunTrace or None
        Each program of one inference; None from an engine without times.
    exact : list of mappings of int to bool, or None
        For each inference, which operators gave golden's values, by index; None if that was not
        compared.
    timing : TimingCheck or None
        The timing model's numbers beside the engine's, if they were compared.
    provenance : mapping
        What the report is to say about its numbers besides the system and the versions.
    """
    timings = timing_by_layer(traces)
    models = {
        site.machine.name: EnergyModel(site.machine, site.memory, soc.technology)
        for site in soc.sites
    }
    events = events_by_layer(lowered)
    busy = {name: _busy(model, timings, lowered) for name, model in models.items()}
    layers = []
    for layer in lowered.layers:
        report = _layer_report(lowered, layer.index, engine, soc.host, timings.get(layer.index))
        if report.machine != HOST:
            own = events.get(layer.index, LayerEvents())
            report = dataclasses.replace(
                report,
                buffer_reads=dataclasses.asdict(own.compute.words),
                energy_events=own.to_json(),
                energy_pj=_energy(models[report.machine], own, report),
                roofline=_roofline(models[report.machine], report, busy[report.machine]),
            )
        if exact is not None:
            same = all(inference[layer.index] for inference in exact)
            report = dataclasses.replace(report, bit_exact=same)
        layers.append(report)
    return Report(
        mensa=metadata.version("mensa"),
        model=lowered.graph.name,
        soc=soc.name,
        engine=engine.name,
        layers=tuple(layers),
        provenance={
            "rounding": lowered.rounding,
            **provenance,
            **soc.to_json(),
            "area_mm2": {name: model.area_mm2 for name, model in models.items()},
            "static_w": {name: model.static_w for name, model in models.items()},
            "lowering": dataclasses.asdict(lowered.options),
            "versions": _versions(engine),
        },
        timing=timing,
        idle_pj=_idle_pj(models, layers, soc) if engine.has_times else None,
        setup_cycles={name: trace.cycles for name, trace in setups.items() if trace is not None},
    )


def events_by_layer(lowered: Lowered) -> dict[int, LayerEvents]:
    """What each layer's commands do, by its index."""
    return {
        tag: events
        for step in lowered.steps
        if isinstance(step, ProgramStep)
        for tag, events in layer_events(step.program.machine, step.program.commands()).items()
    }


def _energy(model: EnergyModel, events: LayerEvents, layer: LayerReport) -> dict[str, float] | None:
    """Of a layer on a machine; None without times."""
    if layer.time_ns is None:
        return None
    return model.of(events, layer.dram_read_bytes or 0, layer.dram_write_bytes or 0, layer.time_ns)


def _busy(model: EnergyModel, timings: Mapping[int, LayerTiming], lowered: Lowered) -> float:
    """Share of a machine's cycles in which the busier direction of its data port moves bytes."""
    own = [
        timing
        for index, timing in timings.items()
        if lowered.placement.machine(index) == model.machine
    ]
    cycles = sum(timing.cycles for timing in own)
    beats = max(sum(t.read_beats for t in own), sum(t.write_beats for t in own))
    moved = beats * model.machine.beat_bytes / bytes_per_cycle(model.machine, model.memory)
    return moved / cycles if cycles else 0.0


def _roofline(model: EnergyModel, layer: LayerReport, busy: float) -> dict[str, Any] | None:
    """Of a layer on a machine; None without times, and if it takes none."""
    if layer.cycles is None or layer.stalls is None:
        return None
    found = roofline(
        model.machine,
        model.memory,
        macs=layer.macs,
        cycles=layer.cycles,
        stalls=layer.stalls,
        read_bytes=layer.dram_read_bytes or 0,
        write_bytes=layer.dram_write_bytes or 0,
        busy=busy,
    )
    return None if found is None else found.to_json()


def _idle_pj(models: Mapping[str, EnergyModel], layers: Sequence[LayerReport], soc: Soc) -> float:
    """Leakage of each machine in the time of others, and of the host."""
    if soc.technology.power_gated:
        return 0.0
    nanoseconds = sum(layer.time_ns or 0.0 for layer in layers)
    own = {
        name: sum(layer.time_ns or 0.0 for layer in layers if layer.machine == name)
        for name in models
    }
    watts_ns = sum(model.static_w * (nanoseconds - own[name]) for name, model in models.items())
    return watts_ns * 1e-9 * PICO


def _layer_report(
    lowered: Lowered, index: int, engine: Engine, host: Host, timing: LayerTiming | None
) -> LayerReport:
    """What is known of a layer but for how its values compare."""
    graph = lowered.graph
    layer, operator = lowered.layers[index], graph.operators[index]
    output = graph.first_output(operator)
    machine = None if layer.reason is not None else lowered.placement.machine(index)
    cycles = read = written = stalls = time_ns = utilization = None
    if machine is not None and engine.has_times:
        # A layer without commands, such as a RESHAPE, whose output is its input, takes no time.
        cycles = timing.cycles if timing else 0
        stalls = timing.stalls if timing else dict.fromkeys(CATEGORIES, 0)
        read = timing.read_beats * machine.beat_bytes if timing else 0
        written = timing.write_beats * machine.beat_bytes if timing else 0
        time_ns = cycles * NANOSECONDS / machine.clock_hz
        if cycles:
            utilization = layer.macs / (cycles * machine.peak_macs_per_cycle)
    elif engine.has_times:
        time_ns = host.time_ns(operations(graph, operator), traffic_bytes(graph, operator))
    return LayerReport(
        index=index,
        op=layer.op,
        name=layer.name,
        shape=() if output is None else output.shape,
        machine=HOST if machine is None else machine.name,
        macs=layer.macs,
        cycles=cycles,
        time_ns=time_ns,
        utilization=utilization,
        stalls=stalls,
        dram_read_bytes=read,
        dram_write_bytes=written,
        parameter_bytes=(
            None
            if machine is None
            else {"cached": layer.cached_bytes, "streamed": layer.streamed_bytes}
        ),
        spilled_bytes=None if machine is None else layer.traffic.spilled_bytes,
        reason=layer.reason,
        copies=layer.copies,
        table_of=layer.table_of,
    )


def _versions(engine: Engine) -> dict[str, str]:
    """Versions of what made the numbers."""
    found = {name: metadata.version(name) for name in ("numpy", *engine.packages)}
    return {"python": platform.python_version(), **found}
