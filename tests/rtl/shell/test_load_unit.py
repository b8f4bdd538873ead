"""The load unit against an AXI memory of other authors, with stalls on every channel."""

from __future__ import annotations

import gc
import random

import cocotb
import pytest
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import Unit
from mensa.rtl.shell.load_unit import LoadUnit
from mensa.rtl.timing import LOADS_IN_FLIGHT
from tests.rtl import bench
from tests.rtl.shell import dma_bench
from tests.rtl.shell.dma_bench import BEAT, MACHINE, SPACE_BYTES, SPACES, TRIALS


@cocotb.test()
@cocotb.parametrize((("idle", "backpressure"), bench.MATRIX))
async def copies(dut, idle, backpressure):
    await dma_bench.begin(dut)
    _, memory = dma_bench.attach_memory(dut, idle, backpressure, writes=False)
    buffers = [bytearray(random.randbytes(SPACE_BYTES)) for _ in range(SPACES)]
    expected = [bytearray(buffer) for buffer in buffers]
    commands = [dma_bench.random_command(random) for _ in range(dma_bench.COMMANDS)]
    in_flight = together = 0

    def each_cycle():
        nonlocal in_flight
        if dut.bus__arvalid.value == 1 and dut.bus__arready.value == 1:
            in_flight += 1
            assert in_flight <= MACHINE.outstanding_reads
            assert dut.bus__arburst.value == 0b01
            assert 1 << int(dut.bus__arsize.value) == BEAT
        if dut.bus__rvalid.value == 1 and dut.bus__rready.value == 1:
            in_flight -= int(dut.bus__rlast.value)
        if dut.write__valid.value == 1:
            address, mask = int(dut.write__address.value), int(dut.write__mask.value)
            assert address % BEAT == 0
            data = int(dut.write__data.value).to_bytes(BEAT, "little")
            for byte in range(BEAT):
                if mask >> byte & 1:
                    buffers[int(dut.write__space.value)][address + byte] = data[byte]

    cocotb.start_soon(dma_bench.program(dut, Unit.LOAD, commands))
    requests = {"ar": ("araddr", "arlen")}
    async for index in dma_bench.watch(dut, commands, each_cycle, requests, LOADS_IN_FLIGHT):
        dma_bench.copy(commands[index], memory, expected, to_memory=False)
        assert buffers == expected, commands[index]
        together += in_flight > 0
    assert in_flight == 0
    assert together or idle or backpressure, "no command begins while the one before runs"


@cocotb.test()
@cocotb.parametrize((("idle", "backpressure"), bench.MATRIX))
async def stopped_anywhere_it_takes_what_it_asked_for_and_no_more(dut, idle, backpressure):
    await dma_bench.begin(dut)
    _, memory = dma_bench.attach_memory(dut, idle, backpressure, writes=False)
    in_flight = stopped = drained = 0

    def each_cycle():
        nonlocal in_flight, stopped, drained
        if dut.bus__arvalid.value == 1 and dut.bus__arready.value == 1:
            in_flight += 1
        if dut.bus__rvalid.value == 1 and dut.bus__rready.value == 1:
            drained += stopped > 0
            in_flight -= int(dut.bus__rlast.value)
        assert dut.stop.value == 0 or stopped == 0 or dut.write__valid.value == 0
        stopped = stopped + 1 if dut.stop.value == 1 else 0
        if stopped > 1 and dut.quiet.value == 1:
            assert in_flight == 0
            assert dut.bus__arvalid.value == 0

    for _ in range(TRIALS):
        await dma_bench.stop(dut, Unit.LOAD, each_cycle)
        # The next command is whole.
        buffers = [bytearray(SPACE_BYTES) for _ in range(SPACES)]
        expected = [bytearray(buffer) for buffer in buffers]
        command = dma_bench.random_command(random)

        def write(buffers=buffers):
            each_cycle()
            if dut.write__valid.value == 1:
                address, mask = int(dut.write__address.value), int(dut.write__mask.value)
                data = int(dut.write__data.value).to_bytes(BEAT, "little")
                for byte in range(BEAT):
                    if mask >> byte & 1:
                        buffers[int(dut.write__space.value)][address + byte] = data[byte]

        cocotb.start_soon(dma_bench.program(dut, Unit.LOAD, [command]))
        async for _ in dma_bench.watch(dut, [command], write, {"ar": ("araddr", "arlen")}):
            dma_bench.copy(command, memory, expected, to_memory=False)
        assert buffers == expected, command
    assert drained > TRIALS, "it was mostly stopped when nothing was on its way"


@cocotb.test()
@cocotb.parametrize(("change", [*dma_bench.WRONG.values(), {"SPACE": 3}]))
async def what_cannot_be_copied_never_reaches_the_bus(dut, change):
    await dma_bench.begin(dut)
    assert await dma_bench.refuses(dut, Unit.LOAD, change, valid="bus__arvalid") == {"refused"}
    assert await dma_bench.refuses(dut, Unit.LOAD, None, valid="bus__arvalid") == {"outside"}


def test_load_unit_copies_whatever_the_memory_does():
    identifiers = {"arid": Out(1), "rid": In(1)}
    bench.run(dma_bench.WithIdentifiers(LoadUnit(MACHINE), identifiers), __file__)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_a_load_unit_needs_a_machine():
    with pytest.raises(TypeError, match=r"Machine must be a mensa\.rtl\.machine\.Machine, not 4"):
        LoadUnit(4)
    gc.collect()  # now, while the warning is off
