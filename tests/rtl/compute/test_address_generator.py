from __future__ import annotations

import os
import random
from collections.abc import Iterator

import cocotb
from cocotb.triggers import RisingEdge

from mensa.rtl import timing
from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.jacquard.jacquard import Jacquard
from mensa.rtl.arrays.kind import kind_layout, kinds
from mensa.rtl.arrays.pascal.pascal import Pascal
from mensa.rtl.arrays.pavlov.pavlov import Pavlov
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Keep, Mode, Unit
from mensa.rtl.compute.address_generator import LATENCY, AddressGenerator, beat_layout
from mensa.rtl.machine import KIB, Machine
from mensa.rtl.parts.unit import registers_layout
from tests.rtl import bench
from tests.rtl.compute.reference import Step, channels, out_address, random_commands, steps
from tests.rtl.lockstep import SideBySide

ARRAYS = {
    "r2c2": (Systolic(rows=2, cols=2), "tflm"),
    "r5c3": (Systolic(rows=5, cols=3), None),
    "r4c12": (Systolic(rows=4, cols=12, post_lanes=5), "litert"),
    "r8c8": (Systolic(rows=8, cols=8), "tflm"),
    "stays": (Jacquard(rows=4, cols=6, accumulators=12, reload_rows=4), "tflm"),
    "deep": (Jacquard(rows=13, cols=2, accumulators=16, reload_rows=1), None),
    "slow": (Jacquard(rows=6, cols=8, accumulators=9, reload_rows=2, post_lanes=4), "litert"),
    "multicast": (Pascal(rows=6, cols=5, post_lanes=3), "tflm"),
    "streams": (Pavlov(rows=2, cols=4, registers=1024, accumulators=12), "litert"),
}
"""With whose arithmetic an LSTM cell is there."""

MACHINES = {
    name: Machine(
        name=name,
        array=array,
        clock_hz=1,
        parameter_buffer_bytes=None if array.store_bytes else 8 * KIB,
        activation_buffer_bytes=4 * KIB,
        constant_entries=8,
        cell=cell,
    )
    for name, (array, cell) in ARRAYS.items()
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
        "STREAM_COLUMNS": r["STREAM_COLUMNS"] + rng.randrange(3),  # more than there are results
        "STREAM_STEP": rng.randrange(1 << 20),
        "STREAM_ROW_STEP": rng.randrange(-(1 << 27), 1 << 27),
        "GROUP_ACT_STEP": rng.randrange(1 << 20),
        "PARAMETER_ADDRESS": rng.randrange(1 << 28),
        "CONSTANT_ENTRY": rng.randrange(1 << 11),
        "OUT_ADDRESS": rng.randrange(1 << 28),
        "OUT_X_STEP": rng.randrange(1 << 24),
        "OUT_Y_STEP": rng.randrange(-(1 << 27), 1 << 27),
    }


def beats(machine: Machine, r: dict[str, int]) -> Iterator[dict[str, int]]:
    """The fields that matter of every beat of a command."""
    for step in steps(machine, r):
        yield {name: int(value) for name, value in beat(machine.array, r, step).items()}


def beat(array: Array, r: dict[str, int], step: Step) -> dict[str, int]:
    drained = not r["KEEP"] & Keep.UNDRAINED
    is_filter = r["MODE"] == Mode.FILTER
    fetch = step.fetch
    fields = {
        "fetch_activation": fetch is not None,
        "fetch_parameter": step.parameter is not None,
        "clear": step.clear,
        "last": step.result if is_filter else step.last and drained,
    }
    if not is_filter:
        fields["first"] = step.first and not r["KEEP"] & Keep.CONTINUE
        if array.kept_tiles > 1:
            resumes = step.first and bool(r["KEEP"] & Keep.CONTINUE)
            keeps = step.last and not drained
            fields |= {"resumes": resumes, "keeps": keeps}
            if resumes or keeps:
                fields["place"] = step.tile
    told = fetch is not None and step.first_chunk and drained
    if is_filter:
        told = step.result
        if array.lines:
            fields["last"] = step.result or step.last_of_row
            if fetch is not None:
                fields["first"] = step.first_of_row
            if not step.clear:
                fields["lane"] = step.row
    elif fetch is not None and array.leaves_by_pixel and not Mode(r["MODE"]).is_vector:
        fields |= {
            "opens": step.first_chunk and not r["KEEP"] & Keep.CONTINUE,
            "closes": step.last_chunk and drained,
            "ends": fetch.lane == step.lanes - 1,
        }
    fields["announce"] = told
    if fetch is not None:
        fields |= {
            "address": fetch.address & WRAP,
            "x": fetch.x,
            "row_valid": 0 <= fetch.y < r["INPUT_ROWS"],
            "size": fetch.size,
        }
        if not is_filter:
            fields["lane"] = fetch.lane
        if Mode(r["MODE"]).has_operands or r["MODE"] == Mode.SOFTMAX:
            fields["operand"] = fetch.tap
    if step.parameter is not None:
        fields["parameter_address"] = step.parameter & WRAP
        if r["MODE"] == Mode.DEPTHWISE:
            fields["diagonal"] = step.byte * r["DEPTH_MULTIPLIER"]
        if is_filter:
            fields["lane"] = step.row
    if told:
        pixel = step.pixel if is_filter else fetch.pixel
        fields |= {
            "lanes": step.lanes,
            "out_address": out_address(r, step.group, pixel) & WRAP,
            "entry": r["CONSTANT_ENTRY"] + (step.group if r["MODE"] != Mode.SOFTMAX else 0),
            "channels": channels(r, step.group, pixel),
        }
    return fields


@cocotb.test()
@cocotb.parametrize(name=list(MACHINES), idle=[False, True])
async def beats_are_those_of_the_loop_nest_without_a_gap(dut, name, idle):
    machine, rng = MACHINES[name], random.Random(random.getrandbits(32))
    await bench.start(dut, **{f"{n}__start": 0 for n in MACHINES})
    begin, active, registers, kind, valid, payload = (
        getattr(dut, f"{name}__{port}")
        for port in ("start", "active", "registers", "kind", "o__valid", "o__payload")
    )
    commands = [
        c
        for mode in machine.modes
        for _ in range(COMMANDS)
        for c in random_commands(machine, rng, mode)
    ]
    rng.shuffle(commands)
    layout = beat_layout(machine)
    for number, command in enumerate(commands):
        command = anywhere(rng, command) if number % 2 else command
        expected = list(beats(machine, command))
        assert len(expected) == timing.feed_cycles(machine, command)
        fields = {key.lower(): value for key, value in command.items()}
        registers.value = registers_layout(Unit.COMPUTE).const(fields).as_value().value
        flags = {f: command["MODE"] in m for f, m in kinds(machine.array.own_modes).items()}
        kind.value = kind_layout().const(flags).as_value().value
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
