"""Machines whose RTL the tests build: few in `make test`, more in `make regress`."""

from __future__ import annotations

import os

from mensa.rtl.machine import KIB, Machine, edge_tpu
from tests.sched.runner import machine_of

REGRESS = os.environ.get("MENSA_REGRESS") == "1"
"""Whether this is the long run."""

POOL: dict[str, Machine] = {
    "8x8": edge_tpu.replace(
        rows=8, cols=8, parameter_buffer_bytes=512 * KIB, activation_buffer_bytes=512 * KIB
    ),
    "16x16": edge_tpu.replace(
        rows=16,
        cols=16,
        parameter_buffer_bytes=256 * KIB,
        activation_buffer_bytes=256 * KIB,
        cell="litert",
    ),
    "4x12 tiled": machine_of(4, 12, 9 * KIB, 8 * KIB, entries=8).replace(post_lanes=5),
    "5x1 narrow port, split sums": machine_of(5, 1, 2000, 300, entries=4, port=4),
}
"""By name: one to measure with, a square one, one whose buffers force tiles and whose
sums leave slowly, an odd one."""

ROOMY = "8x8"
"""The one with room for every layer that the tests draw."""

FEWER_LANES = {(2, 9): 3, (3, 16): 5, (5, 7): 1, (8, 16): 8, (13, 13): 6, (16, 16): 4}
"""Lanes of the post-processor, where there are fewer than columns."""

if REGRESS:
    POOL |= {
        f"{rows}x{cols} {banks} banks, port {port}": machine_of(
            rows, cols, bank_bytes, parameter_bytes, entries=entries, banks=banks, port=port
        ).replace(post_lanes=FEWER_LANES.get((rows, cols)))
        for rows, cols, bank_bytes, parameter_bytes, entries, banks, port in (
            (1, 1, 300, 64, 2, 2, None),
            (1, 6, 3000, 64, 2, 4, 8),
            (2, 2, 600, 64, 2, 2, None),
            (2, 9, 900, 200, 2, 4, 8),
            (3, 4, 700, 128, 4, 2, 16),
            (3, 16, 5000, 4000, 8, 8, 128),
            (4, 4, 1000, 256, 2, 4, 4),
            (5, 7, 3333, 777, 4, 2, 32),
            (6, 6, 2500, 1000, 16, 4, None),
            (7, 2, 1500, 100, 4, 8, 8),
            (8, 3, 4000, 300, 2, 2, 16),
            (8, 16, 8000, 8000, 8, 4, None),
            (9, 9, 2222, 999, 4, 4, 64),
            (10, 5, 6000, 2000, 8, 2, 4),
            (11, 12, 7000, 3000, 4, 4, None),
            (12, 4, 9000, 4096, 8, 4, 4),
            (13, 13, 5000, 5000, 16, 2, 128),
            (14, 3, 3000, 500, 4, 4, 32),
            (15, 8, 6500, 2500, 2, 8, None),
            (16, 2, 2000, 256, 4, 4, 16),
            (16, 7, 12000, 1000, 8, 2, 8),
            (16, 16, 4000, 4000, 8, 4, 32),
        )
    }
    POOL |= {
        f"{rows}x{cols} smallest buffers, port {port}, {beats} beats, {reads} reads": machine_of(
            rows, cols, 1, 1, entries=2, banks=banks, port=port
        ).replace(burst_beats=beats, outstanding_reads=reads)
        for rows, cols, banks, port, beats, reads in (
            (1, 1, 16, 4, 256, 64),
            (1, 1, 2, 128, 1, 1),
            (1, 16, 16, None, 1, 64),
            (16, 1, 16, 4, 256, 64),
        )
    }

POOL = {name: machine.replace(clock_hz=edge_tpu.clock_hz) for name, machine in POOL.items()}
