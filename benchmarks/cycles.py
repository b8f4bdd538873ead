"""Cycles of networks on the full edge_tpu by the timing model: the tables of docs/performance.md.

::

    python benchmarks/cycles.py "$MENSA_MODELS"/*.tflite

An inference with its parameters resident; loading them once is a column of its own, and what runs
on the host is listed and in no number of cycles.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mensa import golden
from mensa.golden import Graph, GraphBuilder
from mensa.rtl.machine import Machine, edge_tpu
from mensa.rtl.registers import CATEGORIES
from mensa.sched.lower import Lowered, LoweringError, LoweringOptions, lower
from mensa.sched.placement import all_on
from mensa.sched.placement.cell import with_cell_for
from mensa.sim.engines.events import layer_timing
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.memory import lpddr4

GOOGLE_ESTIMATES = {
    "mobilenet_v1_0.25_128": 21_568,
    "deeplabv3_mnv2_dm05": 1_279_736,
}
"""Static estimates that Google's Edge TPU compiler wrote into the compiled networks that come with
the Coral projects, by how a file's name begins [M: read from their ESTIMATED_CYCLES fields]. They
leave out parameter streaming and host transfers; no measurements."""

STUDIES = {
    "as it is": LoweringOptions(),
    "prefetch=off": LoweringOptions(prefetch=False),
    "residency=off": LoweringOptions(residency=False),
    "both off": LoweringOptions(prefetch=False, residency=False),
}
"""What `--set` can switch off."""

CONVOLUTIONS = ((28, 256, 1), (56, 64, 3))
"""Width and height, channels in and out, width and height of the kernel."""


@dataclass(frozen=True)
class Figures:
    """What is said about one network.

    Attributes
    ----------
    lowered : Lowered
        The network, with all switched on.
    spent : tuple of Counter
        By study, in their order: cycles by category.
    setup : int
        Cycles of loading the parameters that stay on chip.
    """

    lowered: Lowered
    spent: tuple[Counter[str], ...]
    setup: int

    @property
    def cycles(self) -> int:
        """Of an inference, with all switched on."""
        return self.spent[0].total()

    @property
    def name(self) -> str:
        """The network's."""
        return self.lowered.graph.name

    def row(self) -> str:
        """The network's line of the first table."""
        accelerated = [layer for layer in self.lowered.layers if layer.reason is None]
        macs = sum(layer.macs for layer in accelerated)
        estimate = next(
            (each for start, each in GOOGLE_ESTIMATES.items() if self.name.startswith(start)), None
        )
        return _row(
            self.name,
            f"{self.cycles:,}",
            f"{macs / self.cycles / edge_tpu.peak_macs_per_cycle:.1%}",
            f"{estimate:,}" if estimate else "-",
            f"{self.cycles / estimate:.2f}" if estimate else "-",
            f"{self.setup:,}",
            f"{sum(layer.cached_bytes for layer in accelerated):,}",
            f"{sum(layer.streamed_bytes for layer in accelerated):,}",
            f"{len(self.lowered.layers) - len(accelerated)} of {len(self.lowered.layers)}",
        )

    def host_row(self) -> str:
        """The network's line of the table of what runs on the host."""
        layers = [layer for layer in self.lowered.layers if layer.reason is not None]
        counted = Counter(layer.op for layer in layers)
        return _row(
            self.name,
            ", ".join(f"{count} {op}" if count > 1 else op for op, count in counted.items()) or "-",
            f"{sum(layer.macs for layer in layers):,}",
            f"{sum(layer.macs for layer in self.lowered.layers):,}",
        )

    def studies_row(self) -> str:
        """The network's line of the table of what can be switched off."""
        totals = [each.total() for each in self.spent]
        return _row(self.name, *(f"{each:,} ({each / self.cycles:.2f})" for each in totals))

    def losses_row(self) -> str:
        """The network's line of the table of where its cycles went."""
        spent = self.spent[0]
        return _row(self.name, *(f"{spent[each] / self.cycles:.1%}" for each in CATEGORIES))


def figures(graph: Graph) -> Figures:
    """Lower a network and time its programs in every study."""
    machine = with_cell_for(edge_tpu, graph)
    lowered = {
        name: lower(graph, all_on(machine), options=options) for name, options in STUDIES.items()
    }
    first = next(iter(lowered.values()))
    return Figures(
        first,
        tuple(_spent(machine, each) for each in lowered.values()),
        0 if first.setup is None else ModelEngine(machine, lpddr4).run(first.setup).cycles,
    )


def _spent(machine: Machine, lowered: Lowered) -> Counter[str]:
    engine = ModelEngine(machine, lpddr4)
    spent: Counter[str] = Counter()
    for program in lowered.programs:
        spent.update(dict(zip(CATEGORIES, engine.run(program).categories, strict=True)))
    return spent


def convolution_row(size: int, channels: int, kernel: int) -> str:
    """The middle one of three equal convolutions, whose operands and result stay on chip."""
    builder = GraphBuilder()
    tensor = builder.input((1, size, size, channels), scale=0.5, zero_point=3)
    weights = np.ones((channels, kernel, kernel, channels), np.int8)
    for _ in range(3):
        tensor = builder.conv2d(
            tensor, weights, np.zeros(channels), weight_scale=0.02, scale=0.7, zero_point=-5
        )
    graph = builder.build([tensor])
    (program,) = lower(graph, all_on(edge_tpu)).programs
    timing = layer_timing(ModelEngine(edge_tpu, lpddr4).run(program))[1]
    macs = golden.operator_macs(graph, graph.operators[1])
    return _row(
        f"{kernel}x{kernel}, {channels} to {channels}, {size}x{size}",
        f"{macs:,}",
        f"{timing.cycles:,}",
        f"{macs / timing.cycles / edge_tpu.peak_macs_per_cycle:.1%}",
    )


def total(measured: Sequence[Figures]) -> str:
    """What of all networks together runs on the machine."""
    layers = [layer for each in measured for layer in each.lowered.layers]
    on_machine = [layer for layer in layers if layer.reason is None]
    macs, of = (sum(layer.macs for layer in each) for each in (on_machine, layers))
    return (
        f"Of all networks together {len(on_machine)} of {len(layers)} operators run on the machine "
        f"({len(on_machine) / len(layers):.1%}), and {macs / of:.1%} of the multiply-accumulates."
    )


def tables(measured: Sequence[Figures]) -> Iterator[str]:
    """All tables, as lines of Markdown."""
    yield from _heading(
        "network", "cycles", "of peak", "Google's estimate", "ratio", "once", "cached B",
        "streamed B", "on the host",
    )  # fmt: skip
    yield from (each.row() for each in measured)
    yield ""
    yield from _heading("network", "on the host", "MACs there", "of")
    yield from (each.host_row() for each in measured)
    if len(measured) > 1:
        yield ""
        yield total(measured)
    yield ""
    yield from _heading("network", *CATEGORIES)
    yield from (each.losses_row() for each in measured)
    yield ""
    yield from _heading("network", *STUDIES)
    yield from (each.studies_row() for each in measured)
    yield ""
    yield from _heading("convolution", "MACs", "cycles", "of peak")
    yield from (convolution_row(*each) for each in CONVOLUTIONS)


def _heading(*cells: str) -> Iterator[str]:
    yield _row(*cells)
    yield "|---" * len(cells) + "|"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    """Print the tables. Returns: 1 if a network was left out, with a line that says why."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="+", type=Path, metavar="NETWORK.tflite")
    measured, status = [], 0
    for path in parser.parse_args().networks:
        try:
            found = figures(golden.load(path))
            if not found.cycles:
                raise LoweringError("nothing in it is accelerated")
            measured.append(found)
        except (golden.GraphError, LoweringError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            status = 1
    for line in tables(measured):
        print(line)
    return status


if __name__ == "__main__":
    sys.exit(main())
