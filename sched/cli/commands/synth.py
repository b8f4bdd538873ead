"""`mensa synth`: a machine on an FPGA."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mensa.sched.cli.networks import check_outputs
from mensa.sched.cli.options import JsonOption, MachineArgument, MachineSetOption, gathers
from mensa.sched.cli.status import CHECK_FAILED

if TYPE_CHECKING:
    from mensa.rtl.fpga.device import Device
    from mensa.rtl.fpga.synthesis import Synthesis
    from mensa.rtl.machine import Machine

DEFAULT_MHZ = 100
MOST_MHZ = 1e6
MOST_SECONDS = 1e6


@dataclass(frozen=True, kw_only=True)
class SynthOptions:
    """What `mensa synth` takes; each field's help says what it is."""

    machine: MachineArgument
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="ecp5-25k|ecp5-85k|xc7",
            help="The FPGA. ECP5: placed and routed; xc7: resources only.",
        ),
    ]
    settings: MachineSetOption = None
    speed_grade: Annotated[
        int,
        typer.Option(
            "--speed-grade", metavar="6|7|8", min=6, max=8, help="Of an ECP5; 8 is the fastest."
        ),
    ] = 6
    frequency: Annotated[
        float | None,
        typer.Option(
            "--frequency",
            metavar="MHZ",
            min=1,
            max=MOST_MHZ,
            help="Clock that is wanted; slower is exit status 1. Without it, aims at 100.",
        ),
    ] = None
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=1, help="Seed of place and route.")
    ] = 1
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=1,
            max=MOST_SECONDS,
            help="When the tools are stopped.",
        ),
    ] = 3600
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Keep Verilog, netlist, logs and reports in this directory: new, empty, or made "
            "by this command.",
        ),
    ] = None
    json_file: JsonOption = None

    @property
    def clock_hz(self) -> float:
        """The clock that place and route aim at."""
        return (self.frequency or DEFAULT_MHZ) * 1e6


@gathers(SynthOptions)
def synth(options: SynthOptions) -> None:
    """Synthesise a machine for an FPGA: resources, highest clock, critical path.

    Example: mensa synth edge_tpu --set rows=2 --set cols=2 --set parameter_buffer_bytes=8192 --set
    activation_buffer_bytes=8192 --target ecp5-25k
    """
    from mensa.rtl.fpga.errors import SynthesisError
    from mensa.rtl.fpga.estimate import check_fits
    from mensa.rtl.fpga.synthesis import find_device
    from mensa.sched.cli import synth_text
    from mensa.sched.cli.settings import choose_machine
    from mensa.sched.files import write_json

    check_outputs({"--json": options.json_file})
    device = find_device(options.target)
    if options.frequency is not None and device.option is None:
        raise SynthesisError(
            f"{options.target} is not placed, so it has no clock for --frequency to hold"
        )
    machine = choose_machine(options.machine, options.settings or [])
    check_fits(machine, device)
    result = _synthesize(machine, device, options)
    for line in synth_text.lines(result):
        print(line)
    if options.json_file is not None:
        write_json(options.json_file, result.to_json())
    if options.frequency is None or result.fmax_hz is None:
        return
    if result.fmax_hz < options.clock_hz:
        print(f"slower than the {options.frequency:g} MHz that are wanted")
        raise typer.Exit(CHECK_FAILED)


def _synthesize(machine: Machine, device: Device, options: SynthOptions) -> Synthesis:
    from mensa.rtl.fpga.synthesis import synthesize
    from mensa.sched.cli.progress import ProgressBar

    with _workplace(options.output) as directory, ProgressBar() as progress:
        return synthesize(
            machine,
            device,
            directory,
            speed_grade=options.speed_grade,
            frequency_hz=options.clock_hz,
            seed=options.seed,
            timeout_s=options.timeout,
            progress=progress,
        )


@contextlib.contextmanager
def _workplace(output: Path | None) -> Iterator[Path]:
    """Where the tools work: in the directory that is kept, or in one that is not."""
    from mensa.rtl.fpga.synthesis import FILES
    from mensa.sched.files import fresh_directory

    if output is None:
        with tempfile.TemporaryDirectory(prefix="mensa.") as name:
            yield Path(name)
    else:
        with fresh_directory(output, FILES) as directory:
            yield directory
