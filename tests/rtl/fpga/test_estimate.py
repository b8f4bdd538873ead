"""What a machine needs of a device, foreseen: what is refused, and what is proposed instead."""

import pytest

from mensa.rtl.fpga.device import TARGETS, blocks_for
from mensa.rtl.fpga.errors import SynthesisError
from mensa.rtl.fpga.estimate import check_fits
from mensa.rtl.machine import edge_tpu
from mensa.sched.cli.settings import parse_settings


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [(64, 64), (128, 128), (16, 8), (1, 128)])
def test_the_settings_that_a_refusal_proposes_are_not_refused(target, shape):
    machine, device = edge_tpu.replace(rows=shape[0], cols=shape[1]), TARGETS[target]
    with pytest.raises(SynthesisError) as refusal:
        check_fits(machine, device)
    settings = str(refusal.value).split("this might fit: ")[1].split("--set ")[1:]
    smaller = machine.replace(**parse_settings(setting.strip() for setting in settings))
    check_fits(smaller, device)


def test_blocks_are_counted_in_the_shape_that_needs_fewest():
    ecp5 = TARGETS["ecp5-85k"]
    # 2048 x 9, 1024 x 18 and 512 x 36 bits; bytes are written one by one, so 8 of 9 bits count.
    assert blocks_for(ecp5, 2048, 8) == 8
    assert blocks_for(ecp5, 512, 8) == 2
    assert blocks_for(ecp5, 64, 72) == 18
    assert blocks_for(ecp5, 513, 1) == 1
