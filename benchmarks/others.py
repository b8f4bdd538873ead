"""Other models of such accelerators, timed beside ours: ZigZag and SCALE-Sim.

Each is installed from its package into an environment of its own in the user's cache, and asked for
a MobileNetV2 at 224 x 224 on an array of 64 x 64: ZigZag for its own example of it on its own
edge_tpu_like, SCALE-Sim for the layers of the network that is given, output stationary, with
edge_tpu's buffers. What they answer is not compared: they model other machines, and less of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from mensa import golden
from mensa.golden import ConvPlan, Graph

__all__ = ["LEAST_SECONDS", "scale_sim", "zigzag"]

LEAST_SECONDS = 1
"""What answers sooner has not done the work."""

ZIGZAG = """
import logging, sys
from pathlib import Path
import zigzag
from zigzag.api import get_hardware_performance_zigzag
logging.disable(logging.CRITICAL)
inputs = Path(zigzag.__path__[0]) / "inputs"
energy, latency, _ = get_hardware_performance_zigzag(
    str(inputs / "workload/mobilenetv2.onnx"),
    str(inputs / "hardware/edge_tpu_like.yaml"),
    str(inputs / "mapping/edge_tpu_like.yaml"),
    dump_folder=sys.argv[1],
    loma_show_progress_bar=False,
)
print(latency)
"""

CONFIGURATION = """
[general]
run_name = mensa
[architecture_presets]
ArrayHeight = 64
ArrayWidth = 64
IfmapSramSzkB = 2048
FilterSramSzkB = 4096
OfmapSramSzkB = 2048
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = os
Bandwidth = 128
ReadRequestBuffer = 32
WriteRequestBuffer = 32
[layout]
IfmapCustomLayout = False
FilterCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""


def environment(name: str, *packages: str) -> Path:
    """The Python of an environment that has some packages; it is made if there is none."""
    cache = os.environ.get("MENSA_CACHE") or platformdirs.user_cache_dir("mensa")
    folder = Path(cache) / "others" / name
    python = folder / "bin" / "python"
    done = folder / "installed"
    wanted = "\n".join(packages)
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        done.write_text(wanted)
    return python


def zigzag(folder: Path) -> float:
    """Seconds that ZigZag takes for its own MobileNetV2 on its own edge_tpu_like."""
    python = environment("zigzag", "zigzag-dse", "six")  # which a dependency forgets
    return _seconds([str(python), "-c", ZIGZAG, str(folder / "zigzag")], folder)


def scale_sim(folder: Path, path: Path) -> float:
    """Seconds that SCALE-Sim takes for the convolutions of a network."""
    python = environment("scale_sim", "scalesim", "numpy<2")
    (folder / "scale.cfg").write_text(CONFIGURATION)
    (folder / "network.csv").write_text("\n".join(topology(golden.load(path))) + "\n")
    (folder / "layout.csv").write_text("")
    command = [str(python), "-m", "scalesim.scale", "-c", "scale.cfg", "-t", "network.csv"]
    return _seconds([*command, "-l", "layout.csv", "-p", "results", "-s", "N"], folder)


def topology(graph: Graph) -> Iterator[str]:
    """A network's convolutions as SCALE-Sim reads them; depthwise ones have one filter."""
    yield (
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, "
        "Num Filter, Strides,"
    )
    for operator in graph.operators:
        work = golden.plan(graph, operator)
        if isinstance(work, ConvPlan):
            channels = work.input_shape[3]
            filters = 1 if work.kind == "depthwise" else work.output_shape[3]
            # It knows no padding.
            height = (work.output_shape[1] - 1) * work.stride_h + work.kernel_h
            width = (work.output_shape[2] - 1) * work.stride_w + work.kernel_w
            sizes = (height, width, work.kernel_h, work.kernel_w, channels, filters)
            assert work.stride_h == work.stride_w, "it knows one stride"
            numbers = ", ".join(map(str, (*sizes, work.stride_h)))
            yield f"{operator.index} {operator.op}, {numbers},"


def _seconds(command: list[str], folder: Path) -> float:
    """Of a command in a folder, by the clock on the wall; it must end well."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode or seconds < LEAST_SECONDS:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise RuntimeError(f"{command[0]} has not done its work: {' '.join(said)}")
    return seconds
