"""What the testbenches of load and store unit share."""

from __future__ import annotations

import random

import cocotb
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiRamRead, AxiRamWrite, AxiReadBus, AxiWriteBus

from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.commands import REGISTER_NUMBER
from mensa.rtl.machine import Machine
from mensa.rtl.registers import PAGE_BITS
from tests.rtl import bench

MACHINE = Machine(
    name="tiny",
    array=Systolic(rows=2, cols=2),
    clock_hz=100_000_000,
    parameter_buffer_bytes=4096,
    activation_buffer_bytes=4096,
    port_bytes=16,
    burst_beats=4,
    outstanding_reads=3,
)
BEAT = MACHINE.beat_bytes
MEMORY_BYTES = 1 << 14
SPACES = 3
SPACE_BYTES = 1 << 12
COMMANDS = 12
TRIALS = 15
"""How often a unit is stopped."""
WATCHDOG = 20_000


class WithIdentifiers(wiring.Component):
    """A unit whose bus has the identifiers that cocotbext-axi asks for; they are always 0."""

    def __init__(self, unit, identifiers):
        self._unit = unit
        members = dict(unit.signature.members)
        bus = dict(unit.bus.signature.members)
        members["bus"] = Out(wiring.Signature(bus | identifiers))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self._unit
        for name, member in unit.signature.members.items():
            if name == "bus":
                continue
            if not member.is_port:
                connect(m, getattr(unit, name), flipped(getattr(self, name)))
            elif member.flow == In:
                m.d.comb += getattr(unit, name).eq(getattr(self, name))
            else:
                m.d.comb += getattr(self, name).eq(getattr(unit, name))
        for name, member in unit.bus.signature.members.items():
            if member.flow == In:
                m.d.comb += getattr(unit.bus, name).eq(getattr(self.bus, name))
            else:
                m.d.comb += getattr(self.bus, name).eq(getattr(unit.bus, name))
        return m


def random_command(rng):
    """Registers by name, with rows inside memory and buffer."""
    row_bytes = rng.choice([rng.randint(1, BEAT), rng.randint(1, 5 * MACHINE.burst_bytes)])
    rows = rng.choice([1, rng.randint(1, max(1, 1000 // row_bytes))])
    step = rng.choice([0, rng.randrange(BEAT)])
    shift = rng.randrange(BEAT)
    registers = {"ROW_BYTES": row_bytes, "ROWS": rows, "SPACE": rng.randrange(SPACES)}
    for where, size in (("MEMORY", MEMORY_BYTES), ("BUFFER", SPACE_BYTES)):
        highest = (size - row_bytes - BEAT) // max(1, rows - 1) - step
        pitch = rng.randint(0, min(max(0, highest // BEAT), row_bytes // BEAT + 3)) * BEAT + step
        registers["ROWS"] = min(registers["ROWS"], (size - row_bytes - BEAT) // max(1, pitch) + 1)
        top = size - (registers["ROWS"] - 1) * pitch - row_bytes - shift
        registers[f"{where}_ADDRESS"] = rng.randint(0, top // BEAT) * BEAT + shift
        registers[f"{where}_PITCH"] = pitch
    registers["WAIT"] = rng.choice([0, rng.getrandbits(8)])
    registers["SIGNAL"] = rng.getrandbits(8)
    return registers


def copy(command, memory, buffers, *, to_memory):
    """What a command does, row by row."""
    buffer = buffers[0] if to_memory else buffers[command["SPACE"]]
    for row in range(command["ROWS"]):
        a = command["MEMORY_ADDRESS"] + row * command["MEMORY_PITCH"]
        b = command["BUFFER_ADDRESS"] + row * command["BUFFER_PITCH"]
        n = command["ROW_BYTES"]
        if to_memory:
            memory[a : a + n] = buffer[b : b + n]
        else:
            buffer[b : b + n] = memory[a : a + n]


async def program(dut, unit, commands):
    """The fetch unit's part: SET and GO whenever the unit isn't pending."""
    for tag, command in enumerate(commands):
        for name, number in REGISTER_NUMBER[unit].items():
            dut.command__set_valid.value = 1
            dut.command__set_register.value = number
            dut.command__set_value.value = command[name]
            await RisingEdge(dut.clk)
        dut.command__set_valid.value = 0
        dut.command__go_valid.value = 1
        dut.command__go_wait.value = command["WAIT"]
        dut.command__go_signal.value = command["SIGNAL"]
        dut.command__go_tag.value = tag
        await RisingEdge(dut.clk)
        dut.command__go_valid.value = 0
        for _ in range(WATCHDOG):
            await RisingEdge(dut.clk)
            if dut.command__pending.value == 0:
                break
        else:
            raise TimeoutError(f"command {tag} did not start: {command}")


async def watch(dut, commands, each_cycle, requests, in_flight=1):
    """Run until all commands are done; check handshakes, tokens, tags and request stability.

    At most `in_flight` commands run at once.

    `each_cycle` is called at the end of every cycle, and the index of a command is yielded when
    it is done. `requests` names the channels whose valid must hold, with their payloads.
    """
    started = finished = available = 0
    waiting = {}
    for _ in range(WATCHDOG):
        before, available = available, random.getrandbits(8) | random.getrandbits(8)
        dut.available.value = available
        await RisingEdge(dut.clk)
        each_cycle()
        for channel, payload in requests.items():
            valid = getattr(dut, f"bus__{channel}valid").value == 1
            now = [int(getattr(dut, f"bus__{name}").value) for name in payload] if valid else None
            assert waiting.get(channel) in (None, now), f"{channel} changed while it waited"
            ready = getattr(dut, f"bus__{channel}ready").value == 1
            waiting[channel] = None if ready else now
        assert dut.error.value == 0
        if dut.start.value == 1:
            assert started - finished < in_flight
            wait = commands[started]["WAIT"]
            assert wait & ~before == 0
            assert dut.take.value == wait
            started += 1
        if dut.done.value == 1:
            assert dut.tag.value == finished
            assert dut.give.value == commands[finished]["SIGNAL"]
            finished += 1
            yield finished - 1
            if finished == len(commands):
                return
    raise TimeoutError(f"{started} of {len(commands)} commands started, {finished} are done")


async def stop(dut, unit, each_cycle):
    """Begin random commands, stop the unit somewhere, wait until it is quiet, and reset it.

    `each_cycle` is called at the end of every cycle. Returns: the commands.
    """
    commands = [random_command(random) for _ in range(3)]
    dut.available.value = 255
    running = cocotb.start_soon(program(dut, unit, commands))
    for _ in range(random.randrange(250)):
        await RisingEdge(dut.clk)
        each_cycle()
    running.cancel()
    dut.command__set_valid.value = dut.command__go_valid.value = 0
    dut.stop.value = 1
    for _ in range(WATCHDOG):
        await RisingEdge(dut.clk)
        each_cycle()
        if dut.quiet.value == 1:
            break
    else:
        raise TimeoutError(f"the {unit.name.lower()} unit is not quiet")
    for _ in range(10):
        await RisingEdge(dut.clk)
        each_cycle()
        assert dut.quiet.value == 1
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = dut.stop.value = 0
    return commands


def attach_memory(dut, idle, backpressure, *, writes):
    """Put a memory of other authors, of random content, at the read or the write channels.

    `idle` stalls what it answers, `backpressure` what it is asked. Returns: the memory, and a copy
    of its content.
    """
    if writes:
        ram, asked, answered = AxiRamWrite, ("aw", "w"), ("b",)
    else:
        ram, asked, answered = AxiRamRead, ("ar",), ("r",)
    bus = (AxiWriteBus if writes else AxiReadBus).from_prefix(dut, "bus_")
    memory = ram(bus, dut.clk, dut.rst, size=MEMORY_BYTES)
    for channels, stalls in ((asked, backpressure), (answered, idle)):
        for channel in channels:
            getattr(memory, f"{channel}_channel").set_pause_generator(pauses(stalls))
    content = random.randbytes(MEMORY_BYTES)
    memory.write(0, content)
    return memory, bytearray(content)


async def begin(dut, **inputs):
    """Reset with all common inputs at 0 and the window open."""
    idle = ("reset", "stop", "available", "command__set_valid", "command__go_valid")
    window = {"window__first": 0, "window__last": (1 << 32 - PAGE_BITS) - 1}
    await bench.start(dut, **dict.fromkeys(idle, 0) | window | inputs)


WRONG = {
    "ROWS": {"ROWS": 0},
    "ROW_BYTES": {"ROW_BYTES": 0},
    "address": {"MEMORY_ADDRESS": 5, "BUFFER_ADDRESS": 6},
    "pitch": {"ROWS": 2, "MEMORY_PITCH": 32, "BUFFER_PITCH": 33},
}
"""Registers that make any command one that can't be copied."""


async def refuses(dut, unit, change, *, valid):
    """Expect a command with other registers or another window to be refused.

    Parameters: `change`, registers, or None for a window that ends before the command's rows;
    `valid`, the port whose signal must stay low. Returns: which strobe came.
    """
    command = random_command(random) | (change or {"MEMORY_ADDRESS": 4096, "BUFFER_ADDRESS": 0})
    dut.window__last.value = (1 << 20) - 1 if change else 0
    dut.available.value = 255
    cocotb.start_soon(program(dut, unit, [command]))
    seen = set()
    for _ in range(60):
        await RisingEdge(dut.clk)
        seen |= {name for name in ("refused", "outside") if getattr(dut, name).value == 1}
        assert getattr(dut, valid).value == 0
        if seen:
            dut.stop.value = 1
    assert dut.quiet.value == 1
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = dut.stop.value = 0
    return seen


def pauses(stalls):
    """Yield whether a cocotbext-axi channel pauses, cycle by cycle."""
    rng = random.Random(random.getrandbits(32))
    probability = 0.0
    while True:
        if stalls and rng.random() < 0.05:
            probability = rng.choice([0.1, 0.5, 0.9])
        yield rng.random() < probability
