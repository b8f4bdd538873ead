from __future__ import annotations

import os
import random
from collections.abc import Iterator

import bench
import cocotb
from cocotb.triggers import RisingEdge
from compute_reference import Step, channels, random_commands, steps
from lockstep import SideBySide

from mensa.rtl import timing
from mensa.rtl.address_generator import LATENCY, AddressGenerator, beat_layout, result_slots
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Keep, Mode, Unit
from mensa.rtl.machine import KIB, Machine
from mensa.rtl.unit import registers_layout

MACHINES = {
    f"r{rows}c{cols}": Machine(
        name=f"{rows}x{cols}",
        rows=rows,
        cols=cols,
        clock_hz=1,
        parameter_buffer_bytes=8 * KIB,
        activation_buffer_bytes=4 * KIB,
        constant_entries=8,
    )
    for rows, cols in ((2, 2), (5, 3), (4, 12), (8, 8))
}
COMMANDS = 12 if os.environ.get("MENSA_REGRESS") == "1" else 6
"""Per mode and machine."""

WRAP = (1 << BUFFER_ADDRESS_BITS) - 1


def test_address_generator():
    bench.run(SideBySide({n: AddressGenerator(m) for n, m in MACHINES.items()}), __file__)


def anywhere(rng: random.Random, r: dict[str, int]) -> dict[str, int]:
    """The command with bases and steps of any size: addresses wrap, positions lie anywhere."""
    return r | {
        "ACT_ADDRESS": rng.randrange(-(1 << 27), 1 << 27),
        "X_START": rng.randrange(-(1 << 23), 1 << 23),
        "Y_START": rng.randrange(-(1 << 15), 1 << 15),
        "INPUT_ROW_BYTES": rng.randrange(1, 1 << 24),
        "INPUT_ROWS": rng.randrange(1, 1 << 16),
        "PIXEL_X_STEP": rng.randrange(1 << 20),
        "PIXEL_Y_STEP": rng.randrange(1 << 9),
        "PIXEL_Y_ADDRESS_STEP": rng.randrange(-(1 << 27), 1 << 27),
        "TAP_X_STEP": rng.randrange(1 << 20),
        "TAP_Y_STEP": rng.randrange(1 << 12),
        "TAP_Y_ADDRESS_STEP": rng.randrange(-(1 << 27), 1 << 27),
        "GROUP_ACT_STEP": rng.randrange(1 << 20),
        "PARAMETER_ADDRESS": rng.randrange(1 << 28),
        "CONSTANT_ENTRY": rng.randrange(1 << 11),
        "OUT_ADDRESS": rng.randrange(1 << 28),
        "OUT_X_STEP": rng.randrange(1 << 24),
        "OUT_Y_STEP": rng.randrange(-(1 << 27), 1 << 27),
    }


class Slots:
    """Result slots, which drained tiles take in turn."""

    def __init__(self, machine: Machine):
        self._count = result_slots(machine)
        self.now = 0

    def tile_over(self) -> None:
        self.now = (self.now + 1) % self._count


def beats(machine: Machine, r: dict[str, int], slots: Slots) -> Iterator[dict[str, int]]:
    """The fields that matter of every beat of a command."""
    for step in steps(machine, r):
        yield beat(machine, r, slots, step)
        if step.last and not r["KEEP"] & Keep.UNDRAINED:
            slots.tile_over()


def beat(machine: Machine, r: dict[str, int], slots: Slots, step: Step) -> dict[str, int]:
    drained = not r["KEEP"] & Keep.UNDRAINED
    fetch = step.fetch
    fields = {
        "fetch_activation": fetch is not None,
        "fetch_parameter": step.parameter is not None,
        "first": step.first and not r["KEEP"] & Keep.CONTINUE,
        "last": step.last and drained,
    }
    told = fetch is not None and step.first_chunk and drained
    if fetch is not None:
        fields |= {
            "announce": told,
            "lane": fetch.lane,
            "address": fetch.address & WRAP,
            "x": fetch.x,
            "row_valid": 0 <= fetch.y < r["INPUT_ROWS"],
            "size": fetch.size,
        }
        if r["MODE"] == Mode.SCALED_SUM:
            fields["tap"] = fetch.tap
    if step.parameter is not None:
        fields["parameter_address"] = step.parameter & WRAP
        if r["MODE"] == Mode.DEPTHWISE:
            fields["diagonal"] = step.byte * r["DEPTH_MULTIPLIER"]
    if told:
        fields |= {
            "slot": slots.now,
            "lanes": step.lanes,
            "out_address": fetch.out_address & WRAP,
            "entry": r["CONSTANT_ENTRY"] + step.group,
            "channels": channels(r, step.group),
        }
    return {name: int(value) for name, value in fields.items()}


@cocotb.test()
@cocotb.parametrize(name=list(MACHINES), idle=[False, True])
async def beats_are_those_of_the_loop_nest_without_a_gap(dut, name, idle):
    machine, rng = MACHINES[name], random.Random(random.getrandbits(32))
    await bench.start(dut, **{f"{n}__start": 0 for n in MACHINES})
    begin, active, registers, valid, payload = (
        getattr(dut, f"{name}__{port}")
        for port in ("start", "active", "registers", "o__valid", "o__payload")
    )
    commands = [
        c for mode in Mode for _ in range(COMMANDS) for c in random_commands(machine, rng, mode)
    ]
    rng.shuffle(commands)
    layout = beat_layout(machine)
    slots = Slots(machine)
    for number, command in enumerate(commands):
        command = anywhere(rng, command) if number % 2 else command
        expected = list(beats(machine, command, slots))
        assert len(expected) == timing.feed_cycles(machine, command)
        fields = {key.lower(): value for key, value in command.items()}
        registers.value = registers_layout(Unit.COMPUTE).const(fields).as_value().value
        for _ in range(rng.randrange(4) if idle else 0):
            begin.value = 0
            await RisingEdge(dut.clk)
            assert int(active.value) == 0
        begin.value = 1
        await RisingEdge(dut.clk)
        begin.value = 0
        # Another start could come right after the last step, but not other registers: the last
        # beats are still being made.
        for cycle in range(len(expected) + LATENCY):
            await RisingEdge(dut.clk)
            assert int(active.value) == (cycle < len(expected)), (command, cycle)
            assert int(valid.value) == (cycle >= LATENCY), (command, cycle)
            if cycle < LATENCY:
                continue
            word = layout.from_bits(int(payload.value))
            for key, value in expected[cycle - LATENCY].items():
                assert word[key] == value, (key, cycle - LATENCY, expected, command)
