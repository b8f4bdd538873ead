"""`mensa run`: a network on an engine, and a report of every layer."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mensa.sched.cli.networks import check_outputs, load_network, notes, tell_notes
from mensa.sched.cli.options import (
    InputOption,
    JsonOption,
    MachineOption,
    RoundingOption,
    SeedOption,
    SetOption,
    SocOption,
    gathers,
)
from mensa.sched.cli.status import CHECK_FAILED

if TYPE_CHECKING:
    from mensa.golden import Graph
    from mensa.sched.digits import Samples
    from mensa.sched.lower.options import LoweringOptions
    from mensa.sched.placement import Placement
    from mensa.sched.run import Result
    from mensa.sim.soc import Site, Soc

DIGITS_SHOWN = 8
MOST_STEPS = 1_000_000
"""Inferences whose times a report can hold."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What `mensa run` takes; each field's help says what it is."""

    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]", help="A .tflite file; default: the bundled network, on digits."
        ),
    ] = None
    soc: SocOption = "edge_tpu"
    machine: MachineOption = None
    settings: SetOption = None
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="model|rtl|functional",
            help="Times from the timing model, values and times from the Verilated RTL, or values "
            "from the functional engine.",
        ),
    ] = "model"
    rounding: RoundingOption = None
    source: InputOption = None
    seed: SeedOption = 0
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            max=MOST_STEPS,
            help="Inferences in a row; random input number i has seed + i.",
        ),
    ] = None
    placement: Annotated[
        Path | None,
        typer.Option(
            "--placement",
            metavar="FILE.json",
            help='What runs where in a system with several machines: {"0": "big", "1": "host"} by '
            "operator; default: all on the first.",
        ),
    ] = None
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare every layer's output with golden, and RTL times with the timing model; "
            "with --engine rtl or functional.",
        ),
    ] = False
    json_file: JsonOption = None
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            help="Write a Chrome trace of all commands, for Perfetto; the host's time is not in "
            "it.",
        ),
    ] = None
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE.png|.svg|.pdf",
            help="Draw where the time and the energy of each layer go.",
        ),
    ] = None
    legend: Annotated[bool, typer.Option("--legend", help="Say what the table's columns are.")] = (
        False
    )
    vcd: Annotated[
        Path | None,
        typer.Option(
            "--vcd", metavar="FILE", help="Write the waves of all programs there (rtl; slow)."
        ),
    ] = None


@gathers(RunOptions)
def run(options: RunOptions) -> None:
    """Run a network and report every layer.

    Example: mensa run net.tflite --engine rtl --set rows=8 --set cols=8 --check --json report.json
    """
    from mensa.sched.cli.settings import choose_soc, says_cell, take_options
    from mensa.sched.engines import ENGINES, require_times
    from mensa.sched.placement.cell import fitted
    from mensa.sched.plots import check_plot_name
    from mensa.sim.soc import socs

    outputs = {
        "--json": options.json_file,
        "--trace": options.trace,
        "--plot": options.plot,
        "--vcd": options.vcd,
    }
    check_outputs(outputs, options.model, options.source, options.placement)
    if options.trace is not None and options.engine in ENGINES:
        require_times(ENGINES[options.engine], "--trace")
    if options.plot is not None:
        check_plot_name(options.plot)
        if options.engine in ENGINES:
            require_times(ENGINES[options.engine], "--plot")
    lowering, settings = take_options(options.settings or [])
    system = choose_soc(options.soc, options.machine, settings)
    task = _task(options)
    if options.soc in socs and not says_cell(settings):
        system = fitted(system, task.graph, options.rounding)
    result = _execute(task, system, lowering, options)
    _show(task, system, result, options)
    _write(task.graph, result, options)
    if not result.report.passed:
        raise typer.Exit(CHECK_FAILED)


@dataclass(frozen=True, eq=False)
class _Task:
    """A network and what goes into it.

    Attributes
    ----------
    graph : Graph
        The network.
    inputs : sequence of lists of arrays
        For each inference, the arrays in the graph's input order.
    source : str
        Where they come from, as the report says it.
    digits : Samples or None
        The bundled digits, if they are what goes in.
    """

    graph: Graph
    inputs: Sequence[list[Any]]
    source: str
    digits: Samples | None = None


def _task(options: RunOptions) -> _Task:
    from mensa.sched import digits
    from mensa.sched.inputs import InputSteps

    if options.model is None:
        graph = digits.load_network()
        if options.source is None:
            samples = digits.load_samples()
            images = samples.take(options.steps or DIGITS_SHOWN)
            return _Task(graph, [[image[None]] for image in images], "digits", samples)
    else:
        graph = load_network(options.model, options.rounding)
    source = options.source or "random"
    inputs = InputSteps(graph, source, options.seed, options.steps or 1, options.rounding)
    return _Task(graph, inputs, source)


def _placement(options: RunOptions, system: Soc) -> Placement | None:
    if options.placement is None:
        return None
    from mensa.sched.placement import load_placement

    return load_placement(options.placement, system.machines)


def _execute(task: _Task, system: Soc, lowering: LoweringOptions, options: RunOptions) -> Result:
    from mensa.sched.cli.progress import ProgressBar
    from mensa.sched.files import new_file
    from mensa.sched.inputs import blaming
    from mensa.sched.run import run_network

    with blaming(task.source), ProgressBar() as progress, contextlib.ExitStack() as stack:
        waves = None if options.vcd is None else stack.enter_context(new_file(options.vcd))
        return run_network(
            task.graph,
            system,
            task.inputs,
            engine=options.engine,
            rounding=options.rounding,
            options=lowering,
            placement=_placement(options, system),
            check=options.check,
            vcd=waves,
            provenance={"input": task.source, "seed": options.seed},
            progress=progress,
        )


def _write(graph: Graph, result: Result, options: RunOptions) -> None:
    """Write the files that are asked for; the waves are there already."""
    from mensa.sched.files import write_json, write_text

    if options.json_file is not None:
        write_json(options.json_file, result.report.to_json() | notes(graph))
    if options.trace is not None:
        from mensa.sched.chrome_trace import chrome_trace

        write_text(options.trace, chrome_trace(graph, result.traces))
    if options.plot is not None:
        from mensa.sched.report_plot import plot_report

        plot_report(result.report, options.plot)


def _show(task: _Task, system: Soc, result: Result, options: RunOptions) -> None:
    from mensa.golden.error import printable
    from mensa.sched.cli import table

    out = table.console()
    if task.digits is not None:
        _show_digits(task.graph, task.digits, result)
    title = f"{task.graph.name} on {_describe(system)}, engine {options.engine}"
    out.print(printable(title), soft_wrap=True)
    out.print(table.layer_table(result.report, out))
    for line in table.summary(result.report):
        out.print(line, soft_wrap=True)
    if options.legend:
        out.print(table.LEGEND, soft_wrap=True)
    tell_notes(task.graph)


def _show_digits(graph: Graph, samples: Samples, result: Result) -> None:
    from mensa.sched.digits import pictures

    (output,) = graph.outputs
    predictions = [int(outputs[output].argmax()) for outputs in result.outputs]
    for line in pictures(samples, predictions):
        print(line)
    right = sum(
        predicted == label for predicted, label in zip(predictions, samples.labels, strict=False)
    )
    print(f"{right} of {len(predictions)} digits read right\n")


def _port(site: Site) -> str:
    """What the data port lets through of each direction, if that is less than the memory gives."""
    most = site.machine.beat_bytes * site.machine.clock_hz
    if most >= site.memory.bandwidth_bytes_per_s:
        return ""
    return f", {most / 1e9:g} GB/s through the port"


def _describe(system: Soc) -> str:
    return ", ".join(
        f"{site.machine.name} ({site.machine.array.size}, {site.machine.clock_hz / 1e6:g} MHz) "
        f"with {site.memory.name} ({site.memory.latency_ns:g} ns, "
        f"{site.memory.bandwidth_bytes_per_s / 1e9:g} GB/s{_port(site)}"
        f"{', rows and refresh' if site.memory.rows else ''})"
        for site in system.sites
    )
