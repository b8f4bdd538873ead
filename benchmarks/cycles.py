"""Cycles per network on the full edge_tpu, by the timing model: run this file to see the table.

Networks: those in MENSA_MODELS (else ../shared/models beside the checkout). An inference with
parameters resident; loading them once is a column of its own, and the host's layers are left out.
Beside it stand estimates that others published for an accelerator with as many multipliers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mensa import golden
from mensa.rtl.machine import edge_tpu
from mensa.sched.lower import LoweringError, lower
from mensa.sim.memory import lpddr4
from mensa.sim.timing import ModelEngine

PUBLISHED = {
    "mobilenet_v1_0.25_128": 21_568,
    "deeplabv3_mnv2_dm05": 1_279_736,
}
"""Static estimates that Google's Edge TPU compiler wrote into the compiled networks that come with
the Coral projects, by how a file's name begins [M: read from their ESTIMATED_CYCLES fields]. They
leave out parameter streaming and host transfers; no measurements."""


def main() -> int:
    """Print a line per network."""
    given = os.environ.get("MENSA_MODELS")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "models"
    networks = sorted(folder.glob("*.tflite"))
    if not networks:
        print(f"no networks in {folder}: set MENSA_MODELS", file=sys.stderr)
        return 1
    engine = ModelEngine(edge_tpu, lpddr4)
    print(f"{edge_tpu.name} with {lpddr4.name}, timing model")
    columns = ("cycles", "of peak", "published", "set-up", "cached B", "streamed B", "on host")
    print(f"{'':46}" + "".join(f"{column:>12}" for column in columns))
    for path in networks:
        try:
            graph = golden.load(path)
            lowered = lower(graph, edge_tpu)
        except (golden.GraphError, LoweringError) as error:
            print(f"{path.stem[:45]:46}{error}")
            continue
        cycles = sum(engine.run(program).cycles for program in lowered.programs)
        setup = engine.run(lowered.setup).cycles if lowered.setup else 0
        ours = [layer for layer in lowered.layers if layer.reason is None]
        share = sum(layer.macs for layer in ours) / max(cycles, 1) / edge_tpu.peak_macs_per_cycle
        estimates = [PUBLISHED[name] for name in PUBLISHED if path.stem.startswith(name)]
        cells = (
            f"{cycles:,}",
            f"{share:.1%}",
            f"{estimates[0]:,}" if estimates else "-",
            f"{setup:,}",
            f"{sum(layer.cached_bytes for layer in ours):,}",
            f"{sum(layer.streamed_bytes for layer in ours):,}",
            f"{len(lowered.layers) - len(ours)} of {len(lowered.layers)}",
        )
        print(f"{path.stem[:45]:46}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
