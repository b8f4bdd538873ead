"""The functional engine against the loop nest of docs/architecture.md, as the gateware is."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mensa.rtl.arrays.filter.filter_stream import filter_stream
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.commands import Keep, Mode, Space, Token, Unit
from mensa.rtl.machine import CELLS, Machine
from mensa.rtl.program import Assembler, Program, ProgramError
from mensa.sim.engines.functional import FunctionalEngine
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.memory import lpddr4
from tests.rtl.compute.reference import Reference, random_commands

MACHINE = Machine(
    name="small",
    array=Systolic(rows=4, cols=3),
    clock_hz=1,
    parameter_buffer_bytes=1 << 12,
    activation_buffer_bytes=1 << 14,
    constant_entries=8,
)
TALL = MACHINE.replace(rows=32)  # a filter's taps need rows
BEAT = MACHINE.beat_bytes
OUT = 1 << 13  # results go to the upper half of the activation buffer
MEMORY_BYTES = 1 << 15


def assemble(commands, machine=MACHINE):
    """The program of (unit, registers[, wait, signal]) tuples."""
    assembler = Assembler(machine)
    for command in commands:
        assembler.go(*command)
    return Program(machine, assembler.finish(), 0, MEMORY_BYTES, (), {}, ())


def run(commands, machine=MACHINE, memory=None, **engine):
    """Carry out (unit, registers[, wait, signal]) tuples on random buffers."""
    program = assemble(commands, machine)
    rng = np.random.default_rng(0)
    functional = FunctionalEngine(machine, **engine)
    for buffer in (
        functional.buffers.activation,
        functional.buffers.parameter,
        functional.buffers.constant,
    ):
        buffer[:] = rng.integers(0, 256, buffer.size)
    records = functional.buffers.constant.reshape(-1, 16)
    records[:, 7] &= 0x7F  # multipliers are not negative
    records[:, 8] = rng.integers(-31, 31, len(records)).astype(np.int8).view(np.uint8)
    before = functional.buffers.activation.copy()
    memory = np.zeros(MEMORY_BYTES, np.uint8) if memory is None else memory
    functional.run(program, memory)
    return functional.buffers, before, memory


def run_model(commands, machine=MACHINE):
    """Ask the model how long (unit, registers[, wait, signal]) tuples take."""
    return ModelEngine(machine, lpddr4).run(assemble(commands, machine))


@st.composite
def compute_registers(draw: st.DrawFn, mode: Mode) -> dict[str, int]:
    """A compute command whose addresses are those of an image, with padding on all sides."""
    number = st.integers
    cols = MACHINE.array.group
    multiplier = draw(number(1, cols)) if mode == Mode.DEPTHWISE else 1
    most = 7 if mode == Mode.CONV else cols // multiplier
    segment, last_segment = draw(number(1, most)), draw(number(1, most))
    if mode == Mode.CONV:
        last_segment = segment
        channels, last_channels = cols, draw(number(1, cols))
    else:
        channels, last_channels = segment * multiplier, last_segment * multiplier
    kernel = draw(number(1, 3)), draw(number(1, 3))
    if mode.has_operands or mode == Mode.TABLE:
        kernel = (2 if mode.has_operands else 1, 1)
    pixels, out_width = draw(number(1, 9)), draw(number(1, 4))
    rows, row_bytes = draw(number(1, 5)), draw(number(1, 30))
    pitch = row_bytes + draw(number(0, 3))
    x_start, y_start = draw(number(-9, 9)), draw(number(-3, 3))
    y_step, tap_y_step = draw(number(0, 3)), draw(number(0, 2))
    groups = draw(number(1, 3))
    edge = draw(number(0, min(channels, last_channels)))
    bottom, top = sorted(draw(st.lists(number(-128, 127), min_size=2, max_size=2)))
    factor, int8 = number(0, (1 << 31) - 1), number(-128, 127)
    return {
        "MODE": mode,
        "KEEP": 0,
        "ACT_ADDRESS": 64 + x_start + y_start * pitch,
        "X_START": x_start,
        "Y_START": y_start,
        "INPUT_ROW_BYTES": row_bytes,
        "INPUT_ROWS": rows,
        "PIXELS": pixels,
        "OUT_WIDTH": out_width,
        "PIXEL_X_STEP": draw(number(0, 9)),
        "PIXEL_Y_STEP": y_step,
        "PIXEL_Y_ADDRESS_STEP": y_step * pitch,
        "KERNEL_H": kernel[0],
        "KERNEL_W": kernel[1],
        "TAP_X_STEP": draw(number(0, 9)),
        "TAP_Y_STEP": tap_y_step,
        "TAP_Y_ADDRESS_STEP": tap_y_step * pitch,
        "SEGMENT": segment,
        "LAST_SEGMENT": last_segment,
        "GROUPS": groups,
        "GROUP_ACT_STEP": draw(number(0, 5)),
        "GROUP_CHANNELS": channels,
        "LAST_GROUP_CHANNELS": last_channels,
        "EDGE_CHANNELS": edge,
        "DEPTH_MULTIPLIER": multiplier,
        "PARAMETER_ADDRESS": draw(number(0, 40)),
        "CONSTANT_ENTRY": draw(number(0, 5)),
        "ACT_ZERO_POINT": 0 if mode == Mode.TABLE else draw(int8),
        "ACT_ZERO_POINT_1": draw(int8),
        "PARAMETER_ZERO_POINT": 0 if mode == Mode.TABLE else draw(int8),
        "SCALE_0_MULTIPLIER": draw(factor),
        "SCALE_0_SHIFT": draw(number(0, 31)),
        "SCALE_1_MULTIPLIER": draw(factor),
        "SCALE_1_SHIFT": draw(number(0, 31)),
        "UNIFORM": draw(number(0, 1)),
        "BIAS": draw(number(-(1 << 31), (1 << 31) - 1)),
        "MULTIPLIER": draw(factor),
        "SHIFT": draw(number(-31, 30)),
        "ROUNDING": draw(number(0, 1)),
        "OUT_ZERO_POINT": draw(int8),
        "CLAMP_MIN": bottom,
        "CLAMP_MAX": top,
        "OUT_ADDRESS": OUT,
        "OUT_X_STEP": groups * cols + draw(number(0, 4)),
        "OUT_Y_STEP": out_width * (groups * cols + 5),
        "WIDTH": 0,
    }


@st.composite
def filter_registers(draw: st.DrawFn) -> dict[str, int]:
    """The same for a filter: whole rows of pixels, and the stream that serves them."""
    registers = draw(compute_registers(Mode.FILTER))
    registers["PIXELS"] = registers["OUT_WIDTH"] * draw(st.integers(1, 3))
    if registers["PIXEL_Y_STEP"]:
        row_step = registers["PIXEL_Y_ADDRESS_STEP"] // registers["PIXEL_Y_STEP"]
    else:
        row_step = registers["INPUT_ROW_BYTES"]
    stream = filter_stream(TALL.array.tile, registers, row_step)
    assume(stream is not None)
    registers["TAP_Y_ADDRESS_STEP"] = registers["TAP_Y_STEP"] * row_step
    return registers | stream


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode <= Mode.TABLE])
def test_compute_does_what_the_loop_nest_says(mode):
    machine = TALL if mode == Mode.FILTER else MACHINE
    drawn = filter_registers() if mode == Mode.FILTER else compute_registers(mode)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
    @given(drawn)
    def compare(registers):
        buffers, before, _ = run([(Unit.COMPUTE, registers)], machine)
        reference = Reference(machine, before.copy(), buffers.parameter, buffers.constant)
        reference.run(registers)
        assert np.array_equal(buffers.activation, reference.activation)

    compare()


@pytest.mark.parametrize(
    "mode", [Mode.CONV, Mode.MAX, Mode.CELL_STATE, Mode.HIDDEN_STATE, Mode.SOFTMAX]
)
@pytest.mark.parametrize("cell", CELLS)
def test_wide_results_cell_and_softmax_are_what_the_loop_nest_says(mode, cell):
    machine = MACHINE.replace(cols=8, cell=cell, cell_lanes=2)
    rng = random.Random(0)
    for _ in range(60):
        (registers, *_) = random_commands(machine, rng, mode)
        registers |= {"KEEP": 0, "EDGE_CHANNELS": 0}
        buffers, before, _ = run([(Unit.COMPUTE, registers)], machine)
        reference = Reference(machine, before.copy(), buffers.parameter, buffers.constant)
        reference.run(registers)
        assert np.array_equal(buffers.activation, reference.activation)


PLAIN = {
    "MODE": Mode.CONV,
    "KEEP": 0,
    "ACT_ADDRESS": 0,
    "X_START": 0,
    "Y_START": 0,
    "INPUT_ROW_BYTES": 100,
    "INPUT_ROWS": 1,
    "PIXELS": 3,
    "OUT_WIDTH": 3,
    "PIXEL_X_STEP": 10,
    "KERNEL_H": 1,
    "KERNEL_W": 1,
    "SEGMENT": 10,
    "LAST_SEGMENT": 10,
    "GROUPS": 1,
    "GROUP_CHANNELS": 3,
    "LAST_GROUP_CHANNELS": 3,
    "PARAMETER_ADDRESS": 0,
    "UNIFORM": 1,
    "BIAS": 5,
    "MULTIPLIER": 1 << 30,
    "SHIFT": -6,
    "CLAMP_MIN": -128,
    "CLAMP_MAX": 127,
    "OUT_ADDRESS": OUT,
    "OUT_X_STEP": 3,
}
SUM = PLAIN | {"MODE": Mode.SCALED_SUM, "SEGMENT": 3, "LAST_SEGMENT": 3}


def test_sums_kept_over_three_commands_equal_one_command():
    whole, _, _ = run([(Unit.COMPUTE, PLAIN)])
    pieces = []
    for first, last, keep in (
        (0, 4, Keep.UNDRAINED),
        (4, 5, Keep.UNDRAINED | Keep.CONTINUE),
        (5, 10, Keep.CONTINUE),
    ):
        change = {
            "KEEP": keep,
            "X_START": first,
            "ACT_ADDRESS": first,
            "SEGMENT": last - first,
            "LAST_SEGMENT": last - first,
            "PARAMETER_ADDRESS": first * MACHINE.array.group,
        }
        pieces.append((Unit.COMPUTE, PLAIN | change))
    split, _, _ = run(pieces)
    assert np.array_equal(whole.activation, split.activation)


FILTER = PLAIN | {
    "MODE": Mode.FILTER,
    "INPUT_ROW_BYTES": 15,
    "INPUT_ROWS": 5,
    "PIXELS": 6,
    "PIXEL_X_STEP": 3,
    "PIXEL_Y_STEP": 1,
    "PIXEL_Y_ADDRESS_STEP": 15,
    "KERNEL_H": 3,
    "KERNEL_W": 3,
    "TAP_X_STEP": 3,
    "TAP_Y_STEP": 1,
    "TAP_Y_ADDRESS_STEP": 15,
    "SEGMENT": 3,
    "LAST_SEGMENT": 3,
}
FILTER |= filter_stream(TALL.array.tile, FILTER, 15) or {}


def test_a_filter_computes_what_depthwise_does():
    filtered, _, _ = run([(Unit.COMPUTE, FILTER)], TALL)
    depthwise, before, _ = run(
        [(Unit.COMPUTE, FILTER | {"MODE": Mode.DEPTHWISE, "DEPTH_MULTIPLIER": 1})], TALL
    )
    assert np.array_equal(filtered.activation, depthwise.activation)
    assert not np.array_equal(filtered.activation, before)


@pytest.mark.parametrize(
    ("machine", "change", "message"),
    [
        (TALL, {"PIXELS": 5}, "5 pixels are not whole rows of 3"),
        (TALL, {"SEGMENT": 2}, "3 channels from 2 bytes"),
        (TALL, {"STREAM_ROWS": 5}, "STREAM_ROWS is 5, the filter's 4"),
        (TALL, {"FILTER_ROW": 0}, "FILTER_ROW is 0"),
        (TALL, {"PIXEL_Y_ADDRESS_STEP": 16}, "PIXEL_Y_ADDRESS_STEP is 16, the filter's 15"),
        (TALL, {"PIXEL_Y_STEP": 0}, "there is no stream"),
        (TALL, {"KEEP": 2}, "KEEP needs a tiled mode"),
        (MACHINE, {}, "there is no stream of its pixels for 4 rows"),
    ],
)
@pytest.mark.parametrize("engine", [run, run_model])
def test_a_filter_whose_stream_is_another_is_named(engine, machine, change, message):
    change = change | {"LAST_SEGMENT": change.get("SEGMENT", 3)}
    with pytest.raises(ProgramError, match=r"word \d+ \(.*" + message):
        engine([(Unit.COMPUTE, FILTER | change)], machine)


COPY = {
    "MEMORY_ADDRESS": 3 * BEAT + 5,
    "BUFFER_ADDRESS": BEAT + 5,
    "ROW_BYTES": 7,
    "ROWS": 3,
    "MEMORY_PITCH": 5 * BEAT + 1,
    "BUFFER_PITCH": BEAT + 1,
}


@pytest.mark.parametrize("space", Space)
def test_load_copies_rows(space):
    memory = np.random.default_rng(1).integers(0, 256, MEMORY_BYTES).astype(np.uint8)
    buffers, _, after = run([(Unit.LOAD, COPY | {"SPACE": space})], memory=memory.copy())
    for row in range(3):
        source = COPY["MEMORY_ADDRESS"] + row * COPY["MEMORY_PITCH"]
        target = COPY["BUFFER_ADDRESS"] + row * COPY["BUFFER_PITCH"]
        assert np.array_equal(buffers[space][target : target + 7], memory[source : source + 7])
    assert np.array_equal(after, memory)


def test_store_copies_rows_and_nothing_else():
    buffers, _, memory = run([(Unit.STORE, COPY)])
    expected = np.zeros_like(memory)
    for row in range(3):
        target = COPY["MEMORY_ADDRESS"] + row * COPY["MEMORY_PITCH"]
        source = COPY["BUFFER_ADDRESS"] + row * COPY["BUFFER_PITCH"]
        expected[target : target + 7] = buffers.activation[source : source + 7]
    assert np.array_equal(memory, expected)


@pytest.mark.parametrize(
    ("unit", "registers", "message"),
    [
        (Unit.LOAD, COPY | {"SPACE": 3}, "no SPACE 3"),
        (Unit.LOAD, COPY | {"ROWS": 0}, "copies nothing"),
        (Unit.STORE, COPY | {"ROW_BYTES": 0}, "copies nothing"),
        (Unit.LOAD, COPY | {"BUFFER_ADDRESS": 6}, "MEMORY_ADDRESS .* differ modulo a beat"),
        (Unit.STORE, COPY | {"BUFFER_PITCH": BEAT}, "MEMORY_PITCH .* differ modulo a beat"),
        (Unit.COMPUTE, PLAIN | {"PIXELS": 0}, "PIXELS must be at least 1"),
        (Unit.COMPUTE, PLAIN | {"MODE": len(Mode)}, f"no MODE {len(Mode)}"),
        (Unit.COMPUTE, PLAIN | {"EDGE_CHANNELS": 4}, "last pixel of a row has 4 channels of 3"),
        (Unit.COMPUTE, PLAIN | {"LAST_GROUP_CHANNELS": 4}, "channels must be 1 to 3"),
        (Unit.COMPUTE, PLAIN | {"GROUPS": 3, "SEGMENT": 0}, "SEGMENT must be at least 1"),
        (Unit.COMPUTE, PLAIN | {"KEEP": 2, "PIXELS": 5}, "at most 4 pixels"),
        (Unit.COMPUTE, PLAIN | {"MODE": Mode.SCALED_SUM}, "channels from"),
        (Unit.COMPUTE, SUM | {"KERNEL_H": 3}, "a scaled sum has 2 taps, not 3"),
        (Unit.COMPUTE, SUM | {"KERNEL_W": 2}, "the taps of a scaled sum are one a tap row"),
    ],
)
@pytest.mark.parametrize("engine", [run, run_model])
def test_commands_without_meaning_are_named(engine, unit, registers, message):
    with pytest.raises(ProgramError, match=r"word \d+ \(.*" + message):
        engine([(unit, registers)])


@pytest.mark.parametrize(
    ("unit", "registers", "message"),
    [
        (Unit.STORE, COPY | {"ROW_BYTES": MEMORY_BYTES}, "of memory, which has"),
        (
            Unit.LOAD,
            COPY | {"SPACE": Space.CONSTANT, "ROW_BYTES": MACHINE.constant_entry_bytes * 8},
            "of the constant buffer, which has",
        ),
        (Unit.COMPUTE, PLAIN | {"ACT_ADDRESS": -1}, "of the activation buffer"),
        (Unit.COMPUTE, PLAIN | {"PARAMETER_ADDRESS": 4090}, "of the parameter buffer"),
        (Unit.COMPUTE, PLAIN | {"OUT_ADDRESS": (1 << 14) - 2}, "of the activation buffer"),
        (Unit.COMPUTE, PLAIN | {"UNIFORM": 0, "CONSTANT_ENTRY": 8}, "reads constant entry 8"),
        (Unit.COMPUTE, PLAIN | {"KEEP": 1}, "nobody kept"),
    ],
)
def test_commands_that_reach_beyond_what_is_there_are_named(unit, registers, message):
    with pytest.raises(ProgramError, match=r"word \d+ \(.*" + message):
        run([(unit, registers)])


@pytest.mark.parametrize("run", [run, run_model])
def test_a_token_that_nobody_gave_is_a_deadlock(run):
    ready, free = Token.ACTIVATIONS_READY, Token.ACTIVATIONS_FREE
    load = COPY | {"SPACE": Space.ACTIVATION}
    run([(Unit.LOAD, load, [], [ready]), (Unit.COMPUTE, PLAIN, [ready], [free])])
    with pytest.raises(ProgramError, match="waits for ACTIVATIONS_READY"):
        run([(Unit.COMPUTE, PLAIN, [ready], [free]), (Unit.LOAD, load, [], [ready])])
    with pytest.raises(ProgramError, match="waits for ACTIVATIONS_READY"):
        run([(Unit.LOAD, load, [], [ready])] + 2 * [(Unit.COMPUTE, PLAIN, [ready], [free])])


def test_the_hook_sees_every_command_in_order():
    seen = []

    def hook(command, buffers):
        seen.append((command.unit, buffers.activation[BEAT + 5]))

    memory = np.full(MEMORY_BYTES, 77, np.uint8)
    commands = [(Unit.LOAD, COPY | {"SPACE": Space.ACTIVATION}), (Unit.COMPUTE, PLAIN)]
    run(commands, memory=memory, on_command=hook)
    assert [unit for unit, _ in seen] == [Unit.LOAD, Unit.COMPUTE]
    assert all(value == 77 for _, value in seen)


def test_the_hook_of_accesses_sees_what_every_command_reads_and_writes():
    seen = []
    commands = [
        (Unit.LOAD, COPY | {"SPACE": Space.ACTIVATION}),
        (Unit.COMPUTE, PLAIN | {"UNIFORM": 0}),
        (Unit.STORE, COPY),
    ]
    run(commands, on_access=seen.append)
    assert [(each.command.unit, each.space, each.writes) for each in seen] == [
        (Unit.LOAD, None, False),
        (Unit.LOAD, Space.ACTIVATION, True),
        (Unit.COMPUTE, Space.ACTIVATION, False),
        (Unit.COMPUTE, Space.PARAMETER, False),
        (Unit.COMPUTE, Space.CONSTANT, False),
        (Unit.COMPUTE, Space.ACTIVATION, True),
        (Unit.STORE, None, True),
        (Unit.STORE, Space.ACTIVATION, False),
    ]
    assert seen[1].addresses.shape == (COPY["ROWS"], COPY["ROW_BYTES"])


HERE = PLAIN | {"ACT_ADDRESS": OUT}  # reads what PLAIN writes
FILTER_HERE = FILTER | {"ACT_ADDRESS": OUT, "OUT_ADDRESS": OUT + 300}
ELSEWHERE = PLAIN | {"OUT_ADDRESS": OUT + 100}
SUM = HERE | {"MODE": Mode.SUM, "SEGMENT": 3, "LAST_SEGMENT": 3, "OUT_ADDRESS": OUT + 200}
STORE_HERE = COPY | {"MEMORY_ADDRESS": OUT, "BUFFER_ADDRESS": OUT}
WRITTEN, READY = [Token.SETTLED], [Token.RESULTS_READY]


@pytest.mark.parametrize(
    ("commands", "fine"),
    [
        ([(PLAIN,), (HERE,)], False),
        ([(PLAIN,), (ELSEWHERE,), (HERE,)], False),
        ([(PLAIN,), (PLAIN | {"ACT_ADDRESS": OUT + 9},)], True),  # beside what the first writes
        ([(PLAIN, [], WRITTEN), (HERE, WRITTEN)], True),
        ([(PLAIN, [], WRITTEN), (PLAIN,), (HERE, WRITTEN)], False),
        ([(PLAIN,), (ELSEWHERE, [], WRITTEN), (HERE, WRITTEN)], True),  # a later one gave it
        ([(ELSEWHERE, [], WRITTEN), (PLAIN, [], WRITTEN), (HERE, WRITTEN)], False),
        ([(FILTER,), (HERE,)], False),
        ([(PLAIN,), (FILTER_HERE,)], False),
        ([(FILTER,), (FILTER_HERE,)], False),
        ([(FILTER, [], WRITTEN), (FILTER_HERE, WRITTEN)], True),
        ([(PLAIN, [], WRITTEN), (FILTER_HERE, WRITTEN)], True),
        ([(PLAIN,), (SUM,)], True),  # a vector mode waits
        ([(PLAIN,), (SUM | {"ACT_ADDRESS": 0},), (HERE,)], True),
        ([(SUM | {"OUT_ADDRESS": OUT},), (HERE,)], True),
    ],
)
def test_results_must_be_settled_before_a_compute_command_reads_them(commands, fine):
    program = [(Unit.COMPUTE, *command) for command in commands]
    if fine:
        run(program, TALL)
    else:
        with pytest.raises(ProgramError, match=r"word \d+ \(COMPUTE.* no token says that it is"):
            run(program, TALL)


def test_a_store_must_know_that_results_are_there_and_may_pass_it_on():
    store, load = (Unit.STORE, STORE_HERE), (Unit.LOAD, COPY | {"SPACE": Space.ACTIVATION})
    plain, here = (Unit.COMPUTE, PLAIN), (Unit.COMPUTE, HERE)
    with pytest.raises(ProgramError, match=r"word \d+ \(STORE.* no token says that it is done"):
        run([plain, store])
    stored, loaded = [Token.STORED], [Token.ACTIVATIONS_READY]
    run(
        [
            (*plain, [], READY),
            (*store, READY, stored),
            (*load, stored, loaded),
            (*here, loaded),
        ]
    )


def test_buffers_live_on_until_a_reset():
    assembler = Assembler(MACHINE)
    assembler.go(Unit.LOAD, COPY | {"SPACE": Space.PARAMETER})
    program = Program(MACHINE, assembler.finish(), 0, MEMORY_BYTES, (), {}, ())
    functional = FunctionalEngine(MACHINE)
    functional.run(program, np.full(MEMORY_BYTES, 7, np.uint8))
    loaded = functional.buffers.parameter.copy()
    assert loaded.any()
    functional.run(
        Program(MACHINE, Assembler(MACHINE).finish(), 0, MEMORY_BYTES, (), {}, ()),
        np.zeros(MEMORY_BYTES, np.uint8),
    )
    assert np.array_equal(functional.buffers.parameter, loaded)
    functional.reset()
    assert not functional.buffers.parameter.any()
