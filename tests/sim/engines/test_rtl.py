"""The RTL engine: traces, memory and buffers of load and store programs, and every way to fail."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mensa.golden
import mensa.rtl
import mensa.sim
from mensa.rtl.buffer_reads import BufferReads
from mensa.rtl.channel_record import CHANNEL_RECORD_USED_BYTES
from mensa.rtl.commands import (
    COUNTS,
    GROUP_COUNTS,
    MODE_COUNTS,
    WORD_BYTES,
    Mode,
    Space,
    Token,
    Unit,
)
from mensa.rtl.machine import MAX_CLOCK_HZ
from mensa.rtl.program import Assembler, Program, ProgramError, setup_identifier, with_setup
from mensa.rtl.registers import CATEGORIES, ErrorCode
from mensa.sim.engines.events import CommandEvent, RunTrace, layer_timing
from mensa.sim.engines.functional import FunctionalEngine
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.engines.rtl import STALL_CYCLES, RtlEngine, RunError, gateware_hash
from mensa.sim.memory import MAX_BANDWIDTH_BYTES_PER_S, MAX_LATENCY_NS, Memory
from tests.machines import TINY

MEMORY_BYTES = 1 << 14
PROGRAM_ADDRESS = 1 << 12


def memory(latency_ns=100, bandwidth=400_000_000, outstanding=2):
    return Memory(
        name="test",
        size_bytes=MEMORY_BYTES,
        latency_ns=latency_ns,
        bandwidth_bytes_per_s=bandwidth,
        outstanding=outstanding,
    )


def program(fill, machine=TINY):
    """Return a program with the commands that `fill` gives an Assembler."""
    assembler = Assembler(machine)
    fill(assembler)
    return Program(
        machine=machine,
        words=assembler.finish(),
        program_address=PROGRAM_ADDRESS,
        memory_bytes=MEMORY_BYTES,
        image=((0, np.random.default_rng(1).integers(0, 256, 2048, np.uint8)),),
        tensors={},
        layers=(),
    )


def area(memory_address, buffer_address, row_bytes=40, rows=2):
    return {
        "MEMORY_ADDRESS": memory_address,
        "BUFFER_ADDRESS": buffer_address,
        "ROW_BYTES": row_bytes,
        "ROWS": rows,
        "MEMORY_PITCH": 64,
        "BUFFER_PITCH": 48,
    }


def copies(rng, count=12):
    """Random loads, each followed by a store of what it loaded, in pairs over the four banks."""

    def fill(assembler):
        for layer in range(count):
            bank = layer % 4 * 256
            row_bytes, rows = rng.randint(1, 48), rng.randint(1, 4)
            start = rng.randrange(8)
            source = 64 * rng.randrange(24) + start
            target = 0x2000 + 0x100 * layer + start
            waits = [Token.STORED] if layer >= 4 else []
            load = {**area(source, bank + start, row_bytes, rows), "SPACE": Space.ACTIVATION}
            store = area(target, bank + start, row_bytes, rows)
            assembler.go(Unit.LOAD, load, waits, [Token.RESULTS_READY], layer)
            assembler.go(Unit.STORE, store, [Token.RESULTS_READY], [Token.STORED], layer)

    return program(fill)


@pytest.mark.parametrize("seed", range(4))
def test_trace_memory_and_buffers_equal_the_other_engines(seed):
    rng = random.Random(seed)
    about = memory(rng.choice([0, 100, 700]), rng.choice([10**8, 10**9]), rng.choice([1, 4]))
    job = copies(rng)
    seen = []
    engine = RtlEngine(TINY, about, on_command=lambda event, after: seen.append((event, after)))
    ours, theirs = job.initial_memory(), job.initial_memory()
    trace = engine.run(job, ours)
    functional = FunctionalEngine(TINY)
    functional.run(job, theirs)
    assert np.array_equal(ours, theirs)
    assert [event for event, _ in seen] == list(trace.events)
    assert np.array_equal(seen[-1][1].activation, functional.buffers.activation)
    assert trace == ModelEngine(TINY, about).run(job)
    layers = layer_timing(trace)
    assert sum(layer.cycles for layer in layers) == trace.cycles
    assert sum(layer.read_beats for layer in layers) == trace.read_beats


def test_parameters_and_constants_reach_their_buffers():
    def fill(assembler):
        whole = area(0, 0, 256, 1)
        assembler.go(Unit.LOAD, {**whole, "SPACE": Space.PARAMETER})
        assembler.go(Unit.LOAD, {**whole, "SPACE": Space.CONSTANT})

    job = program(fill)
    seen = []
    content = job.initial_memory()
    RtlEngine(TINY, memory(), on_command=lambda _, after: seen.append(after)).run(job, content)
    assert np.array_equal(seen[-1].parameter[:256], content[:256])
    records = content[:256].reshape(16, 16).copy()
    records[:, CHANNEL_RECORD_USED_BYTES:] = 0
    assert np.array_equal(seen[-1].constant[:256], records.ravel())


@pytest.mark.parametrize("latency_ns", [0, 5000])
def test_buffers_live_on_from_program_to_program_until_a_reset(latency_ns):
    about = memory(latency_ns)  # a slow one still owes words after END when the next one starts
    load = program(lambda a: a.go(Unit.LOAD, {**area(0, 0), "SPACE": Space.ACTIVATION}))
    store = program(lambda a: a.go(Unit.STORE, area(0x2000, 0)))
    model = ModelEngine(TINY, about)
    for engine in (RtlEngine(TINY, about), FunctionalEngine(TINY)):
        source, target = load.initial_memory(), store.initial_memory()
        traces = engine.run(load, source), engine.run(store, target)
        assert np.array_equal(target[0x2000:0x2028], source[:40])
        assert isinstance(engine, FunctionalEngine) or traces == (model.run(load), model.run(store))
        engine.reset()
        assert not engine.buffers.activation.any()
        engine.run(store, target)
        assert not target[0x2000:0x2028].any()


def test_registers_are_0_when_a_program_starts():
    first = {**area(0, 0), "SPACE": Space.PARAMETER}
    second = area(64, 0)  # SPACE, never set, is 0: the activation buffer
    engines = RtlEngine(TINY, memory()), FunctionalEngine(TINY)
    for engine in engines:
        for registers in (first, second):
            job = program(lambda a, registers=registers: a.go(Unit.LOAD, registers))
            engine.run(job, job.initial_memory())
    ours, wanted = (engine.buffers for engine in engines)
    assert np.array_equal(ours.parameter, wanted.parameter)
    assert np.array_equal(ours.activation, wanted.activation)
    assert wanted.activation.any()


def test_a_core_that_said_why_it_stopped_runs_on_and_one_that_did_not_is_replaced():
    engine = RtlEngine(TINY, memory(), max_cycles=500)
    load = {**area(0, 0), "SPACE": Space.ACTIVATION}
    good = program(lambda a: a.go(Unit.LOAD, load))
    bad = program(lambda a: a.go(Unit.LOAD, {**load, "MEMORY_ADDRESS": MEMORY_BYTES}))
    endless = program(lambda a: a.go(Unit.LOAD, {**load, "ROWS": 1000, "MEMORY_PITCH": 0}))
    for failing, stays in ((bad, True), (endless, False)):
        assert engine.run(good, good.initial_memory()) == ModelEngine(TINY, memory()).run(good)
        assert engine.buffers.activation.any()
        with pytest.raises(RunError) as caught:
            engine.run(failing, failing.initial_memory())
        assert (caught.value.code is ErrorCode.LOAD_BUS_ERROR) == stays
        assert engine.buffers.activation.any() == stays
    assert engine.run(good, good.initial_memory()) == ModelEngine(TINY, memory()).run(good)


def fails(fill, about=None, **options):
    job = program(fill)
    with pytest.raises(RunError) as caught:
        RtlEngine(TINY, about or memory(), **options).run(job, job.initial_memory())
    return caught.value


@pytest.mark.parametrize("unit", list(Unit))
def test_a_deadlock_is_refused_at_the_command_that_waits(unit):
    words = []
    space = {"SPACE": Space.ACTIVATION} if unit is Unit.LOAD else {}
    registers = {} if unit is Unit.COMPUTE else {**area(0, 0), **space}

    def fill(assembler):
        assembler.go(Unit.LOAD, {**area(0, 0), "SPACE": Space.ACTIVATION}, [], [Token.STORED])
        assembler.go(unit, registers, [Token.STORED, Token.RESULTS_READY])
        words.append(assembler.word_count - 1)
        # A token that a later command gives is none.
        assembler.go(Unit.LOAD, {}, [], [Token.RESULTS_READY])

    error = fails(fill)
    assert error.code is ErrorCode.DEADLOCK
    assert error.word == words[0]
    assert f"GO {unit.name.lower()} after RESULTS_READY and STORED" in str(error)


COPY = area(0, 0)
OF_FILTER = MODE_COUNTS[Mode.FILTER]
LARGEST = dict.fromkeys(
    (
        *("PIXELS", "OUT_WIDTH", "KERNEL_H", "KERNEL_W", "GROUPS", "SEGMENT", "LAST_SEGMENT"),
        *("GROUP_CHANNELS", "LAST_GROUP_CHANNELS", "INPUT_ROWS", "INPUT_ROW_BYTES", "UNIFORM"),
    ),
    1,
) | {"MODE": Mode.MAX}
FILTER = {"MODE": Mode.FILTER}


@pytest.mark.parametrize(
    ("unit", "registers"),
    [
        *((unit, COPY | {"ROWS": 0}) for unit in (Unit.LOAD, Unit.STORE)),
        *((unit, COPY | {"ROW_BYTES": 0}) for unit in (Unit.LOAD, Unit.STORE)),
        *((unit, COPY | {"MEMORY_ADDRESS": 1}) for unit in (Unit.LOAD, Unit.STORE)),
        *((unit, COPY | {"BUFFER_PITCH": 1}) for unit in (Unit.LOAD, Unit.STORE)),
        (Unit.LOAD, COPY | {"SPACE": 3}),
        *((Unit.COMPUTE, LARGEST | {name: 0}) for name in COUNTS),
        *((Unit.COMPUTE, LARGEST | {"GROUPS": 2, name: 0}) for name in GROUP_COUNTS),
        *(
            (
                Unit.COMPUTE,
                LARGEST | dict.fromkeys(MODE_COUNTS[Mode.FILTER], 1) | FILTER | {name: 0},
            )
            for name in MODE_COUNTS[Mode.FILTER]
        ),
        *((Unit.COMPUTE, LARGEST | {"MODE": mode}) for mode in range(len(Mode), 16)),
    ],
    ids=str,
)
def test_a_command_that_cannot_be_is_refused_by_the_core_as_by_the_functional_engine(
    unit, registers
):
    words = []

    def fill(assembler):
        good = COPY | {"SPACE": Space.ACTIVATION}
        assembler.go(Unit.LOAD, good, [], [Token.ACTIVATIONS_READY])
        assembler.go(Unit.COMPUTE, LARGEST, [Token.ACTIVATIONS_READY])
        assembler.go(unit, registers)
        words.append(assembler.word_count - 1)
        assembler.go(Unit.LOAD, COPY | {"SPACE": Space.PARAMETER})

    engine = RtlEngine(TINY, memory())
    bad = program(fill)
    with pytest.raises(RunError) as caught:
        engine.run(bad, bad.initial_memory())
    assert caught.value.code is ErrorCode.REFUSED
    assert caught.value.word == words[0]
    # The same core runs on as if nothing had been.
    job = program(lambda a: a.go(Unit.LOAD, COPY | {"SPACE": Space.PARAMETER}))
    assert engine.run(job, job.initial_memory()) == ModelEngine(TINY, memory()).run(job)
    job = program(fill)
    with pytest.raises(ProgramError, match=f"word {words[0]} "):
        FunctionalEngine(TINY).run(job, job.initial_memory())


def test_an_inference_without_its_setup_is_refused_by_both_engines():
    load = {**area(0, 0), "SPACE": Space.ACTIVATION}
    setup = program(lambda a: a.go(Unit.LOAD, load))
    other = program(lambda a: a.go(Unit.LOAD, {**load, "ROWS": 1}))
    content = setup.initial_memory()
    identifier = setup_identifier(setup, content)
    inference = with_setup(program(lambda a: a.go(Unit.STORE, area(0, 0))), identifier)
    setup = with_setup(setup, identifier, is_setup=True)
    another = with_setup(other, identifier % 1000 + 1, is_setup=True)
    for before, runs in (
        ([], False),
        ([setup], True),
        ([setup, inference], True),
        ([another], False),
        ([setup, other], False),
    ):
        for engine in (RtlEngine(TINY, memory()), FunctionalEngine(TINY)):
            for each in before:
                each.put_into(content)
                engine.run(each, content)
            inference.put_into(content)
            if runs:
                engine.run(inference, content)
                continue
            with pytest.raises((RunError, ProgramError)) as caught:
                engine.run(inference, content)
            if isinstance(caught.value, RunError):
                assert caught.value.code is ErrorCode.SETUP_MISSING
                assert caught.value.word == 1
            else:
                assert "word 1: the program needs set-up" in str(caught.value)


def test_an_identifier_is_that_of_commands_and_of_every_byte_that_they_load():
    setup = program(lambda a: a.go(Unit.LOAD, {**area(0, 0), "SPACE": Space.PARAMETER}))
    other = program(lambda a: a.go(Unit.LOAD, {**area(0, 0, rows=1), "SPACE": Space.PARAMETER}))
    content = setup.initial_memory()
    identifiers = {setup_identifier(setup, content), setup_identifier(other, content)}
    loaded = [*range(40), *range(64, 104)]  # two rows
    for byte in loaded:
        changed = content.copy()
        changed[byte] ^= 1
        identifiers.add(setup_identifier(setup, changed))
    assert len(identifiers) == 2 + len(loaded)
    changed = content.copy()
    changed[[40, 63, 104]] ^= 1
    assert setup_identifier(setup, changed) == setup_identifier(setup, content)


LATENCY_CYCLES = 1000
SLOW = memory(LATENCY_CYCLES * 10**9 // TINY.clock_hz, outstanding=2)


def test_a_fetch_without_words_names_the_word_and_the_handshake():
    error = fails(lambda a: None, SLOW, stall_cycles=LATENCY_CYCLES // 2)
    assert "fetch waits for word 0 of the program from the command port" in str(error)
    assert "command port: 1 burst in flight, core waits for RVALID" in str(error)


def test_a_fetch_that_a_pending_unit_blocks_names_the_unit_and_its_token():
    words = []

    def fill(assembler):
        # The load's first bursts are still on their way.
        load = {**area(0, 0, rows=5), "SPACE": Space.ACTIVATION}
        assembler.go(Unit.LOAD, load, [], [Token.RESULTS_READY])
        assembler.go(Unit.STORE, area(0, 0), [Token.RESULTS_READY])
        words.append(assembler.word_count)
        assembler.go(Unit.STORE, {})

    # Two latencies for the program; the load takes three.
    error = fails(fill, SLOW, max_cycles=2 * LATENCY_CYCLES + 500)
    waits = f"fetch waits at word {words[0]}, GO store, for store, whose command before is still"
    assert waits in str(error)
    assert error.word == words[0]
    assert "store waits for RESULTS_READY" in str(error)


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        # Every row is a burst, and there are more of them than may be in flight.
        (
            Unit.LOAD,
            "data port, read: 2 bursts in flight, core waits for ARREADY, core waits for RVALID",
        ),
        (
            Unit.STORE,
            "data port, write: 2 bursts in flight, core waits for AWREADY, core waits for WREADY, "
            "core waits for BVALID",
        ),
    ],
)
def test_a_stuck_copy_names_its_bursts_and_their_handshake(unit, said):
    space = {"SPACE": Space.ACTIVATION} if unit is Unit.LOAD else {}
    # One latency for the program and less than one for the copy.
    error = fails(
        lambda a: a.go(unit, {**area(0, 0, rows=5), **space}),
        SLOW,
        max_cycles=2 * LATENCY_CYCLES - 200,
    )
    assert f"{unit.name.lower()} runs a command" in str(error)
    assert said in str(error)


def test_a_memory_of_little_bandwidth_is_slow_and_not_stuck():
    # 20,000 cycles per beat, twice what is allowed without anything moving at a fast memory.
    about = memory(bandwidth=TINY.clock_hz * TINY.beat_bytes // (2 * STALL_CYCLES))
    job = program(lambda a: a.go(Unit.LOAD, {**area(0, 0, 8, 2), "SPACE": Space.ACTIVATION}))
    trace = RtlEngine(TINY, about).run(job, job.initial_memory())
    assert trace == ModelEngine(TINY, about).run(job)
    assert trace.cycles > 2 * STALL_CYCLES * len(job.words[1:])


def test_the_slowest_memory_at_the_highest_clock_reaches_the_harness_uncut():
    machine = TINY.replace(clock_hz=MAX_CLOCK_HZ)
    for bandwidth in (1, MAX_BANDWIDTH_BYTES_PER_S):
        about = memory(MAX_LATENCY_NS, bandwidth)
        arguments = RtlEngine(machine, about).arguments(0, np.zeros(1, np.uint8))
        for given, beat_bytes in (
            (arguments.command, WORD_BYTES),
            (arguments.data_read, machine.beat_bytes),
            (arguments.data_write, machine.beat_bytes),
        ):
            wanted = about.port_timing(MAX_CLOCK_HZ, beat_bytes)
            assert tuple(getattr(given, name) for name in wanted._fields) == wanted


def test_a_run_that_takes_too_long_is_stopped():
    error = fails(lambda a: a.go(Unit.STORE, area(0, 0, 40, 20)), max_cycles=40)
    assert "longer than 40 cycles" in str(error)
    assert "store runs a command" in str(error)


def test_a_program_for_another_machine_is_refused():
    job = program(lambda a: None, TINY.replace(rows=8))
    with pytest.raises(RunError, match="WRONG_CONFIGURATION") as caught:
        RtlEngine(TINY, memory()).run(job, job.initial_memory())
    assert caught.value.code is ErrorCode.WRONG_CONFIGURATION
    assert caught.value.word == 1


def test_a_read_outside_the_memory_is_reported():
    load = {**area(MEMORY_BYTES, 0), "SPACE": Space.ACTIVATION}
    error = fails(lambda a: a.go(Unit.LOAD, load))
    assert error.code is ErrorCode.LOAD_BUS_ERROR
    assert "data port, read" in str(error)
    assert hex(MEMORY_BYTES) in str(error)


def test_an_exception_of_the_hook_ends_the_run():
    def hook(event, buffers):
        raise KeyError("as asked")

    job = copies(random.Random(0))
    with pytest.raises(KeyError, match="as asked"):
        RtlEngine(TINY, memory(), on_command=hook).run(job, job.initial_memory())


@pytest.mark.skipif(
    os.environ.get("MENSA_REGRESS") != "1", reason="a build of its own: make regress"
)
def test_waves_are_written(tmp_path):
    job = copies(random.Random(0))
    path = tmp_path / "run.vcd"
    RtlEngine(TINY, memory(), vcd=path).run(job, job.initial_memory())
    assert "trace_busy" in path.read_text()[:100_000]


def event(unit, tag, done, beats=0):
    counts = (done + 1, *[0] * (len(CATEGORIES) - 1))
    return CommandEvent(unit, tag, done - 3, done, beats, counts)


EDITS_ITS_GATEWARE = """
import sys
from mensa.rtl.machine import edge_tpu
from mensa.sim.engines.rtl import core_build
with open(sys.argv[1], "a") as file:
    file.write("# another day")
core_build(edge_tpu)
"""


def test_gateware_that_was_edited_meanwhile_is_not_built_from_what_python_has_loaded(tmp_path):
    copy = tmp_path / "mensa"
    shutil.copytree(Path(mensa.rtl.__file__).parent, copy / "rtl")
    for package in (mensa.golden, mensa.sim):
        folder = Path(package.__file__).parent
        (copy / folder.name).symlink_to(folder)
    done = subprocess.run(
        [sys.executable, "-c", EDITS_ITS_GATEWARE, str(copy / "rtl" / "core.py")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "RunError: mensa.rtl was edited since this process began" in done.stderr


def test_every_file_of_the_gateware_counts_at_any_depth(tmp_path):
    folder = tmp_path / "rtl"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(mensa.rtl.__file__).parent, folder, ignore=ignored)
    seen = {gateware_hash(folder)}
    nested = sorted(path for path in folder.rglob("*") if path.is_file())
    assert max(len(path.relative_to(folder).parts) for path in nested) > 2
    for path in nested:
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        seen.add(gateware_hash(folder))
        path.write_bytes(before)
    assert len(seen) == 1 + len(nested)
    nested[-1].rename(nested[-1].with_name("another.py"))
    assert gateware_hash(folder) not in seen
    (folder / "__pycache__").mkdir()
    moved = gateware_hash(folder)
    (folder / "__pycache__" / "core.pyc").write_bytes(b"of Python")
    assert gateware_hash(folder) == moved


def test_layers_share_the_cycles():
    # Layer 7's store ends after layer 8's load has begun and ended.
    events = (
        event(Unit.LOAD, 7, 9, 3),
        event(Unit.LOAD, 8, 14, 5),
        event(Unit.COMPUTE, 7, 19),
        event(Unit.STORE, 7, 29, 2),
        event(Unit.COMPUTE, 8, 49),
        event(Unit.STORE, 8, 59, 4),
    )
    total = (62, *[0] * (len(CATEGORIES) - 1))
    first, second = layer_timing(RunTrace(62, events, total, 8, 6, BufferReads()))
    assert (first.tag, first.cycles, first.read_beats, first.write_beats) == (7, 30, 3, 2)
    assert (second.tag, second.cycles, second.read_beats, second.write_beats) == (8, 32, 5, 4)
    assert first.stalls["compute"] == 30
    assert second.stalls["compute"] == 32
    assert layer_timing(RunTrace(5, (), total, 0, 0, BufferReads())) == []
