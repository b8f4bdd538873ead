"""Measures the engines and golden: what `make bench` prints.

- the RTL engine: simulated cycles per second, the memory's model included and lowering left out: of
  the full edge_tpu on a real network, of 8x8 and 16x16 on the bundled one. The simulation has one
  thread; its rate by processor time is what an idle machine gives;
- golden: processor time of an inference as a ratio to LiteRT BUILTIN_REF, both with one thread, in
  turns in this process; medians;
- the timing model: time to lower for it, and of an inference's programs, on the full edge_tpu;
- other models of such accelerators, each installed into an environment of its own (`others.py`);
- the shell: the whole of `mensa run` of a MobileNetV2, and `mensa sweep` over a thousand
  configurations of it.

Networks: the bundled one, and all in MENSA_MODELS (else ../shared/models beside the checkout).
"""

from __future__ import annotations

import argparse
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from mensa import golden
from mensa.rtl.machine import KIB, Machine, edge_tpu
from mensa.sched import digits
from mensa.sched.inputs import make_inputs
from mensa.sched.lower import Lowered, lower
from mensa.sched.placement import all_on
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.engines.rtl import RtlEngine
from mensa.sim.memory import lpddr4

#: Golden's time over that of LiteRT's reference kernels that its specification asks for, at most.
WANTED_RATIOS = {
    "tf2_mobilenet_v2_1.0_224_ptq": 0.5,
    "kws_ref_model": 1.0,
    "vww_96_int8": 1.0,
    "pretrainedResnet_quant": 1.0,
}

#: What the shell is measured with, and a sweep of a thousand configurations.
SHELL_NETWORK = "tf2_mobilenet_v2_1.0_224_ptq"
SWEEP = (
    *("--set", "rows=16,24,32,48,64", "--set", "cols=16,24,32,48,64"),
    *("--set", "parameter_buffer_bytes=524288,1048576,2097152,4194304"),
    *(
        "--set",
        "memory.latency_ns=50,100",
        "--set",
        "memory.bandwidth_bytes_per_s=4e9,8e9,16e9,32e9,64e9",
    ),
)
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
WANTED_MODEL = ", at most 200 and 50 ms wanted"

#: Short inferences are repeated until golden has computed for so long.
LEAST_SECONDS = 0.2

SMALL_BUFFER_BYTES = 512 * KIB
SMALL_MACHINES = tuple(
    edge_tpu.replace(
        rows=edge,
        cols=edge,
        parameter_buffer_bytes=SMALL_BUFFER_BYTES,
        activation_buffer_bytes=SMALL_BUFFER_BYTES,
    )
    for edge in (8, 16)
)

#: On which the full array is measured; the first that is there, else the bundled one.
FULL_SIZE_NETWORKS = ("tf2_mobilenet_v2_1.0_224_ptq", "mobilenet_v2_1.0_224_quant", "digits")

#: Simulated cycles per second of the full array that its specification asks for, at least.
WANTED_RATE = 40_000

#: A rate is measured until so much time is over, however often that is.
MOST_SECONDS = 30


def networks() -> Iterator[tuple[str, Path]]:
    """Names and files of the networks that are there, the smallest first."""
    yield "digits", digits.DATA / "digits.tflite"
    given = os.environ.get("MENSA_MODELS")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "models"
    found = sorted(folder.glob("*.tflite"), key=lambda path: path.stat().st_size)
    if not found:
        print(f"  no other network is measured: {folder} has none (set MENSA_MODELS)")
    for path in found:
        yield path.stem, path


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of one call: other programs on the machine do not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def simulation_rates(machine: Machine, path: Path, repeats: int) -> Iterator[tuple[float, float]]:
    """Simulated cycles of inferences per second, and per second of the processor's time."""
    lowered = lower(golden.load(path), all_on(machine))
    engine = RtlEngine(machine, lpddr4)
    memory = lowered.initial_memory()
    if lowered.setup is not None:
        engine.run(lowered.setup, memory)
    began = time.perf_counter()
    for _ in range(repeats):
        if time.perf_counter() - began > MOST_SECONDS:
            break
        start, busy = time.perf_counter(), time.process_time()
        cycles = sum(engine.run(program, memory).cycles for program in lowered.programs)
        yield cycles / (time.perf_counter() - start), cycles / (time.process_time() - busy)


def bench_rtl(repeats: int) -> None:
    """Simulated cycles per second."""
    print("RTL engine with its memory, cycles per second (medians)")
    found = dict(networks())
    full = next(name for name in FULL_SIZE_NETWORKS if name in found)
    for machine, name in (*((each, "digits") for each in SMALL_MACHINES), (edge_tpu, full)):
        rates = list(simulation_rates(machine, found[name], repeats))
        by_clock, by_processor = (statistics.median(each) for each in zip(*rates, strict=True))
        line = f"  {machine.array.tile:2} x {machine.array.group:2}, {name:30}"
        line += f" {by_clock:9,.0f} /s   {by_processor:9,.0f} /s of processor time"
        if machine is edge_tpu:
            line += f", at least {WANTED_RATE:,} wanted"
        print(line, flush=True)


def litert(path: Path, inputs: list[Any]) -> Callable[[], Any] | None:
    """Return an inference by LiteRT's reference kernels, or None where its wheel is missing."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        return None
    interpreter = Interpreter(
        model_path=str(path),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    run: Callable[[], Any] = interpreter.invoke
    return run


def bench_golden(repeats: int) -> None:
    """Golden beside LiteRT's reference kernels."""
    print("golden, one thread, beside LiteRT BUILTIN_REF, one thread (medians of processor time)")
    for name, path in networks():
        graph = golden.load(path)
        inputs = make_inputs(graph, "random", 0)
        reference = litert(path, inputs)
        with threadpool_limits(limits=1):
            golden.run(graph, inputs)
            if reference is not None:
                reference()
            ours, theirs = [], []
            while len(ours) < repeats or sum(ours) < LEAST_SECONDS:
                ours.append(seconds(lambda g=graph, i=inputs: golden.run(g, i)))
                if reference is not None:
                    theirs.append(seconds(reference))
        line = f"  {name:46} {statistics.median(ours) * 1e3:9.2f} ms"
        if theirs:
            ratio = statistics.median(ours) / statistics.median(theirs)
            line += f"   LiteRT {statistics.median(theirs) * 1e3:9.2f} ms   ratio {ratio:6.2f}"
            if name in WANTED_RATIOS:
                line += f", at most {WANTED_RATIOS[name]:.2f} wanted"
        else:
            line += "   LiteRT is not installed: no ratio"
        print(line, flush=True)


def bench_model(repeats: int) -> None:
    """The timing model."""
    print(f"timing model, {edge_tpu.name} as it is (medians of processor time)")
    for name, path in networks():
        graph = golden.load(path)

        def prepare(graph: golden.Graph = graph) -> Lowered:
            return lower(graph, all_on(edge_tpu), for_time=True)

        lowered = prepare()
        lowering = statistics.median(seconds(prepare) for _ in range(repeats))
        engine = ModelEngine(edge_tpu, lpddr4)

        def once(engine: ModelEngine = engine, programs: Any = lowered.programs) -> int:
            return sum(engine.run(program).cycles for program in programs)

        cycles = once()
        times = [seconds(once) for _ in range(repeats)]
        timing = statistics.median(times)
        print(
            f"  {name:46} {lowering * 1e3:9.2f} ms lowered, {timing * 1e3:9.2f} ms timed: "
            f"{cycles:12,} cycles{WANTED_MODEL if name == SHELL_NETWORK else ''}",
            flush=True,
        )


def bench_shell(repeats: int) -> None:
    """Commands as a user types them."""
    path = dict(networks()).get(SHELL_NETWORK)
    if path is None:
        print(f"the shell: NOT RUN, {SHELL_NETWORK} is not there")
        return
    print("the shell, by the clock on the wall (median of a run, one sweep)")
    with tempfile.TemporaryDirectory() as folder:
        usual = {name: value for name, value in os.environ.items() if name != NO_BYTECODE}

        def mensa(*arguments: str) -> float:
            start = time.perf_counter()
            command = [str(Path(sys.executable).with_name("mensa")), *arguments]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, env=usual)
            return time.perf_counter() - start

        run = statistics.median(mensa("run", str(path)) for _ in range(repeats))
        print(f"  mensa run {path.name}: {run:.2f} s, at most 1 wanted", flush=True)
        sweep = mensa("sweep", str(path), *SWEEP, "-o", "sweep.csv")
        rows = len((Path(folder) / "sweep.csv").read_text().splitlines()) - 1
        print(f"  mensa sweep over {rows:,} configurations: {sweep:.1f} s, at most 120 wanted")


def bench_others(_repeats: int) -> None:
    """Models of others, each once."""
    path = dict(networks()).get(SHELL_NETWORK)
    if path is None:
        print(f"other models: NOT RUN, {SHELL_NETWORK} is not there")
        return
    others = runpy.run_path(str(Path(__file__).with_name("others.py")))
    print("other models, a MobileNetV2 on 64 x 64, by the clock on the wall (once)")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        graph = golden.load(path)
        lowered = lower(graph, all_on(edge_tpu), for_time=True)
        engine = ModelEngine(edge_tpu, lpddr4)
        for program in lowered.programs:
            engine.run(program)
        ours = time.perf_counter() - start
        print(f"  mensa, file read, lowered and timed  {ours:7.2f} s")
        for name, seconds in (
            ("ZigZag, its own example", lambda: others["zigzag"](Path(folder))),
            ("SCALE-Sim, the same layers", lambda: others["scale_sim"](Path(folder), path)),
        ):
            took = seconds()
            print(f"  {name:36} {took:7.2f} s, {took / ours:,.0f} times as long", flush=True)


def main() -> int:
    """Run the benchmarks named on the command line, or all."""
    known = {
        "rtl": bench_rtl,
        "golden": bench_golden,
        "model": bench_model,
        "shell": bench_shell,
        "others": bench_others,
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    for name in arguments.names or known:
        if name not in known:
            parser.error(f"no benchmark {name!r}; there are {', '.join(known)}")
        known[name](arguments.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
