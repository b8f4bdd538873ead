"""The host's time: its formula, its numbers and how they are refused."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mensa.sim.host import Host, HostConfigError, cortex_a53, hosts

COUNTS = st.integers(0, 1 << 50)
HOSTS = st.builds(
    Host,
    name=st.just("any"),
    clock_hz=st.integers(1, 10**11),
    operations_per_cycle=st.one_of(st.integers(1, 10**6), st.floats(0.001, 10**6)),
    bandwidth_bytes_per_s=st.integers(1, 10**15),
    overhead_ns=st.one_of(st.integers(0, 10**9), st.floats(0, 10**9)),
)


@pytest.mark.parametrize(
    ("operations", "nbytes", "wanted_ns"),
    [
        # By hand, of a core that does 4 operations a nanosecond and moves half a byte in one.
        (0, 0, 30),
        (4000, 0, 30 + 1000),
        (0, 100, 30 + 200),
        (4000, 500, 30 + 1000),
        (4000, 501, 30 + 1002),
        (6, 1, 30 + 2),
    ],
)
def test_an_operator_takes_the_longer_of_computing_and_moving(operations, nbytes, wanted_ns):
    host = Host(
        name="h",
        clock_hz=2_000_000_000,
        operations_per_cycle=2,
        bandwidth_bytes_per_s=500_000_000,
        overhead_ns=30,
    )
    assert host.time_ns(operations, nbytes) == wanted_ns


@given(HOSTS, COUNTS, COUNTS)
def test_the_time_is_that_of_exact_arithmetic(host, operations, nbytes):
    rate = host.clock_hz * Fraction(host.operations_per_cycle)
    busy = max(operations / rate, Fraction(nbytes, host.bandwidth_bytes_per_s))
    wanted = Fraction(host.overhead_ns) + busy * 10**9
    assert host.time_ns(operations, nbytes) == pytest.approx(float(wanted), rel=1e-12)


@given(HOSTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_more_operations_or_bytes_never_take_less(host, operations, nbytes, further, more):
    least = host.time_ns(operations, nbytes)
    assert least >= host.overhead_ns
    assert host.time_ns(operations + further, nbytes) >= least
    assert host.time_ns(operations, nbytes + more) >= least


@given(HOSTS, COUNTS, COUNTS)
def test_a_faster_host_never_takes_longer(host, operations, nbytes):
    slow = host.time_ns(operations, nbytes)
    for changes in (
        {"clock_hz": min(2 * host.clock_hz, 10**11)},
        {"operations_per_cycle": min(2 * host.operations_per_cycle, 10**6)},
        {"bandwidth_bytes_per_s": min(2 * host.bandwidth_bytes_per_s, 10**15)},
        {"overhead_ns": host.overhead_ns / 2},
    ):
        assert host.replace(**changes).time_ns(operations, nbytes) <= slow


def test_hosts_are_found_by_their_names():
    assert all(host.name == name for name, host in hosts.items())
    assert cortex_a53 in hosts.values()


@pytest.mark.parametrize(
    ("multiply_accumulates", "measured_ns"),
    [
        # Times of the Coral Dev Board's core, coral.ai/docs/edgetpu/benchmarks; the first count is
        # that of golden.total_macs of the network's file, the others are the papers'.
        (300_775_552, 122e6),  # MobileNet v2
        (569_000_000, 164e6),  # MobileNet v1
        (12_300_000_000, 3157e6),  # Inception v4
    ],
)
def test_the_named_host_is_within_a_third_of_what_was_measured(multiply_accumulates, measured_ns):
    assert cortex_a53.time_ns(multiply_accumulates, 0) == pytest.approx(measured_ns, rel=1 / 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clock_hz": 0}, "clock_hz must be between 1 and 100000000000, not 0"),
        ({"clock_hz": 10**11 + 1}, "clock_hz must be between 1 and 100000000000, not 100000000001"),
        ({"clock_hz": 1.5}, "clock_hz must be an integer, not 1.5"),
        ({"clock_hz": True}, "clock_hz must be an integer, not True"),
        ({"operations_per_cycle": 0}, "operations_per_cycle must be between 0.001 and 1000000"),
        ({"operations_per_cycle": None}, "operations_per_cycle must be a number, not None"),
        ({"operations_per_cycle": math.nan}, "operations_per_cycle must be between .*, not nan"),
        ({"bandwidth_bytes_per_s": 0}, "bandwidth_bytes_per_s must be between 1 and 10+, not 0"),
        ({"bandwidth_bytes_per_s": 10**15 + 1}, "bandwidth_bytes_per_s must be between"),
        ({"bandwidth_bytes_per_s": "3"}, "bandwidth_bytes_per_s must be an integer, not '3'"),
        ({"overhead_ns": -1}, "overhead_ns must be between 0 and 1000000000, not -1"),
        ({"overhead_ns": math.inf}, "overhead_ns must be between 0 and 1000000000, not inf"),
        (
            {"speed": 1},
            "no setting 'speed'; settings are bandwidth_bytes_per_s, clock_hz, name, "
            "operations_per_cycle, overhead_ns",
        ),
    ],
)
def test_wrong_numbers_are_refused_by_name(changes, message):
    with pytest.raises(HostConfigError, match=f"^{message}"):
        cortex_a53.replace(**changes)
