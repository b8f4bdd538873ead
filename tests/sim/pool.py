"""Machines whose RTL the tests build: few in `make test`, more in `make regress`."""

from __future__ import annotations

import os

from mensa.rtl.arrays.jacquard.jacquard import Jacquard
from mensa.rtl.arrays.pascal.pascal import Pascal
from mensa.rtl.arrays.pavlov.pavlov import Pavlov
from mensa.rtl.machine import KIB, Machine, edge_tpu, jacquard, pascal, pavlov
from tests.sched.runner import machine_of

REGRESS = os.environ.get("MENSA_REGRESS") == "1"
"""Whether this is the long run."""


def jacquard_of(
    rows: int,
    cols: int,
    bank_bytes: int,
    parameter_bytes: int,
    accumulators: int,
    *,
    reload: int | None,
    lanes: int | None,
    cell: str | None,
) -> Machine:
    """A machine with Jacquard's array, whose buffers are rounded up to the nearest allowed."""
    array = Jacquard(
        rows=rows, cols=cols, accumulators=accumulators, reload_rows=reload, post_lanes=lanes
    )
    return machine_of(rows, cols, bank_bytes, parameter_bytes, array=array).replace(cell=cell)


def pascal_of(
    rows: int, cols: int, bank_bytes: int, parameter_bytes: int, *, lanes: int, cell: str | None
) -> Machine:
    """A machine with Pascal's array, likewise."""
    array = Pascal(rows=rows, cols=cols, post_lanes=lanes)
    return machine_of(rows, cols, bank_bytes, parameter_bytes, array=array).replace(cell=cell)


def pavlov_of(
    rows: int,
    cols: int,
    bank_bytes: int,
    registers: int,
    accumulators: int,
    *,
    lanes: int | None,
    cell: str | None,
    port: int | None,
) -> Machine:
    """A machine with Pavlov's array, likewise."""
    array = Pavlov(
        rows=rows, cols=cols, registers=registers, accumulators=accumulators, post_lanes=lanes
    )
    return machine_of(rows, cols, bank_bytes, 0, port=port, array=array).replace(cell=cell)


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
    "8x8 jacquard, two lanes": jacquard.replace(
        rows=8,
        cols=8,
        accumulators=20,
        parameter_buffer_bytes=32 * KIB,
        activation_buffer_bytes=64 * KIB,
    ),
    "6x5 jacquard, slow": jacquard_of(6, 5, 2500, 700, 9, reload=2, lanes=2, cell="litert"),
    "6x8 pascal, slow": pascal_of(6, 8, 2500, 2100, lanes=3, cell="tflm"),
    "2x8 pavlov": pavlov_of(2, 8, 3000, 128, 6, lanes=4, cell="tflm", port=32),
}
"""By name: one to measure with, a square one, one whose buffers force tiles and whose
sums leave slowly, an odd one; of Jacquard's array one with a port of two lanes, and one whose
parameters and sums wait; of Pascal's one whose sums do; of Pavlov's one with few registers."""

ROOMY = "8x8"
"""The one with room for every layer that the tests draw."""

JACQUARDS = (
    (1, 1, 300, 64, 2, None, None, None),
    (9, 2, 600, 200, 16, 1, None, "tflm"),
    (4, 12, 3000, 900, 64, None, 5, "tflm"),
    (16, 8, 4000, 4000, 33, 4, None, "litert"),
    (13, 7, 5000, 2000, 40, None, 3, "tflm"),
    (16, 16, 8000, 8000, 64, 16, None, "litert"),
)
"""Rows, columns, bytes of a bank and of parameters, accumulators, rows that are reloaded at once,
lanes and cell."""

PASCALS = (
    (1, 1, 300, 64, 1, None),
    (2, 9, 600, 200, 4, "tflm"),
    (8, 8, 16000, 8000, 8, "tflm"),
    (5, 12, 3000, 900, 12, "litert"),
    (13, 3, 3000, 500, 1, None),
    (16, 16, 4000, 4000, 16, "litert"),
)
"""Rows, columns, bytes of a bank and of parameters, lanes and cell."""

PAVLOVS = (
    (1, 1, 400, 1024, 2, None, None, 4),
    (1, 4, 600, 256, 3, 3, "tflm", 4),
    (8, 1, 900, 64, 16, None, None, 64),
    (2, 4, 2000, 64, 5, 8, "litert", 8),
    (4, 8, 5000, 512, 33, None, "litert", 128),
    (8, 8, 8000, 512, 64, 8, "tflm", 256),
    (16, 8, 8000, 128, 20, 16, "tflm", 16),
)
"""Rows, columns, bytes of a bank, registers, accumulators, lanes, cell and port."""

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

    POOL |= {
        f"{rows}x{cols} jacquard, {pixels} pixels": jacquard_of(
            rows, cols, bank, parameters, pixels, reload=reload, lanes=lanes, cell=cell
        )
        for rows, cols, bank, parameters, pixels, reload, lanes, cell in JACQUARDS
    }
    POOL |= {
        f"{rows}x{cols} pascal, {lanes} lanes": pascal_of(
            rows, cols, bank, parameters, lanes=lanes, cell=cell
        )
        for rows, cols, bank, parameters, lanes, cell in PASCALS
    }
    POOL |= {
        f"{rows}x{cols} pavlov, {registers} registers": pavlov_of(
            rows, cols, bank, registers, accumulators, lanes=lanes, cell=cell, port=port
        )
        for rows, cols, bank, registers, accumulators, lanes, cell, port in PAVLOVS
    }
    POOL |= {"jacquard": jacquard, "pascal": pascal, "pavlov": pavlov}

POOL = {
    name: machine.replace(
        clock_hz=edge_tpu.clock_hz,
        # A system wants names that files and Verilog modules can have.
        name=machine.name if machine.name.isidentifier() else "core",
    )
    for name, machine in POOL.items()
}
