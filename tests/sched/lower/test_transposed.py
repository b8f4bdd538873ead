"""Transposed convolutions as convolutions of combs of outputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mensa import golden
from mensa.golden.options import TransposeConvOptions
from mensa.sched.lower import lower
from mensa.sched.lower.transposed import combs_of
from mensa.sched.placement import all_on
from tests.sched.lower.drawn_layers import assert_drawn_layers_equal_golden
from tests.sched.runner import machine_of

ROOMY = machine_of(8, 8, 1 << 16, 1 << 14)
SMALL = machine_of(4, 3, 2000, 700)


@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 4), st.integers(0, 5))
def test_combs_share_the_outputs_and_every_tap_meets_its_input(outputs, kernel, stride, padding):
    seen = {}
    for comb in combs_of(outputs, kernel, stride, padding):
        for number in range(comb.outputs):
            output = comb.first + number * stride
            assert output not in seen
            seen[output] = {
                (number - comb.padding + place, tap) for place, tap in enumerate(comb.taps)
            }
    wanted = {
        output: {
            ((output + padding - tap) // stride, tap)
            for tap in range(kernel)
            if (output + padding - tap) % stride == 0
        }
        for output in range(outputs)
    }
    assert seen == wanted


@pytest.mark.parametrize("machine", [ROOMY, SMALL], ids=["roomy", "small"])
def test_random_layers_equal_golden(machine):
    assert_drawn_layers_equal_golden("TRANSPOSE_CONV", machine, examples=30, least=20)


def test_no_product_is_with_a_zero_between_inputs():
    # Of 2 x 2 combs a 4 x 4 kernel has 2 x 2 taps each.
    builder = golden.GraphBuilder()
    x = builder.input((1, 8, 8, 8), scale=0.1)
    shape = builder.tensor(data=np.array([1, 16, 16, 8], np.int32), dtype=np.int32)
    weights = builder.tensor(data=np.ones((8, 4, 4, 8), np.int8), scale=0.1, dtype=np.int8)
    y = builder.tensor((1, 16, 16, 8), scale=1.0)
    options = TransposeConvOptions(padding="SAME", stride_w=2, stride_h=2)
    builder.operator("TRANSPOSE_CONV", (shape, weights, x), (y,), options)
    lowered = lower(builder.build([y]), all_on(ROOMY))
    taps = {
        (command["KERNEL_H"], command["KERNEL_W"] * command["SEGMENT"])
        for program in lowered.programs
        for command in program.commands()
        if command.unit.name == "COMPUTE"
    }
    assert taps == {(2, 2 * 8)}
