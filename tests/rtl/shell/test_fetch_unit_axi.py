"""The fetch unit against an AXI memory of other authors, with stalls on every channel."""

from __future__ import annotations

import random

import cocotb
from amaranth.lib.wiring import In, Out
from cocotb.triggers import RisingEdge

from mensa.rtl.commands import WORD_BYTES, Opcode, Unit
from mensa.rtl.registers import PROGRAM_ALIGNMENT_BYTES, ErrorCode
from mensa.rtl.shell.fetch_unit import FetchUnit
from tests.rtl import bench
from tests.rtl.shell.dma_bench import MEMORY_BYTES, WithIdentifiers, attach_memory
from tests.rtl.shell.test_fetch_unit import (
    LAST_PAGE,
    PORTS,
    TINY,
    Units,
    expected,
    observed,
    random_program,
)

PROGRAMS = 8
WATCHDOG = 40_000


@cocotb.test()
@cocotb.parametrize((("idle", "backpressure"), bench.MATRIX))
async def hands_out_every_command(dut, idle, backpressure):
    # Backpressure on this port is on its requests; its data it always takes.
    await bench.start(
        dut,
        start=0,
        address=0,
        fault=0,
        soft_reset=0,
        units_idle=1,
        units_quiet=1,
        window__first=0,
        window__last=LAST_PAGE,
        **{f"{port}__pending": 0 for port in PORTS.values()},
    )
    ram, _ = attach_memory(dut, idle, backpressure, writes=False)
    for number in range(PROGRAMS):
        words = random_program(random, random.choice([0, 13, 14, 50, 300]))
        room = (MEMORY_BYTES - len(words) * WORD_BYTES) // PROGRAM_ALIGNMENT_BYTES - 1
        address = random.randint(0, room) * PROGRAM_ALIGNMENT_BYTES
        ram.write(address, b"".join(word.to_bytes(WORD_BYTES, "little") for word in words))
        commands = await run(dut, address, Units(dut, random), f"program {number}")
        assert commands == [expected(word) for word in words[2:-1]]
        assert dut.error.value == ErrorCode.NONE
        await RisingEdge(dut.clk)  # counted a cycle later
        assert int(dut.word.value) == len(words)
        assert int(dut.commands.value) == sum(word >> 60 == Opcode.GO for word in words[2:])


async def run(dut, address, units, what):
    """Run a program. Returns: the commands, in order."""
    dut.address.value = address
    dut.start.value = 1
    commands = []
    started = False
    for cycle in range(WATCHDOG):
        units.drive()
        await RisingEdge(dut.clk)
        if dut.busy.value == 1:
            started = True
            dut.start.value = 0
        command = observed(dut) if started else None
        went: Unit | None = None
        if command is not None:
            commands.append(command)
            went = command[0] if command[1][0] == "go" else None
        units.clock(cycle, went)
        if started and dut.done.value == 1:
            await RisingEdge(dut.clk)
            return commands
    raise TimeoutError(f"{what} was not done after {WATCHDOG} cycles: {len(commands)} commands")


def test_fetch_unit_reads_programs_whatever_the_memory_does():
    identifiers = {"arid": Out(1), "rid": In(1)}
    bench.run(WithIdentifiers(FetchUnit(TINY), identifiers), __file__)
