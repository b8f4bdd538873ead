"""Lowering SOFTMAX: whole rows, with the table of exponentials that its scale asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from mensa.golden import SoftmaxPlan
from mensa.rtl.commands import (
    EXPONENTIALS,
    Mode,
    Rounding,
    compute_registers,
)
from mensa.sched.lower.blocks import OVERLAP_BLOCKS
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.tables import TableLayer
from mensa.sched.lower.work import (
    Block,
    Compute,
    Copy,
    Home,
    LayerSite,
    Phase,
    Registers,
    Span,
)

__all__ = ["softmax_parts"]

_UNCOUNTED = -2
"""Exponential of a value that the kernel leaves out: the least result, whatever the scale."""

_LEAST_ROWS = 8
"""A block that is made only so that copying and computing overlap keeps so many rows."""


def softmax_parts(
    plan: SoftmaxPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[TableLayer]:
    """The layer, which is never cut into ranges of channels."""
    counted = np.arange(EXPONENTIALS) <= -plan.diff_min
    table = np.where(counted, plan.exp, _UNCOUNTED).astype("<i4").tobytes()
    blocks = list(_blocks(plan, site, sources[0], targets[0]))
    return [TableLayer(site.machine, ((table, blocks),))]


def _blocks(plan: SoftmaxPlan, site: LayerSite, source: Home, target: Home) -> Iterator[Block]:
    """Its blocks, but for the table. Raises: LoweringError if not even a row fits."""
    beat, elements = site.machine.beat_bytes, plan.shape[-1]
    rows = math.prod(plan.shape[:-1])
    most = _rows_at_once(site, rows, elements, source, target)
    for first in range(0, rows, most):
        some = min(most, rows - first)
        nbytes = some * elements
        start, out = (home.address + first * elements for home in (source, target))
        loads: tuple[Copy, ...] = ()
        stores: tuple[Copy, ...] = ()
        if not source.on_chip:
            loads = (Copy(start, start % beat, nbytes),)
            start = loads[0].offset
        if not target.on_chip:
            stores = (Copy(out, out % beat, nbytes),)
            out = stores[0].offset
        command = Compute(
            _registers(site, some, elements, start, out),
            compute_registers(ACT_ADDRESS=int(not source.on_chip)),
            (Span(start, start + nbytes),) if source.on_chip else (),
            Span(out, out + nbytes) if target.on_chip else None,
        )
        yield Block(loads, (Phase((command,)),), stores)


def _rows_at_once(site: LayerSite, rows: int, elements: int, source: Home, target: Home) -> int:
    """Rows of a block. Raises: LoweringError if not even one fits."""
    buffers = site.buffers
    # Rows begin anywhere within a beat.
    rooms = [
        (slots.slot_bytes - site.machine.beat_bytes) // elements
        for home, slots in ((source, buffers.inputs), (target, buffers.outputs))
        if not home.on_chip
    ]
    most = min(rooms, default=rows)
    if most < 1:
        raise LoweringError(
            site.layer,
            f"a row of {elements} B does not fit a slot of the activation buffer of "
            f"{site.machine.activation_buffer_bytes} B; raise activation_buffer_bytes",
        )
    if source.moves or target.moves:
        most = min(most, max(-(-rows // OVERLAP_BLOCKS), _LEAST_ROWS))
    return most


def _registers(site: LayerSite, rows: int, elements: int, start: int, out: int) -> Registers:
    """Of a command on rows that follow each other in the buffer."""
    group = min(site.machine.exponential_lanes, elements)
    groups = -(-elements // group)
    last = elements - (groups - 1) * group
    return compute_registers(
        MODE=Mode.SOFTMAX,
        KEEP=0,
        ACT_ADDRESS=start,
        X_START=0,
        Y_START=0,
        INPUT_ROW_BYTES=elements,
        INPUT_ROWS=1,
        PIXELS=rows,
        OUT_WIDTH=1,
        PIXEL_Y_STEP=0,
        PIXEL_Y_ADDRESS_STEP=elements,
        KERNEL_H=1,
        KERNEL_W=1,
        TAP_Y_ADDRESS_STEP=0,
        SEGMENT=group,
        LAST_SEGMENT=last,
        GROUPS=groups,
        GROUP_ACT_STEP=group,
        GROUP_CHANNELS=group,
        LAST_GROUP_CHANNELS=last,
        EDGE_CHANNELS=0,
        PARAMETER_ADDRESS=0,
        ACT_ZERO_POINT=0,
        PARAMETER_ZERO_POINT=0,
        UNIFORM=1,
        BIAS=0,
        ROUNDING=Rounding.DOUBLE,
        OUT_ZERO_POINT=-128,
        CLAMP_MIN=-128,
        CLAMP_MAX=127,
        OUT_ADDRESS=out,
        OUT_Y_STEP=elements,
    )
