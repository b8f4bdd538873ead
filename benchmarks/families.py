"""Layers of the families on the named machines by the timing model: tables of their pages.

::

    PYTHONSAFEPATH=1 python benchmarks/families.py jacquard
    PYTHONSAFEPATH=1 python benchmarks/families.py pascal
    PYTHONSAFEPATH=1 python benchmarks/families.py pavlov

First layers between others, whose operands and result stay on chip, on the machine's array; then
layers that are a network of their own, on it and on `edge_tpu`: the input comes from memory, the
output goes there, parameters are resident if they fit. Of `pascal` also what its buffers are read,
and what smaller and larger ones would cost. Of `pavlov` an LSTM's two phases, and recurrent and
fully connected layers on four systems.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mensa import golden
from mensa.golden import Graph
from mensa.golden.options import UnidirectionalSequenceLSTMOptions
from mensa.rtl.commands import Unit
from mensa.rtl.machine import KIB, MIB, Machine
from mensa.rtl.registers import CATEGORIES
from mensa.sched.lower import lower
from mensa.sched.placement import all_on
from mensa.sim.engines.events import layer_timing
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.soc import Site, Soc, socs


@dataclass(frozen=True)
class Layer:
    """A convolution or a depthwise one of a square input and kernel, SAME padding."""

    kind: str
    size: int
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1

    rounding: ClassVar[str | None] = None
    """Whose arithmetic; None for either."""

    @property
    def name(self) -> str:
        """Such as "3x3 conv, 7x7x512 to 512"."""
        if self.size == self.kernel == 1:
            return f"fully connected, {self.inputs} to {self.outputs}"
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


@dataclass(frozen=True)
class Lstm:
    """An LSTM of so many cells without peepholes, over so many steps of one sequence or several."""

    steps: int
    features: int
    cells: int
    projection: int = 0
    batch: int = 1

    @property
    def name(self) -> str:
        """Such as "LSTM, 512 to 512, 32 steps"."""
        projected = f", projected to {self.projection}" if self.projection else ""
        return f"LSTM, {self.features} to {self.cells}{projected}, {self.steps} steps"

    @property
    def rounding(self) -> str:
        """Whose arithmetic, and so which LSTM cell: LiteRT alone knows projections."""
        return "litert" if self.projection else "tflm"

    @property
    def outputs(self) -> int:
        """Of a step."""
        return self.projection or self.cells

    @property
    def macs(self) -> int:
        """Of all steps: the gates' inputs, their recurrent products, the projection."""
        each = 4 * self.cells * (self.features + self.outputs) + self.cells * self.projection
        return self.batch * self.steps * each

    @property
    def weight_bytes(self) -> int:
        """All weights."""
        return self.macs // self.steps // self.batch

    def graph(self) -> Graph:
        """A network of this layer alone, with states of its own."""
        builder, generator = golden.GraphBuilder(self.name), np.random.default_rng(1)

        def weights(*shape: int) -> int:
            values = generator.integers(-127, 128, shape).astype(np.int8)
            return builder.tensor(data=values, scale=2.0**-9)

        inputs = [builder.input((self.batch, self.steps, self.features), scale=1 / 32)] + [-1] * 23
        for gate in range(4):
            inputs[1 + gate] = weights(self.cells, self.features)
            inputs[5 + gate] = weights(self.cells, self.outputs)
            bias = np.zeros(self.cells)
            inputs[12 + gate] = builder.tensor(data=bias, dtype=np.int32, scale=2.0**-14)
        if self.projection:
            inputs[16] = weights(self.projection, self.cells)
        hidden = {"scale": 2.0**-7, "zero_point": 5}
        state = {"dtype": np.int16, "scale": 2.0**-12, "is_variable": True}
        inputs[18] = builder.tensor((self.batch, self.outputs), is_variable=True, **hidden)
        inputs[19] = builder.tensor((self.batch, self.cells), **state)
        between = [builder.tensor((0,), dtype=np.float32) for _ in range(4)]
        between.append(builder.tensor((0,), dtype=np.int8, **hidden))
        y = builder.tensor((self.batch, self.steps, self.outputs), **hidden)
        builder.operator(
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            tuple(inputs),
            (y,),
            UnidirectionalSequenceLSTMOptions(activation="TANH"),
            intermediates=tuple(between),
        )
        return builder.build([y])


LAYERS: dict[str, tuple[Layer, ...]] = {
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
def figures(layer: Layer | Lstm, system: Soc, machine: Machine | None = None) -> Figures:
    """Of one inference, on the system's machine or on this one in its place."""
    memory = system.memory_of(system.machine.name)
    machine = machine or system.machine
    if layer.rounding is not None:
        machine = machine.replace(cell=layer.rounding)
    lowered = lower(layer.graph(), all_on(machine), layer.rounding)
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


PAPER_LSTM = Lstm(32, 512, 512)

RECURRENT = (
    PAPER_LSTM,
    Layer("conv", 1, 2048, 2048, 1),
    Lstm(32, 640, 2048, 640),
)
"""Of family 3: gates of an LSTM, a fully connected layer, and a layer of an RNN-T's encoder, of
2,048 cells projected to 640 [R-m] (He et al., "Streaming End-to-end Speech Recognition for Mobile
Devices", ICASSP 2019)."""


def phases_table(name: str) -> str:
    """The LSTM's input products, and its recurrent ones, for two widths of the port."""
    layer, system = PAPER_LSTM, socs[name]
    macs = layer.macs // 2  # of each phase
    rows = []
    for port in (system.machine.beat_bytes, 32):
        machine = system.machine.replace(port_bytes=port)
        (program,) = lower(layer.graph(), all_on(machine)).programs
        trace = ModelEngine(machine, system.memory_of(name)).run(program)
        commands = [each for each in program.commands() if each.unit is Unit.COMPUTE]
        events = [each for each in trace.events if each.unit is Unit.COMPUTE]
        inputs = sum(command["PIXELS"] > 1 for command in commands)
        middle = events[inputs - 1].done + 1
        for phase, first, end in (
            ("inputs", 0, middle),
            ("recurrent", middle, trace.cycles),
        ):
            beats = sum(
                event.beats
                for event in trace.events
                if event.unit is Unit.LOAD and first <= event.start and event.done < end
            )
            rows.append(
                (
                    f"{port} B",
                    phase,
                    f"{end - first:,}",
                    f"{macs / machine.peak_macs_per_cycle / (end - first):.1%}",
                    f"{beats * port:,}",
                    f"{beats / (end - first):.1%}",
                )
            )
    heads = ("a beat", "phase", "cycles", "of the MACs", "loaded, B", "of the beats")
    return markdown(heads, rows)


def recurrent_table(name: str) -> str:
    """Recurrent and fully connected layers on four systems."""
    edge_tpu = socs["edge_tpu"]
    site = edge_tpu.sites[0]
    fast = Site(
        machine=site.machine.replace(port_bytes=8 * site.machine.beat_bytes, burst_beats=4),
        memory=site.memory.replace(bandwidth_bytes_per_s=8 * site.memory.bandwidth_bytes_per_s),
    )
    systems = {
        "edge_tpu": edge_tpu,
        "edge_tpu, 256 GB/s": Soc(name="fast", sites=(fast,), host=edge_tpu.host),
        "jacquard": socs["jacquard"],
        name: socs[name],
    }
    heads = ["layer", "MACs"]
    for system in systems:
        heads += [f"{system}: us", "of peak", "memory"]
    rows = []
    for layer in RECURRENT:
        row = [layer.name, f"{layer.macs:,}"]
        for system in systems.values():
            f = figures(layer, system)
            row += [f"{f.microseconds:,.1f}", f"{f.utilization:.1%}", f"{f.memory_bytes:,} B"]
        rows.append(row)
    return markdown(heads, rows)


TABLES = {
    "jacquard": (resident_table, table),
    "pascal": (resident_table, table, reads_table, buffers_table),
    "pavlov": (phases_table, recurrent_table),
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
