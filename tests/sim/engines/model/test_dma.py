"""Load and store unit over memory.hpp under Verilator: cycles as modelled, bytes as asked."""

from __future__ import annotations

import ctypes
import functools
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mensa.sim
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.machine import Machine, edge_tpu
from mensa.rtl.shell.load_unit import LoadUnit
from mensa.rtl.shell.store_unit import StoreUnit
from mensa.rtl.timing import start_cycle
from mensa.rtl.verilog import to_verilog
from mensa.sim.engines import verilator
from mensa.sim.engines.model.dma import (
    LoadTiming,
    ReadPort,
    StoreTiming,
    WritePort,
    burst_addresses,
    row_bursts,
)
from mensa.sim.memory import PortTiming, lpddr4

HERE = Path(__file__).parent
MEMORY_HPP = Path(mensa.sim.__file__).parent / "engines" / "harness" / "memory.hpp"
MEMORY_BYTES = 1 << 16
SPACE_BYTES = 1 << 14  # of each buffer
LIMIT = 2_000_000
SPACES = 3

TINY = Machine(
    name="tiny",
    array=Systolic(rows=2, cols=2),
    clock_hz=100_000_000,
    parameter_buffer_bytes=4096,
    activation_buffer_bytes=4096,
)
LOAD_SHAPES = {
    "4 B, 16 beats, 3 in flight": TINY.replace(port_bytes=4, outstanding_reads=3),
    "64 B, 1 beat, 1 in flight": TINY.replace(port_bytes=64, burst_beats=1, outstanding_reads=1),
}
STORE_SHAPES = {
    "4 B, 1 beat": TINY.replace(port_bytes=4, burst_beats=1),
    "32 B, 8 beats": TINY.replace(port_bytes=32, burst_beats=8),
}


class Command(ctypes.Structure):
    _fields_ = (("registers", ctypes.c_uint32 * 7), ("gap", ctypes.c_uint32))


class Result(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("go", "start", "done", "beats", "errors"))


@functools.cache
def library(unit, machine):
    """The Verilated unit with dma_main.hpp, as a library."""
    text = to_verilog(
        unit(machine),
        "dma",
        {f"{member}__": f"{member}_" for member in ("command", "bus", "read", "write", "window")},
    )
    return ctypes.CDLL(
        str(
            verilator.build(
                verilator.Build(
                    name=f"{unit.__name__} with {machine.beat_bytes} B beats",
                    verilog=text,
                    top="dma",
                    sources=(HERE / f"{'store' if unit is StoreUnit else 'load'}_main.cpp",),
                    headers=(HERE / "dma_main.hpp", MEMORY_HPP),
                    optimise="-O1",
                    shared=True,
                )
            )
        )
    )


def run(unit, machine, timing, commands, memory, buffer):
    """Run commands, changing `memory` or `buffer`; returns results and what memory.hpp said."""
    results = (Result * len(commands))()
    message = ctypes.create_string_buffer(200)
    status = library(unit, machine).run(
        (ctypes.c_uint64 * 9)(*timing),
        machine.beat_bytes,
        memory.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_uint64(memory.size),
        buffer.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_uint64(buffer.shape[-1]),
        (Command * len(commands))(
            *(Command((ctypes.c_uint32 * 7)(*c["registers"]), c["gap"]) for c in commands)
        ),
        ctypes.c_uint64(len(commands)),
        results,
        ctypes.c_uint64(LIMIT),
        message,
    )
    assert status == 0, message.value.decode()
    return list(results), message.value.decode()


@st.composite
def timings(draw):
    rates = st.sampled_from([(1, 1), (1, 1), (1, 2), (2, 3), (3, 4), (1, 5), (7, 9), (3, 16)])
    latency = draw(st.one_of(st.integers(1, 6), st.integers(1, 80)))
    plain = PortTiming(latency, *draw(rates), draw(st.sampled_from([1, 2, 3, 5, 16])))
    rows, refresh = draw(st.tuples(st.booleans(), st.booleans()))
    if rows:
        plain = plain._replace(
            row_bytes=draw(st.sampled_from([64, 128, 1024])),
            banks=draw(st.sampled_from([1, 2, 8])),
            row_miss=draw(st.integers(0, 30)),
        )
    if refresh:
        time = draw(st.integers(0, 40))
        interval = max(1, 2 * time) + draw(st.integers(0, 300))
        plain = plain._replace(refresh_interval=interval, refresh=time)
    return plain


@st.composite
def commands(draw, machine):
    """One command whose rows lie inside memory and buffer."""
    beat, burst = machine.beat_bytes, machine.burst_bytes
    rows = draw(st.one_of(st.integers(1, 3), st.integers(1, 24)))
    longest = min(SPACE_BYTES - 2 * beat, 5 * burst + beat)
    row_bytes = draw(st.one_of(st.integers(1, beat), st.integers(1, longest)))
    rows = min(rows, max(1, 2000 // row_bytes)) if row_bytes > 2 * beat else rows
    shift = draw(st.integers(0, beat - 1))
    room = {"memory": MEMORY_BYTES, "buffer": SPACE_BYTES}
    address, pitch = {}, {}
    step = draw(st.sampled_from([0, 0, draw(st.integers(0, beat - 1))]))
    for where, size in room.items():
        highest = (size - row_bytes - beat) // max(1, rows - 1) - step
        beats = min(max(0, highest // beat), 3 * (row_bytes // beat + 2))
        pitch[where] = draw(st.integers(0, beats)) * beat + step
        while (rows - 1) * pitch[where] + row_bytes + beat > size:
            rows -= 1
        top = size - (rows - 1) * pitch[where] - row_bytes - shift
        address[where] = draw(st.integers(0, top // beat)) * beat + shift
    space = draw(st.integers(0, SPACES - 1))
    registers = [
        address["memory"],
        address["buffer"],
        row_bytes,
        rows,
        pitch["memory"],
        pitch["buffer"],
        space,
    ]
    return {"registers": registers, "gap": draw(st.sampled_from([0, 0, 1, 5, 90]))}


def copy(command, memory, buffer, *, to_memory):
    """What a command does, row by row."""
    address, place, row_bytes, rows, memory_pitch, buffer_pitch, space = command["registers"]
    for row in range(rows):
        a, b = address + row * memory_pitch, place + row * buffer_pitch
        if to_memory:
            memory[a : a + row_bytes] = buffer[0, b : b + row_bytes]
        else:
            buffer[space, b : b + row_bytes] = memory[a : a + row_bytes]


def model(timing, command, start):
    address, _, row_bytes, rows, pitch, _, _ = command["registers"]
    return timing.run(
        start,
        memory_address=address,
        row_bytes=row_bytes,
        rows=rows,
        memory_pitch=pitch,
    )


def random_bytes(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def check(unit, machine, timing, sequence):
    storing = unit is StoreUnit
    memory, buffer = random_bytes(1, MEMORY_BYTES), random_bytes(2, SPACES, SPACE_BYTES)
    expected_memory, expected_buffer = memory.copy(), buffer.copy()
    results, said = run(unit, machine, timing, sequence, memory, buffer)
    assert said == ""
    if storing:
        expected = StoreTiming(machine, WritePort(timing, machine.beat_bytes))
    else:
        expected = LoadTiming(machine, ReadPort(timing, machine.beat_bytes))
    for command, result in zip(sequence, results, strict=True):
        copy(command, expected_memory, expected_buffer, to_memory=storing)
        assert result.start == start_cycle(result.go, expected.room, ())
        told = model(expected, command, result.start)
        assert (result.done, result.beats) == (told.done, told.beats), command
        assert result.errors == 0
    np.testing.assert_array_equal(memory, expected_memory)
    np.testing.assert_array_equal(buffer, expected_buffer)


EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True)


@pytest.mark.parametrize("shape", LOAD_SHAPES)
def test_loads_take_the_cycles_of_the_model(shape):
    machine = LOAD_SHAPES[shape]

    @EXAMPLES
    @given(timings(), st.lists(commands(machine), min_size=1, max_size=6))
    def loads(timing, sequence):
        check(LoadUnit, machine, timing, sequence)

    loads()


@pytest.mark.parametrize("shape", STORE_SHAPES)
def test_stores_take_the_cycles_of_the_model(shape):
    machine = STORE_SHAPES[shape]

    @EXAMPLES
    @given(timings(), st.lists(commands(machine), min_size=1, max_size=6))
    def stores(timing, sequence):
        check(StoreUnit, machine, timing, sequence)

    stores()


def row_command(address, row_bytes, *, rows=1, pitch=0):
    return {"registers": [address, 0, row_bytes, rows, pitch, pitch, 0], "gap": 0}


def test_a_load_sustains_a_beat_per_cycle_across_bursts_and_rows():
    machine = next(iter(LOAD_SHAPES.values()))
    # The longest latency that the docstring of LoadUnit promises this for; rows are two bursts.
    latency = (machine.outstanding_reads - 1) * machine.burst_beats - 1
    beats = 2 * machine.burst_beats
    row = beats * machine.beat_bytes
    memory, buffer = random_bytes(1, MEMORY_BYTES), random_bytes(2, SPACES, SPACE_BYTES)
    timing = PortTiming(latency, 1, 1, 16)
    command = row_command(0, row, rows=20, pitch=row)
    (result,), _ = run(LoadUnit, machine, timing, [command], memory, buffer)
    assert result.done - result.start == 20 * beats + latency + 3


@pytest.mark.parametrize(
    ("unit", "machine"),
    [
        (LoadUnit, next(iter(LOAD_SHAPES.values()))),
        (StoreUnit, next(iter(STORE_SHAPES.values()))),
    ],
)
def test_addresses_outside_the_memory_are_errors_and_change_nothing(unit, machine):
    beat = machine.beat_bytes
    memory, buffer = random_bytes(1, MEMORY_BYTES), random_bytes(2, SPACES, SPACE_BYTES)
    before = memory.copy()
    small = memory[: MEMORY_BYTES // 2]
    sequence = [
        row_command(small.size - beat, 3 * beat),  # one beat inside, two outside
        row_command(1 << 31, beat),
        row_command(0, beat),
    ]
    results, said = run(unit, machine, PortTiming(3, 1, 1, 4), sequence, small, buffer)
    assert said.endswith(f"outside the memory: address {small.size:x}")
    assert [r.errors for r in results] == [2, 1, 0]
    np.testing.assert_array_equal(memory[small.size :], before[small.size :])


@settings(max_examples=300, derandomize=True)
@given(st.data())
def test_bursts_are_those_of_the_contract(data):
    machine = TINY.replace(
        port_bytes=data.draw(st.sampled_from([4, 16])),
        burst_beats=data.draw(st.sampled_from([1, 4, 16])),
    )
    address = data.draw(st.integers(0, 5000))
    row_bytes = data.draw(st.integers(1, 1000))
    rows = data.draw(st.integers(1, 10))
    pitch = data.draw(st.integers(0, 2000))
    bursts = []
    for row in range(rows):
        # Every beat of the row, then a new burst at every multiple of burst_bytes.
        first = address + row * pitch
        beats = sorted({byte // machine.beat_bytes for byte in range(first, first + row_bytes)})
        for beat in beats:
            if beat == beats[0] or beat % machine.burst_beats == 0:
                bursts.append(0)
            bursts[-1] += 1
    assert row_bursts(machine, address, row_bytes, rows, pitch) == bursts
    at = zip(burst_addresses(machine, address, row_bytes, rows, pitch), bursts, strict=True)
    for row in range(rows):
        first = address + row * pitch
        place, beats = next(at)
        assert place <= first < place + machine.beat_bytes
        while (end := place + beats * machine.beat_bytes) < first + row_bytes:
            place, beats = next(at)
            assert place == end
    assert not list(at)


@settings(max_examples=200, derandomize=True)
@given(timings(), st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=9))
def test_a_port_tells_each_beat_or_only_the_last(timing, bursts):
    one, all_ = ReadPort(timing), ReadPort(timing)
    request = 0
    for gap, beats in bursts:
        accepted, last = one.burst(request + gap, beats)
        again, cycles = all_.read(request + gap, beats)
        assert (accepted, last) == (again, cycles[-1])
        assert len(cycles) == beats
        request = accepted + 1


@pytest.mark.parametrize(
    ("field", "least"), [("memory_address", 0), ("row_bytes", 1), ("rows", 1), ("memory_pitch", 0)]
)
def test_registers_are_checked(field, least):
    registers = {"memory_address": 0, "row_bytes": 1, "rows": 1, "memory_pitch": 0}
    registers[field] = least - 1
    with pytest.raises(ValueError, match=f"{field} must be at least {least}, not {least - 1}"):
        LoadTiming(TINY, ReadPort(PortTiming(1, 1, 1, 1))).run(0, **registers)


def test_a_network_takes_milliseconds():
    timing = lpddr4.port_timing(edge_tpu.clock_hz, edge_tpu.beat_bytes)
    bursts = 10_000
    bytes_ = bursts * edge_tpu.burst_bytes
    began = time.process_time()
    loads = LoadTiming(edge_tpu, ReadPort(timing)).run(
        0, memory_address=0, row_bytes=bytes_, rows=1, memory_pitch=0
    )
    seconds = time.process_time() - began
    assert loads.bursts == bursts
    assert seconds < 0.1  # 10 ms where this was written
