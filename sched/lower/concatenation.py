"""Lowering CONCATENATION and PACK: copies, or a table where an input has another scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mensa.golden.operators.shape_ops import ConcatPlan
from mensa.rtl.commands import TABLE_BYTES
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.move_blocks import move_blocks
from mensa.sched.lower.moves import moves
from mensa.sched.lower.residency import Demand, ParameterPlan
from mensa.sched.lower.tables import table_set
from mensa.sched.lower.work import Block, Home, LayerSite

__all__ = ["Concatenation", "concatenation_parts"]


def concatenation_parts(
    plan: ConcatPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Concatenation]:
    """The layer, which is never cut into ranges of channels."""
    moved = tuple(
        (move.table, tuple(move_blocks(move, site, sources[move.source], targets[0])))
        for move in moves(plan, site.operands)
    )
    return [Concatenation(site, moved)]


@dataclass(frozen=True, eq=False)
class Concatenation:
    """A layer whose parameters are the tables of its inputs.

    Attributes
    ----------
    site : LayerSite
        For which machine.
    moved : tuple of (bytes or None, tuple of Block)
        For each input its table, None where its values stay as they are, and what moves it.
    """

    site: LayerSite
    moved: tuple[tuple[bytes | None, tuple[Block, ...]], ...]

    @property
    def tables(self) -> list[bytes]:
        """The tables, each once."""
        return list(dict.fromkeys(table for table, _ in self.moved if table is not None))

    def demand(self, operator: int, *, can_stay: bool) -> Demand:
        """What its tables need of the parameter buffer, if there are any."""
        tables = self.tables
        most = TABLE_BYTES if tables else 0
        return Demand(operator, TABLE_BYTES * len(tables), 0, most, can_stay)

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """Its blocks; the tables are placed in `memory`. Parameters: as of `Convolution.blocks`."""
        sets = {
            table: table_set(table, number, self.site.machine, memory, layer, operator, room)
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
            for table, blocks in self.moved
            for block in blocks
        ]
