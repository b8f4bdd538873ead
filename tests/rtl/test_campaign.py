"""A campaign of faults: a program ends with the right code, the next ones are bit-exact.

Meanwhile both sides of every port keep the rules of AXI, and `irq` waits for quiet ports.
MENSA_CAMPAIGN=N repeats run N alone, on a core that has just been reset.
"""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mensa import golden
from mensa.rtl.machine import edge_tpu, jacquard
from mensa.sched.lower import lower, tensor_to_memory
from mensa.sched.placement import all_on
from tests.rtl import bench
from tests.rtl import campaign_faults as faults
from tests.rtl.campaign_top import campaign_top
from tests.small_network import small_network

REGRESS = os.environ.get("MENSA_REGRESS") == "1"
RUNS = 1000 if REGRESS else 50
"""Of each shape."""

INFERENCES = 8
BENCH = Path(__file__).with_name("campaign_bench.py")


def write_network(path, machine):
    """Memory, programs, inputs and golden's outputs of the small network, for the bench."""
    graph = small_network()
    lowered = lower(graph, all_on(machine))
    (inference,) = lowered.programs
    (entry,) = graph.inputs
    rng = np.random.default_rng(5)
    inputs, outputs = [], []
    for _ in range(INFERENCES):
        image = rng.integers(-128, 128, graph.tensors[entry].shape, np.int8)
        wanted = golden.run(graph, [image])
        inputs.append(tensor_to_memory(graph.tensors[entry], image))
        results = [tensor_to_memory(graph.tensors[each], wanted[each]) for each in graph.outputs]
        outputs.append(np.concatenate(results))
    assert lowered.memory_bytes <= faults.MEMORY_BYTES // 2 - inference.words.nbytes
    np.savez(
        path,
        memory=lowered.initial_memory(),
        setup=lowered.setup.words,
        setup_address=lowered.setup.program_address,
        inference=inference.words,
        inference_address=inference.program_address,
        inputs=np.array(inputs),
        input_address=lowered.tensors[entry],
        outputs=np.array(outputs),
        output_places=[
            (lowered.tensors[each], graph.tensors[each].nbytes) for each in graph.outputs
        ],
    )


CORES = {
    "8 x 8": edge_tpu.replace(rows=8, cols=8),
    "5 x 3": edge_tpu.replace(rows=5, cols=3),
}
if REGRESS:
    CORES["6 x 4 Jacquard"] = jacquard.replace(rows=6, cols=4, reload_rows=2, port_bytes=16)


@pytest.mark.parametrize("core", CORES)
def test_whatever_happens_the_next_program_is_exact(core, tmp_path, capsys):
    machine = CORES[core].replace(parameter_buffer_bytes=32768, activation_buffer_bytes=32768)
    rows = machine.array.chunk
    write_network(tmp_path / "network.npz", machine)
    alone = os.environ.get("MENSA_CAMPAIGN")
    environment = {
        "NETWORK": tmp_path / "network.npz",
        "FIRST": alone or rows * 10_000,
        "RUNS": 1 if alone else RUNS,
    }
    name = f"a {core} core with checkers"
    log = bench.run_verilog(name, campaign_top(machine), BENCH, env=environment)
    figures = re.findall(r"campaign: (.*)", log)
    assert len(figures) == len(faults.KINDS)
    with capsys.disabled():  # the figures are for everyone to see
        print(
            f"\ncampaign, {core}: runs by kind, and the codes that ended them",
            *figures,
            sep="\n  ",
            file=sys.stderr,
            flush=True,
        )
