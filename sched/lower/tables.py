"""Lowering functions of one 8-bit value: a table of 256 entries, loaded with the command.

A softmax has such a table too, of exponentials: `softmax.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mensa.golden import Plan, SoftmaxPlan
from mensa.golden.operators.lookup import TablePlan
from mensa.golden.operators.shape_ops import ConcatPlan
from mensa.rtl.commands import EXPONENTIAL_BYTES, TABLE_BYTES, Mode, compute_registers
from mensa.rtl.machine import Machine
from mensa.sched.lower.elementwise import IDENTITY, vector_blocks
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.residency import Demand, ParameterPlan
from mensa.sched.lower.work import Block, Home, LayerSite, ParameterSet

__all__ = ["TableLayer", "has_tables", "table_bytes", "table_parts"]


def has_tables(work: Plan) -> bool:
    """Whether an operator looks values up, or some of them."""
    rescales = isinstance(work, ConcatPlan) and any(each is not None for each in work.rescaled)
    return rescales or isinstance(work, TablePlan)


def table_bytes(work: Plan) -> int:
    """Bytes of an operator's longest table, 0 without one."""
    if isinstance(work, SoftmaxPlan):
        return EXPONENTIAL_BYTES
    return TABLE_BYTES if has_tables(work) else 0


def table_parts(
    plan: TablePlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[TableLayer]:
    """The layer, which is never cut into ranges of channels."""
    registers = IDENTITY | compute_registers(
        MODE=Mode.TABLE,
        KERNEL_H=1,
        ACT_ZERO_POINT=0,
        PARAMETER_ADDRESS=0,
        PARAMETER_ZERO_POINT=0,
    )
    blocks = vector_blocks(registers, site, math.prod(plan.shape), (sources[0],), targets[0])
    return [TableLayer(site.machine, ((plan.table.tobytes(), blocks),))]


def _table_set(
    table: bytes,
    number: int,
    machine: Machine,
    memory: MemoryMap,
    layer: str,
    operator: int,
    room: ParameterPlan,
) -> ParameterSet:
    """A layer's table, placed in `memory`.

    Parameters
    ----------
    table : bytes
        Its 256 entries, bytes from that of -128 on; of a softmax four bytes each from that of 0 on.
    number : int
        Which of the layer's tables it is, all of one size.
    machine, memory, layer, operator, room
        As of `Convolution.blocks`.

    Raises
    ------
    LoweringError
        If it stays on chip nowhere and no slot holds it.
    """
    resident = room.resident.get(operator)
    if resident is None and room.slot_bytes < len(table):
        raise LoweringError(
            layer,
            f"its table of {len(table)} B finds no room in the {machine.parameter_memory}; raise "
            f"{machine.parameter_setting}",
        )
    if resident is not None:
        resident = resident[0] + number * len(table), resident[1]
    content = np.frombuffer(table, np.uint8)
    return ParameterSet(memory.put(content), len(table), 0, 0, resident)


@dataclass(frozen=True, eq=False)
class TableLayer:
    """A layer whose parameters are tables.

    Attributes
    ----------
    machine : Machine
        What runs it.
    pieces : tuple of (bytes or None, sequence of Block)
        Its blocks, and the table that they go through, as of `_table_set`, or None.
    """

    machine: Machine
    pieces: tuple[tuple[bytes | None, Sequence[Block]], ...]

    @property
    def tables(self) -> list[bytes]:
        """The tables, each once."""
        return list(dict.fromkeys(table for table, _ in self.pieces if table is not None))

    def demand(self, operator: int, *, can_stay: bool) -> Demand:
        """What its tables need of the parameter buffer, if there are any."""
        sizes = [len(table) for table in self.tables]
        return Demand(operator, sum(sizes), 0, max(sizes, default=0), can_stay)

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """Its blocks; the tables are placed in `memory`. Parameters: as of `Convolution.blocks`."""
        sets = {
            table: _table_set(table, number, self.machine, memory, layer, operator, room)
            for number, table in enumerate(self.tables)
        }
        return [
            replace(
                block,
                phases=tuple(
                    replace(phase, parameters=None if table is None else sets[table])
                    for phase in block.phases
                ),
            )
            for table, blocks in self.pieces
            for block in blocks
        ]
