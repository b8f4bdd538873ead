"""The memory's numbers in cycles of any clock, and what memory.hpp says of a wrong manager."""

from __future__ import annotations

import ctypes
import math
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mensa.sim
from mensa.rtl.machine import MAX_CLOCK_HZ, edge_tpu
from mensa.sim.memory import (
    MAX_BANDWIDTH_BYTES_PER_S,
    MAX_LATENCY_NS,
    MAX_OUTSTANDING,
    Memory,
    MemoryConfigError,
    PortTiming,
    lpddr4,
    memories,
)

HARNESS = Path(mensa.sim.__file__).parent / "engines" / "harness"


def test_the_baseline_memory_feeds_the_baseline_machine_a_beat_per_cycle():
    # 32 GB/s at 250 MHz are 128 bytes a cycle, and 100 ns are 25 cycles.
    assert lpddr4.port_timing(edge_tpu.clock_hz, 128) == PortTiming(25, 1, 1, 16)
    assert memories["lpddr4"] is lpddr4


@given(st.integers(0, 10**6), st.integers(1, 10**10))
def test_latency_is_the_least_number_of_cycles_that_is_long_enough(latency_ns, clock_hz):
    cycles = lpddr4.replace(latency_ns=latency_ns).latency_cycles(clock_hz)
    assert cycles >= 1
    assert cycles * 10**9 >= latency_ns * clock_hz
    assert cycles == 1 or (cycles - 1) * 10**9 < latency_ns * clock_hz


def test_a_decimal_latency_means_what_it_says():
    # 1.1 ns at 10 GHz are 11 cycles, although the float 1.1 is a little more than 11/10.
    assert lpddr4.replace(latency_ns=1.1).latency_cycles(10**10) == 11


@given(st.integers(1, 10**12), st.integers(1, 10**10), st.sampled_from([4, 8, 64, 128]))
def test_bandwidth_is_an_exact_fraction_of_at_most_one(bandwidth, clock_hz, beat_bytes):
    memory = lpddr4.replace(bandwidth_bytes_per_s=bandwidth)
    rate = memory.beats_per_cycle(clock_hz, beat_bytes)
    assert rate == min(1, Fraction(bandwidth, clock_hz * beat_bytes))
    _, num, den, *_ = memory.port_timing(clock_hz, beat_bytes)
    assert math.gcd(num, den) == 1
    assert Fraction(num, den) == rate


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_bytes": 0}, "size_bytes must be at least 1, not 0"),
        ({"size_bytes": 1.5}, "size_bytes must be an integer, not 1.5"),
        (
            {"size_bytes": (1 << 32) + 1},
            "size_bytes must be at most 4294967296, which 32-bit addresses can reach, "
            "not 4294967297",
        ),
        ({"latency_ns": -1}, "latency_ns must be finite and at least 0, not -1"),
        ({"latency_ns": math.inf}, "latency_ns must be finite and at least 0, not inf"),
        ({"latency_ns": math.nan}, "latency_ns must be finite and at least 0, not nan"),
        ({"latency_ns": "fast"}, "latency_ns must be a number, not 'fast'"),
        ({"bandwidth_bytes_per_s": 0}, "bandwidth_bytes_per_s must be at least 1, not 0"),
        ({"bandwidth_bytes_per_s": 32e9}, "bandwidth_bytes_per_s must be an integer, not 3"),
        ({"rows": 1}, "rows is on or off, not 1"),
        ({"row_bytes": 1000}, "row_bytes must be a power of two from 64 to 65536, not 1000"),
        ({"banks": 3}, "banks must be a power of two from 1 to 1024, not 3"),
        ({"row_miss_ns": -1}, "row_miss_ns must be finite and at least 0, not -1"),
        (
            {"refresh_ns": 2000},
            "refresh_ns must be less than half of refresh_interval_ns, 3904, not 2000",
        ),
        ({"outstanding": True}, "outstanding must be an integer, not True"),
        ({"outstanding": 0}, "outstanding must be at least 1, not 0"),
        ({"outstanding": 1025}, "outstanding must be at most 1024, not 1025"),
        (
            {"latency_ns": 1e9 + 1},
            "latency_ns must be at most 1000000000, a second, not 1000000001",
        ),
        ({"latency_ns": 10**400}, "latency_ns must be at most 1000000000, a second, not 1000"),
        ({"latency_ns": 1e300}, "latency_ns must be at most 1000000000, a second, not 1e"),
        ({"latency_ns": -math.inf}, "latency_ns must be finite and at least 0, not -inf"),
        (
            {"bandwidth_bytes_per_s": 10**15 + 1},
            "bandwidth_bytes_per_s must be at most 1000000000000000, not 1000000000000001",
        ),
        (
            {"speed": 1},
            "no setting 'speed'; settings are bandwidth_bytes_per_s, banks, kind, latency_ns, "
            "name, outstanding, refresh_interval_ns, refresh_ns, row_bytes, row_miss_ns, rows, "
            "size_bytes",
        ),
    ],
)
def test_wrong_numbers_are_refused_by_name(changes, message):
    with pytest.raises(MemoryConfigError, match=f"^{message}"):
        lpddr4.replace(**changes)


@pytest.mark.parametrize(("clock_hz", "beat_bytes"), [(0, 4), (1, 0), (1.5, 4)])
def test_wrong_ports_are_refused(clock_hz, beat_bytes):
    with pytest.raises(MemoryConfigError, match="must be an integer of at least 1"):
        lpddr4.port_timing(clock_hz, beat_bytes)


@pytest.mark.parametrize("latency_ns", [0, MAX_LATENCY_NS])
@pytest.mark.parametrize("bandwidth", [1, MAX_BANDWIDTH_BYTES_PER_S - 1, MAX_BANDWIDTH_BYTES_PER_S])
@pytest.mark.parametrize("clock_hz", [1, MAX_CLOCK_HZ - 1, MAX_CLOCK_HZ])
@pytest.mark.parametrize("beat_bytes", [4, 128])
def test_times_of_the_extremes_fit_the_harness(latency_ns, bandwidth, clock_hz, beat_bytes):
    memory = lpddr4.replace(
        latency_ns=latency_ns, bandwidth_bytes_per_s=bandwidth, outstanding=MAX_OUTSTANDING
    )
    timing = memory.port_timing(clock_hz, beat_bytes)
    # memory.hpp adds a latency to the cycle, and num to a credit of up to den + num - 1.
    assert timing.latency + (1 << 40) < 1 << 63
    assert timing.den + 2 * timing.num < 1 << 63
    assert timing.outstanding < 1 << 63
    rows = memory.replace(
        rows=True, row_bytes=64, row_miss_ns=MAX_LATENCY_NS, refresh_interval_ns=MAX_LATENCY_NS
    ).port_timing(clock_hz, beat_bytes)
    assert rows.longest + (1 << 40) < 1 << 63


def test_rows_and_refresh_count_in_cycles_of_the_port_if_they_are_on():
    plain = lpddr4.port_timing(250_000_000, 128)
    assert plain == (25, 1, 1, 16, 0, 1, 0, 0, 0)
    rows = lpddr4.replace(rows=True).port_timing(250_000_000, 128)
    assert rows == (25, 1, 1, 16, 2048, 8, 9, 976, 45)  # of 36, 3,904 and 180 ns
    assert rows.longest == 25 + 3 * 9 + 45  # a page is two rows; it may begin within one
    slow = lpddr4.replace(rows=True).port_timing(1, 128)
    assert (slow.refresh_interval, slow.refresh) == (2, 1)


def test_a_memory_is_a_value():
    assert lpddr4.replace(latency_ns=50) == Memory(
        name="lpddr4",
        size_bytes=lpddr4.size_bytes,
        latency_ns=50,
        bandwidth_bytes_per_s=lpddr4.bandwidth_bytes_per_s,
        outstanding=lpddr4.outstanding,
    )


# What a manager does in each cycle, and what memory.hpp says of it. Latency is 2 cycles.
MANAGERS = r"""
#include "memory.hpp"

using namespace mensa;

static uint8_t bytes[8192];
static const Timing timing{2, 1, 1, 1};
static const uint8_t data[4] = {1, 2, 3, 4}, all[1] = {0xf};

static const char *text(const Channel &channel) {
    return channel.fault().what ? channel.fault().what : "";
}

extern "C" const char *changed_request() {
    ReadChannel channel({bytes, sizeof bytes}, 4, timing);
    channel.clock(true, 0, 0, true);
    channel.clock(true, 4, 0, true);  // waits: one burst is in flight
    channel.clock(true, 8, 0, true);
    return text(channel);
}

extern "C" const char *withdrawn_request() {
    ReadChannel channel({bytes, sizeof bytes}, 4, timing);
    channel.clock(true, 0, 0, true);
    channel.clock(true, 4, 0, true);
    channel.clock(false, 4, 0, true);
    return text(channel);
}

extern "C" const char *page() {
    ReadChannel channel({bytes, sizeof bytes}, 4, timing);
    channel.clock(true, 4092, 1, true);
    return text(channel);
}

extern "C" const char *outside() {
    ReadChannel channel({bytes, sizeof bytes}, 4, timing);
    channel.clock(true, UINT64_MAX - 3, 0, true);
    for (int i = 0; i < 3; i++)
        channel.clock(false, 0, 0, true);
    return text(channel);
}

static const char *write_two(bool first_last, bool second_last) {
    WriteChannel channel({bytes, sizeof bytes}, 4, timing);
    channel.clock(true, 8, 1, false, data, all, false, true);
    channel.clock(false, 0, 0, true, data, all, first_last, true);
    channel.clock(false, 0, 0, true, data, all, second_last, true);
    return text(channel);
}

extern "C" const char *early_last() { return write_two(true, true); }
extern "C" const char *missing_last() { return write_two(false, false); }
extern "C" const char *good_write() { return write_two(false, true); }

// A beat waits for a manager that isn't ready, and stays as it is.
extern "C" const char *patient_read() {
    ReadChannel channel({bytes, sizeof bytes}, 4, timing);
    channel.clock(true, 0, 0, false);
    for (int i = 0; i < 9; i++) {
        if (channel.rvalid() != (i >= 1) || channel.beats() != 0)
            return "wrong";
        channel.clock(false, 0, 0, false);
    }
    channel.clock(false, 0, 0, true);
    return channel.idle() && channel.beats() == 1 ? text(channel) : "wrong";
}

extern "C" const char *patient_response() {
    WriteChannel channel({bytes, sizeof bytes}, 4, timing);
    channel.clock(true, 8, 0, false, data, all, false, false);
    channel.clock(false, 0, 0, true, data, all, true, false);
    for (int i = 0; i < 9; i++) {
        if (channel.bvalid() != (i >= 1) || channel.awready())
            return "wrong";
        channel.clock(false, 0, 0, false, data, all, false, false);
    }
    channel.clock(false, 0, 0, false, data, all, false, true);
    return channel.idle() && channel.awready() ? text(channel) : "wrong";
}
"""


@pytest.fixture(scope="module")
def managers(tmp_path_factory):
    directory = tmp_path_factory.mktemp("managers")
    source, library = directory / "managers.cpp", directory / "managers.so"
    source.write_text(MANAGERS)
    flags = ["-std=c++17", "-Wall", "-Wextra", "-pedantic", "-shared", "-fPIC"]
    command = ["g++", *flags, f"-I{HARNESS}", str(source), "-o", str(library)]
    subprocess.run(command, check=True, timeout=60)
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize(
    ("manager", "said"),
    [
        ("changed_request", "a request changed before it was accepted"),
        ("withdrawn_request", "a request changed before it was accepted"),
        ("page", "a burst crosses a page"),
        ("outside", "a read outside the memory"),
        ("early_last", "WLAST is not at the end of its burst"),
        ("missing_last", "WLAST is not at the end of its burst"),
        ("good_write", ""),
        ("patient_read", ""),
        ("patient_response", ""),
    ],
)
def test_the_harness_notices_a_wrong_manager(managers, manager, said):
    function = getattr(managers, manager)
    function.restype = ctypes.c_char_p
    assert function().decode() == said
