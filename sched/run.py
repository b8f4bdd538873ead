"""Running a network on an engine: lower, carry out, verify, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt

from mensa import golden
from mensa.golden import Graph
from mensa.golden.interpreter import first_values, run_operator, take_inputs
from mensa.sched.engines import (
    EngineError,
    Executor,
    TimingModel,
    find_engine,
    require_signals,
    require_values,
)
from mensa.sched.lower import (
    HostStep,
    Lowered,
    LoweringOptions,
    ProgramStep,
    lower,
    tensor_from_memory,
    tensor_to_memory,
)
from mensa.sched.lower.room import states
from mensa.sched.on_chip import OnChipReader
from mensa.sched.placement import Placement, all_on
from mensa.sched.run_report import make_report
from mensa.sched.verify import compare_times, compare_values
from mensa.sim.engines.events import ProgramTrace, RunTrace
from mensa.sim.host import NANOSECONDS
from mensa.sim.report import Report
from mensa.sim.soc import Soc

__all__ = ["Progress", "Result", "run_network", "silent", "time_lowered", "time_network"]

Values = npt.NDArray[Any]

Progress = Callable[[int, int, str], None]
"""Told before every piece of the work: pieces done, all pieces, words about the next."""


def silent(_done: int, _total: int, _what: str) -> None:
    """Progress that nobody is told of."""


@dataclass(frozen=True, eq=False)
class Result:
    """What `run_network` gives.

    Attributes
    ----------
    report : Report
        Layer by layer.
    traces : tuple of ProgramTrace
        Of the first inference: when each program ran, host time left out.
    compute : callable
        Gives `outputs`.
    """

    report: Report
    traces: tuple[ProgramTrace, ...]
    compute: Callable[[], Iterable[Mapping[int, Values]]]

    @cached_property
    def outputs(self) -> tuple[Mapping[int, Values], ...]:
        """Of each inference: the network's outputs by tensor index.

        The engine "model" asks golden for them now, as times don't depend on them. Raises:
        GraphError as `golden.run`.
        """
        return tuple(self.compute())


def run_network(
    graph: Graph,
    soc: Soc,
    inputs: Sequence[Sequence[Values]],
    *,
    engine: str = "model",
    rounding: str | None = None,
    options: LoweringOptions = LoweringOptions(),  # noqa: B008  it is frozen
    placement: Placement | None = None,
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
        For each inference, the arrays in the graph's input order, of the tensors' shapes and types.
    engine : str
        Name of one of `engines.ENGINES`.
    rounding : "tflm", "litert" or None
        Whose arithmetic; None is the graph's default.
    options : LoweringOptions
        How programs are made.
    placement : Placement or None
        Which of the system's machines runs what; None is everything on the first one.
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
        If the engine can't do what is asked, there are no inputs, or the memory is too small.
    GraphError, LoweringError, ToolError, RunError
        From golden, lowering and the engines.
    """
    chosen = find_engine(engine)
    if vcd is not None:
        require_signals(chosen, "--vcd")
    if check:
        require_values(chosen, "--check")
    if not inputs:
        raise EngineError("no inputs: ask for at least one inference")
    golden.check_supported(graph, rounding)
    placed = _placed(graph, soc, placement)
    lowered = lower(graph, placed, rounding, options, for_time=chosen.make is None)
    _check_memory(lowered, soc)
    if vcd is not None and len(lowered.placement.machines) > 1:
        names = ", ".join(machine.name for machine in lowered.placement.machines)
        raise EngineError(f"--vcd writes the waves of one machine, not of {names}; choose one")
    bench: _GoldenBench | _ExecutorBench
    if chosen.make is None:
        bench = _GoldenBench(lowered, soc)
    else:
        reader = OnChipReader(graph)
        # The hook costs time: it is there only if outputs are compared that never are in memory.
        on_chip = any(isinstance(step, ProgramStep) and step.on_chip for step in lowered.steps)
        hook = reader if check and on_chip else None
        executors = {
            site.machine.name: chosen.make(site, hook, vcd)
            for site in soc.sites
            if site.machine in lowered.placement.machines
        }
        bench = _ExecutorBench(lowered, executors, reader, check)
    meter = _Meter(progress, 0, 1 + len(inputs) * bench.pieces)
    meter.next("parameters that stay on chip")
    setups = bench.set_up()
    inferences = [bench.infer(arrays, meter) for arrays in inputs]
    timing = None
    if check and chosen.is_rtl:
        timing = compare_times(lowered, soc, setups, [each.traces for each in inferences])
    report = make_report(
        lowered,
        soc,
        chosen,
        setups=setups,
        traces=inferences[0].traces,
        exact=[each.exact for each in inferences] if check else None,
        timing=timing,
        provenance={"inferences": len(inputs), **(provenance or {})},
    )
    return Result(
        report=report,
        traces=_placed_in_time(lowered, inferences[0].traces),
        compute=lambda: bench.outputs(inputs),
    )


def time_network(
    graph: Graph,
    soc: Soc,
    *,
    rounding: str | None = None,
    options: LoweringOptions = LoweringOptions(),  # noqa: B008  it is frozen
    placement: Placement | None = None,
) -> Report:
    """What the timing model says of an inference, whatever the values; no weight is touched.

    Parameters and errors: as of `run_network`.
    """
    golden.check_supported(graph, rounding)
    placed = _placed(graph, soc, placement)
    return time_lowered(lower(graph, placed, rounding, options, for_time=True), soc)


def time_lowered(lowered: Lowered, soc: Soc) -> Report:
    """The same of a network that has been lowered for machines of the system, on any memories.

    Raises: EngineError if it needs more memory than there is.
    """
    _check_memory(lowered, soc)
    model = TimingModel(lowered, soc)
    return make_report(
        lowered,
        soc,
        find_engine("model"),
        setups=model.setups(),
        traces=model.inference(),
        exact=None,
        timing=None,
        provenance={"inferences": 1},
    )


def _check_memory(lowered: Lowered, soc: Soc) -> None:
    """Raise EngineError if the programs need more memory than there is."""
    for machine in lowered.placement.machines:
        memory = soc.memory_of(machine.name)
        if lowered.memory_bytes > memory.size_bytes:
            raise EngineError(
                f"{lowered.graph.name} needs {lowered.memory_bytes} B of memory, {memory.name} has "
                f"{memory.size_bytes}; raise its size_bytes"
            )


@dataclass
class _Meter:
    """Counts the pieces of all inferences for whoever is told of the progress."""

    progress: Progress
    done: int
    total: int

    def next(self, what: str) -> None:
        """Say what comes next."""
        self.progress(self.done, self.total, what)
        self.done += 1


@dataclass(frozen=True, eq=False)
class _Inference:
    """One inference.

    Attributes
    ----------
    exact : mapping of int to bool
        By operator index, whether it gave golden's values; empty if that was not compared.
    traces : tuple of RunTrace or None
        When everything happened in each program; None from an engine without times.
    """

    exact: Mapping[int, bool]
    traces: tuple[RunTrace | None, ...]


class _GoldenBench:
    """Values from golden when they are asked for, times from the timing model."""

    pieces = 1
    """Of the work of one inference."""

    def __init__(self, lowered: Lowered, soc: Soc) -> None:
        self._lowered = lowered
        self._model = TimingModel(lowered, soc)
        self._traces: tuple[RunTrace, ...] = ()

    def set_up(self) -> Mapping[str, RunTrace | None]:
        """Time of loading the parameters that stay on chip, by machine."""
        return self._model.setups()

    def infer(self, arrays: Sequence[Values], meter: _Meter) -> _Inference:
        """Times of one inference, whose inputs are only looked at."""
        take_inputs(self._lowered.graph, arrays)
        meter.next("timing model")
        self._traces = self._traces or self._model.inference()  # whatever the values
        return _Inference({}, self._traces)

    def outputs(self, inputs: Sequence[Sequence[Values]]) -> Iterator[Mapping[int, Values]]:
        """The outputs of inferences in a row, by tensor index."""
        graph, rounding = self._lowered.graph, self._lowered.rounding
        state: Mapping[int, Values] = {}
        for arrays in inputs:
            values = golden.run(graph, list(arrays), rounding=rounding, state=state)
            state = values.state
            yield _outputs(graph, values)


class _ExecutorBench:
    """Programs carried out on memory, and the host's operators, for one inference after another.

    A recurrent network keeps its state from one to the next.

    Parameters
    ----------
    lowered : Lowered
        The network.
    executors : mapping of str to Executor
        What carries out the programs of a machine, by its name.
    reader : OnChipReader
        Told of the executors' commands if outputs are compared that never are in memory.
    check : bool
        Whether to compare every layer with golden.
    """

    def __init__(
        self,
        lowered: Lowered,
        executors: Mapping[str, Executor],
        reader: OnChipReader,
        check: bool,
    ) -> None:
        self._lowered = lowered
        self._executors = executors
        self._reader = reader
        self._check = check
        self._memory = lowered.initial_memory()
        self._outputs: list[Mapping[int, Values]] = []
        self._state = dict(first_values(lowered.graph, lowered.rounding))

    @property
    def pieces(self) -> int:
        """Of the work of one inference."""
        return len(self._lowered.steps) + self._check

    def set_up(self) -> Mapping[str, RunTrace | None]:
        """Load the parameters that stay on chip. Returns: when that was, by machine."""
        self._reader.begin(None)
        return {
            name: self._executors[name].run(setup, self._memory)
            for name, setup in self._lowered.setups.items()
        }

    def infer(self, arrays: Sequence[Values], meter: _Meter) -> _Inference:
        """Run all steps on one input."""
        graph, before = self._lowered.graph, self._state
        values: dict[int, Values] = dict(zip(graph.inputs, arrays, strict=True))
        self._put(values)
        traces = []
        for step in self._lowered.steps:
            meter.next(_describe(self._lowered, step))
            if isinstance(step, HostStep):
                self._compute(step, values)
            else:
                traces.append(self._execute(step, values))
        # Constants and states are outputs that no step gave.
        values |= self._get(index for index in graph.outputs if index not in values)
        exact = {}
        if self._check:
            meter.next("golden")
            wanted = golden.run(
                graph, list(arrays), keep="all", rounding=self._lowered.rounding, state=before
            )
            exact = compare_values(self._lowered, values, self._state, wanted)
        self._outputs.append(_outputs(graph, values))
        return _Inference(exact, tuple(traces))

    def outputs(self, _inputs: Sequence[Sequence[Values]]) -> Iterable[Mapping[int, Values]]:
        """The outputs of the inferences so far, by tensor index."""
        return self._outputs

    def _compute(self, step: HostStep, values: dict[int, Values]) -> None:
        """Compute an operator on the host, and add its outputs to `values`."""
        graph = self._lowered.graph
        operator = graph.operators[step.operator]
        found = run_operator(graph, operator, values, self._lowered.rounding, self._state)
        self._state = dict(found.state)
        values |= found
        self._put(self._state | found)

    def _execute(self, step: ProgramStep, values: dict[int, Values]) -> RunTrace | None:
        """Carry out a program, and add the outputs of its layers to `values`."""
        self._reader.begin(step)
        trace = self._executors[step.program.machine.name].run(step.program, self._memory)
        values |= self._reader.values
        values |= self._get(
            index
            for layer in step.program.layers
            for index in self._lowered.graph.operators[layer].outputs
            if index in self._lowered.tensors
        )
        graph, rounding = self._lowered.graph, self._lowered.rounding
        self._state = self._state | self._get(
            index
            for layer in step.program.layers
            for index in states(graph, graph.operators[layer], rounding)
        )
        return trace

    def _put(self, values: Mapping[int, Values]) -> None:
        """Write tensors to their places in memory; one that only the host reads has none."""
        for index, value in values.items():
            if index in self._lowered.tensors:
                address = self._lowered.tensors[index]
                content = tensor_to_memory(self._lowered.graph.tensors[index], value)
                self._memory[address : address + content.size] = content

    def _get(self, indices: Iterable[int]) -> dict[int, Values]:
        """Read tensors from their places in memory."""
        tensors = self._lowered.graph.tensors
        return {
            index: tensor_from_memory(tensors[index], self._memory, self._lowered.tensors[index])
            for index in indices
        }


def _outputs(graph: Graph, values: Mapping[int, Values]) -> dict[int, Values]:
    """The network's outputs; nothing else is kept of an inference."""
    return {index: values[index] for index in graph.outputs}


def _describe(lowered: Lowered, step: HostStep | ProgramStep) -> str:
    if isinstance(step, HostStep):
        return f"{lowered.graph.operators[step.operator].op} on the host"
    layers = step.program.layers
    return f"layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else f"layer {layers[0]}"


def _placed(graph: Graph, soc: Soc, placement: Placement | None) -> Placement:
    """The placement to lower for. Raises: EngineError if it is of another network or system."""
    if placement is None:
        return all_on(soc.machines[0])
    for operator in placement.operators:
        if operator not in range(len(graph.operators)):
            raise EngineError(
                f"operator {operator} is placed; {graph.name} has 0 to {len(graph.operators) - 1}"
            )
    for machine in placement.machines:
        if machine not in soc.machines:
            raise EngineError(f"{soc.name} has no machine {machine.name!r} as it is placed on")
    return placement


def _placed_in_time(
    lowered: Lowered, traces: Sequence[RunTrace | None]
) -> tuple[ProgramTrace, ...]:
    """Programs one after another, each by its machine's clock."""
    placed, start = [], 0.0
    for program, trace in zip(lowered.programs, traces, strict=True):
        if trace is not None:
            placed.append(ProgramTrace(program.machine, start, trace))
            start += trace.cycles * NANOSECONDS / program.machine.clock_hz
    return tuple(placed)
