from __future__ import annotations

import gc
import os
import random
from collections import deque
from typing import Any

import cocotb
import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from cocotb.triggers import RisingEdge

from mensa.rtl import timing
from mensa.rtl.arrays.jacquard.jacquard import Jacquard
from mensa.rtl.arrays.pascal.pascal import Pascal
from mensa.rtl.arrays.pavlov.pavlov import Pavlov
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.buffers.buffer import Buffer, WritePort
from mensa.rtl.buffers.constant_buffer import ConstantBuffer
from mensa.rtl.buffers.register_store import parameter_memory
from mensa.rtl.commands import (
    BUFFER_ADDRESS_BITS,
    REGISTER_NUMBER,
    REGISTERS,
    TAG_BITS,
    Mode,
    Token,
    Unit,
    Width,
)
from mensa.rtl.compute.address_generator import AddressGenerator
from mensa.rtl.compute.compute_unit import ComputeUnit
from mensa.rtl.compute.operand_feed import OperandFeed
from mensa.rtl.machine import KIB, Machine
from mensa.rtl.parts.unit import CommandSignature
from mensa.rtl.post.post_processor import PostProcessor
from mensa.rtl.post.requantizer import Requantizer
from mensa.rtl.post.vector_unit import VectorUnit
from tests.rtl import bench
from tests.rtl.compute.reference import (
    Reference,
    Registers,
    as_tiles,
    random_buffers,
    random_commands,
)
from tests.rtl.lockstep import Port, SideBySide

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

ARRAYS = {
    "wide": (Systolic(rows=2, cols=24), "tflm"),
    "few": (Systolic(rows=3, cols=8, post_lanes=3), "tflm"),
    "stays": (Jacquard(rows=4, cols=6, accumulators=12, reload_rows=4), "tflm"),
    "slow": (Jacquard(rows=6, cols=8, accumulators=9, reload_rows=2, post_lanes=4), "litert"),
    "multicast": (Pascal(rows=6, cols=5, post_lanes=3), "tflm"),
    "streams": (Pavlov(rows=4, cols=4, registers=256, accumulators=12), "litert"),
}
"""With whose arithmetic an LSTM cell is there."""

if os.environ.get("MENSA_REGRESS") == "1":  # each makes the build longer
    ARRAYS |= {
        "tall": (Systolic(rows=9, cols=2), None),
        "long": (Systolic(rows=3, cols=8, post_lanes=4), "litert"),
        "deep": (Jacquard(rows=13, cols=2, accumulators=16, reload_rows=1), None),
    }

MACHINES = {
    name: Machine(
        name=name,
        array=array,
        clock_hz=1,
        parameter_buffer_bytes=None if array.store_bytes else 4 * KIB,
        activation_buffer_bytes=2 * KIB,
        activation_banks=2,
        constant_entries=8,
        cell=cell,
    )
    for name, (array, cell) in ARRAYS.items()
}
COMMANDS = 30
"""Per mode and machine."""

MIXED_COMMANDS = 500
"""Of all modes, per machine."""


HAVE_TABLES = (Mode.TABLE, Mode.SOFTMAX)


class WithBuffers(wiring.Component):
    """A compute unit between its buffers, which `fill` ports write."""

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "command": In(CommandSignature()),
                "status": Out(5),
                "tag": Out(TAG_BITS),
                "write": Out(WritePort(machine.row_bytes)),
                "fill_activation": In(WritePort(machine.row_bytes)),
                "fill_parameter": In(WritePort(machine.parameter_row_bytes)),
                "fill_constant_valid": In(1),
                "fill_constant_address": In(BUFFER_ADDRESS_BITS),
                "fill_constant_data": In(8 * machine.beat_bytes),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        machine = self._machine
        m.submodules.unit = unit = ComputeUnit(machine)
        m.submodules.activation = activation = Buffer(
            machine.activation_buffer_bytes,
            machine.row_bytes,
            banks=machine.activation_banks,
            readers=1,
            writers=2,
        )
        m.submodules.parameter = parameter = parameter_memory(machine)
        m.submodules.constant = constant = ConstantBuffer(machine)
        connect(m, flipped(self.command), unit.command)
        connect(m, unit.read_activation, activation.read_0)
        connect(m, unit.read_parameter, parameter.read_0)
        connect(m, unit.write, activation.write_0)
        connect(m, flipped(self.fill_activation), activation.write_1)
        connect(m, flipped(self.fill_parameter), parameter.write_0)
        for member in ("valid", "address", "first", "last", "data", "mask"):
            m.d.comb += getattr(self.write, member).eq(getattr(unit.write, member))
        m.d.comb += [
            unit.available.eq(~0),
            self.status.eq(
                Cat(
                    unit.start,
                    unit.done,
                    unit.feeding,
                    unit.write.valid,
                    unit.give[Token.SETTLED],
                )
            ),
            self.tag.eq(unit.tag),
            constant.valid.eq(self.fill_constant_valid),
            constant.address.eq(self.fill_constant_address),
            constant.data.eq(self.fill_constant_data),
            constant.mask.eq(~0),
            constant.entry.eq(unit.entry),
            unit.records.eq(constant.records),
            constant.part.eq(unit.part),
        ]
        return m


def test_compute_unit():
    bench.run(SideBySide({n: WithBuffers(m) for n, m in MACHINES.items()}), __file__)


async def fill(dut: Any, machine: Machine, reference: Reference) -> None:
    """Put the reference's bytes into the buffers."""
    top = Port(dut, machine.name)
    row = machine.row_bytes
    for name, content, size in (
        ("activation", reference.activation, row),
        (
            "parameter",
            reference.parameter,
            machine.beat_bytes if machine.array.store_bytes else row,
        ),
    ):
        port = Port(dut, f"{machine.name}__fill_{name}")
        port.valid.value, port.mask.value = 1, (1 << size) - 1
        for at in range(0, len(content), size):
            port.address.value = port.first.value = at
            port.last.value = at + size - 1
            port.data.value = int.from_bytes(content[at : at + size].tobytes(), "little")
            await RisingEdge(dut.clk)
        port.valid.value = 0
    beat = machine.beat_bytes
    top.fill_constant_valid.value = 1
    for at in range(0, len(reference.constant), beat):
        top.fill_constant_address.value = at
        data = reference.constant[at : at + beat].tobytes()
        top.fill_constant_data.value = int.from_bytes(data, "little")
        await RisingEdge(dut.clk)
    top.fill_constant_valid.value = 0


async def start(dut: Any, machine: Machine) -> None:
    idle = {f"{name}__command__{s}_valid": 0 for name in MACHINES for s in ("set", "go")}
    idle |= {
        f"{name}__fill_{b}__valid": 0 for name in MACHINES for b in ("activation", "parameter")
    }
    idle |= {f"{name}__fill_constant_valid": 0 for name in MACHINES}
    await bench.start(dut, **idle)


def near(machine: Machine, rng: random.Random, command: Registers) -> Registers:
    """A command that differs in so few registers that it comes soon after."""
    register, value = rng.choice(
        [
            ("OUT_ZERO_POINT", rng.randrange(-128, 128)),
            ("CLAMP_MIN", rng.randrange(-128, 0)),
            ("CLAMP_MAX", rng.randrange(0, 128)),
            ("ROUNDING", rng.randrange(2)),
            ("PARAMETER_ZERO_POINT", rng.randrange(-128, 128)),
            ("ACT_ZERO_POINT", rng.randrange(-128, 128)),
            ("PIXELS", command["OUT_WIDTH"] * rng.randrange(1, 3)),
            ("UNIFORM", 1 - command["UNIFORM"]),
            ("MULTIPLIER", rng.randrange(1 << 30, 1 << 31)),
        ]
    )
    if register == "PIXELS" and (value > command["PIXELS"] or command["MODE"] == Mode.FILTER):
        return command
    mode = Mode(command["MODE"])
    if register in ("ACT_ZERO_POINT", "PARAMETER_ZERO_POINT") and mode in HAVE_TABLES:
        return command
    if register in ("UNIFORM", "ROUNDING") and mode == Mode.SOFTMAX:
        return command
    if register in ("ACT_ZERO_POINT", "PIXELS") and (mode.is_cell or command["WIDTH"]):
        return command
    return command | {register: value}


def sequence(machine: Machine, rng: random.Random) -> list[Registers]:
    """Commands of all modes, many of which come close behind one another."""
    commands: list[Registers] = []
    while len(commands) < MIXED_COMMANDS:
        # Those that can come close behind one another more often.
        close = Mode.CONV, Mode.DEPTHWISE, *machine.array.own_modes
        mode = rng.choice([*machine.modes, *close])
        chain = random_commands(machine, rng, mode)
        commands += chain
        while len(chain) == 1 and rng.random() < 0.8:
            commands.append(near(machine, rng, commands[-1]))
            tiles = as_tiles(machine, commands[-1]) if mode == Mode.FILTER else None
            if tiles and rng.random() < 0.5:
                # As close as they can come, whatever is on its way of one or the other.
                commands += rng.choice([[tiles], [tiles, commands[-1]]])
                if commands[-1] is tiles:
                    break
    return commands


def apart(machine: Machine, rng: random.Random, commands: list[Registers]) -> list[Registers]:
    """The same commands, another one before each of several pixels that follows one whose results
    take two cycles a row."""
    kept: list[Registers] = []
    for command in commands:
        if kept and kept[-1]["WIDTH"] == Width.INT32 and command["PIXELS"] > 1:
            kept += random_commands(machine, rng, Mode.MAX)
        kept.append(command)
    return kept


def turns_of(machine: Machine, width: Width, content: bytes) -> list[tuple[int, bytes]]:
    """What is written in one cycle after another: place in the result, and bytes."""
    turns = []
    part = machine.lanes * width.nbytes
    most = machine.lanes * min(width.nbytes, 2)
    for start in range(0, len(content), part):
        end = min(start + part, len(content))
        turns += [(at, content[at : min(at + most, end)]) for at in range(start, end, most)]
    return turns


@cocotb.test()
@cocotb.parametrize(
    (("name", "mode"), [(n, mode) for n, m in MACHINES.items() for mode in (*m.modes, None)])
)
async def commands_write_what_the_loops_say_in_the_cycles_of_the_closed_form(dut, name, mode):
    """Of one mode, or of all in turn."""
    machine, rng = MACHINES[name], random.Random(random.getrandbits(32))
    reference = random_buffers(machine, rng)
    await start(dut, machine)
    await fill(dut, machine, reference)

    if mode is None:
        commands = sequence(machine, rng)
    else:
        commands = [c for _ in range(COMMANDS) for c in random_commands(machine, rng, mode)]
    commands = apart(machine, rng, commands)
    words: deque[tuple[int, int] | None] = deque()
    shadow: dict[str, int] = {}
    for registers in commands:
        for register in REGISTERS[Unit.COMPUTE]:
            value = registers[register.name]
            if shadow.get(register.name) != value:
                words.append((REGISTER_NUMBER[Unit.COMPUTE][register.name], value & 0xFFFFFFFF))
        shadow = registers
        words.append(None)

    top = Port(dut, name)
    port = Port(dut, f"{name}__command")
    write = Port(dut, f"{name}__write")
    expected: dict[int, Any] = {}  # writes by cycle
    cycle = started = done = went = most = 0
    steps = range(0)  # cycles of the feed's steps
    ends: list[int] = []  # of all commands that have started
    settles: list[int] = []  # when they give SETTLED
    mode_before = Mode.MAX  # of the last of them
    quiet = 0
    pending = False
    while done < len(commands):
        # As the fetch unit does: a word a cycle, none while a GO is pending.
        if words and not pending:
            word = words.popleft()
            port.set_valid.value, port.go_valid.value = word is not None, word is None
            if word is not None:
                port.set_register.value, port.set_value.value = word
            else:
                went, pending = cycle, True
                port.go_tag.value = len(commands) - words.count(None)
                gives = rng.randrange(2)
                port.go_signal.value = gives << Token.SETTLED
        else:
            port.set_valid.value = port.go_valid.value = 0
        await RisingEdge(dut.clk)
        status = int(top.status.value)
        begins, ended, feeding, writing, settled = (bool(status >> i & 1) for i in range(5))
        quiet += 1
        if pending and cycle > went:
            registers = commands[started]
            room = 0
            if ends and (mode_before.is_vector or Mode(registers["MODE"]).is_vector):
                room = ends[-1] + 1
            elif ends:
                room = steps.stop + 1
                if mode_before != Mode.FILTER and registers["MODE"] == Mode.FILTER:
                    room = steps.stop + machine.array.clearance
            if len(ends) >= timing.COMMANDS_IN_FLIGHT:
                room = max(room, ends[-timing.COMMANDS_IN_FLIGHT] + 1)
            earliest = timing.start_cycle(went, room, ())
            assert begins == (cycle == earliest), f"{cycle} not {earliest}: {registers}"
        else:
            assert not begins
        if begins:
            quiet = 0
            first = cycle + timing.SETUP_CYCLES + 1
            steps = range(first, first + timing.feed_cycles(machine, registers))
            width = Width(registers["WIDTH"])
            drain = timing.drain_cycles(machine, registers["MODE"], width)
            turns = machine.array.pace * (2 if width == Width.INT32 else 1)
            ends.append(steps.stop - 1 + drain)
            if gives:
                settles.append(ends[-1] - timing.SETTLED_AHEAD)
            mode_before = Mode(registers["MODE"])
            writes = reference.run(registers)
            for w in writes:
                for turn, (start_byte, data) in enumerate(turns_of(machine, width, w.data)):
                    at = first + w.last_step + drain + turn
                    if mode_before.is_tiled:
                        at -= w.row * machine.array.pace + turns - 1
                    assert at not in expected
                    expected[at] = w.address + start_byte, data
            early = turns  # at most so long before the end is the last write
            if machine.array.leaves_by_pixel:
                early += turns + machine.array.least_chunk
            assert not writes or 0 <= ends[-1] - max(expected) < early
            started += 1
            pending = False
            most = max(most, started - done)
        assert feeding == (cycle in steps), f"{cycle}: {registers}"
        assert writing == (cycle in expected), f"cycle {cycle} of {started - 1}: {registers}"
        if writing:
            address, wanted = expected.pop(cycle)
            count = len(wanted)
            assert int(write.address.value) == int(write.first.value) == address
            assert int(write.last.value) == address + count - 1
            assert int(write.mask.value) == (1 << count) - 1
            data = int(write.data.value).to_bytes(machine.row_bytes, "little")
            assert data[:count] == wanted, f"{wanted.hex()}, not {data.hex()}: {registers}"
        assert settled == (cycle in settles)
        assert ended == (done < started and cycle == ends[done]), f"{cycle} not {ends[done:]}"
        if ended:
            done += 1
            assert int(top.tag.value) == done
        cycle += 1
        if quiet > 20_000:
            raise TimeoutError(f"command {started - 1} doesn't end: {registers}")
    assert done == started == len(commands)
    assert not expected
    assert mode is not None or most >= 3, "too few commands were in flight together"


def streams_inside(machine: Machine) -> list[stream.Signature]:
    parts = (
        AddressGenerator(machine),
        OperandFeed(machine),
        machine.array.hardware(),
        VectorUnit(machine.lanes),
        Requantizer(machine.lanes),
        PostProcessor(machine),
    )
    members = [member for part in parts for member in part.signature.members.values()]
    signatures = [member.signature for member in members if member.is_signature]
    return [s for s in signatures if isinstance(s, stream.Signature)]


@pytest.mark.parametrize("name", MACHINES)
def test_no_stream_inside_can_be_held_up(name):
    streams = streams_inside(MACHINES[name])
    gc.collect()  # the parts complain here, where it is ignored, that they were not built
    assert streams
    assert all(signature.always_ready for signature in streams)
