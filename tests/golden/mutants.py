"""Damaged .tflite files, made from sound ones: what a reader of files must stand.

test_mutants.py runs some of them in a process of limited memory. To run others, or one again that
it names by its seed, from the repository's root::

    python -m tests.golden.mutants COUNT [FIRST_SEED [FILE ...]]
"""

from __future__ import annotations

import json
import math
import resource
import struct
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flatbuffers import flexbuffers
from hypothesis import HealthCheck, Phase, given, settings

import mensa.golden as golden

from . import elementwise_layers, recurrent_layers, shape_layers, tail_layers  # noqa: F401
from .strategies import MAKERS, layers

#: What loading and running one file may take.
SECONDS = 2.0
MEMORY_BYTES = 1 << 30

# Larger networks take longer than is allowed even when they are sound.
_MAX_MACS = 30_000_000

_HUGE = (0, 1, 2, 7, 255, 256, 65535, 1 << 16, (1 << 24) + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_REALS = (0.0, -1.0, 1e-38, 1e38, 1e-10, 1e10, math.inf, -math.inf, math.nan)


def _small_networks(op):
    """Three graphs of one layer of this operator."""
    types, oracle = MAKERS[op].types["litert"], "litert"
    if isinstance(types, str):
        types, oracle = MAKERS[op].types["tflm"], "tflm"
    graphs = []

    @settings(
        max_examples=6,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(layer=layers(operators=(op,), dtypes=types, floats=True, oracle=oracle))
    def collect(layer):
        graphs.append(layer.graph)

    collect()
    return graphs[-3:]


def _detector():
    builder = golden.GraphBuilder("detector", np.float32)
    inputs = (
        builder.input((1, 6, 4)),
        builder.input((1, 6, 4)),
        builder.tensor(data=np.full((6, 4), 0.5)),
    )
    outputs = tuple(builder.tensor(shape) for shape in ((1, 5, 4), (1, 5), (1, 5), (1,)))
    options = {"max_detections": 5, "max_classes_per_detection": 1, "num_classes": 3}
    options |= {"nms_score_threshold": 0.1, "nms_iou_threshold": 0.5, "use_regular_nms": True}
    options |= {f"{name}_scale": 10.0 for name in "yxhw"}
    builder.operator(
        "CUSTOM:TFLite_Detection_PostProcess",
        inputs,
        outputs,
        custom_options=bytes(flexbuffers.Dumps(options)),
    )
    return golden.write(builder.build(list(outputs)))


def corpus(files=()):
    """Sound files by name: layers of each operator, and those of the given that run quickly."""
    found = {"detector": _detector()}
    for op in sorted(MAKERS):
        for number, graph in enumerate(_small_networks(op)):
            found[f"{op.lower()}_{number}"] = golden.write(graph)
    for path in files:
        data = path.read_bytes()
        if golden.read(data).total_macs < _MAX_MACS:
            found[path.stem] = data
    return found


def mutate(data, generator):
    """A damaged copy of a file's bytes."""
    damaged = bytearray(data)
    size = len(damaged)
    # Most changes go where the structure is, not among the weights.
    structure = _structure(data)

    def place(align=1):
        if structure.size and generator.random() < 0.8:
            at = int(structure[generator.integers(structure.size)])
        else:
            at = int(generator.integers(size))
        return min(at - at % align, size - 4)

    for _ in range(int(generator.choice([1, 1, 1, 2, 3, 8]))):
        kind = generator.integers(7)
        if kind == 0:
            damaged[place()] ^= 1 << int(generator.integers(8))
        elif kind == 1:
            damaged[place()] = int(generator.integers(256))
        elif kind == 2:
            struct.pack_into("<I", damaged, place(4), int(generator.choice(_HUGE)))
        elif kind == 3:
            at = place(4)
            (value,) = struct.unpack_from("<I", damaged, at)
            change = int(generator.choice([-4, -1, 1, 2, 4, 8, 100]))
            struct.pack_into("<I", damaged, at, (value + change) % (1 << 32))
        elif kind == 4:
            struct.pack_into("<f", damaged, place(4), float(generator.choice(_REALS)))
        elif kind == 5:
            start, end, many = place(4), place(4), 4 * int(generator.integers(1, 9))
            damaged[end : end + many] = damaged[start : start + many]
            damaged = damaged[:size] + bytes(max(0, size - len(damaged)))
        else:
            struct.pack_into("<H", damaged, place(2), int(generator.integers(64)))
    if generator.random() < 0.1:
        del damaged[int(generator.integers(size)) :]
    return bytes(damaged)


def _structure(data):
    """Places of 4 bytes that look like offsets, counts, sizes and small options."""
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4")
    return 4 * np.flatnonzero((words < len(data)) | (words > (1 << 32) - (1 << 16)))


@dataclass
class Outcome:
    """What became of one file: "runs", "refused", or in words what went wrong."""

    verdict: str
    seconds: float


def outcome(data, rounding):
    """Loads and runs one file with the default budget."""
    start = time.perf_counter()
    try:
        graph = golden.read(data)
        inputs = [
            np.zeros(graph.tensors[i].shape, graph.tensors[i].dtype)
            for i in graph.inputs
            if graph.tensors[i].dtype.kind != "V"
        ]
        golden.run(graph, inputs, rounding=rounding)
        verdict = "runs"
    except golden.GraphError:
        verdict = "refused"
    except BaseException:
        verdict = traceback.format_exc()
    seconds = time.perf_counter() - start
    if seconds > SECONDS:
        verdict += f" in {seconds:.1f} s"
    return Outcome(verdict, seconds)


def limit_memory():
    """Lets this process take so much memory beyond what it has."""
    with open("/proc/self/statm") as status:
        used = int(status.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)


def main(arguments):
    """Runs mutants and prints those that neither run nor are refused, then how many there were."""
    count = int(arguments[0])
    first = int(arguments[1]) if len(arguments) > 1 else 0
    sound = corpus([Path(name) for name in arguments[2:]])
    names = sorted(sound)
    limit_memory()
    verdicts = {"runs": 0, "refused": 0, "wrong": 0}
    slowest = 0.0
    for seed in range(first, first + count):
        generator = np.random.default_rng(seed)
        name = names[seed % len(names)]
        found = outcome(mutate(sound[name], generator), ("tflm", "litert")[seed // len(names) % 2])
        slowest = max(slowest, found.seconds)
        if found.verdict not in ("runs", "refused"):
            print(f"seed {seed} of {name}: {found.verdict}", flush=True)
            found.verdict = "wrong"
        verdicts[found.verdict] += 1
    print(json.dumps(verdicts | {"slowest_s": slowest, "sound_files": len(names)}))


if __name__ == "__main__":
    main(sys.argv[1:])
