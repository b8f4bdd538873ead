from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from mensa.rtl import timing
from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.filter.filter_stream import filter_stream
from mensa.rtl.arrays.jacquard.jacquard import Jacquard
from mensa.rtl.arrays.pascal.pascal import Pascal
from mensa.rtl.arrays.pavlov.pavlov import Pavlov
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.buffer_reads import BufferReads, buffer_reads
from mensa.rtl.commands import REGISTERS, Mode, Unit, Width
from mensa.rtl.compute import operand_feed
from mensa.rtl.machine import KIB, Machine, pascal, pavlov
from mensa.rtl.post import post_processor, vector_unit
from mensa.rtl.post.cell import cell
from mensa.rtl.post.softmax import softmax
from tests.rtl.compute.reference import random_commands, steps


def machine_of(array: Array) -> Machine:
    return Machine(
        name=f"{array.kind} {array.size}, {array.lanes} lanes",
        array=array,
        clock_hz=1,
        parameter_buffer_bytes=None if array.store_bytes else 16 * KIB,
        activation_buffer_bytes=16 * KIB,
        constant_entries=8,
    )


SYSTOLIC = [
    machine_of(Systolic(rows=rows, cols=cols, post_lanes=lanes))
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
JACQUARD = [
    machine_of(
        Jacquard(rows=rows, cols=cols, accumulators=pixels, reload_rows=wide, post_lanes=lanes)
    )
    for rows, cols, pixels, wide, lanes in (
        (1, 3, 2, None, 3),
        (4, 12, 9, None, 12),
        (6, 5, 20, 2, 5),
        (9, 4, 16, 1, 2),
        (16, 8, 33, 4, 3),
    )
]

PASCAL = [
    machine_of(Pascal(rows=rows, cols=cols, post_lanes=lanes))
    for rows, cols, lanes in ((1, 3, 3), (4, 12, 12), (6, 5, 2), (8, 8, 4), (13, 2, 1))
]


PAVLOV = [
    machine_of(Pavlov(rows=rows, cols=cols, post_lanes=lanes, registers=registers, accumulators=9))
    for rows, cols, lanes, registers in (
        (1, 1, None, 4096), (2, 8, None, 256), (4, 4, 16, 512), (8, 8, 3, 512),
    )
]  # fmt: skip


def each(machines: list[Machine]) -> Any:
    return pytest.mark.parametrize("machine", machines, ids=lambda machine: machine.name)


each_machine = each(SYSTOLIC + JACQUARD + PASCAL + PAVLOV)
each_systolic, each_jacquard, each_output_stationary = map(
    each, (SYSTOLIC, JACQUARD, SYSTOLIC + PASCAL)
)


@each_machine
def test_closed_form_counts_the_steps_of_the_loop_nest(machine):
    rng = random.Random(1)
    for mode in machine.modes:
        for _ in range(40):
            for registers in random_commands(machine, rng, mode):
                counted = sum(1 for _ in steps(machine, registers))
                assert timing.feed_cycles(machine, registers) == counted


@each_machine
def test_closed_form_counts_the_words_that_the_steps_read(machine):
    rng = random.Random(2)
    for mode in machine.modes:
        for _ in range(40):
            for registers in random_commands(machine, rng, mode):
                walked = list(steps(machine, registers))
                words = BufferReads(
                    sum(step.parameter is not None for step in walked),
                    sum(step.fetch is not None for step in walked),
                )
                assert buffer_reads(machine, registers) == words


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
            array = machine.array
            # As many as the rows' results need to leave.
            chunks *= -(-array.spacing // array.chunk_cycles(array.tile, array.chunk))
            registers = conv(machine, tiles * array.tile, chunks * array.chunk)
            macs = registers["PIXELS"] * registers["SEGMENT"] * array.group
            cycles = timing.feed_cycles(machine, registers)
            if array.leaves_by_pixel:  # and the last of them takes as long
                cycles -= tiles * array.tile * (array.pace - 1)
            assert cycles * machine.peak_macs_per_cycle == macs


@each_jacquard
def test_a_tile_takes_a_cycle_a_pixel_and_chunk_and_in_the_last_what_a_row_needs(machine):
    array = machine.array
    least = array.rows // array.parameter_rows
    for pixels in range(1, array.tile + 1):
        for chunks in (1, 3):
            cycles = timing.feed_cycles(machine, conv(machine, pixels, chunks * array.rows))
            last = max(pixels * array.pace, least)
            assert cycles == (chunks - 1) * max(pixels, least) + last
    wide = conv(machine, 1, 1) | {"WIDTH": Width.INT32}
    assert timing.feed_cycles(machine, wide) == max(2 * array.pace, least)


@each_output_stationary
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


@pytest.mark.parametrize("machine", PASCAL, ids=lambda machine: machine.name)
def test_every_chunk_takes_as_many_cycles_as_there_are_rows(machine):
    array = machine.array
    for pixels, segment, tiles in ((1, 1, 1), (array.rows, 1, 1), (array.rows + 1, array.rows, 2)):
        for chunks in (1, 2, 3):
            registers = conv(machine, pixels, segment) | {"KERNEL_H": chunks * array.pace}
            expected = tiles * chunks * array.pace * array.rows
            assert timing.feed_cycles(machine, registers) == expected


def test_pascal_reads_a_parameter_once_a_tile_and_an_activation_once_a_multicast():
    # A 1x1 convolution of 28 x 28 pixels, 256 channels to 256: 25 tiles, 8 groups of channels.
    command = conv(pascal, 28 * 28, 256) | {"GROUPS": 8}
    assert buffer_reads(pascal, command) == BufferReads(25 * 8 * 256, 28 * 28 * 8 * (256 // 32))


@each(PAVLOV)
def test_a_pixel_takes_a_cycle_a_byte_and_at_least_what_its_results_need(machine):
    array = machine.array
    for segment in (1, array.chunk, 2 * array.pace, 5 * array.chunk + 1, 300):
        for pixels in (1, 3):
            cycles = timing.feed_cycles(machine, conv(machine, pixels, segment))
            assert cycles == pixels * max(segment, 2 * array.pace + 2)
            wide = conv(machine, pixels, segment) | {"WIDTH": Width.INT32}
            assert timing.feed_cycles(machine, wide) == cycles


def test_pavlov_reads_each_parameter_once_a_pixel_and_a_word_for_all_elements():
    command = conv(pavlov, 32, 256)
    assert buffer_reads(pavlov, command) == BufferReads(32 * 256, 32 * 256 // 8)


@each_systolic
def test_kept_sums_have_settled_when_their_command_ends(machine):
    # Feed, the array's register, then R - 1 rows and C - 1 columns to the farthest element.
    needed = operand_feed.LATENCY + 1 + (machine.array.tile - 1) + (machine.array.group - 1)
    assert timing.drain_cycles(machine, Mode.CONV) >= needed


@each_machine
def test_results_of_overlapping_commands_come_after_all_of_the_command_before(machine):
    for before, mode in itertools.product((Mode.CONV, *machine.array.own_modes), repeat=2):
        # The least until the first result: of a tile, whose first row's first lanes leave the
        # spacing, less one cycle, before its last ones; of a filter of one tap after the step that
        # clears, the tap's and one word.
        start = timing.start_cycle(0, timing.room_cycles(machine, before, mode), ())
        first = start + timing.SETUP_CYCLES + timing.drain_cycles(machine, mode)
        if machine.array.leaves_by_pixel and mode == Mode.CONV:  # the first word's first lanes
            first += 1 - (machine.array.pace - 1)
        elif mode == Mode.CONV:
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


@each_systolic
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
    machine = SYSTOLIC[0].replace(rows=rows)
    expected = groups * (1 + 3 * 3 + (height + 2) * words(width))
    assert timing.feed_cycles(machine, command | stream) == expected


@pytest.mark.parametrize(("kernel", "turns"), [(1, 1), (3, 1), (4, 1), (5, 2)])
def test_a_word_of_a_filter_stays_as_long_as_its_taps_need(kernel, turns):
    machine = machine_of(Jacquard(rows=16, cols=4))
    command = {
        "MODE": Mode.FILTER,
        "GROUPS": 2,
        "PIXELS": 4 * 7,
        "OUT_WIDTH": 7,
        "PIXEL_X_STEP": 4,
        "PIXEL_Y_STEP": 1,
        "KERNEL_H": kernel,
        "KERNEL_W": kernel,
        "TAP_X_STEP": 4,
        "TAP_Y_STEP": 1,
    }
    stream = machine.array.stream(command, 100)
    words = (4 + kernel - 1) * (7 + kernel - 1)
    expected = 2 * (1 + kernel**2 + turns * words)
    assert timing.feed_cycles(machine, command | stream) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"KERNEL_H": 6},  # one input row more than is kept
        {"TAP_Y_STEP": 2},
        {"OUT_WIDTH": 63, "PIXELS": 63},  # 65 words of 64
        {"KERNEL_W": 11},  # 33 taps of 32
        {"OUT_WIDTH": 1, "PIXELS": 4, "KERNEL_W": 1},  # a row of one word
    ],
)
def test_what_the_accumulator_memory_has_no_room_for_is_no_filter(change):
    array = Jacquard(rows=16, cols=4)
    command = {
        "PIXELS": 4 * 7,
        "OUT_WIDTH": 7,
        "PIXEL_X_STEP": 4,
        "PIXEL_Y_STEP": 1,
        "KERNEL_H": 3,
        "KERNEL_W": 3,
        "TAP_X_STEP": 4,
        "TAP_Y_STEP": 1,
    }
    assert array.stream(command, 100) is not None
    assert array.stream(command | change, 100) is None
