"""Random programs of compute commands: RTL, functional engine and model agree at every command."""

from __future__ import annotations

import random

import pytest

from mensa.rtl.arrays.jacquard.jacquard import Jacquard
from mensa.rtl.commands import Mode, Unit, Width
from mensa.rtl.timing import COMMANDS_IN_FLIGHT
from mensa.sim.memory import lpddr4
from tests.sched.runner import machine_of
from tests.sim.engines.all_engines import AllEngines
from tests.sim.engines.random_programs import random_program
from tests.sim.pool import POOL, REGRESS

MACHINES = {
    "4x4": machine_of(4, 4, 2048, 4096),
    "8x8": POOL["8x8"],
    "12x8": machine_of(12, 8, 2048, 4096, port=16).replace(cell="litert"),  # 3 x 3 taps fit
    # Its parameters have no room for a softmax's table.
    "6x5 jacquard": POOL["6x5 jacquard, slow"].replace(softmax_lanes=0),
    "6x8 pascal": POOL["6x8 pascal, slow"],
    "2x8 pavlov": POOL["2x8 pavlov"],
}
if REGRESS:
    # So wide that COMMANDS_IN_FLIGHT is what holds commands back.
    MACHINES["2x48"] = machine_of(2, 48, 4096, 8192)
    MACHINES["16x8 jacquard"] = machine_of(  # 5 x 5 taps fit
        16, 8, 4096, 8192, array=Jacquard(rows=16, cols=8, accumulators=24)
    )
PROGRAMS = 40 if REGRESS else 4
COMMANDS = 40


@pytest.mark.parametrize("shape", MACHINES)
def test_programs_are_the_same_on_every_engine(shape):
    rng = random.Random(shape)
    machine = MACHINES[shape].replace(clock_hz=250_000_000)
    modes, widths, most = set(), set(), 0
    for _ in range(PROGRAMS):
        memory = lpddr4.replace(
            latency_ns=rng.choice([0, 20, 100]),
            bandwidth_bytes_per_s=rng.choice([10**9, 32 * 10**9]),
            outstanding=rng.choice([1, 4, 16]),
            rows=rng.random() < 0.5,
            row_bytes=rng.choice([64, 1024]),
            banks=rng.choice([1, 8]),
            refresh_interval_ns=rng.choice([400, 3904]),
        )
        engines = AllEngines(memory, every_command=True)(machine, lambda event, buffers: None)
        program = random_program(machine, rng, COMMANDS)
        trace = engines.run(program, program.initial_memory())
        commands = [c for c in program.commands() if c.unit is Unit.COMPUTE]
        assert engines.commands_compared == len(trace.events)
        modes |= {Mode(command["MODE"]) for command in commands}
        most = max(most, in_flight(trace))
        widths |= {Width(command["WIDTH"]) for command in commands}
    assert modes == set(machine.modes)
    assert widths == set(machine.widths)
    assert 2 <= most <= COMMANDS_IN_FLIGHT


def in_flight(trace):
    """Compute commands that were in flight at once, at most."""
    spans = [(e.start, e.done) for e in trace.events if e.unit is Unit.COMPUTE]
    return max(sum(start <= at <= done for start, done in spans) for at, _ in spans)
