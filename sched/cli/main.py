"""The command line: `mensa` and its subcommands.

Everything that can go wrong is an exception of the package that knows, and is turned into one line
and an exit status here, in `invoke`: 0 is success, 1 a check that failed, 2 bad input, 130 Ctrl-C.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mensa.sched.cli.status import BAD_INPUT, INTERRUPTED, interrupted

if TYPE_CHECKING:
    from mensa.golden import Graph, Tensor
    from mensa.sched.digits import Samples
    from mensa.sched.lower.options import LoweringOptions
    from mensa.sched.run import Result
    from mensa.sim.soc import Soc

__all__ = ["app", "invoke", "main"]

# What a command needs is imported when it runs, so that --help comes at once.

CHECK_FAILED = 1

STDOUT = 1
"""File descriptor; typer may have wrapped the file."""

DIGITS_SHOWN = 8
MOST_STEPS = 1_000_000
"""Inferences whose times a report can hold."""
MOST_MHZ = 1e6
MOST_SECONDS = 1e6
TOP_OUTPUTS = 5

app = typer.Typer(
    name="mensa",
    help="Runs int8 networks on open accelerators: bit-exact, and to the cycle.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite file.")]
SocOption = Annotated[
    str, typer.Option("--soc", metavar="NAME|FILE.toml", help="The system: machine and memory.")
]
MachineOption = Annotated[
    str | None, typer.Option("--machine", metavar="NAME", help="Another machine in the system.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the machine (rows=8), the memory (memory.latency_ns=60) or of how "
        "programs are made (prefetch=off, residency=off); repeatable.",
    ),
]
MachineSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the machine (rows=8); repeatable.",
    ),
]
CompileSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the machine (rows=8) or of how programs are made (prefetch=off, "
        "residency=off); repeatable.",
    ),
]


class Rounding(StrEnum):
    """What `--rounding` takes; each is its own name for golden."""

    TFLM = "tflm"
    LITERT = "litert"


RoundingOption = Annotated[
    Rounding | None,
    typer.Option(
        "--rounding",
        metavar="tflm|litert",
        help="Whose arithmetic: TFLM (default for int8 files) or LiteRT BUILTIN_REF (for uint8).",
    ),
]
InputOption = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="FILE.npy|FILE.npz|random|zeros",
        help="What goes in; .npz arrays are named by tensor index. Default: random.",
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Seed of random input.")
]
MachineArgument = Annotated[
    str, typer.Argument(metavar="MACHINE", help="A named machine: edge_tpu.")
]
DirectoryOption = Annotated[
    Path,
    typer.Option(
        "-o", "--output", metavar="DIR", help="A directory: new, empty, or made by this command."
    ),
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result there as JSON.")
]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mensa {metadata.version('mensa')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_version),
    ] = False,
) -> None:
    pass


@app.command()
def run(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]", help="A .tflite file; default: the bundled network, on digits."
        ),
    ] = None,
    soc: SocOption = "edge_tpu",
    machine: MachineOption = None,
    settings: SetOption = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="model|rtl|functional",
            help="Times from the timing model, values and times from the Verilated RTL, or values "
            "from the functional engine.",
        ),
    ] = "model",
    rounding: RoundingOption = None,
    source: InputOption = None,
    seed: SeedOption = 0,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            max=MOST_STEPS,
            help="Inferences in a row; random input number i has seed + i.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare every layer's output with golden, and RTL times with the timing model; "
            "with --engine rtl or functional.",
        ),
    ] = False,
    json_file: JsonOption = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace", metavar="FILE", help="Write a Chrome trace of all commands, for Perfetto."
        ),
    ] = None,
    vcd: Annotated[
        Path | None,
        typer.Option(
            "--vcd", metavar="FILE", help="Write the waves of all programs there (rtl; slow)."
        ),
    ] = None,
) -> None:
    """Run a network and report every layer.

    Example: mensa run net.tflite --engine rtl --set rows=8 --set cols=8 --check --json report.json
    """
    from mensa.golden.error import printable
    from mensa.sched import digits
    from mensa.sched.cli import table
    from mensa.sched.cli.settings import choose_soc, take_options
    from mensa.sched.files import write_json, write_text
    from mensa.sched.inputs import InputSteps, blaming
    from mensa.sched.run import EngineError

    _check_outputs({"--json": json_file, "--trace": trace, "--vcd": vcd}, model, source)
    if trace is not None and engine == "functional":
        raise EngineError(
            "--trace needs --engine model or rtl; the engine 'functional' knows no time"
        )
    options, ours = take_options(settings or [])
    system = choose_soc(soc, machine, ours)
    samples = None
    if model is None:
        graph = digits.load_network()
        samples = digits.load_samples() if source is None else None
    else:
        graph = _load(model, rounding)
    if samples is not None:
        inputs: Sequence[list[Any]] = [
            [image[None]] for image in samples.take(steps or DIGITS_SHOWN)
        ]
        source = "digits"
    else:
        source = source or "random"
        inputs = InputSteps(graph, source, seed, steps or 1, rounding)

    with blaming(source):
        result = _run(
            graph,
            system,
            inputs,
            engine,
            rounding,
            options,
            check,
            vcd,
            {"input": source, "seed": seed},
        )
    if json_file is not None:
        write_json(json_file, result.report.to_json() | _notes(graph))
    if trace is not None:
        from mensa.sched.chrome_trace import chrome_trace

        write_text(trace, chrome_trace(graph, system, result.traces))

    out = table.console()
    if samples is not None:
        _show_digits(graph, samples, result)
    out.print(printable(f"{graph.name} on {_name(system)}, engine {engine}"), soft_wrap=True)
    out.print(table.layer_table(result.report, out))
    for line in table.summary(result.report):
        out.print(line, soft_wrap=True)
    _tell_notes(graph)
    if not result.report.passed:
        raise typer.Exit(CHECK_FAILED)


def _run(
    graph: Graph,
    system: Soc,
    inputs: Sequence[Sequence[Any]],
    engine: str,
    rounding: str | None,
    options: LoweringOptions,
    check: bool,
    vcd: Path | None,
    provenance: dict[str, Any],
) -> Result:
    from mensa.sched.cli.progress import ProgressBar
    from mensa.sched.files import new_file
    from mensa.sched.run import run_network

    with ProgressBar() as progress, contextlib.ExitStack() as stack:
        waves = None if vcd is None else stack.enter_context(new_file(vcd))
        return run_network(
            graph,
            system,
            inputs,
            engine=engine,
            rounding=rounding,
            options=options,
            check=check,
            vcd=waves,
            provenance=provenance,
            progress=progress,
        )


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


def _name(system: Soc) -> str:
    machine, memory = system.machine, system.memory
    return (
        f"{machine.name} ({machine.rows} x {machine.cols}, {machine.clock_hz / 1e6:g} MHz) "
        f"with {memory.name} ({memory.latency_ns:g} ns, "
        f"{memory.bandwidth_bytes_per_s / 1e9:g} GB/s)"
    )


@app.command()
def golden(
    model: ModelArgument,
    source: InputOption = None,
    seed: SeedOption = 0,
    rounding: RoundingOption = None,
    save_tensors: Annotated[
        Path | None,
        typer.Option(
            "--save-tensors",
            metavar="FILE.npz",
            help="Write every tensor there, inputs included, named by tensor index.",
        ),
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Compute a network with the golden model, bit-exact with TensorFlow Lite.

    Example: mensa golden net.tflite --input image.npy --save-tensors tensors.npz
    """
    import numpy as np

    from mensa import golden as model_of
    from mensa.golden.error import printable
    from mensa.sched import profile
    from mensa.sched.cli import table
    from mensa.sched.cli.progress import ProgressBar
    from mensa.sched.files import new_file, write_json
    from mensa.sched.inputs import blaming, make_inputs

    _check_outputs({"--json": json_file, "--save-tensors": save_tensors}, model, source)
    graph = _load(model, rounding)
    source = source or "random"
    inputs = make_inputs(graph, source, seed, rounding)
    with blaming(source), ProgressBar() as progress:
        progress(0, 2, "computing")
        tensors = model_of.run(graph, inputs, keep="all", rounding=rounding)
        progress(1, 2, "timing every operator")
        times = profile.operator_times(graph, tensors, rounding)
    if save_tensors is not None:
        with new_file(save_tensors) as temporary, temporary.open("wb") as file:
            named: dict[str, Any] = {str(index): array for index, array in tensors.items()}
            np.savez(file, **named)
    if json_file is not None:
        answer = {
            "model": graph.name,
            "rounding": tensors.rounding,
            "operators": [each.to_json() for each in times],
            "outputs": [
                {
                    "index": index,
                    "name": graph.tensors[index].name,
                    "values": tensors[index].tolist(),
                }
                for index in graph.outputs
            ],
            **_notes(graph),
        }
        write_json(json_file, answer)
    out = table.console()
    out.print(printable(f"{graph.name}, {tensors.rounding} rounding"), soft_wrap=True)
    out.print(profile.table(times))
    for index in graph.outputs:
        for line in _largest(graph.tensors[index], tensors[index]):
            out.print(line, soft_wrap=True)
    _tell_notes(graph)


def _largest(tensor: Tensor, array: Any) -> Iterator[str]:
    """Lines about an output: its largest elements, and the real numbers that they stand for."""
    import numpy as np

    yield f"{tensor}: {array.dtype} {list(array.shape)}"
    best = np.argsort(-array.ravel().astype(np.float64), kind="stable")[:TOP_OUTPUTS]
    for place in best.tolist():
        value = array.ravel()[place].item()
        real = ""
        if tensor.scale.size == 1:
            zero_point = int(tensor.zero_point[0])
            real = f"  {(value - zero_point) * float(tensor.scale[0]):.6g}"
        yield f"  [{place}] {value}{real}"


@app.command()
def inspect(
    model: ModelArgument, rounding: RoundingOption = None, json_file: JsonOption = None
) -> None:
    """Show a network's layers, and which the accelerator does not take and why.

    Example: mensa inspect net.tflite
    """
    from mensa.sched import inspection
    from mensa.sched.cli import table
    from mensa.sched.files import write_json

    _check_outputs({"--json": json_file}, model)
    graph = _load(model, rounding, check=False)
    layers = inspection.inspect(graph, rounding)
    if json_file is not None:
        answer = {
            "model": graph.name,
            "layers": [layer.to_json() for layer in layers],
            "totals": inspection.total(layers).to_json(),
            **_notes(graph),
        }
        write_json(json_file, answer)
    out = table.console()
    out.print(inspection.table(layers))
    for line in inspection.summary(layers):
        out.print(line, soft_wrap=True)
    _tell_notes(graph)


@app.command("compile")
def compile_model(
    model: ModelArgument,
    output: DirectoryOption,
    machine: Annotated[
        str, typer.Option("--machine", metavar="NAME", help="The machine that will run it.")
    ] = "edge_tpu",
    settings: CompileSetOption = None,
    rounding: RoundingOption = None,
    base: Annotated[
        str,
        typer.Option(
            "--base", metavar="ADDRESS", help="Where the network's memory begins, as 0x80000000."
        ),
    ] = "0",
) -> None:
    """Write what a network needs on a core: programs, parameters, memory map, C header.

    Example: mensa compile net.tflite --machine edge_tpu --set rows=8 --set cols=8 -o network
    """
    from mensa.rtl.program import ProgramError
    from mensa.sched.cli.settings import choose_machine, take_options
    from mensa.sched.compile import compile_network
    from mensa.sched.lower import lower
    from mensa.sched.placement import all_on

    try:
        address = int(base, 0)
    except ValueError:
        raise ProgramError(f"--base {base}: write a number, as 0x80000000") from None
    options, ours = take_options(settings or [])
    chosen = choose_machine(machine, ours)
    graph = _load(model, rounding)
    lowered = lower(graph, all_on(chosen), rounding, options)
    for path in compile_network(lowered, output, address):
        print(path)
    _tell_notes(graph)


@app.command()
def rtl(
    machine: MachineArgument,
    output: DirectoryOption,
    settings: MachineSetOption = None,
) -> None:
    """Write a machine's Verilog, register map, C header and file list.

    Example: mensa rtl edge_tpu --set rows=8 --set cols=8 -o hardware
    """
    from mensa.sched.cli.progress import ProgressBar
    from mensa.sched.cli.settings import choose_machine
    from mensa.sched.generate import generate

    chosen = choose_machine(machine, settings or [])
    with ProgressBar() as progress:
        progress(0, 1, "writing Verilog")
        files = generate(chosen, output)
    for path in files:
        print(path)


@app.command()
def synth(
    machine: MachineArgument,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="ecp5-25k|ecp5-85k|xc7",
            help="The FPGA. ECP5: placed and routed; xc7: resources only.",
        ),
    ],
    settings: MachineSetOption = None,
    speed_grade: Annotated[
        int,
        typer.Option(
            "--speed-grade", metavar="6|7|8", min=6, max=8, help="Of an ECP5; 8 is the fastest."
        ),
    ] = 6,
    frequency: Annotated[
        float | None,
        typer.Option(
            "--frequency",
            metavar="MHZ",
            min=1,
            max=MOST_MHZ,
            help="Clock that is wanted; slower is exit status 1. Without it, aims at 100.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=1, help="Seed of place and route.")
    ] = 1,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=1,
            max=MOST_SECONDS,
            help="When the tools are stopped.",
        ),
    ] = 3600,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Keep Verilog, netlist, logs and reports in this directory: new, empty, or made "
            "by this command.",
        ),
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Synthesise a machine for an FPGA: resources, highest clock, critical path.

    Example: mensa synth edge_tpu --set rows=2 --set cols=2 --set parameter_buffer_bytes=8192 --set
    activation_buffer_bytes=8192 --target ecp5-25k
    """
    from mensa.rtl.fpga.errors import SynthesisError
    from mensa.rtl.fpga.estimate import check_fits
    from mensa.rtl.fpga.synthesis import FILES, find_device, synthesize
    from mensa.sched.cli import synth_text
    from mensa.sched.cli.progress import ProgressBar
    from mensa.sched.cli.settings import choose_machine
    from mensa.sched.files import fresh_directory, write_json

    _check_outputs({"--json": json_file})
    device = find_device(target)
    if frequency is not None and device.option is None:
        raise SynthesisError(f"{target} is not placed, so it has no clock for --frequency to hold")
    chosen = choose_machine(machine, settings or [])
    check_fits(chosen, device)
    wanted_hz = (frequency or 100) * 1e6
    with contextlib.ExitStack() as stack:
        if output is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mensa.")))
        else:
            directory = stack.enter_context(fresh_directory(output, FILES))
        progress = stack.enter_context(ProgressBar())
        result = synthesize(
            chosen,
            device,
            directory,
            speed_grade=speed_grade,
            frequency_hz=wanted_hz,
            seed=seed,
            timeout_s=timeout,
            progress=progress,
        )
    for line in synth_text.lines(result):
        print(line)
    if json_file is not None:
        write_json(json_file, result.to_json())
    if frequency is not None and result.fmax_hz is not None and result.fmax_hz < wanted_hz:
        print(f"slower than the {frequency:g} MHz that are wanted")
        raise typer.Exit(CHECK_FAILED)


@app.command()
def disasm(
    program: Annotated[
        Path, typer.Argument(metavar="FILE|MODEL", help="A saved program (.npz) or a .tflite file.")
    ],
    soc: SocOption = "edge_tpu",
    machine: MachineOption = None,
    settings: SetOption = None,
    rounding: RoundingOption = None,
) -> None:
    """Print the commands of a program, or of the programs that a network is lowered to.

    Example: mensa disasm net.tflite --set rows=8 --set cols=8
    """
    from mensa.rtl.program import Program, disassemble
    from mensa.sched.cli.settings import SettingError

    graph = None
    if program.suffix == ".npz":
        if machine is not None or settings or rounding is not None:
            raise SettingError(
                f"{program} is a saved program: --machine, --set and --rounding are for networks"
            )
        programs: Sequence[Program] = [Program.load(program)]
    else:
        from mensa.sched.cli.settings import choose_soc, take_options
        from mensa.sched.lower import lower
        from mensa.sched.placement import all_on

        options, ours = take_options(settings or [])
        system = choose_soc(soc, machine, ours)
        graph = _load(program, rounding)
        programs = lower(graph, all_on(system.machine), rounding, options).programs
    for number, each in enumerate(programs):
        if len(programs) > 1:
            print(f"program {number}")
        for line in disassemble(each.words):
            print(line)
    if graph is not None:
        _tell_notes(graph)


@app.command()
def doctor(json_file: JsonOption = None) -> None:
    """Say which tools are there, which are missing, and how to get them.

    Example: mensa doctor
    """
    from mensa.sched.cli.doctor import examine
    from mensa.sched.files import check_writable, write_json

    check_writable(json_file)
    findings = examine()
    for finding in findings:
        if not finding.missing:
            state = f"{finding.version}"
        else:
            state = f"MISSING{'' if finding.needed else ' (optional)'}: {finding.remedy}"
        print(f"{finding.tool:19} {finding.purpose:42} {state}")
    if json_file is not None:
        answer = [finding.to_json() for finding in findings]
        write_json(json_file, answer)
    if any(finding.missing and finding.needed for finding in findings):
        raise typer.Exit(CHECK_FAILED)


def _check_outputs(paths: dict[str, Path | None], *sources: Path | str | None) -> None:
    """Raise OutputError if the files given by option can't all be written, or are read, too."""
    from mensa.sched.files import OutputError, check_distinct, check_writable

    for path in paths.values():
        check_writable(path)
    check_distinct(paths)
    read = [Path(source) for source in sources if source is not None and Path(source).is_file()]
    for option, path in paths.items():
        for source in read:
            if path is not None and path.exists() and path.samefile(source):
                raise OutputError(f"{option} would replace {source}, which is read; name another")


def _load(model: Path, rounding: str | None, check: bool = True) -> Graph:
    """Read a network that golden can run. Raises: GraphError that names the file."""
    from mensa import golden as model_of

    graph = model_of.load(model)
    if check:
        try:
            model_of.check_supported(graph, rounding)
        except model_of.GraphError as error:
            raise model_of.GraphError(f"{model}: {error}") from error
    return graph


def _notes(graph: Graph) -> dict[str, list[str]]:
    """What JSON files have of reading the network."""
    return {"notes": list(graph.notes)}


def _tell_notes(graph: Graph) -> None:
    """Print what reading the network left out or worked out, below all else."""
    from mensa.golden.error import printable

    for note in graph.notes:
        print(printable(f"note: {note}"))


BAD_INPUT_ERRORS = {
    "mensa.golden.error": ("GraphError",),
    "mensa.rtl.machine": ("MachineError",),
    "mensa.rtl.program": ("ProgramError",),
    "mensa.sched.files": ("OutputError",),
    "mensa.sched.inputs": ("InputError",),
    "mensa.sched.lower.error": ("LoweringError",),
    "mensa.sched.placement.placement": ("PlacementError",),
    "mensa.sched.run": ("EngineError",),
    "mensa.sched.cli.settings": ("SettingError",),
    "mensa.rtl.fpga.errors": ("SynthesisError",),
    "mensa.sim.memory": ("MemoryConfigError",),
    "mensa.sim.soc": ("SocError",),
    "mensa.sim.engines.verilator": ("ToolError",),
    "builtins": ("OSError", "MemoryError"),
}
"""Exceptions of exit status 2 by module. One that was never imported has raised none."""

CHECK_FAILED_ERRORS = {
    "mensa.rtl.fpga.errors": ("SynthesisToolError",),
    "mensa.sim.engines.rtl": ("RunError",),
}
"""The same of exit status 1."""


def _status(error: Exception) -> int | None:
    """Return the exit status that an exception stands for; None for a fault of ours."""
    for status, table in ((CHECK_FAILED, CHECK_FAILED_ERRORS), (BAD_INPUT, BAD_INPUT_ERRORS)):
        for module, names in table.items():
            if module in sys.modules:
                kinds = tuple(getattr(sys.modules[module], name) for name in names)
                if isinstance(error, kinds):
                    return status
    return None


def invoke(arguments: Sequence[str]) -> int:
    """Run `mensa` with these arguments. Returns: the exit status."""
    _prepare_streams()
    try:
        status = _commands().main(list(arguments), standalone_mode=False, prog_name="mensa")
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        # Typer and rich turn the one into the other, with status 1.
        if not any(isinstance(each, BrokenPipeError) for each in (error, error.__context__)):
            raise
        _forget_output()
        return 0  # the reader has seen enough
    except Exception as error:
        if isinstance(error, typer.Abort) and isinstance(error.__cause__, KeyboardInterrupt):
            status = INTERRUPTED  # as older versions of typer put it
        else:
            return _failed(error)
    if status == INTERRUPTED:
        return interrupted()
    return status if isinstance(status, int) else 0


@functools.cache
def _commands() -> Any:
    """Return the tree of commands, which takes typer longer to make than most of them to run."""
    return typer.main.get_command(app)


def _prepare_streams() -> None:
    """Let text be printed in any encoding, and to nowhere where a stream is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _forget_output() -> None:
    """Send what is left to be printed nowhere; the interpreter would try again as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)


def _failed(error: Exception) -> int:
    """Say what went wrong. Returns: the exit status; raises a fault of ours again."""
    found = BAD_INPUT if hasattr(error, "format_message") else _status(error)
    if found is None:
        raise error
    try:
        sys.stdout.flush()
    except OSError:
        _forget_output()
    _say(_message(error))
    return found


def _say(text: str) -> None:
    """Print one line on standard error."""
    from mensa.golden.error import printable

    with contextlib.suppress(OSError):  # nobody can be told
        print(f"mensa: error: {printable(text)}", file=sys.stderr)


def _message(error: Exception) -> str:
    """Return the line for an exception; typer's own have `format_message`."""
    usage = getattr(error, "format_message", None)
    if usage is not None:
        return f"{usage().rstrip('.')}; see mensa --help"
    if isinstance(error, MemoryError):
        return "there is not enough memory; use a smaller network, or fewer --steps"
    if isinstance(error, OSError) and error.filename is not None:
        return f"can't use {error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.strerror is not None:
        return f"can't write the output: {error.strerror}"
    return str(error)


def main() -> None:
    """Entry point of the command `mensa`."""
    sys.exit(invoke(sys.argv[1:]))
