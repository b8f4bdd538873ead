"""The control port: every register as the table says, under every legal ordering of AXI4-Lite."""

from __future__ import annotations

import itertools
import random
import re
import shutil
import subprocess

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from mensa.rtl.commands import COMMAND_SET_VERSION, MAGIC, REGISTERS
from mensa.rtl.machine import edge_tpu
from mensa.rtl.registers import (
    CATEGORIES,
    CONTROL_REGISTERS,
    COUNTERS,
    OFFSET,
    Access,
    ErrorCode,
    c_header,
    register_map_markdown,
)
from mensa.rtl.shell.control import Control
from tests.machines import TINY
from tests.rtl import bench

OKAY, SLVERR = 0, 2
START, INTERRUPT_ENABLE, RESET = 1, 2, 4
BUSY, DONE, STOPPING = 1, 2, 4


class Lite:
    """Accesses through cocotbext-axi's manager, with random stalls on every channel."""

    def __init__(self, dut, stalls):
        from cocotbext.axi import AxiLiteBus, AxiLiteMaster

        self.manager = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst)
        if stalls:
            write, read = self.manager.write_if, self.manager.read_if
            for channel in (
                write.aw_channel,
                write.w_channel,
                write.b_channel,
                read.ar_channel,
                read.r_channel,
            ):
                rng = random.Random(random.getrandbits(32))
                channel.set_pause_generator(
                    itertools.starmap(rng.choice, itertools.repeat(([True, True, False],)))
                )

    async def write(self, address, value, response=OKAY):
        answer = await self.manager.write(address, value.to_bytes(4, "little"))
        assert answer.resp == response, hex(address)

    async def read(self, address, response=OKAY):
        answer = await self.manager.read(address, 4)
        assert answer.resp == response, hex(address)
        return int.from_bytes(answer.data, "little")

    async def counter(self, name):
        low = await self.read(OFFSET[f"{name}_LOW"])
        return low | await self.read(OFFSET[f"{name}_HIGH"]) << 32


async def begin(dut, stalls=False):
    inputs = ("reset", "busy", "active", "stop", "done", "error", "word", "commands", "category")
    inputs += ("read_beat", "write_beat", "fetch_beat")
    lite = Lite(dut, stalls)
    await bench.start(dut, **dict.fromkeys(inputs, 0))
    cocotb.start_soon(bench.watchdog(dut, 100_000, lambda: "the control port"))
    await RisingEdge(dut.clk)
    return lite


@cocotb.test()
@cocotb.parametrize(("stalls", [False, True]))
async def registers_are_as_the_table_says(dut, stalls):
    lite = await begin(dut, stalls)
    table = {register.offset: register for register in CONTROL_REGISTERS}
    fixed = {
        "ID": MAGIC,
        "COMMAND_SET_VERSION": COMMAND_SET_VERSION,
        "CONFIG_HASH": TINY.config_hash,
        "WINDOW_LIMIT": 0xFFFF_FFFF,  # all of memory
    }
    addresses = [*range(0, 0x100, 4), 0x400, 0xFFC]
    random.shuffle(addresses)
    for address in addresses:
        register = table.get(address)
        mapped = register is not None
        value = await lite.read(address, OKAY if mapped else SLVERR)
        assert value == (fixed.get(register.name, 0) if mapped else 0)
        if mapped and register.name == "CONTROL":
            continue  # would start
        pattern = random.getrandbits(32)
        await lite.write(address, pattern, OKAY if mapped and register.writable else SLVERR)
        mask = 0
        for field in register.fields if mapped else ():
            if field.access is Access.WRITE:
                mask |= ((1 << field.bits) - 1) << field.low
        after = await lite.read(address, OKAY if mapped else SLVERR)
        assert after == (value & ~mask | pattern & mask)


@cocotb.test()
async def strobes_select_bytes(dut):
    lite = await begin(dut)
    offset, expected = OFFSET["PROGRAM_ADDRESS"], bytearray(4)
    for _ in range(50):
        first = random.randrange(4)
        part = random.randbytes(random.randint(1, 4 - first))
        await lite.manager.write(offset + first, part)
        expected[first : first + len(part)] = part
        assert await lite.read(offset) == int.from_bytes(expected, "little")
    assert dut.program_address.value == int.from_bytes(expected, "little")


@cocotb.test()
async def address_and_data_come_in_any_order(dut):
    for signal in ("awvalid", "wvalid", "bready", "arvalid", "rready", "awprot", "arprot"):
        getattr(dut, f"bus__{signal}").value = 0
    await bench.start(dut, reset=0, busy=0, done=0)
    dut.bus__wstrb.value = 15
    dut.bus__awaddr.value = OFFSET["PROGRAM_ADDRESS"]
    for lead in range(-5, 6):  # cycles by which the address comes first
        for wait in (0, 1, 4):
            value = random.getrandbits(32)
            dut.bus__wdata.value = value
            first_address, first_data = max(0, -lead), max(0, lead)
            aw = w = b = False
            waited = 0
            for cycle in range(40):
                dut.bus__awvalid.value = int(cycle >= first_address and not aw)
                dut.bus__wvalid.value = int(cycle >= first_data and not w)
                dut.bus__bready.value = int(waited >= wait)
                await RisingEdge(dut.clk)
                aw = aw or (dut.bus__awvalid.value == 1 and dut.bus__awready.value == 1)
                w = w or (dut.bus__wvalid.value == 1 and dut.bus__wready.value == 1)
                if dut.bus__bvalid.value == 1:
                    assert aw, "a response before its address"
                    assert w, "a response before its data"
                    assert dut.bus__bresp.value == OKAY
                    if dut.bus__bready.value == 1:
                        b = True
                        break
                    waited += 1
            assert b, f"no response with the address {lead} cycles before the data"
            assert dut.program_address.value == value
            dut.bus__bready.value = 0
            await ClockCycles(dut.clk, 2)
            assert dut.bus__bvalid.value == 0, "a second response"


@cocotb.test()
@cocotb.parametrize(("stalls", [False, True]))
async def a_program_starts_runs_and_interrupts(dut, stalls):
    lite = await begin(dut, stalls)
    for enable in (0, INTERRUPT_ENABLE):
        await lite.write(OFFSET["PROGRAM_ADDRESS"], 0x1234_5680)
        await lite.write(OFFSET["CONTROL"], START | enable)
        assert dut.start.value == 1
        assert await lite.read(OFFSET["STATUS"]) == BUSY, "busy before the core answers"
        assert await lite.read(OFFSET["CONTROL"]) == enable
        dut.reset.value = 1
        await RisingEdge(dut.clk)
        dut.reset.value, dut.busy.value, dut.active.value = 0, 1, 1
        await ClockCycles(dut.clk, 2)
        assert dut.start.value == 0
        # While it runs, neither a start nor another address or window is taken, nor later, while
        # something is still on its way.
        for busy in (1, 0):
            dut.busy.value, dut.stop.value, dut.error.value = busy, 1, ErrorCode.BAD_COMMAND
            await ClockCycles(dut.clk, 2)
            for name in ("PROGRAM_ADDRESS", "WINDOW_BASE", "WINDOW_LIMIT", "WATCHDOG"):
                before = await lite.read(OFFSET[name])
                await lite.write(OFFSET[name], ~before & 0xFFFF_FFFF)
                assert await lite.read(OFFSET[name]) == before
            await lite.write(OFFSET["CONTROL"], START | enable)
            assert dut.start.value == 0
            assert dut.program_address.value == 0x1234_5680
            status = BUSY | STOPPING | ErrorCode.BAD_COMMAND << 8
            assert await lite.read(OFFSET["STATUS"]) == status
            assert dut.irq.value == 0
        await RisingEdge(dut.clk)
        dut.done.value, dut.word.value = 1, 77
        await RisingEdge(dut.clk)
        dut.done.value, dut.active.value, dut.stop.value = 0, 0, 0
        await ClockCycles(dut.clk, 2)
        assert dut.irq.value == bool(enable)
        assert await lite.read(OFFSET["STATUS"]) == DONE | ErrorCode.BAD_COMMAND << 8
        assert await lite.read(OFFSET["PROGRAM_WORD"]) == 77
        await lite.write(OFFSET["STATUS"], DONE)
        assert await lite.read(OFFSET["STATUS"]) == ErrorCode.BAD_COMMAND << 8
        assert dut.irq.value == 0
        dut.error.value = 0


@cocotb.test()
async def a_soft_reset_is_a_strobe_and_starts_nothing(dut):
    lite = await begin(dut)
    strobes = starts = 0

    async def count():
        nonlocal strobes, starts
        while True:
            await RisingEdge(dut.clk)
            strobes += int(dut.soft_reset.value)
            starts += int(dut.start.value)

    cocotb.start_soon(count())
    for number, value in enumerate((RESET, RESET | START, RESET | INTERRUPT_ENABLE), 1):
        await lite.write(OFFSET["CONTROL"], value)
        await ClockCycles(dut.clk, 3)
        assert (strobes, starts) == (number, 0)
        assert await lite.read(OFFSET["CONTROL"]) == value & INTERRUPT_ENABLE


COUNTED = ("read_beat", "write_beat", "fetch_beat", "parameter_read", "activation_read")


@cocotb.test()
async def counters_count_busy_cycles(dut):
    lite = await begin(dut)
    for _ in range(3):
        expected = dict.fromkeys(COUNTERS, 0)
        dut.reset.value = 1
        await RisingEdge(dut.clk)
        dut.reset.value = 0
        for _ in range(300):
            busy = random.random() < 0.8
            beats = {n: random.randrange(2) for n in COUNTED}
            category = random.randrange(len(CATEGORIES))
            dut.busy.value, dut.category.value = int(busy), category
            for name, value in beats.items():
                getattr(dut, name).value = value
            await RisingEdge(dut.clk)
            if busy:
                expected["CYCLES"] += 1
                expected[f"{CATEGORIES[category].upper()}_CYCLES"] += 1
                for name, value in beats.items():
                    expected[f"{name.upper()}S"] += value
        dut.busy.value = 0
        expected["COMMANDS"] = random.getrandbits(32)
        dut.commands.value = expected["COMMANDS"]
        read = {name: await lite.counter(name) for name in COUNTERS}
        assert read == expected
        assert sum(read[f"{c.upper()}_CYCLES"] for c in CATEGORIES) == read["CYCLES"]


@pytest.mark.parametrize("seed", [1])
def test_control(seed):
    bench.run(Control(TINY), __file__, seed=seed)


def test_the_table_is_consistent():
    offsets = [register.offset for register in CONTROL_REGISTERS]
    assert offsets == sorted(set(offsets))
    assert all(offset % 4 == 0 for offset in offsets)
    for register in CONTROL_REGISTERS:
        bits = [b for f in register.fields for b in range(f.low, f.low + f.bits)]
        assert len(bits) == len(set(bits))
        assert max(bits) < 32


@pytest.mark.parametrize("machine", [TINY, edge_tpu], ids=lambda m: m.name)
def test_documents_name_everything(machine):
    page, header = register_map_markdown(machine), c_header(machine)
    for register in CONTROL_REGISTERS:
        assert f"| 0x{register.offset:03X} | {register.name} |" in page
        assert f"#define MENSA_REG_{register.name} 0x{register.offset:03X}u" in header
    for code in ErrorCode:
        assert f"| {code.value} | {code.name} |" in page
        assert f"#define MENSA_ERROR_{code.name} {code.value}u" in header
    for unit, registers in REGISTERS.items():
        for number, register in enumerate(registers):
            assert f"| {number} | {register.name} |" in page
            assert f"#define MENSA_{unit.name}_{register.name} {number}u" in header
    names = re.findall(r"^#define (\w+)", header, re.MULTILINE)
    assert len(names) == len(set(names))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler: apt install gcc")
def test_the_header_is_c(tmp_path):
    (tmp_path / "registers.h").write_text(c_header(TINY))
    (tmp_path / "main.c").write_text(
        '#include "registers.h"\n'
        f'_Static_assert(MENSA_CONFIGURATION == {TINY.config_hash}u, "");\n'
        "_Static_assert(MENSA_SET(MENSA_UNIT_STORE, MENSA_STORE_ROWS, 7)"
        ' == 0x1203000000000007u, "");\n'
        "_Static_assert(MENSA_GO(MENSA_UNIT_COMPUTE, MENSA_TOKEN_PARAMETERS_READY,"
        ' MENSA_TOKEN_RESULTS_READY, 9) == 0x2101040000000009u, "");\n'
    )
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-c", "main.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
