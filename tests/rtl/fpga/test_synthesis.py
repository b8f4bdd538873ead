"""Cores synthesised: they take what was foreseen, and the files are those that are promised."""

import dataclasses
import json
import os
import sys

import pytest

from mensa.rtl.fpga import synthesis as synth
from mensa.rtl.fpga.device import TARGETS
from mensa.rtl.fpga.estimate import estimate
from mensa.rtl.machine import edge_tpu
from mensa.sched.cli.main import invoke

REGRESS = os.environ.get("MENSA_REGRESS") == "1"

TINY = (
    "--set", "rows=2", "--set", "cols=2", "--set", "constant_entries=64",
    "--set", "parameter_buffer_bytes=4096", "--set", "activation_buffer_bytes=8192",
)  # fmt: skip


@pytest.mark.skipif(not REGRESS, reason="minutes of synthesis; MENSA_REGRESS=1 runs it")
@pytest.mark.parametrize("target", ["ecp5-25k", "xc7"])
def test_a_tiny_core_fits_with_the_multipliers_and_blocks_that_were_foreseen(target, tmp_path):
    file, folder = tmp_path / "result.json", tmp_path / "build"
    arguments = ["synth", "edge_tpu", *TINY, "--target", target, "-o", str(folder)]
    assert invoke([*arguments, "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    settings = dict(each.split("=") for each in TINY[1::2])
    machine = edge_tpu.replace(**{name: int(value) for name, value in settings.items()})
    foreseen = dataclasses.asdict(estimate(machine, TARGETS[target]))
    assert found["used"]["multipliers"] == foreseen["multipliers"]
    # Small memories beside the buffers may or may not become block RAM.
    assert foreseen["block_rams"] <= found["used"]["block_rams"] <= foreseen["block_rams"] + 4
    for name in ("logic", "flip_flops"):
        assert foreseen[name] <= found["used"][name]
    placed = target != "xc7"
    assert (found["moved"] is not None) == placed
    assert (found["copies"] is not None) == placed
    if placed:
        # Every multiplier of the core is a stage of its own, and every buffer's word is registered.
        assert found["moved"]["operands"] == found["moved"]["products"] == foreseen["multipliers"]
        assert found["moved"]["reads"] == found["used"]["block_rams"]
    assert (found["fmax_hz"] is not None) == placed
    assert bool(found["critical_path"]) == placed
    written = {path.name for path in folder.iterdir()}
    assert written == set(synth.FILES) - (set() if placed else {"report.json", "nextpnr.log"})
    assert sys.executable not in (folder / "synthesis.json").read_text()
