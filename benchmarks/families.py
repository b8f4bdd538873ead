"""Layers of families 4 and 5 on the named machines by the timing model: docs/jacquard.md's tables.

::

    PYTHONSAFEPATH=1 python benchmarks/families.py

First layers between others, whose operands and result stay on chip, on Jacquard's array; then
layers that are a network of their own on every machine: the input comes from memory, the output
goes there, parameters are resident if they fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mensa import golden
from mensa.golden import Graph
from mensa.rtl.machine import KIB, MIB
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


LAYERS = (
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
)
"""Of family 4, late convolutions of many channels, and of family 5, depthwise ones."""


RESIDENT = (
    (Layer("conv", 7, 512, 512, 3), None),
    (Layer("depthwise", 28, 256, 256, 3), MIB),
    (Layer("depthwise", 14, 512, 512, 3), MIB),
    (Layer("depthwise", 7, 1024, 1024, 3), None),
    (Layer("depthwise", 28, 120, 120, 5), MIB),
)
"""With an activation buffer of so many bytes, where the machine's own can't hold both tensors."""


@dataclass(frozen=True)
class Figures:
    """Cycles of a layer on a system."""

    cycles: int
    compute: int
    microseconds: float
    utilization: float


def figures(layer: Layer, system: Soc) -> Figures:
    """Of one inference."""
    machine = system.machine
    lowered = lower(layer.graph(), all_on(machine))
    engine = ModelEngine(machine, system.memory_of(machine.name))
    if lowered.setup:
        engine.run(lowered.setup)
    (program,) = lowered.programs
    trace = engine.run(program)
    compute = trace.categories[CATEGORIES.index("compute")]
    return Figures(
        trace.cycles,
        compute,
        trace.cycles * 1e6 / machine.clock_hz,
        layer.macs / trace.cycles / machine.peak_macs_per_cycle,
    )


def resident_table() -> str:
    """The middle one of three equal layers."""
    system = socs["jacquard"]
    lines = [
        "| layer | MACs | activation buffer | cycles | fed | of the MACs | bound | of the bound |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for layer, nbytes in RESIDENT:
        machine = system.machine
        if nbytes is not None:
            machine = machine.replace(activation_buffer_bytes=nbytes)
        (program,) = lower(layer.graph(3), all_on(machine)).programs
        trace = ModelEngine(machine, system.memory_of(system.machine.name)).run(program)
        timing = layer_timing(trace)[1]
        utilization = layer.macs / timing.cycles / machine.peak_macs_per_cycle
        rows, turns = machine.array.chunk, 1
        if layer.kind == "depthwise":
            turns = -(-(layer.kernel**2) // rows)
        bound = layer.kernel**2 / (turns * rows) if layer.kind == "depthwise" else 1.0
        lines.append(
            f"| {layer.name} | {layer.macs:,} | {machine.activation_buffer_bytes // KIB:,} KiB | "
            f"{timing.cycles:,} | {timing.stalls['compute']:,} | {utilization:.1%} | {bound:.1%} | "
            f"{utilization / bound:.1%} |"
        )
    return "\n".join(lines)


def table(layers: Sequence[Layer]) -> str:
    """Layers alone, on all machines."""
    systems = list(socs.values())
    heads = [f"{s.name}: cycles | fed | of peak | us" for s in systems]
    lines = [
        f"| layer | MACs | {' | '.join(heads)} |",
        "|---|---|" + "---|" * 4 * len(systems),
    ]
    for layer in layers:
        cells = []
        for system in systems:
            f = figures(layer, system)
            cells.append(
                f"{f.cycles:,} | {f.compute:,} | {f.utilization:.1%} | {f.microseconds:,.1f}"
            )
        lines.append(f"| {layer.name} | {layer.macs:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(resident_table())
    print()
    print(table(LAYERS))
