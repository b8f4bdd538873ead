"""The store unit against an AXI memory of other authors, with stalls on every channel."""

from __future__ import annotations

import gc
import random
from collections import deque

import bench
import cocotb
import pytest
from amaranth.lib.wiring import In, Out
from cocotbext.axi import AxiRamWrite, AxiWriteBus
from dma_bench import (
    BEAT,
    COMMANDS,
    MACHINE,
    MEMORY_BYTES,
    SPACE_BYTES,
    WithIdentifiers,
    begin,
    copy,
    pauses,
    program,
    random_command,
    watch,
)

from mensa.rtl.commands import Unit
from mensa.rtl.store_unit import StoreUnit
from mensa.rtl.timing import OUTSTANDING_WRITES, READ_LATENCY


@cocotb.test()
@cocotb.parametrize((("idle", "backpressure"), bench.MATRIX))
async def copies(dut, idle, backpressure):
    await begin(dut, read__data=0)
    ram = AxiRamWrite(AxiWriteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst, size=MEMORY_BYTES)
    ram.aw_channel.set_pause_generator(pauses(backpressure))
    ram.w_channel.set_pause_generator(pauses(backpressure))
    ram.b_channel.set_pause_generator(pauses(idle))
    expected = bytearray(random.randbytes(MEMORY_BYTES))
    ram.write(0, bytes(expected))
    buffer = random.randbytes(SPACE_BYTES)
    commands = [random_command(random) for _ in range(COMMANDS)]
    answers = deque([None] * (READ_LATENCY - 1))
    in_flight = 0

    def each_cycle():
        nonlocal in_flight
        if dut.bus__awvalid.value == 1 and dut.bus__awready.value == 1:
            in_flight += 1
            assert in_flight <= OUTSTANDING_WRITES
            assert dut.bus__awburst.value == 0b01
            assert 1 << int(dut.bus__awsize.value) == BEAT
        if dut.bus__bvalid.value == 1:
            in_flight -= int(dut.bus__bready.value)
        # Data is there in one cycle only; in all others it is noise.
        request = int(dut.read__address.value) if dut.read__valid.value == 1 else None
        answers.append(request)
        place = answers.popleft()
        data = random.randbytes(BEAT) if place is None else buffer[place : place + BEAT]
        assert len(data) == BEAT
        dut.read__data.value = int.from_bytes(data, "little")

    cocotb.start_soon(program(dut, Unit.STORE, commands))
    requests = {"aw": ("awaddr", "awlen"), "w": ("wdata", "wstrb", "wlast")}
    async for index in watch(dut, commands, each_cycle, requests):
        copy(commands[index], expected, [buffer], to_memory=True)
        assert ram.read(0, MEMORY_BYTES) == expected, commands[index]
        assert in_flight == 0


def test_store_unit_copies_whatever_the_memory_does():
    identifiers = {"awid": Out(1), "bid": In(1)}
    bench.run(WithIdentifiers(StoreUnit(MACHINE), identifiers), __file__)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_a_store_unit_needs_a_machine():
    with pytest.raises(TypeError, match=r"Machine must be a mensa\.rtl\.machine\.Machine, not 4"):
        StoreUnit(4)
    gc.collect()  # now, while the warning is off
