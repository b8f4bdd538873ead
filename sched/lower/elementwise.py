"""Lowering element by element: vectors of bytes, whatever shape they have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mensa.golden import RequantPlan
from mensa.golden.operators.elementwise import ExtremumPlan, MulPlan, SubPlan
from mensa.golden.operators.scaled import ScaledPlan
from mensa.rtl.commands import (
    SCALED_SUM_LEFT_SHIFT,
    Mode,
    Rounding,
    Unit,
    compute_registers,
    register,
)
from mensa.rtl.machine import Machine
from mensa.sched.lower.blocks import OVERLAP_BLOCKS
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.work import Block, Compute, Copy, Home, LayerSite, Phase, Registers, Span

_LEAST_PIXELS = 64
"""A block that is made only so that copying and computing overlap keeps so many pixels of
L bytes."""

_MOST_PIXELS = register(Unit.COMPUTE, "OUT_WIDTH").most


IDENTITY = compute_registers(
    BIAS=0,
    MULTIPLIER=1 << 30,
    SHIFT=1,
    ROUNDING=Rounding.SINGLE,
    OUT_ZERO_POINT=0,
    CLAMP_MIN=-128,
    CLAMP_MAX=127,
)
"""A requantisation that leaves its input as it is."""


def lower_scaled(
    plan: ScaledPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Block]:
    """The blocks of an ADD or SUB whose operands have the output's shape."""
    assert plan.left_shift == SCALED_SUM_LEFT_SHIFT, "not the shift of 8-bit operands"
    registers = compute_registers(
        MODE=Mode.SCALED_DIFFERENCE if isinstance(plan, SubPlan) else Mode.SCALED_SUM,
        BIAS=0,
        ROUNDING=Rounding.DOUBLE,
        KERNEL_H=2,
        ACT_ZERO_POINT=plan.zero_points[0],
        ACT_ZERO_POINT_1=plan.zero_points[1],
        SCALE_0_MULTIPLIER=plan.multipliers[0],
        SCALE_0_SHIFT=-plan.shifts[0],
        SCALE_1_MULTIPLIER=plan.multipliers[1],
        SCALE_1_SHIFT=-plan.shifts[1],
        MULTIPLIER=plan.output_multiplier,
        SHIFT=plan.output_shift,
        OUT_ZERO_POINT=plan.output_zero_point,
        CLAMP_MIN=plan.clamp_min,
        CLAMP_MAX=plan.clamp_max,
    )
    size = math.prod(plan.output_shape)
    return vector_blocks(registers, site, size, sources, targets[0])


def lower_product(
    plan: MulPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Block]:
    """The blocks of a MUL whose operands have the output's shape."""
    registers = compute_registers(
        MODE=Mode.PRODUCT,
        KERNEL_H=2,
        ACT_ZERO_POINT=plan.zero_points[0],
        ACT_ZERO_POINT_1=plan.zero_points[1],
        BIAS=0,
        MULTIPLIER=plan.multiplier,
        SHIFT=plan.shift,
        ROUNDING=Rounding.DOUBLE,
        OUT_ZERO_POINT=plan.output_zero_point,
        CLAMP_MIN=plan.clamp_min,
        CLAMP_MAX=plan.clamp_max,
    )
    return vector_blocks(registers, site, math.prod(plan.output_shape), sources, targets[0])


def lower_extremum(
    plan: ExtremumPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Block]:
    """The blocks of a MAXIMUM or MINIMUM whose operands have the output's shape."""
    mode = Mode.MAX if plan.kind == "maximum" else Mode.MIN
    registers = IDENTITY | compute_registers(MODE=mode, KERNEL_H=2, ACT_ZERO_POINT=0)
    return vector_blocks(registers, site, math.prod(plan.output_shape), sources, targets[0])


def lower_quantize(
    plan: RequantPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[Block]:
    """The blocks of a QUANTIZE from 8 bits to 8 bits."""
    registers = compute_registers(
        MODE=Mode.SUM,
        KERNEL_H=1,
        BIAS=0,
        ROUNDING=Rounding.DOUBLE,
        ACT_ZERO_POINT=plan.input_zero_point,
        MULTIPLIER=plan.multiplier,
        SHIFT=plan.shift,
        OUT_ZERO_POINT=plan.output_zero_point,
        CLAMP_MIN=plan.clamp_min,
        CLAMP_MAX=plan.clamp_max,
    )
    return vector_blocks(registers, site, math.prod(plan.shape), sources, targets[0])


def vector_blocks(
    registers: Registers, site: LayerSite, size: int, sources: Sequence[Home], target: Home
) -> list[Block]:
    """Blocks of a command on vectors of `size` bytes, whatever shape they have.

    Parameters: `registers` but for loops and addresses. Streamed operands lie behind one another in
    a slot; two operands are the command's two tap rows.
    """
    return list(_blocks(registers, site, size, sources, target))


def _blocks(
    registers: Registers, site: LayerSite, size: int, sources: Sequence[Home], target: Home
) -> Iterator[Block]:
    machine, beat = site.machine, site.machine.beat_bytes
    most = _block_bytes(site, size, sources, target)
    for first in range(0, size, most):
        nbytes = min(most, size - first)
        loads: list[Copy] = []
        starts = []
        end = 0
        for source in sources:
            address = source.address + first
            if not source.on_chip:
                loads.append(Copy(address, end + (address - end) % beat, nbytes))
                address = loads[-1].offset
                end = address + nbytes
            starts.append(address)
        out = target.address + first
        stores: tuple[Copy, ...] = ()
        if not target.on_chip:
            stores = (Copy(out, out % beat, nbytes),)
            out = stores[0].offset
        streamed = [int(not source.on_chip) for source in sources]
        command = Compute(
            {**registers, **vector_loops(machine, nbytes, starts, out)},
            compute_registers(
                ACT_ADDRESS=streamed[0], TAP_Y_ADDRESS_STEP=streamed[-1] - streamed[0]
            ),
            tuple(
                Span(start, start + nbytes)
                for start, source in zip(starts, sources, strict=True)
                if source.on_chip
            ),
            Span(out, out + nbytes) if target.on_chip else None,
        )
        yield Block(tuple(loads), (Phase((command,)),), stores)


def _block_bytes(site: LayerSite, size: int, sources: Sequence[Home], target: Home) -> int:
    """Bytes of a block: whole beats and, where possible, whole multiples of L bytes."""
    machine, buffers = site.machine, site.buffers
    beat, lanes = machine.beat_bytes, machine.lanes
    most = _MOST_PIXELS * lanes // beat * beat
    operands = sum(not source.on_chip for source in sources)
    if operands:
        # Of a part of a tensor the first beat may be shared, and then the next operand's.
        shared = beat if any(home.address % beat for home in sources if not home.on_chip) else 0
        most = min(most, buffers.inputs.slot_bytes // operands // beat * beat - shared)
    if not target.on_chip:
        shared = beat if target.address % beat else 0
        most = min(most, buffers.outputs.slot_bytes // beat * beat - shared)
    if most <= 0:
        raise LoweringError(
            site.layer,
            f"{operands} operands of one beat each need {operands * beat} B, but a bank of the "
            f"activation buffer has {machine.activation_bank_bytes} B; raise "
            f"activation_buffer_bytes",
        )
    unit = math.lcm(beat, lanes)
    if any(home.moves for home in (*sources, target)):
        enough = max(-(-size // OVERLAP_BLOCKS), _LEAST_PIXELS * lanes)
        most = min(most, -(-enough // unit) * unit)
    return most // unit * unit or most


def vector_loops(machine: Machine, nbytes: int, starts: Sequence[int], out: int) -> Registers:
    """Registers for L bytes each as a pixel, the last one perhaps shorter."""
    pixels, rest = -(-nbytes // machine.lanes), nbytes % machine.lanes
    segment = min(machine.lanes, nbytes)
    return compute_registers(
        KEEP=0,
        ACT_ADDRESS=starts[0],
        X_START=0,
        Y_START=0,
        INPUT_ROW_BYTES=nbytes,
        INPUT_ROWS=1,
        PIXELS=pixels,
        OUT_WIDTH=pixels,
        PIXEL_X_STEP=segment,
        PIXEL_Y_STEP=0,
        PIXEL_Y_ADDRESS_STEP=0,
        KERNEL_W=1,
        TAP_X_STEP=0,
        TAP_Y_STEP=0,
        TAP_Y_ADDRESS_STEP=starts[-1] - starts[0],
        SEGMENT=segment,
        LAST_SEGMENT=segment,
        GROUPS=1,
        GROUP_ACT_STEP=0,
        GROUP_CHANNELS=segment,
        LAST_GROUP_CHANNELS=segment,
        EDGE_CHANNELS=rest,
        UNIFORM=1,
        OUT_ADDRESS=out,
        OUT_X_STEP=segment,
        OUT_Y_STEP=0,
    )
