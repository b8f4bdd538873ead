"""The constants: each says where it is from, and scales by the rule that the file states."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mensa.sim.energy.constants import constants

KNOWN = constants()
TAGS = {"[F]", "[F2]", "[M]", "[D]", "[E]"}


def test_every_constant_has_a_unit_a_source_a_tag_and_a_date():
    assert len(KNOWN.single) >= 15
    for constant in KNOWN.single.values():
        assert constant.tag in TAGS
        assert constant.source
        assert constant.what
        assert constant.unit.split("/")[0] in ("pJ", "mm2", "mm")
        assert constant.value > 0
        assert constant.date.startswith("20")
        # What has no source says so.
        assert constant.is_estimate == (constant.source == "none found")


@pytest.mark.parametrize("column", ["read", "write", "mm2"])
def test_a_buffer_of_a_row_has_the_row_s_numbers(column):
    for row in KNOWN.buffers:
        assert KNOWN.buffer(row["bytes"], column) == pytest.approx(row[column], rel=1e-12)


@given(st.integers(1, 1 << 28), st.integers(1, 1 << 28))
def test_a_larger_buffer_costs_more_of_everything(one, other):
    small, large = sorted((one, other))
    for column in ("read", "write", "mm2"):
        assert KNOWN.buffer(small, column) <= KNOWN.buffer(large, column) * (1 + 1e-12)


def test_between_rows_it_is_the_power_law_through_both():
    first, last = KNOWN.buffers[2:4]
    middle = math.sqrt(first["bytes"] * last["bytes"])
    assert KNOWN.buffer(middle, "read") == pytest.approx(math.sqrt(first["read"] * last["read"]))


def test_beyond_the_rows_energy_per_bit_and_area_per_byte_stay():
    last = KNOWN.buffers[-1]
    assert KNOWN.buffer(4 * last["bytes"], "read") == last["read"]
    assert KNOWN.buffer(4 * last["bytes"], "mm2") == pytest.approx(4 * last["mm2"])


def test_nodes_scale_as_cacti_s_two_nodes_and_the_mac_do():
    """facts: 0.075 and 0.128 pJ/bit at 128 kB, 0.34 and 0.59 pJ for a MAC, at 22 and 28 nm."""
    assert KNOWN.energy_scale(22) == 1
    assert KNOWN.energy_scale(28) == pytest.approx(0.128 / 0.075, rel=0.01)
    assert KNOWN.energy_scale(28) == pytest.approx(0.59 / 0.34, rel=0.03)
    assert KNOWN.area_scale(44) == pytest.approx(4)


def test_leakage_grows_with_temperature_and_by_orders_of_magnitude_between_devices():
    for by_temperature in KNOWN.leakage.values():
        assert by_temperature[350] > by_temperature[300]
    assert KNOWN.leakage["hp"][300] / KNOWN.leakage["lstp"][300] > 500
