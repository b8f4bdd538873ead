"""Testbenches: an Amaranth component under Verilator, driven by cocotb.

A pytest function builds a component and names the file with the cocotb tests, which may be its own:

    def test_increment():
        bench.run(Increment(8), __file__)

    @cocotb.test()
    async def increments(dut):      # any name but test_*, which pytest would take for its own
        await bench.start(dut)
        ...

A component's members are the ports of `dut`: `i.payload` is `dut.i__payload`.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cocotb
import cocotb_tools.config
import cocotb_tools.runner
import pytest
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from mensa.rtl.verilog import to_verilog
from mensa.sim.engines.verilator import SPLIT, Build, build, ports

ROOT = Path(__file__).parents[2]
"""Where modules with cocotb tests are named from: `tests.rtl.parts.test_unit`."""

MATRIX = list(itertools.product([False, True], [False, True]))
"""(idle, backpressure) in all four ways; cocotb.parametrize((("idle", "backpressure"), MATRIX))."""

WATCHDOG_CYCLES = 100_000
"""Cycles after which a helper that waits gives up."""

SPLIT_BYTES = 400_000
"""Length of the Verilog from which on many small C++ files compile faster than a few large ones."""


def run(
    component: Any,
    test_module: str | Path,
    *,
    testcase: str | None = None,
    env: Mapping[str, object] | None = None,
    seed: int | None = None,
    waves: bool = False,
) -> None:
    """Run the cocotb tests of a file on a component; fail if one fails or none ran.

    Parameters
    ----------
    component : wiring.Component
        The circuit; its flattened members become the ports of `dut`, beside `clk` and `rst`.
    test_module : str or Path
        Python file with the cocotb tests, usually `__file__`.
    testcase : str, optional
        Regular expression for the names of those to run; by default all.
    env : mapping, optional
        Environment for the tests, as strings; read it with `parameter`.
    seed : int, optional
        Of the tests' `random`; by default MENSA_SEED, or 1.
    waves : bool
        Write dump.vcd into the directory that the failure message names.
    """
    __tracebackhide__ = True
    text = to_verilog(component, "top")
    run_verilog(
        type(component).__name__,
        text,
        test_module,
        testcase=testcase,
        env=env,
        seed=seed,
        waves=waves,
    )


def run_verilog(
    name: str,
    text: str,
    test_module: str | Path,
    *,
    testcase: str | None = None,
    env: Mapping[str, object] | None = None,
    seed: int | None = None,
    waves: bool = False,
) -> str:
    """Run the cocotb tests of a file on a module in Verilog; see `run`.

    Parameters
    ----------
    name : str
        For messages.
    text : str
        Verilog. The module ``top`` has no more in its first line than the names of its ports.
    test_module, testcase, env, seed, waves
        As for `run`.

    Returns
    -------
    str
        The log.
    """
    __tracebackhide__ = True
    executable = build(_cocotb_build(name, text, waves))
    directory = Path(tempfile.mkdtemp(prefix="mensa-bench-"))
    # cocotb_tools looks for an executable named for the top module.
    (directory / "top").symlink_to(executable)
    runner = cocotb_tools.runner.get_runner("verilator")
    said = simulate(
        runner, "top", directory, test_module, testcase=testcase, env=env, seed=seed, waves=waves
    )
    if not waves:
        shutil.rmtree(directory)
    return said


def simulate(
    runner: Any,
    top: str,
    directory: Path,
    test_module: str | Path,
    *,
    testcase: str | None = None,
    env: Mapping[str, object] | None = None,
    seed: int | None = None,
    waves: bool = False,
) -> str:
    """Run the cocotb tests of a file in a simulator; see `run`.

    Parameters
    ----------
    runner : cocotb_tools.runner.Runner
        Of the simulator.
    top : str
        The module that is `dut`.
    directory : Path
        Where the simulation was built, and where it runs.
    test_module, testcase, env, seed, waves
        As for `run`.

    Returns
    -------
    str
        The log.
    """
    __tracebackhide__ = True
    test_module = Path(test_module)
    if seed is None:
        seed = int(os.environ.get("MENSA_SEED", "1"))
    log = directory / "log"
    module = ".".join(test_module.resolve().relative_to(ROOT).with_suffix("").parts)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("PYTEST_CURRENT_TEST", raising=False)
            results = runner.test(
                hdl_toplevel=top,
                hdl_toplevel_lang="verilog",
                test_module=module,  # found by sys.path, which the runner hands to its child
                build_dir=directory,
                test_dir=directory,
                test_filter=testcase,
                seed=seed,
                waves=waves,
                log_file=log,
                results_xml="results.xml",
                extra_env={
                    **{name: str(value) for name, value in (env or {}).items()},
                    "PYTHONSAFEPATH": "1",
                    "COCOTB_ANSI_OUTPUT": "0",
                },
            )
        ran, failures = _read(results)
        problem = None
        if failures:
            problem = f"{len(failures)} of {ran} cocotb tests failed: {', '.join(failures)}"
        if ran == 0:
            problem = f"no cocotb test of {test_module.name} ran (filter {testcase!r})"
    except (RuntimeError, SystemExit) as error:
        problem = f"the simulation stopped: {error}"
    if problem:
        pytest.fail(
            f"{problem} (seed {seed}, files in {directory})\n{_telling(log)}", pytrace=False
        )
    return log.read_text(errors="replace")


def _cocotb_build(name: str, text: str, waves: bool) -> Build:
    libraries = cocotb_tools.config.libs_dir
    public = [f'public_flat_rw -module "top" -var "{port}"' for port in ports(text, "top")]
    return Build(
        name=f"{name} for cocotb",
        verilog=text,
        top="top",
        sources=(cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp",),
        control="\n".join(public),
        flags=(
            "--vpi",
            "--timescale",
            "1ns/1ps",
            *(SPLIT if len(text) > SPLIT_BYTES else []),
            *(["--trace"] if waves else []),
        ),
        compiler_flags=(),
        linker_flags=(f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator"),
        optimise="-O1",
    )


def _read(results: Path) -> tuple[int, list[str]]:
    """Return how many tests ran, and the names of those that failed."""
    if not results.is_file():
        raise RuntimeError("it left no results; see the log")
    cases = ElementTree.parse(results).getroot().findall(".//testcase")
    ran = [case for case in cases if case.find("skipped") is None]
    failures = [
        case.get("name", "?")
        for case in ran
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return len(ran), failures


def _telling(log: Path, lines: int = 50) -> str:
    """Return what the log says up to the first failure, or at its end."""
    said = log.read_text(errors="replace").splitlines() if log.exists() else []
    ends = [number for number, line in enumerate(said) if re.search(r" WARNING .* failed$", line)]
    if ends:
        start = ends[0]
        while start + 1 < len(said) and "running " not in said[start + 1]:
            start += 1
        return "\n".join(said[max(0, start - lines) : start + 1])
    return "\n".join(said[-lines:])


def parameter(name: str, default: int | None = None) -> int:
    """Return the integer that the pytest function gave in `env`."""
    value = os.environ.get(name)
    if value is None:
        if default is None:
            raise KeyError(f"the testbench was started without env {name}")
        return default
    return int(value)


async def start(dut: Any, **inputs: int) -> None:
    """Start the clock, set all inputs given, and reset for two cycles.

    Returns just after a rising edge: what is written next is seen in the first cycle after reset.
    """
    for name, value in inputs.items():
        getattr(dut, name).value = value
    if hasattr(dut, "rst"):
        dut.rst.value = 1
    Clock(dut.clk, 10, "ns").start()
    await ClockCycles(dut.clk, 2)
    if hasattr(dut, "rst"):
        dut.rst.value = 0


def always() -> Iterator[bool]:
    """Yield True for ever: a source that never idles, a sink that never stalls."""
    return itertools.repeat(True)


def sometimes(probability: float = 0.5, *, rng: random.Random | None = None) -> Iterator[bool]:
    """Yield True at random, in runs of any length: `random` is seeded by `run`."""
    source = rng or random
    while True:
        yield source.random() < probability


def pace(stalls: bool, probability: float = 0.5) -> Iterator[bool]:
    """Return `sometimes` if `stalls`, else `always`: for one side of MATRIX."""
    return sometimes(probability) if stalls else always()


async def send(
    dut: Any, stream: str, payloads: Iterable[int], when: Iterator[bool] | None = None
) -> None:
    """Put payloads into the input stream `stream` one after another; `when` says in which cycles.

    Valid stays high, and the payload unchanged, until the transfer. Returns after the last one.
    """
    valid = getattr(dut, f"{stream}__valid")
    ready = getattr(dut, f"{stream}__ready")
    payload = getattr(dut, f"{stream}__payload", None)
    pacing = when or always()
    for item in payloads:
        while not next(pacing):
            valid.value = 0
            await RisingEdge(dut.clk)
        valid.value = 1
        if payload is not None:
            payload.value = item
        for _ in range(WATCHDOG_CYCLES):
            await RisingEdge(dut.clk)
            if ready.value == 1:
                break
        else:
            raise TimeoutError(f"{stream} was not ready for {WATCHDOG_CYCLES} cycles")
    valid.value = 0


async def receive(
    dut: Any, stream: str, count: int, when: Iterator[bool] | None = None
) -> list[int]:
    """Take `count` payloads from the output stream `stream`; `when` says in which cycles.

    Also checks that a payload which was offered and not taken stays as it is.
    """
    valid = getattr(dut, f"{stream}__valid")
    ready = getattr(dut, f"{stream}__ready")
    payload = getattr(dut, f"{stream}__payload", None)
    pacing = when or always()
    taken: list[int] = []
    offered: int | None = None
    silent = 0
    while len(taken) < count:
        takes = next(pacing)
        ready.value = int(takes)
        await RisingEdge(dut.clk)
        if valid.value != 1:
            assert offered is None, f"{stream} took back a payload that it had offered"
            silent += 1
            if silent > WATCHDOG_CYCLES:
                raise TimeoutError(
                    f"{stream} gave nothing for {silent} cycles, after {len(taken)} of {count}"
                )
            continue
        silent = 0
        value = int(payload.value) if payload is not None else 0
        assert offered is None or offered == value, f"{stream} changed a payload while it waited"
        offered = None if takes else value
        if takes:
            taken.append(value)
    ready.value = 0
    return taken


async def watchdog(dut: Any, cycles: int, waiting_for: Callable[[], str]) -> None:
    """Fail the test after `cycles`, with what it waits for: start it with cocotb.start_soon."""
    await ClockCycles(dut.clk, cycles)
    raise TimeoutError(f"after {cycles} cycles the test still waits for {waiting_for()}")


__all__ = [
    "MATRIX",
    "always",
    "cocotb",
    "pace",
    "parameter",
    "receive",
    "run",
    "run_verilog",
    "send",
    "simulate",
    "sometimes",
    "start",
    "watchdog",
]
