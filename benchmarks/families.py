"""Layers of the families on the named machines by the timing model: tables of their pages.

::

    PYTHONSAFEPATH=1 python benchmarks/families.py jacquard
    PYTHONSAFEPATH=1 python benchmarks/families.py pascal

First layers between others, whose operands and result stay on chip, on the machine's array; then
layers that are a network of their own, on it and on `edge_tpu`: the input comes from memory, the
output goes there, parameters are resident if they fit. Of `pascal` also what its buffers are read,
and what smaller and larger ones would cost.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mensa import golden
from mensa.golden import Graph
from mensa.rtl.machine import KIB, MIB, Machine
from mensa.rtl.registers import CATEGORIES
from mensa.sched.lower import lower
from mensa.sched.placement import all_on
from mensa.sim.engines.events import layer_timing
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.soc import Soc, socs


@dataclass(frozen=True)
class Layer:
    """A convolution or a depthwise one of a square input and kernel, SAME padding."""

    kind: str
    size: int
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1

    @property
    def name(self) -> str:
        """Such as "3x3 conv, 7x7x512 to 512"."""
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        channels = f"{self.inputs} to {self.outputs}" if self.kind == "conv" else f"{self.inputs}"
        return (
            f"{self.kernel}x{self.kernel} {self.kind}, {self.size}x{self.size}x{channels}{stride}"
        )

    @property
    def macs(self) -> int:
        """Products, padding counted."""
        pixels = (-(-self.size // self.stride)) ** 2
        each = self.inputs if self.kind == "conv" else 1
        return pixels * self.outputs * each * self.kernel**2

    def graph(self, times: int = 1) -> Graph:
        """A network of this layer alone, so many times."""
        builder = golden.GraphBuilder(self.name)
        x = builder.input((1, self.size, self.size, self.inputs), scale=0.1, zero_point=3)
        shape = (self.outputs, self.kernel, self.kernel, self.inputs)
        if self.kind == "depthwise":
            shape = (1, self.kernel, self.kernel, self.outputs)
        weights = np.ones(shape, np.int8)
        make = builder.conv2d if self.kind == "conv" else builder.depthwise_conv2d
        stride = (self.stride, self.stride)
        for _ in range(times):
            x = make(x, weights, None, weight_scale=0.01, scale=0.1, stride=stride)
        return builder.build([x])


LAYERS = {
    "jacquard": (
        Layer("conv", 7, 512, 512, 3),
        Layer("conv", 14, 256, 256, 3),
        Layer("conv", 7, 512, 2048, 1),
        Layer("conv", 7, 960, 320, 1),
        Layer("conv", 1, 1024, 1024, 1),
        Layer("depthwise", 28, 256, 256, 3),
        Layer("depthwise", 14, 512, 512, 3),
        Layer("depthwise", 7, 1024, 1024, 3),
        Layer("depthwise", 56, 128, 128, 3, 2),
        Layer("depthwise", 14, 512, 512, 3, 2),
        Layer("depthwise", 28, 120, 120, 5),
        Layer("depthwise", 14, 576, 576, 5),
    ),
    "pascal": (
        Layer("conv", 224, 3, 32, 3, 2),
        Layer("conv", 112, 32, 32, 3),
        Layer("conv", 56, 64, 64, 3),
        Layer("conv", 56, 128, 128, 1),
        Layer("conv", 28, 256, 256, 1),
        Layer("conv", 14, 512, 512, 1),
        Layer("conv", 14, 384, 1024, 1),
        Layer("depthwise", 28, 256, 256, 3),
    ),
}
"""Of families 4 and 5: late convolutions of many channels, and depthwise ones. Of families 1 and 2:
early convolutions, and pointwise ones; and a depthwise one, which this array is not for."""

RESIDENT = {
    "jacquard": (
        (Layer("conv", 7, 512, 512, 3), None),
        (Layer("depthwise", 28, 256, 256, 3), MIB),
        (Layer("depthwise", 14, 512, 512, 3), MIB),
        (Layer("depthwise", 7, 1024, 1024, 3), None),
        (Layer("depthwise", 28, 120, 120, 5), MIB),
    ),
    "pascal": (
        (Layer("conv", 28, 256, 256, 1), 512 * KIB),
        (Layer("conv", 14, 256, 256, 1), None),
        (Layer("conv", 28, 128, 128, 1), None),
        (Layer("conv", 28, 64, 64, 3), None),
    ),
}
"""With an activation buffer of so many bytes, where the machine's own can't hold both tensors."""


@dataclass(frozen=True)
class Figures:
    """Of a layer on a system: cycles, and bytes of parameters and of activations that the compute
    unit reads from the buffers."""

    cycles: int
    compute: int
    microseconds: float
    utilization: float
    memory_bytes: int
    parameter_bytes: int
    activation_bytes: int


@functools.cache
def figures(layer: Layer, system: Soc, machine: Machine | None = None) -> Figures:
    """Of one inference, on the system's machine or on this one in its place."""
    memory = system.memory_of(system.machine.name)
    machine = machine or system.machine
    lowered = lower(layer.graph(), all_on(machine))
    engine = ModelEngine(machine, memory)
    if lowered.setup:
        engine.run(lowered.setup)
    (program,) = lowered.programs
    trace = engine.run(program)
    array = machine.array
    return Figures(
        cycles=trace.cycles,
        compute=trace.categories[CATEGORIES.index("compute")],
        microseconds=trace.cycles * 1e6 / machine.clock_hz,
        utilization=layer.macs / trace.cycles / machine.peak_macs_per_cycle,
        memory_bytes=(trace.read_beats + trace.write_beats) * machine.beat_bytes,
        parameter_bytes=trace.reads.parameters * array.parameter_rows * array.group,
        activation_bytes=trace.reads.activations * array.chunk,
    )


def bound(layer: Layer, machine: Machine) -> float:
    """Part of the elements that a layer can use: all, or those that have a tap of a filter."""
    if layer.kind != "depthwise":
        return 1.0
    rows = machine.array.chunk
    turns = -(-(layer.kernel**2) // rows)
    return layer.kernel**2 / (turns * rows)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]])


@functools.cache
def resident_table(name: str) -> str:
    """The middle one of three equal layers."""
    system = socs[name]
    rows = []
    for layer, nbytes in RESIDENT[name]:
        machine = system.machine
        if nbytes is not None:
            machine = machine.replace(activation_buffer_bytes=nbytes)
        (program,) = lower(layer.graph(3), all_on(machine)).programs
        trace = ModelEngine(machine, system.memory_of(name)).run(program)
        timing = layer_timing(trace)[1]
        utilization = layer.macs / timing.cycles / machine.peak_macs_per_cycle
        most = bound(layer, machine)
        rows.append(
            (
                layer.name,
                f"{layer.macs:,}",
                f"{machine.activation_buffer_bytes // KIB:,} KiB",
                f"{timing.cycles:,}",
                f"{timing.stalls['compute']:,}",
                f"{utilization:.1%}",
                f"{most:.1%}",
                f"{utilization / most:.1%}",
            )
        )
    heads = ("layer", "MACs", "activation buffer", "cycles", "fed", "of the MACs", "bound",
             "of the bound")  # fmt: skip
    return markdown(heads, rows)


def table(name: str) -> str:
    """Layers alone, beside `edge_tpu`."""
    systems = [socs["edge_tpu"], socs[name]]
    heads = ["layer", "MACs"]
    for system in systems:
        heads += [f"{system.name}: cycles", "fed", "of peak", "us"]
    rows = []
    for layer in LAYERS[name]:
        row = [layer.name, f"{layer.macs:,}"]
        for system in systems:
            f = figures(layer, system)
            row += [f"{f.cycles:,}", f"{f.compute:,}", f"{f.utilization:.1%}"]
            row.append(f"{f.microseconds:,.1f}")
        rows.append(row)
    return markdown(heads, rows)


def reads_table(name: str) -> str:
    """Bytes that are read from the buffers for a thousand MACs, of the same layers."""
    systems = [socs["edge_tpu"], socs[name]]
    heads = ["layer"]
    for system in systems:
        heads += [f"{system.name}: parameters", "activations"]
    rows = []
    for layer in LAYERS[name]:
        row = [layer.name]
        for system in systems:
            f = figures(layer, system)
            row += [f"{1000 * each / layer.macs:.1f}" for each in
                    (f.parameter_bytes, f.activation_bytes)]  # fmt: skip
        rows.append(row)
    return markdown(heads, rows)


BUFFERS = ("parameter_buffer_bytes", "activation_buffer_bytes")


def buffers_table(name: str) -> str:
    """Cycles, and bytes over the memory port, with half and twice of each buffer."""
    system = socs[name]
    heads = ["layer", "cycles", "memory"]
    changes = [{}]
    for field in BUFFERS:
        for factor in (0.5, 2):
            size = int(getattr(system.machine, field) * factor)
            changes.append({field: size})
            kind = field.split("_")[0]
            heads += [f"{kind} buffer {size // KIB} KiB: cycles", "memory"]
    rows = []
    for layer in LAYERS[name]:
        row = [layer.name]
        for change in changes:
            f = figures(layer, system, system.machine.replace(**change))
            row += [f"{f.cycles:,}", f"{f.memory_bytes / 1000:,.0f} kB"]
        rows.append(row)
    return markdown(heads, rows)


TABLES = {
    "jacquard": (resident_table, table),
    "pascal": (resident_table, table, reads_table, buffers_table),
}
"""What a machine's page has."""


def main() -> None:
    """Print the tables of a machine's page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("machine", choices=TABLES)
    name = parser.parse_args().machine
    print("\n\n".join(make(name) for make in TABLES[name]))


if __name__ == "__main__":
    main()
