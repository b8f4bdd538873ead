"""Which mapping takes a layer the fewest cycles, by the closed forms of `rtl.timing`.

Neighbouring output pixels may stand side by side on the columns (`LayerMapping.pixels`), where a
pixel alone leaves columns idle: of a convolution the columns of a group see one window of the
input that covers those of all their pixels, of a depthwise layer each column sees its own channel
of its own pixel. An array may have mappings of its own beside (`mapper`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from mensa.golden import ConvPlan
from mensa.rtl.arrays.array import Array
from mensa.rtl.arrays.jacquard.jacquard import Jacquard
from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.commands import Mode, compute_registers
from mensa.rtl.machine import Machine
from mensa.rtl.timing import SETUP_CYCLES, drain_cycles, feed_cycles
from mensa.sched.lower.mappings.columns import LayerMapping, Piece, Run, column_runs
from mensa.sched.lower.mappings.dense import shapes_of
from mensa.sched.lower.mappings.filters import FilterMapper
from mensa.sched.lower.mappings.mapper import Mapper
from mensa.sched.lower.work import Registers

MOST_PIXELS = 16
"""A pack has at most so many pixels if it is longer than the array is wide."""

NEARLY = 0.02
"""So much longer than with the fewest cycles a layer may take, if its mapping is simpler."""

__all__ = [
    "MAPPERS",
    "choose_mapping",
    "loops",
    "mapper",
    "quicker_plan",
    "strips_of",
    "taps",
    "whole",
]


MAPPERS: Mapping[type[Array], type[Mapper]] = {
    Systolic: FilterMapper,
    Jacquard: FilterMapper,
}
"""Arrays that have mappings of their own."""


def mapper(machine: Machine) -> Mapper:
    """What knows the mappings that the machine's array has beside tiles."""
    return MAPPERS.get(type(machine.array), Mapper)(machine)


def taps(plan: ConvPlan, mapping: LayerMapping, run: Run, dense: bool) -> tuple[int, int, int]:
    """Taps of a row, bytes of a tap's segment and parameter words of a tap.

    Taps of a row that lie side by side in the buffer are taken as a single one; `dense` is whether
    the pixels of a row do.
    """
    segment = run.groups[0].segment
    if not mapping.mode.is_dense:
        return plan.kernel_w, segment, 1
    if mapping.pixels > 1:
        return 1, segment, segment
    if dense and segment == plan.input_shape[3] and plan.dilation_w == 1:
        row = plan.kernel_w * segment
        return 1, row, row
    return plan.kernel_w, segment, segment


def whole(plan: ConvPlan, mapping: LayerMapping, run: Run, dense: bool) -> Piece:
    """All of a reduction."""
    count, segment, words = taps(plan, mapping, run, dense)
    return Piece(0, plan.kernel_h, 0, count, 0, segment, 0, plan.kernel_h * count * words)


def loops(
    plan: ConvPlan,
    mapping: LayerMapping,
    run: Run,
    piece: Piece,
    rows: int,
    columns: int,
    pitch: int,
) -> dict[str, int]:
    """The registers of a command that say how its loops go, for so many output pixels.

    A command of 0 PIXELS is none: its columns have no outputs there.

    Parameters: `pitch` is the bytes from pixel to pixel of the input in the buffer.
    """
    first, last = run.groups[0], run.groups[-1]
    packs, rest = divmod(columns, mapping.pixels)
    # Outputs of the last pack, which is not whole: the columns have some, all or none of them.
    edge = min(rest * plan.output_shape[3] - first.first_output, first.outputs)
    if edge > 0:
        packs += 1
    spatial = not mapping.mode.is_dense
    return compute_registers(
        MODE=mapping.mode,
        PIXELS=rows * packs,
        OUT_WIDTH=packs,
        PIXEL_X_STEP=mapping.pixels * plan.stride_w * pitch,
        PIXEL_Y_STEP=plan.stride_h,
        KERNEL_H=piece.tap_rows,
        KERNEL_W=piece.taps,
        TAP_X_STEP=plan.dilation_w * pitch,
        TAP_Y_STEP=plan.dilation_h,
        SEGMENT=piece.nbytes,
        LAST_SEGMENT=last.segment if spatial else piece.nbytes,
        GROUPS=len(run.groups),
        GROUP_ACT_STEP=run.input_step,
        GROUP_CHANNELS=first.outputs,
        LAST_GROUP_CHANNELS=last.outputs,
        EDGE_CHANNELS=edge if 0 < edge < first.outputs else 0,
        DEPTH_MULTIPLIER=plan.depth_multiplier if spatial else 1,
    )


def choose_mapping(
    plan: ConvPlan, machine: Machine, rows: int, columns: int, *, dense: bool, several: bool
) -> LayerMapping:
    """The simplest mapping that takes all of a layer's outputs nearly the fewest cycles.

    Simple is one pixel a pack, then few: their parameters take the least room.

    Parameters
    ----------
    plan, machine : ConvPlan, Machine
        What and where.
    rows, columns : int
        Output pixels.
    dense : bool
        Whether the pixels of a row lie side by side in the buffer, inputs and outputs alike.
    several : bool
        Whether a pack may be several pixels, and depthwise layers may be filters.
    """
    if not several:
        return _plain(plan, machine)
    known = _known_cycles(plan, machine, rows, columns, dense)
    enough = min(known.values()) * (1 + NEARLY)
    return next(mapping for mapping, count in known.items() if count <= enough)


def quicker_plan(plan: ConvPlan, machine: Machine) -> ConvPlan:
    """A layer whose pixels lie side by side, or a convolution that does the same in fewer cycles.

    That has more parameters, so it must be quicker by more than a little.
    """

    def cycles(shape: ConvPlan) -> int:
        _, rows, columns, _ = shape.output_shape
        return min(_known_cycles(shape, machine, rows, columns, True).values())

    best, least = None, cycles(plan) / (1 + NEARLY)
    for shape in shapes_of(plan, machine.array.group):
        count = cycles(shape.plan)
        if count < least:
            best, least = shape, count
    return plan if best is None else best.whole()


def _plain(plan: ConvPlan, machine: Machine) -> LayerMapping:
    diagonal = plan.kind == "depthwise" and plan.depth_multiplier <= machine.array.group
    return LayerMapping(Mode.DEPTHWISE if diagonal else Mode.CONV)


def _known_cycles(
    plan: ConvPlan, machine: Machine, rows: int, columns: int, dense: bool
) -> dict[LayerMapping, int]:
    """Cycles by mapping, the simplest first."""
    cycles = {
        mapping: _cycles(plan, mapping, machine, rows, columns, dense)
        for mapping in (_plain(plan, machine), *_candidates(plan, machine, dense))
    }
    return {mapping: count for mapping, count in cycles.items() if count is not None}


def _candidates(plan: ConvPlan, machine: Machine, dense: bool) -> Iterator[LayerMapping]:
    channels = plan.output_shape[3]

    def fitting(mode: Mode) -> int:
        return machine.group_channels(mode) // channels if dense else 1

    if plan.kind == "conv" and plan.groups == 1 and dense:
        # Beyond a pack of whole arrays the same would come again.
        again = math.lcm(channels, machine.array.group) // channels
        most = max(fitting(Mode.CONV), min(again, MOST_PIXELS))
        yield from (LayerMapping(Mode.CONV, pixels) for pixels in range(2, most + 1))
    yield from mapper(machine).candidates(plan, fitting)


def _cycles(
    plan: ConvPlan, mapping: LayerMapping, machine: Machine, rows: int, columns: int, dense: bool
) -> int | None:
    """Cycles of the commands for all outputs; None if the mapping can't be."""
    cycles = SETUP_CYCLES + drain_cycles(machine, mapping.mode)
    pitch = plan.input_shape[3]
    for run in column_runs(plan, mapping, machine):
        piece = whole(plan, mapping, run, dense)
        if mapping.mode not in machine.array.own_modes:
            registers = loops(plan, mapping, run, piece, rows, columns, pitch)
            if registers["PIXELS"]:
                cycles += feed_cycles(machine, registers)
            continue
        strips = strips_of(plan, mapping, run, machine, rows, columns, pitch)
        if strips is None:
            return None
        cycles += strips[1]
    return cycles


def strips_of(
    plan: ConvPlan,
    mapping: LayerMapping,
    run: Run,
    machine: Machine,
    rows: int,
    columns: int,
    pitch: int,
) -> tuple[tuple[int, ...], int] | None:
    """Strips of so many output pixels, by a mapping of the array's own; see its mapper."""
    piece = whole(plan, mapping, run, True)

    def strip(packs: int) -> Registers:
        return loops(plan, mapping, run, piece, rows, packs * mapping.pixels, pitch)

    return mapper(machine).strips(-(-columns // mapping.pixels), strip)
