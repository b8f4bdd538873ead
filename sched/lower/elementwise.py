"""Lowering ADD and QUANTIZE: vectors of bytes, whatever shape they have."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mensa.golden import AddPlan, RequantPlan
from mensa.rtl.commands import Mode, Rounding
from mensa.rtl.machine import Machine
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.tiling import OVERLAP_TILES
from mensa.sched.lower.work import Copy, LayerWork, Registers, Step, Tile

_LEAST_WORDS = 64
"""A tile that is made only so that copying and computing overlap keeps so many words of C bytes."""

SCALED_SUM_LEFT_SHIFT = 20
"""Bits that the compute unit shifts both operands of a scaled sum to the left."""

_MOST_WORDS = (1 << 16) - 1  # OUT_WIDTH has 16 bits


def lower_add(
    plan: AddPlan,
    machine: Machine,
    operator: int,
    layer: str,
    input_addresses: tuple[int, int],
    output_address: int,
) -> LayerWork:
    """The tiles of an ADD whose operands have the output's shape in memory."""
    assert plan.left_shift == SCALED_SUM_LEFT_SHIFT, "not the shift of 8-bit operands"
    registers = {
        "MODE": Mode.SCALED_SUM,
        "KERNEL_H": 2,
        "ACT_ZERO_POINT": plan.zero_points[0],
        "ACT_ZERO_POINT_1": plan.zero_points[1],
        "SCALE_0_MULTIPLIER": plan.multipliers[0],
        "SCALE_0_SHIFT": -plan.shifts[0],
        "SCALE_1_MULTIPLIER": plan.multipliers[1],
        "SCALE_1_SHIFT": -plan.shifts[1],
        "MULTIPLIER": plan.output_multiplier,
        "SHIFT": plan.output_shift,
        "OUT_ZERO_POINT": plan.output_zero_point,
        "CLAMP_MIN": plan.clamp_min,
        "CLAMP_MAX": plan.clamp_max,
    }
    size = math.prod(plan.output_shape)
    tiles = _tiles(registers, machine, layer, size, input_addresses, output_address)
    return LayerWork(operator, tuple(tiles))


def lower_quantize(
    plan: RequantPlan,
    machine: Machine,
    operator: int,
    layer: str,
    input_address: int,
    output_address: int,
) -> LayerWork:
    """The tiles of a QUANTIZE from 8 bits to 8 bits."""
    registers = {
        "MODE": Mode.SUM,
        "KERNEL_H": 1,
        "ACT_ZERO_POINT": plan.input_zero_point,
        "MULTIPLIER": plan.multiplier,
        "SHIFT": plan.shift,
        "OUT_ZERO_POINT": plan.output_zero_point,
        "CLAMP_MIN": plan.clamp_min,
        "CLAMP_MAX": plan.clamp_max,
    }
    size = math.prod(plan.shape)
    tiles = _tiles(registers, machine, layer, size, (input_address,), output_address)
    return LayerWork(operator, tuple(tiles))


def _tiles(
    registers: Registers,
    machine: Machine,
    layer: str,
    size: int,
    input_addresses: tuple[int, ...],
    output_address: int,
) -> Iterator[Tile]:
    """Tiles of a vector of `size` bytes; the operands lie behind one another in a bank."""
    most = _tile_bytes(machine, layer, size, len(input_addresses))
    for first in range(0, size, most):
        nbytes = min(most, size - first)
        loads: list[Copy] = []
        end = 0
        for address in input_addresses:
            memory_address = address + first
            offset = end + (memory_address - end) % machine.beat_bytes
            loads.append(Copy(memory_address, offset, nbytes))
            end = offset + nbytes
        memory_address = output_address + first
        store = Copy(memory_address, memory_address % machine.beat_bytes, nbytes)
        commands = tuple(_commands(registers, machine, nbytes, loads, store.offset))
        yield Tile(tuple(loads), (Step(commands),), (store,))


def _tile_bytes(machine: Machine, layer: str, size: int, operands: int) -> int:
    """Bytes of a tile: whole beats and, where possible, whole words of C bytes."""
    beat, cols = machine.beat_bytes, machine.cols
    fit = machine.activation_bank_bytes // operands // beat * beat
    if not fit:
        raise LoweringError(
            layer,
            f"{operands} operands of one beat each need {operands * beat} B, but a bank of the "
            f"activation buffer has {machine.activation_bank_bytes} B; raise "
            f"activation_buffer_bytes",
        )
    unit = math.lcm(beat, cols)
    enough = max(-(-size // OVERLAP_TILES), _LEAST_WORDS * cols)
    most = min(fit, -(-enough // unit) * unit, _MOST_WORDS * cols // beat * beat)
    return most // unit * unit or most


def _commands(
    registers: Registers, machine: Machine, nbytes: int, loads: list[Copy], out: int
) -> Iterator[Registers]:
    """Whole words of C bytes as pixels, and the rest as one more."""
    words, rest = divmod(nbytes, machine.cols)
    first = loads[0].offset
    for start, pixels, segment in ((0, words, machine.cols), (nbytes - rest, int(rest > 0), rest)):
        if pixels:
            yield {
                **registers,
                "KEEP": 0,
                "ACT_ADDRESS": first + start,
                "X_START": 0,
                "Y_START": 0,
                "INPUT_ROW_BYTES": pixels * segment,
                "INPUT_ROWS": 1,
                "PIXELS": pixels,
                "OUT_WIDTH": pixels,
                "PIXEL_X_STEP": segment,
                "PIXEL_Y_STEP": 0,
                "PIXEL_Y_ADDRESS_STEP": 0,
                "KERNEL_W": 1,
                "TAP_X_STEP": 0,
                "TAP_Y_STEP": 0,
                "TAP_Y_ADDRESS_STEP": loads[-1].offset - first,
                "SEGMENT": segment,
                "LAST_SEGMENT": segment,
                "GROUPS": 1,
                "GROUP_ACT_STEP": 0,
                "GROUP_CHANNELS": segment,
                "LAST_GROUP_CHANNELS": segment,
                "UNIFORM": 1,
                "BIAS": 0,
                "ROUNDING": Rounding.DOUBLE,
                "OUT_ADDRESS": out + start,
                "OUT_X_STEP": segment,
                "OUT_Y_STEP": 0,
            }
