from __future__ import annotations

import random
from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from mensa.rtl.commands import REGISTERS, Token, Unit
from mensa.rtl.parts.unit import TOKEN_COUNT, TokenCounters, UnitFrontend, registers_layout
from tests.rtl import bench
from tests.rtl.lockstep import SideBySide

# Components that are only refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

CYCLES = 2500
IN_FLIGHT = {Unit.LOAD: 1, Unit.STORE: 3, Unit.COMPUTE: 4}
ALL = (1 << TOKEN_COUNT) - 1


def test_every_register_has_a_field_of_its_width_and_sign():
    for unit in Unit:
        layout = registers_layout(unit)
        assert list(layout.members) == [r.name.lower() for r in REGISTERS[unit]]
        for register in REGISTERS[unit]:
            shape = layout.members[register.name.lower()]
            assert (shape.width, shape.signed) == (register.bits, register.signed)


def test_commands_in_flight_must_be_a_positive_integer():
    for wrong in (0, -1, 1.0):
        with pytest.raises(TypeError, match="positive integer"):
            UnitFrontend(Unit.LOAD, wrong)


def test_unit():
    parts = {f"unit_{unit.name.lower()}": UnitFrontend(unit, IN_FLIGHT[unit]) for unit in Unit}
    bench.run(SideBySide(parts | {"tokens": TokenCounters()}), __file__)


async def begin(dut):
    names = [f"unit_{unit.name.lower()}" for unit in Unit]
    inputs = ("reset", "stop", "available", "ready", "done", "command__set_valid")
    inputs += ("command__go_valid",)
    idle = {f"{name}__{i}": 0 for name in names for i in inputs}
    await bench.start(dut, **idle, tokens__reset=0, tokens__give=0, tokens__take=0)
    # The start of a program, which clears the registers.
    for value in (1, 0):
        for name in names:
            getattr(dut, f"{name}__reset").value = value
        await RisingEdge(dut.clk)


@cocotb.test()
@cocotb.parametrize(unit=list(Unit), idle=[False, True])
async def commands_start_once_there_is_room_and_all_tokens_are_there(dut, unit, idle):
    """Against docs/architecture.md: pending from the cycle after GO to the start."""
    await begin(dut)
    name = f"unit_{unit.name.lower()}"
    port = {
        p: getattr(dut, f"{name}__{p}")
        for p in (
            *(
                "reset",
                "stop",
                "available",
                "take",
                "give",
                "ready",
                "start",
                "done",
                "idle",
                "tag",
            ),
            *("coming", "registers"),
        )
    } | {
        p: getattr(dut, f"{name}__command__{p}")
        for p in (
            *("set_valid", "set_register", "set_value", "go_valid", "go_wait", "go_signal"),
            *("go_tag", "pending", "missing"),
        )
    }
    layout = registers_layout(unit)
    shadow = {r.name: 0 for r in REGISTERS[unit]}
    active: dict[str, int] = {}  # what `registers` show
    pending = was_pending = start = False
    running: deque[tuple[int, int]] = deque()  # signal and tag of each, the oldest first
    command = (0, 0, 0)
    starts = most = 0

    def check(port, expected):
        registers = layout.from_bits(int(port.value))
        for register in REGISTERS[unit]:
            bits = (1 << register.bits) - 1
            assert registers[register.name.lower()] & bits == expected[register.name] & bits

    for cycle in range(CYCLES):
        act = not idle or random.random() < 0.5
        reset = random.random() < 0.005
        stop = random.random() < 0.01
        available = random.choice([0, ALL, random.getrandbits(TOKEN_COUNT)])
        word = random.choice(["set", "set", "go"]) if act and not pending and not reset else ""
        ready = random.random() < 0.7
        done = bool(running) and random.random() < 0.1
        port["reset"].value, port["available"].value, port["done"].value = reset, available, done
        port["ready"].value, port["stop"].value = ready, stop
        port["set_valid"].value, port["go_valid"].value = word == "set", word == "go"
        number = random.randrange(len(REGISTERS[unit]))
        value = random.getrandbits(32)
        go = (
            random.choice([0, 1 << random.randrange(8), random.getrandbits(8)]),
            random.getrandbits(8),
            random.getrandbits(16),
        )
        port["set_register"].value, port["set_value"].value = number, value
        port["go_wait"].value, port["go_signal"].value, port["go_tag"].value = go
        await RisingEdge(dut.clk)

        missing = command[0] & ~available if pending else 0
        room = len(running) < IN_FLIGHT[unit]
        seen = {p: int(h.value) for p, h in port.items() if p not in ("coming", "registers", "tag")}
        assert seen["pending"] == pending, cycle
        assert seen["idle"] == (not running), cycle
        assert seen["missing"] == missing, cycle
        assert seen["start"] == start, cycle
        assert seen["take"] == (command[0] if start else 0), cycle
        assert seen["give"] == (running[0][0] if done else 0), cycle
        if pending and was_pending:
            check(port["coming"], shadow)
        was_pending = pending
        if running:
            assert int(port["tag"].value) == running[0][1]
            check(port["registers"], active)

        if start:
            active = dict(shadow)
            starts += 1
            pending = False
            running.append(command[1:])
            most = max(most, len(running))
        start = pending and room and ready and not missing and not start
        if word == "set":
            shadow[REGISTERS[unit][number].name] = value
        elif word == "go":
            command, pending = go, True
        if done:
            running.popleft()
        if reset or stop:
            pending = start = False
        if reset:
            running.clear()
            shadow = dict.fromkeys(shadow, 0)
    assert starts > CYCLES / 50
    assert most == IN_FLIGHT[unit]


@cocotb.test()
async def tokens_are_counted_and_there_from_the_cycle_after(dut):
    await begin(dut)
    count = dict.fromkeys(Token, 0)
    for cycle in range(CYCLES):
        phase = cycle // 500 % 2  # mostly given, then mostly taken
        give = random.getrandbits(8) | (random.getrandbits(8) if not phase else 0)
        wish = random.getrandbits(8) | (random.getrandbits(8) if phase else 0)
        take = sum(1 << token for token in Token if count[token] and wish >> token & 1)
        reset = random.random() < 0.002
        dut.tokens__give.value, dut.tokens__take.value = give, take
        dut.tokens__reset.value = reset
        await RisingEdge(dut.clk)
        available = sum(1 << token for token in Token if count[token])
        assert int(dut.tokens__available.value) == available, cycle
        for token in Token:
            count[token] += (give >> token & 1) - (take >> token & 1)
            if reset:
                count[token] = 0
