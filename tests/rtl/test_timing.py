from __future__ import annotations

import random

import pytest
from compute_reference import random_commands, steps

from mensa.rtl import operand_feed, post_processor, timing, vector_unit
from mensa.rtl.commands import REGISTERS, Keep, Mode, Unit
from mensa.rtl.machine import KIB, Machine

MACHINES = [
    Machine(
        name=f"{rows}x{cols}",
        rows=rows,
        cols=cols,
        clock_hz=1,
        parameter_buffer_bytes=16 * KIB,
        activation_buffer_bytes=16 * KIB,
        constant_entries=8,
    )
    for rows, cols in ((2, 2), (2, 9), (5, 3), (4, 12), (8, 8), (16, 4))
]
each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)


@each_machine
def test_closed_form_counts_the_steps_of_the_loop_nest(machine):
    rng = random.Random(1)
    for mode in Mode:
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
            registers = conv(machine, tiles * machine.rows, chunks * machine.rows)
            macs = registers["PIXELS"] * registers["SEGMENT"] * machine.cols
            cycles = timing.feed_cycles(machine, registers)
            assert cycles * machine.peak_macs_per_cycle == macs


@each_machine
def test_a_tile_takes_at_least_the_cycles_in_which_the_one_before_leaves(machine):
    assert timing.feed_cycles(machine, conv(machine, 1, 1)) == machine.rows
    assert timing.feed_cycles(machine, conv(machine, machine.rows + 1, 1)) == (2 * machine.rows)


@each_machine
def test_drains_add_up_the_latencies_that_the_pipeline_states(machine):
    array = machine.array.latency
    feed, post = operand_feed.LATENCY, post_processor.LATENCY
    for mode in (Mode.CONV, Mode.DEPTHWISE):
        for keep in (0, Keep.CONTINUE):
            assert timing.drain_cycles(machine, mode, keep) == feed + array + post
    for mode in (Mode.MAX, Mode.SUM, Mode.SCALED_SUM):
        drain = timing.drain_cycles(machine, mode, 0)
        assert drain == feed + vector_unit.LATENCY + post
    assert feed > timing.READ_LATENCY


@each_machine
def test_kept_sums_wait_until_the_last_element_has_its_product(machine):
    # Feed, the array's register, then R - 1 rows and C - 1 columns to the farthest element.
    needed = operand_feed.LATENCY + 1 + (machine.rows - 1) + (machine.cols - 1)
    for keep in (Keep.UNDRAINED, Keep.UNDRAINED | Keep.CONTINUE):
        assert timing.drain_cycles(machine, Mode.CONV, keep) >= needed
