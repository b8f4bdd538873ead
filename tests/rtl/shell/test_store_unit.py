"""The store unit against an AXI memory of other authors, with stalls on every channel."""

from __future__ import annotations

import gc
import random
from collections import deque

import cocotb
import pytest
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import Unit
from mensa.rtl.shell.store_unit import StoreUnit
from mensa.rtl.timing import OUTSTANDING_WRITES, READ_LATENCY
from tests.rtl import bench
from tests.rtl.shell import dma_bench
from tests.rtl.shell.dma_bench import BEAT, MACHINE, MEMORY_BYTES, SPACE_BYTES, TRIALS


@cocotb.test()
@cocotb.parametrize((("idle", "backpressure"), bench.MATRIX))
async def copies(dut, idle, backpressure):
    await dma_bench.begin(dut, read__data=0)
    ram, expected = dma_bench.attach_memory(dut, idle, backpressure, writes=True)
    buffer = random.randbytes(SPACE_BYTES)
    commands = [dma_bench.random_command(random) for _ in range(dma_bench.COMMANDS)]
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

    cocotb.start_soon(dma_bench.program(dut, Unit.STORE, commands))
    requests = {"aw": ("awaddr", "awlen"), "w": ("wdata", "wstrb", "wlast")}
    async for index in dma_bench.watch(dut, commands, each_cycle, requests):
        dma_bench.copy(commands[index], expected, [buffer], to_memory=True)
        assert ram.read(0, MEMORY_BYTES) == expected, commands[index]
        assert in_flight == 0


@cocotb.test()
@cocotb.parametrize((("idle", "backpressure"), bench.MATRIX))
async def stopped_anywhere_it_completes_its_bursts_with_no_strobe(dut, idle, backpressure):
    await dma_bench.begin(dut, read__data=0)
    ram, _ = dma_bench.attach_memory(dut, idle, backpressure, writes=True)
    buffer = random.randbytes(SPACE_BYTES)
    answers = deque([None] * (READ_LATENCY - 1))
    owed, waiting = 0, {}  # responses; what each channel offers in vain
    stopped = offered = drained = 0

    def each_cycle():
        nonlocal owed, stopped, offered, drained
        request = int(dut.read__address.value) if dut.read__valid.value == 1 else None
        answers.append(request)
        place = answers.popleft()
        data = random.randbytes(BEAT) if place is None else buffer[place : place + BEAT]
        dut.read__data.value = int.from_bytes(data, "little")
        for channel, payload in {"aw": ("awaddr", "awlen"), "w": ("wdata", "wstrb")}.items():
            valid = getattr(dut, f"bus__{channel}valid").value == 1
            now = [int(getattr(dut, f"bus__{name}").value) for name in payload] if valid else None
            assert waiting.get(channel) in (None, now), f"{channel} changed while it waited"
            ready = getattr(dut, f"bus__{channel}ready").value == 1
            waiting[channel] = None if ready else now
        owed += dut.bus__awvalid.value == 1 and dut.bus__awready.value == 1
        owed -= dut.bus__bvalid.value == 1 and dut.bus__bready.value == 1
        if dut.bus__wvalid.value == 1:
            strobes, data = int(dut.bus__wstrb.value), int(dut.bus__wdata.value)
            lanes = sum(255 << 8 * byte for byte in range(BEAT) if strobes >> byte & 1)
            assert data & ~lanes == 0, "a lane without strobe is not 0"
            if stopped and dut.bus__wready.value == 1:
                drained += 1
                # Only what was offered before may still be written.
                assert strobes == 0 or offered
        offered = dut.bus__wvalid.value == 1 and dut.bus__wready.value == 0
        stopped = stopped + 1 if dut.stop.value == 1 else 0
        if stopped > 1 and dut.quiet.value == 1:
            assert owed == 0
            assert dut.bus__awvalid.value == dut.bus__wvalid.value == 0

    for _ in range(TRIALS):
        before = random.randbytes(MEMORY_BYTES)
        ram.write(0, before)
        commands = await dma_bench.stop(dut, Unit.STORE, each_cycle)
        # A byte is as it was, or as some row makes it.
        after, possible = ram.read(0, MEMORY_BYTES), [{byte} for byte in before]
        for command in commands:
            for row in range(command["ROWS"]):
                to = command["MEMORY_ADDRESS"] + row * command["MEMORY_PITCH"]
                source = command["BUFFER_ADDRESS"] + row * command["BUFFER_PITCH"]
                for byte in range(command["ROW_BYTES"]):
                    possible[to + byte].add(buffer[source + byte])
        assert all(byte in values for byte, values in zip(after, possible, strict=True))
        # The next command is whole.
        expected, command = bytearray(after), dma_bench.random_command(random)
        dma_bench.copy(command, expected, [buffer], to_memory=True)
        cocotb.start_soon(dma_bench.program(dut, Unit.STORE, [command]))
        async for _ in dma_bench.watch(dut, [command], each_cycle, {}):
            assert ram.read(0, MEMORY_BYTES) == expected, command
    assert drained > TRIALS / 3, "it was mostly stopped when nothing was owed"


@cocotb.test()
@cocotb.parametrize(("change", list(dma_bench.WRONG.values())))
async def what_cannot_be_copied_never_reaches_the_bus(dut, change):
    await dma_bench.begin(dut, read__data=0)
    for valid in ("bus__awvalid", "bus__wvalid"):
        assert await dma_bench.refuses(dut, Unit.STORE, change, valid=valid) == {"refused"}
        assert await dma_bench.refuses(dut, Unit.STORE, None, valid=valid) == {"outside"}


def test_store_unit_copies_whatever_the_memory_does():
    identifiers = {"awid": Out(1), "bid": In(1)}
    bench.run(dma_bench.WithIdentifiers(StoreUnit(MACHINE), identifiers), __file__)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_a_store_unit_needs_a_machine():
    with pytest.raises(TypeError, match=r"Machine must be a mensa\.rtl\.machine\.Machine, not 4"):
        StoreUnit(4)
    gc.collect()  # now, while the warning is off
