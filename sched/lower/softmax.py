"""Lowering SOFTMAX: whole rows, with the table of exponentials that its scale asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mensa.golden import SoftmaxPlan
from mensa.rtl.commands import (
    EXPONENTIAL_BYTES,
    EXPONENTIALS,
    Mode,
    Rounding,
    compute_registers,
)
from mensa.sched.lower.blocks import OVERLAP_BLOCKS
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.residency import Demand, ParameterPlan
from mensa.sched.lower.tables import table_set, with_table
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

__all__ = ["SoftmaxLayer", "softmax_parts"]

_UNCOUNTED = -2
"""Exponential of a value that the kernel leaves out: the least result, whatever the scale."""

_LEAST_ROWS = 8
"""A block that is made only so that copying and computing overlap keeps so many rows."""


def softmax_parts(
    plan: SoftmaxPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[SoftmaxLayer]:
    """The layer, which is never cut into ranges of channels."""
    layer = SoftmaxLayer(plan, site, sources[0], targets[0])
    layer.row_blocks()  # raises if not even a row fits
    return [layer]


@dataclass(frozen=True, eq=False)
class SoftmaxLayer:
    """A layer whose parameters are the table of its exponentials.

    Attributes
    ----------
    plan, site : SoftmaxPlan, LayerSite
        What, and for which machine.
    source, target : Home
        Where its values come from and go to.
    """

    plan: SoftmaxPlan
    site: LayerSite
    source: Home
    target: Home

    def demand(self, operator: int, *, can_stay: bool) -> Demand:
        """What its table needs of the parameter buffer."""
        return Demand(operator, EXPONENTIAL_BYTES, 0, EXPONENTIAL_BYTES, can_stay)

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """Its blocks; the table is placed in `memory`. Parameters: as of `Convolution.blocks`."""
        counted = np.arange(EXPONENTIALS) <= -self.plan.diff_min
        content = np.where(counted, self.plan.exp, _UNCOUNTED).astype("<i4").tobytes()
        table = table_set(content, 0, self.site.machine, memory, layer, operator, room)
        return with_table(self.row_blocks(), table)

    def row_blocks(self) -> list[Block]:
        """Its blocks, but for the table."""
        return list(self._row_blocks())

    def _row_blocks(self) -> Iterator[Block]:
        beat, elements = self.site.machine.beat_bytes, self.plan.shape[-1]
        rows = math.prod(self.plan.shape[:-1])
        most = self._rows_at_once(rows)
        for first in range(0, rows, most):
            some = min(most, rows - first)
            nbytes = some * elements
            start, out = (home.address + first * elements for home in (self.source, self.target))
            loads: tuple[Copy, ...] = ()
            stores: tuple[Copy, ...] = ()
            if not self.source.on_chip:
                loads = (Copy(start, start % beat, nbytes),)
                start = loads[0].offset
            if not self.target.on_chip:
                stores = (Copy(out, out % beat, nbytes),)
                out = stores[0].offset
            command = Compute(
                self._registers(some, start, out),
                compute_registers(ACT_ADDRESS=int(not self.source.on_chip)),
                (Span(start, start + nbytes),) if self.source.on_chip else (),
                Span(out, out + nbytes) if self.target.on_chip else None,
            )
            yield Block(loads, (Phase((command,)),), stores)

    def _rows_at_once(self, rows: int) -> int:
        """Rows of a block. Raises: LoweringError if not even one fits."""
        buffers, elements = self.site.buffers, self.plan.shape[-1]
        # Rows begin anywhere within a beat.
        rooms = [
            (slots.slot_bytes - self.site.machine.beat_bytes) // elements
            for home, slots in ((self.source, buffers.inputs), (self.target, buffers.outputs))
            if not home.on_chip
        ]
        most = min(rooms, default=rows)
        if most < 1:
            raise LoweringError(
                self.site.layer,
                f"a row of {elements} B does not fit a slot of the activation buffer of "
                f"{self.site.machine.activation_buffer_bytes} B; raise activation_buffer_bytes",
            )
        if self.source.moves or self.target.moves:
            most = min(most, max(-(-rows // OVERLAP_BLOCKS), _LEAST_ROWS))
        return most

    def _registers(self, rows: int, start: int, out: int) -> Registers:
        """Of a command on rows that follow each other in the buffer."""
        elements = self.plan.shape[-1]
        group = min(self.site.machine.exponential_lanes, elements)
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
