"""A machine with an array of another kind: nothing around it knows the systolic one.

The same program generator and the same comparisons as for the machines of the pool.
"""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mensa.rtl.commands import COUNTS, MODE_COUNTS, Mode, Unit
from mensa.rtl.machine import KIB, Machine, MachineError
from mensa.rtl.program import Assembler, Program, ProgramError
from mensa.sched.lower import LoweringError, lower
from mensa.sched.placement import all_on
from mensa.sim.engines.functional import FunctionalEngine
from mensa.sim.engines.rtl import RtlEngine, RunError
from mensa.sim.memory import lpddr4
from tests.golden.networks import networks
from tests.sched.runner import assert_equals_golden, load_network, random_inputs
from tests.sim.engines.all_engines import AllEngines
from tests.sim.engines.another_array import AtOnce
from tests.small_network import small_network

MACHINE = Machine(
    name="at_once",
    array=AtOnce(pixels=6, depth=3, channels=5, post_lanes=2),
    clock_hz=200_000_000,
    parameter_buffer_bytes=8 * KIB,
    activation_buffer_bytes=32 * KIB,
    constant_entries=16,
)


def test_a_small_network_is_the_same_on_every_engine():
    graph = small_network()
    assert_equals_golden(lower(graph, all_on(MACHINE)), random_inputs(graph, 1), AllEngines())


def test_a_real_network_is_the_same_on_every_engine():
    graph = load_network("kws_ref_model")
    assert_equals_golden(lower(graph, all_on(MACHINE)), random_inputs(graph, 2), AllEngines())


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(networks(max_channels=12), st.sampled_from([None, "litert"]))
def test_random_networks_are_the_same_on_every_engine(network, rounding):
    try:
        lowered = lower(network.graph, all_on(MACHINE), rounding)
    except LoweringError:
        assume(False)
    assert_equals_golden(lowered, network.inputs()[0], AllEngines())


def test_its_settings_are_the_machines():
    assert MACHINE.replace(pixels=4).array.tile == 4
    assert Machine.of(MACHINE.settings) == MACHINE
    assert MACHINE.array.size == "6 x 3 x 5"
    for setting, wrong in (("rows", 8), ("depth", 17), ("post_lanes", 6)):
        with pytest.raises(MachineError, match=setting):
            MACHINE.replace(**{setting: wrong})
    assert MACHINE.config_hash != MACHINE.replace(depth=4).config_hash


def test_a_mode_that_it_does_not_have_is_refused():
    assert Mode.FILTER not in MACHINE.modes
    counts = dict.fromkeys((*COUNTS, *MODE_COUNTS[Mode.FILTER]), 1)
    assembler = Assembler(MACHINE)
    assembler.go(Unit.COMPUTE, {**counts, "MODE": Mode.FILTER}, tag=0)
    program = Program(
        machine=MACHINE,
        words=assembler.finish(),
        program_address=0,
        memory_bytes=1 << 12,
        image=(),
        tensors={},
        layers=(0,),
    )
    with pytest.raises(ProgramError, match="no MODE 2"):
        FunctionalEngine(MACHINE).run(program, program.initial_memory())
    with pytest.raises(RunError, match="REFUSED"):
        RtlEngine(MACHINE, lpddr4).run(program, program.initial_memory())
