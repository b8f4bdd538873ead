"""Where a layer is on the roofline: by the textbook's formula, and by what takes its time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mensa.rtl.machine import edge_tpu
from mensa.rtl.registers import CATEGORIES
from mensa.sched.roofline import ADVICE, roofline
from mensa.sim.memory import lpddr4

PEAK = 2 * 64 * 64 * 0.25  # 64 x 64 at 250 MHz, two FLOP a MAC


def stalls(**parts):
    return dict.fromkeys(CATEGORIES, 0) | parts


def place(macs, cycles, read=0, write=0, busy=0.0, memory=lpddr4, **parts):
    return roofline(
        edge_tpu, memory, macs=macs, cycles=cycles, stalls=stalls(**parts), read_bytes=read,
        write_bytes=write, busy=busy,
    )  # fmt: skip


def test_the_roof_is_the_least_of_peak_and_intensity_times_bandwidth():
    """Williams, Waterman, Patterson, 2009."""
    found = place(1_000_000, 1000, read=100_000, write=10, compute=1000)
    assert found.flop_per_byte == 20
    assert found.peak_gflops == PEAK == 2048
    assert found.roof_gflops == pytest.approx(20 * 32)  # 32 GB/s
    assert found.achieved_gflops == pytest.approx(2 * 1_000_000 / 1000 * 0.25)
    assert place(1_000_000, 1000, read=10, compute=1000).roof_gflops == PEAK
    nothing_moves = place(1_000_000, 1000, compute=1000)
    assert nothing_moves.flop_per_byte is None
    assert nothing_moves.roof_gflops == PEAK


def test_a_narrow_port_lowers_the_roof():
    narrow = edge_tpu.replace(rows=8, cols=8, port_bytes=16)
    found = roofline(
        narrow, lpddr4, macs=1000, cycles=100, stalls=stalls(compute=100), read_bytes=1000,
        write_bytes=0,
    )  # fmt: skip
    assert found.roof_gflops == pytest.approx(2 * 4)  # 2 FLOP/B at 16 B x 250 MHz


@pytest.mark.parametrize(
    ("layer", "bound"),
    [
        ({"macs": 4096 * 90, "cycles": 100, "compute": 95, "fill_drain": 5}, "array"),
        ({"macs": 4096 * 20, "cycles": 100, "compute": 95, "fill_drain": 5}, "mapping"),
        ({"macs": 0, "cycles": 100, "compute": 95, "fill_drain": 5}, "vector unit"),
        ({"macs": 9, "cycles": 100, "read": 12_000, "compute": 95, "fill_drain": 5}, "mapping"),
        ({"macs": 9, "cycles": 100, "read": 12_000, "wait_command": 90, "fill_drain": 10}, "port"),
        ({"macs": 9, "cycles": 100, "write": 12_000, "wait_store": 100}, "port"),
        ({"macs": 9, "cycles": 100, "wait_command": 60, "compute": 40, "busy": 0.9}, "port"),
        ({"macs": 9, "cycles": 100, "fill_drain": 60, "compute": 40, "busy": 0.9}, "drain"),
        ({"macs": 9, "cycles": 100, "compute": 50, "fill_drain": 50}, "drain"),
        ({"macs": 9, "cycles": 100, "compute": 60, "wait_parameters": 40}, "parameters"),
        ({"macs": 9, "cycles": 100, "compute": 60, "wait_activations": 40}, "activations"),
        ({"macs": 9, "cycles": 100, "compute": 60, "wait_store": 40}, "store"),
        ({"macs": 9, "cycles": 100, "compute": 60, "wait_command": 40}, "commands"),
        (
            {"macs": 9, "cycles": 100, "compute": 60, "fill_drain": 19, "wait_store": 18,
             "wait_command": 3},
            "several",
        ),
    ],
)  # fmt: skip
def test_what_bounds_a_layer(layer, bound):
    assert place(**layer).bound == bound


def test_it_is_the_memory_where_that_gives_less_than_the_port_lets_through():
    slow = lpddr4.replace(bandwidth_bytes_per_s=10**9)
    assert place(9, 100, memory=slow, busy=0.9, wait_parameters=100).bound == "memory"


def test_a_layer_without_time_is_nowhere():
    assert place(0, 0) is None


@given(st.lists(st.integers(0, 10_000), min_size=6, max_size=6), st.integers(0, 10**6))
def test_every_bound_has_advice(parts, moved):
    counts = dict(zip(CATEGORIES, parts, strict=True))
    found = place(sum(parts) * 100, sum(parts), read=moved, **counts)
    assert found is None or found.bound in ADVICE
