"""Machines for tests: a tiny one, and a strategy that draws any which `Machine` accepts."""

from __future__ import annotations

from hypothesis import strategies as st

from mensa.rtl.arrays.jacquard.jacquard import Jacquard
from mensa.rtl.arrays.pascal.pascal import Pascal
from mensa.rtl.arrays.pavlov.pavlov import Pavlov
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.machine import AXI_PAGE_BYTES, CELLS, MAX_CLOCK_HZ, MIB, Machine
from mensa.sched.lower.options import LoweringOptions

TINY = Machine(
    name="tiny",
    array=Systolic(rows=4, cols=4),
    clock_hz=100_000_000,
    parameter_buffer_bytes=1024,
    activation_buffer_bytes=1024,
)

BUFFER_LIMIT = 256 * MIB

_EDGES = st.one_of(st.sampled_from([1, 2, 127, 128]), st.integers(1, 20), st.integers(1, 128))
_UNITS = st.one_of(
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 100), st.integers(1, BUFFER_LIMIT)
)
"""Sizes of a buffer in the smallest that there is; cut to the limit."""


def _powers_of_two(low, high):
    return st.sampled_from([1 << n for n in range(high.bit_length()) if low <= 1 << n <= high])


def _some(draw, most):
    """Lanes, if the default isn't taken."""
    return draw(st.one_of(st.none(), st.none(), st.integers(1, most)))


@st.composite
def _output_stationary(draw):
    rows, cols = draw(_EDGES), draw(_EDGES)
    array = draw(st.sampled_from([Systolic, Pascal]))
    return array(rows=rows, cols=cols, post_lanes=_some(draw, cols))


@st.composite
def _jacquard(draw):
    rows = draw(_EDGES.filter(lambda edge: edge <= 64))
    divisors = [each for each in (1, 2, 4, 8, 16, 32) if rows % each == 0]
    cols = draw(_EDGES)
    return Jacquard(
        rows=rows,
        cols=cols,
        post_lanes=_some(draw, cols),
        accumulators=draw(st.integers(2, 256)),
        reload_rows=draw(st.sampled_from([None, rows, *divisors])),
    )


@st.composite
def _pavlov(draw):
    rows, cols = draw(_powers_of_two(1, 16)), draw(_powers_of_two(1, 16))
    least = max(4, 4 * 1024 // (rows * cols))  # enough for any port
    return Pavlov(
        rows=rows,
        cols=cols,
        post_lanes=_some(draw, rows * cols),
        registers=draw(_powers_of_two(least, 4096)),
        accumulators=draw(st.integers(2, 256)),
    )


@st.composite
def any_machine(draw):
    """Machines of the whole domain of every field, small ones more often."""
    banks = draw(_powers_of_two(2, 16))
    array = draw(st.one_of(_output_stationary(), _jacquard(), _pavlov()))
    largest = Machine(
        name="any",
        burst_beats=1,
        array=array,
        clock_hz=draw(st.one_of(st.integers(1, MAX_CLOCK_HZ), st.just(250_000_000))),
        parameter_buffer_bytes=None if array.store_bytes else BUFFER_LIMIT,
        activation_buffer_bytes=BUFFER_LIMIT,
        activation_banks=banks,
        constant_entries=draw(_powers_of_two(2, 4096)),
        port_bytes=draw(st.one_of(st.none(), _powers_of_two(4, 1024))),
        outstanding_reads=draw(st.integers(1, 64)),
        cell=draw(st.sampled_from((None, *CELLS))),
        softmax_lanes=draw(st.one_of(st.just(16), st.integers(0, 128))),
    )

    def size(parts):
        unit = parts * largest.row_bytes * 2
        return unit * min(draw(_UNITS), BUFFER_LIMIT // unit)

    return largest.replace(
        burst_beats=draw(_powers_of_two(1, min(256, AXI_PAGE_BYTES // largest.beat_bytes))),
        parameter_buffer_bytes=None if array.store_bytes else size(2),
        activation_buffer_bytes=size(banks),
    )


any_options = st.builds(LoweringOptions, prefetch=st.booleans(), residency=st.booleans())
"""All ways to make programs."""
