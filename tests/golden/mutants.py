"""Damaged .tflite files, made from sound ones: what a reader of files must stand.

Some are damaged at random; in the others one field says the worst that it can. test_mutants.py
runs them in a process of limited memory. To run others at random, or one again that it names by
its seed, or all of the others, from the repository's root::

    python -m tests.golden.mutants COUNT [FIRST_SEED [FILE ...]]
    python -m tests.golden.mutants fields [GRAPHS_PER_OPERATOR]
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import struct
import sys
import time
import traceback
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from flatbuffers import flexbuffers
from hypothesis import HealthCheck, Phase, given, settings

import mensa.golden as golden
from tests.golden.composites import composite_network
from tests.golden.makers import MAKERS
from tests.golden.strategies import layers

#: What loading and running one file may take.
SECONDS = 2.0
MEMORY_BYTES = 1 << 30
# A damaged size of an input can make a larger network, and a sound one: it may take up the first,
# which the corpus keeps well within, and take the second for each element.
_MAX_BYTES = 1 << 24
_SECONDS_PER_ELEMENT = 16e-6

# Larger networks take longer than is allowed even when they are sound.
_MAX_MACS = 30_000_000

_HUGE = (0, 1, 2, 7, 255, 256, 65535, 1 << 16, (1 << 24) + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_REALS = (0.0, -1.0, 1e-38, 1e38, 1e-10, 1e10, math.inf, -math.inf, math.nan)


def _small_networks(op):
    """Graphs of one layer of this operator by name, two for each type of activations."""
    types, oracle = MAKERS[op].types["litert"], "litert"
    if isinstance(types, str):
        types, oracle = MAKERS[op].types["tflm"], "tflm"
    return {
        f"{op.lower()}_{dtype}_{number}": graph
        for dtype in types
        for number, graph in enumerate(graphs_of(op, dtype, oracle)[-2:])
    }


def graphs_of(op, dtype, oracle):
    graphs = []

    @settings(
        max_examples=5,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(layer=layers(operators=(op,), dtypes=(dtype,), floats=True, oracle=oracle))
    def collect(layer):
        graphs.append(layer.graph)

    collect()
    return graphs


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
    found = {"detector": _detector(), "composite": golden.write(composite_network())}
    for op in sorted(MAKERS):
        for name, graph in _small_networks(op).items():
            found[name] = golden.write(graph)
    for path in files:
        data = path.read_bytes()
        if golden.total_macs(golden.read(data)) < _MAX_MACS:
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


def _clocks():
    # Of the two the lesser: other programs may hold this one up, and it may use several cores.
    return time.perf_counter(), time.process_time()


def outcome(data, rounding):
    """Loads and runs one file."""
    start, allowed = _clocks(), SECONDS
    try:
        graph = golden.read(data, max_bytes=_MAX_BYTES)
        elements = sum(tensor.size for tensor in graph.tensors if tensor.data is None)
        allowed = max(allowed, elements * _SECONDS_PER_ELEMENT)
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
    seconds = min(now - then for now, then in zip(_clocks(), start, strict=True))
    if seconds > allowed:
        verdict += f" in {seconds:.1f} s"
    return Outcome(verdict, seconds)


_DIMENSIONS = (0, -1, (1 << 31) - 1)
_INTEGERS = (0, -1, 1000, (1 << 31) - 1, -(1 << 31))
_SCALES = (*_REALS, 2.0**-126, 2.0**120)
_ZERO_POINTS = (-129, 1 << 31, -(1 << 40), (1 << 63) - 1)
_TYPES = (np.int8, np.uint8, np.int16, np.int32, np.float32)


def worst(graph):
    """Copies of a graph, by what was done to it, in each of which one field is at its worst."""
    yield from _worst_within(graph)
    for place, inner in enumerate(graph.subgraphs):
        for what, changed in _worst_within(inner):
            subgraphs = (*graph.subgraphs[:place], changed, *graph.subgraphs[place + 1 :])
            yield f"subgraph {1 + place}: {what}", replace(graph, subgraphs=subgraphs)


def _worst_within(graph):
    for tensor in graph.tensors:
        for what, changes in _worst_of_tensor(tensor, tensor.index in graph.inputs):
            tensors = list(graph.tensors)
            tensors[tensor.index] = replace(tensor, **changes)
            yield f"{tensor}: {what}", replace(graph, tensors=tuple(tensors))
    for operator in graph.operators:
        for what, changes in _worst_of_operator(operator, len(graph.tensors)):
            operators = list(graph.operators)
            operators[operator.index] = replace(operator, **changes)
            yield f"{operator}: {what}", replace(graph, operators=tuple(operators))


def _worst_of_tensor(tensor, given):
    if tensor.data is None:
        large = 1024 if given else 65536
        for axis in range(len(tensor.shape)):
            for size in (*_DIMENSIONS, large):
                shape = (*tensor.shape[:axis], size, *tensor.shape[axis + 1 :])
                yield f"size {size} of dimension {axis}", {"shape": shape}
        for shape in ((), tensor.shape[1:], (*tensor.shape, 1), (0, *tensor.shape)):
            yield f"shape {shape}", {"shape": shape}
        for kind in _TYPES:
            yield f"type {kind.__name__}", {"dtype": np.dtype(kind)}
        yield "is variable or not", {"is_variable": not tensor.is_variable}
    elif tensor.dtype.kind == "i" and tensor.dtype.itemsize >= 4:
        for value in _INTEGERS:
            yield f"all {value}", {"data": np.full_like(tensor.data, value)}
        yield "is no constant", {"data": None}
    else:
        yield "is no constant", {"data": None}
    for scale in _SCALES:
        yield f"scale {scale}", {"scale": np.full_like(tensor.scale, scale)}
    none = {"scale": np.zeros(0, np.float32), "zero_point": np.zeros(0, np.int64)}
    yield "no scale", none
    yield "three scales", {"scale": np.ones(3, np.float32), "zero_point": np.zeros(3, np.int64)}
    for value in _ZERO_POINTS:
        yield f"zero point {value}", {"zero_point": np.full_like(tensor.zero_point, value)}
    for dimension in (-1, 7, (1 << 31) - 1):
        yield f"quantized dimension {dimension}", {"quantized_dimension": dimension}


def _worst_of_operator(operator, tensors):
    for name in ("inputs", "outputs"):
        places = getattr(operator, name)
        for position in range(len(places)):
            for index in (-1, 0, tensors - 1):
                changed = (*places[:position], index, *places[position + 1 :])
                yield f"{name}[{position}] = {index}", {name: changed}
        for changed in ((), places[:-1], places * 2):
            yield f"{name} = {changed}", {name: changed}
    for field in fields(operator.options):
        kind = field.metadata["kind"]
        values = {"float32": _REALS, "bool": (False, True), "int32s": ((), (0,), _INTEGERS)}
        values |= {"text": ("", "another name"), "bytes": (b"", b"\xff")}
        for value in values.get(kind, field.metadata.get("names", _INTEGERS)):
            options = replace(operator.options, **{field.name: value})
            yield f"{field.name} = {value}", {"options": options}


def limit_memory():
    """Lets this process take so much memory beyond what it has."""
    with open("/proc/self/statm") as status:
        used = int(status.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)


def main(arguments):
    """Runs mutants and prints those that neither run nor are refused, then how many there were."""
    mutants = every_field(*arguments[1:]) if arguments[0] == "fields" else at_random(*arguments)
    verdicts = {"runs": 0, "refused": 0, "wrong": 0}
    slowest = 0.0
    for name, data, rounding in mutants:
        found = outcome(data, rounding)
        slowest = max(slowest, found.seconds)
        if found.verdict not in ("runs", "refused"):
            print(f"{name}: {found.verdict}", flush=True)
            found.verdict = "wrong"
        verdicts[found.verdict] += 1
    print(json.dumps(verdicts | {"slowest_s": slowest}))


def at_random(count, first="0", *files):
    """Names, bytes and roundings of `count` mutants, whose seeds begin with `first`."""
    sound = corpus([Path(name) for name in files])
    names = sorted(sound)
    limit_memory()
    for seed in range(int(first), int(first) + int(count)):
        name = names[seed % len(names)]
        data = mutate(sound[name], np.random.default_rng(seed))
        yield f"seed {seed} of {name}", data, ("tflm", "litert")[seed // len(names) % 2]


def every_field(most="1000"):
    """The same of the files with one field at its worst, of up to `most` graphs per operator."""
    graphs = {
        name: graph
        for op in sorted(MAKERS)
        for name, graph in list(_small_networks(op).items())[: int(most)]
    }
    graphs["composite"] = composite_network()
    limit_memory()
    for name, graph in graphs.items():
        for what, changed in worst(graph):
            # What can't be written can't be in a file.
            with contextlib.suppress(golden.GraphError):
                data = golden.write(changed)
                for rounding in ("tflm", "litert"):
                    yield f"{name}, {what}", data, rounding


if __name__ == "__main__":
    main(sys.argv[1:])
