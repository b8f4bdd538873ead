"""Lowering CONCATENATION and PACK: copies, or a table where an input has another scale."""

from __future__ import annotations

from collections.abc import Sequence

from mensa.golden.operators.shape_ops import ConcatPlan
from mensa.sched.lower.move_blocks import move_blocks
from mensa.sched.lower.moves import moves
from mensa.sched.lower.tables import TableLayer
from mensa.sched.lower.work import Home, LayerSite

__all__ = ["concatenation_parts"]


def concatenation_parts(
    plan: ConcatPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[TableLayer]:
    """The layer, which is never cut into ranges of channels."""
    moved = tuple(
        (move.table, tuple(move_blocks(move, site, sources[move.source], targets[0])))
        for move in moves(plan, site.operands)
    )
    return [TableLayer(site.machine, moved)]
