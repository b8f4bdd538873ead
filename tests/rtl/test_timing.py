from __future__ import annotations

import random

import pytest

from mensa.rtl import timing
from mensa.rtl.arrays.systolic.filter_stream import filter_stream
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.commands import REGISTERS, Mode, Unit
from mensa.rtl.compute import operand_feed
from mensa.rtl.machine import KIB, Machine
from mensa.rtl.post import post_processor, vector_unit
from mensa.rtl.post.cell import cell
from mensa.rtl.post.softmax import softmax
from tests.rtl.compute.reference import random_commands, steps

MACHINES = [
    Machine(
        name=f"{rows}x{cols}, {lanes} lanes",
        array=Systolic(rows=rows, cols=cols, post_lanes=lanes),
        clock_hz=1,
        parameter_buffer_bytes=16 * KIB,
        activation_buffer_bytes=16 * KIB,
        constant_entries=8,
    )
    for rows, cols, lanes in (
        (2, 2, 2),
        (2, 9, 9),
        (5, 3, 3),
        (4, 12, 12),
        (8, 8, 8),
        (16, 4, 4),
        (5, 3, 2),
        (4, 12, 1),
        (8, 8, 4),
    )
]
each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)


@each_machine
def test_closed_form_counts_the_steps_of_the_loop_nest(machine):
    rng = random.Random(1)
    for mode in machine.modes:
        for _ in range(40):
            for registers in random_commands(machine, rng, mode):
                counted = sum(1 for _ in steps(machine, registers))
                assert timing.feed_cycles(machine, registers) == counted


def conv(machine: Machine, pixels: int, segment: int) -> dict[str, int]:
    registers = {register.name: 0 for register in REGISTERS[Unit.COMPUTE]}
    return registers | {
        "MODE": Mode.CONV,
        "PIXELS": pixels,
        "GROUPS": 1,
        "KERNEL_H": 1,
        "KERNEL_W": 1,
        "SEGMENT": segment,
        "LAST_SEGMENT": segment,
    }


@each_machine
def test_full_tiles_and_chunks_keep_every_element_busy_in_every_cycle(machine):
    for tiles in (1, 3):
        for chunks in (1, 4):
            # As many as the rows' results need to leave.
            chunks *= machine.array.pace
            registers = conv(machine, tiles * machine.array.tile, chunks * machine.array.tile)
            macs = registers["PIXELS"] * registers["SEGMENT"] * machine.array.group
            cycles = timing.feed_cycles(machine, registers)
            assert cycles * machine.peak_macs_per_cycle == macs


@each_machine
def test_a_tile_takes_at_least_the_cycles_in_which_the_one_before_leaves(machine):
    leaving = machine.array.tile * -(-machine.array.group // machine.lanes)
    assert timing.feed_cycles(machine, conv(machine, 1, 1)) == leaving
    assert timing.feed_cycles(machine, conv(machine, machine.array.tile + 1, 1)) == 2 * leaving


@each_machine
def test_drains_add_up_the_latencies_that_the_pipeline_states(machine):
    within = operand_feed.LATENCY + post_processor.LATENCY
    for mode in machine.modes:
        if mode == Mode.SOFTMAX:
            latency = softmax.LATENCY
        elif mode.is_cell:
            latency = cell.LATENCY[machine.cell]
        elif mode.is_vector:
            latency = vector_unit.LATENCY
        elif mode == Mode.FILTER:
            latency = machine.array.latency(Mode.FILTER)
        else:
            latency = machine.array.latency(Mode.CONV) + machine.array.pace - 1
        assert timing.drain_cycles(machine, mode) == within + latency
    assert operand_feed.LATENCY > timing.READ_LATENCY


@each_machine
def test_kept_sums_have_settled_when_their_command_ends(machine):
    # Feed, the array's register, then R - 1 rows and C - 1 columns to the farthest element.
    needed = operand_feed.LATENCY + 1 + (machine.array.tile - 1) + (machine.array.group - 1)
    assert timing.drain_cycles(machine, Mode.CONV) >= needed


@each_machine
@pytest.mark.parametrize("mode", [Mode.CONV, Mode.FILTER])
@pytest.mark.parametrize("before", [Mode.CONV, Mode.FILTER])
def test_results_of_overlapping_commands_come_after_all_of_the_command_before(
    machine, before, mode
):
    # The least until the first result: of a tile, whose first row's first lanes leave the spacing,
    # less one cycle, before its last ones; of a filter of one tap after the step that clears, the
    # tap's and one word.
    start = timing.start_cycle(0, timing.room_cycles(machine, before, mode), ())
    first = start + timing.SETUP_CYCLES + timing.drain_cycles(machine, mode)
    if mode == Mode.CONV:
        first += timing.feed_cycles(machine, conv(machine, 1, 1)) - (machine.array.spacing - 1)
    else:
        first += 3
    assert first > timing.drain_cycles(machine, before)


@each_machine
@pytest.mark.parametrize("mode", Mode)
def test_vector_modes_run_alone(machine, mode):
    for vector in (Mode.MAX, Mode.TABLE, Mode.SOFTMAX):
        assert timing.room_cycles(machine, vector, mode) is None
        assert timing.room_cycles(machine, mode, vector) is None


@each_machine
def test_a_filter_finds_the_drain_registers_free_of_a_tile(machine):
    # Row r's is read by the row below in the step in which that one takes what is R - 1 - r rows
    # from the bottom: R + 4 + r P cycles after the tile's last beat in column 0 (a row a cycle,
    # the multiplier, the product, the sum, the drain register, the decision). A filter's beat is
    # in row r after r cycles.
    room = timing.room_cycles(machine, Mode.CONV, Mode.FILTER)
    first = timing.start_cycle(0, room, ()) + timing.SETUP_CYCLES + 1
    rows, pace = machine.array.tile, machine.array.pace
    assert all(first + r >= rows + 4 + r * pace for r in range(rows))


@pytest.mark.parametrize("width", [2, 5])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(
    ("pixel_step", "tap_step", "words"),
    [
        (4, 4, lambda width: width + 2),  # a word is a pixel: each passes once
        (12, 5, lambda width: 3 * width),  # a word is several: all taps of each output pass
    ],
)
def test_a_filter_takes_a_cycle_for_every_word_and_tap_and_one_more(
    width, groups, pixel_step, tap_step, words
):
    rows, height = 64, 4
    command = {
        "MODE": Mode.FILTER,
        "GROUPS": groups,
        "PIXELS": height * width,
        "OUT_WIDTH": width,
        "PIXEL_X_STEP": pixel_step,
        "PIXEL_Y_STEP": 1,
        "KERNEL_H": 3,
        "KERNEL_W": 3,
        "TAP_X_STEP": tap_step,
        "TAP_Y_STEP": 1,
    }
    stream = filter_stream(rows, command, row_step=100)
    machine = MACHINES[0].replace(rows=rows)
    expected = groups * (1 + 3 * 3 + (height + 2) * words(width))
    assert timing.feed_cycles(machine, command | stream) == expected
