"""The testbench harness and the build cache, shown on the smallest stream component."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import cocotb
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.sim.engines import verilator
from tests.rtl import bench


class Increment(wiring.Component):
    """Adds one to each payload, modulo its width; latency and throughput of one cycle."""

    def __init__(self, width):
        self._width = width
        super().__init__({"i": In(stream.Signature(width)), "o": Out(stream.Signature(width))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload + 1)]
        return m


@cocotb.test()
@cocotb.parametrize((("idle", "backpressure"), bench.MATRIX))
async def increments(dut, idle, backpressure):
    width = bench.parameter("WIDTH")
    await bench.start(dut, i__valid=0, o__ready=0)
    payloads = [random.randrange(1 << width) for _ in range(100)]
    cocotb.start_soon(bench.send(dut, "i", payloads, bench.pace(idle)))
    results = await bench.receive(dut, "o", len(payloads), bench.pace(backpressure))
    assert results == [(payload + 1) % (1 << width) for payload in payloads]


@cocotb.test()
async def fails_by_intent(dut):
    await bench.start(dut)
    raise AssertionError("as asked")


def test_a_component_runs_under_cocotb():
    bench.run(Increment(8), __file__, env={"WIDTH": 8}, testcase="increments")


def test_a_failing_cocotb_test_fails_the_pytest_test():
    with pytest.raises(pytest.fail.Exception, match=r"(?s)1 of 1 cocotb tests failed.*as asked"):
        bench.run(Increment(8), __file__, testcase="fails_by_intent")


def test_no_cocotb_test_is_a_failure():
    with pytest.raises(pytest.fail.Exception, match="no cocotb test"):
        bench.run(Increment(8), __file__, testcase="there_is_no_such_test")


def wanted(verilog: str, name: str = "a counter") -> verilator.Build:
    return verilator.Build(
        name=name, verilog=verilog, top="counter", sources=(MAIN,), flags=(), optimise="-O0"
    )


COUNTER = """module counter(clk, count);
  input clk; output reg [7:0] count = 0;
  always @(posedge clk) count <= count + 1;
endmodule
"""
MAIN = Path(__file__).with_name("counter_main.cpp")


def test_a_second_process_finds_the_build(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MENSA_CACHE", str(tmp_path))
    executable = verilator.build(wanted(COUNTER))
    assert "building a counter" in capfd.readouterr().err
    assert subprocess.run([executable], check=False).returncode == 5
    assert verilator.build(wanted(COUNTER)) == executable
    assert capfd.readouterr().err == ""
    # A build that was killed leaves its work behind, which is not taken for a build.
    broken = wanted(COUNTER.replace("endmodule", "endmodule // again"))
    (tmp_path / "builds" / f"{broken.key()}.building").mkdir()
    assert subprocess.run([verilator.build(broken)], check=False).returncode == 5


def test_a_failed_build_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("MENSA_CACHE", str(tmp_path))
    with pytest.raises(verilator.ToolError, match=r"(?s)failed on a counter.*syntax error"):
        verilator.build(wanted(COUNTER.replace("endmodule", "endmodul")))


@pytest.mark.parametrize("missing", ["g++", "make"])
def test_a_missing_tool_is_named(missing, tmp_path, monkeypatch):
    for name in {"g++", "make"} - {missing}:
        (tmp_path / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path))
    verilator.tools.cache_clear()
    try:
        with pytest.raises(verilator.ToolError, match=rf"{re.escape(missing)} is not installed"):
            verilator.tools()
    finally:
        verilator.tools.cache_clear()


def test_ports_are_read_from_the_text():
    assert verilator.ports(COUNTER, "counter") == ["clk", "count"]
