"""Products of vectors with a matrix, as the commands of recurrent layers need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden import ConvPlan
from mensa.golden.plan import Int8Array
from mensa.rtl.commands import Keep, Mode, Rounding, Width, compute_registers
from mensa.rtl.machine import Machine
from mensa.sched.lower.blocks import even
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.mappings.choice import loops, whole
from mensa.sched.lower.mappings.columns import (
    ColumnGroup,
    LayerMapping,
    Piece,
    Run,
    parameter_words,
    pieces,
    put_constants,
)
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.requantisation import Requantisation
from mensa.sched.lower.residency import Demand, ParameterPlan
from mensa.sched.lower.work import Compute, ParameterSet, Span

__all__ = ["MatrixProduct", "PlacedProduct", "demand_of", "most_pixels", "placed_products"]

_MAPPING = LayerMapping(Mode.CONV)


@dataclass(frozen=True, eq=False)
class MatrixProduct:
    """A matrix and what scales its products, on one machine.

    Attributes
    ----------
    plan : ConvPlan
        Of one pixel, ``[1, 1, 1, inputs]`` to ``[1, 1, 1, outputs]``, rounded twice.
    width : Width
        Of its results.
    machine : Machine
        Where.
    """

    plan: ConvPlan
    width: Width
    machine: Machine

    @classmethod
    def of(
        cls,
        machine: Machine,
        weights: Int8Array,
        bias: npt.NDArray[np.integer[Any]],
        factors: tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.integer[Any]]],
        *,
        zero_points: tuple[int, int],
        clamp: tuple[int, int],
        width: Width = Width.BYTE,
    ) -> MatrixProduct:
        """``clamp(requantise(bias + weights @ (x - zero point)) + zero point)``.

        Parameters: `weights` ``[outputs, inputs]``, of each output the bias, and multiplier and
        shift of `requantize_double`; the zero points of x and of the result.
        """
        outputs, inputs = weights.shape
        multiplier, shift = factors
        plan = ConvPlan(
            kind="conv",
            input_shape=(1, 1, 1, inputs),
            output_shape=(1, 1, 1, outputs),
            weights=weights.reshape(outputs, 1, 1, inputs),
            bias=bias.astype(np.int32),
            input_zero_point=zero_points[0],
            weight_zero_point=0,
            output_zero_point=zero_points[1],
            multiplier=multiplier.astype(np.int32),
            shift=shift.astype(np.int32),
            requant="double",
            scale=np.ldexp(multiplier.astype(np.float64), shift.astype(np.int64) - 31),
            clamp_min=clamp[0],
            clamp_max=clamp[1],
        )
        return cls(plan, width, machine)

    @cached_property
    def run(self) -> Run:
        """Its outputs on the columns."""
        outputs, inputs = self.plan.output_shape[3], self.plan.input_shape[3]
        cols = self.machine.group_channels(Mode.CONV)
        if self.width != Width.BYTE:
            cols = wide_group(self.machine, self.width)
        return Run(
            tuple(
                ColumnGroup(0, inputs, first, min(cols, outputs - first))
                for first in range(0, outputs, cols)
            ),
            0,
        )

    @property
    def factors(self) -> Requantisation:
        """What scales its results."""
        multiplier, shift = self.plan.multiplier, self.plan.shift
        return Requantisation(multiplier.astype(np.int64), shift.astype(np.int64), Rounding.DOUBLE)

    @property
    def group_bytes(self) -> int:
        """Bytes of a column group's parameters."""
        return self.plan.input_shape[3] * self.machine.group_channels(Mode.CONV)

    @property
    def entries(self) -> int:
        """Column groups."""
        return len(self.run.groups)

    @property
    def nbytes(self) -> int:
        """Bytes of all parameters."""
        return self.entries * self.group_bytes

    def sets(
        self,
        memory: MemoryMap,
        layer: str,
        room: ParameterPlan,
        resident: tuple[int, int] | None,
    ) -> list[PlacedProduct]:
        """Its parameters, placed in `memory`, as many at a time as there is room for on chip.

        Parameters: `resident` is the parameter buffer's address and the constant buffer's entry
        where all of them stay, None if they are streamed; then what a slot doesn't hold of a column
        group comes in pieces, whose sums are kept in the array. Raises: LoweringError if not even a
        word fits.
        """
        inputs, most = self.plan.input_shape[3], self.entries
        if resident is None:
            most = min(room.slot_bytes // self.group_bytes, room.slot_entries, most)
        if most:
            most = -(-self.entries // -(-self.entries // most))  # sets of about the same size
            return [
                self._placed(memory, self.run.part(first, first + most), self._whole, resident)
                for first in range(0, self.entries, most)
            ]
        capacity = room.slot_bytes // self.machine.group_channels(Mode.CONV)
        if not capacity or not room.slot_entries:
            raise LoweringError(
                layer,
                f"the parameters of a column group find no room; raise "
                f"{self.machine.parameter_setting}",
            )
        capacity = even(inputs, capacity)
        return [
            self._placed(memory, self.run.part(number, number + 1), piece, None)
            for number in range(self.entries)
            for piece in pieces(1, 1, inputs, inputs, capacity, self.machine.array.chunk)
        ]

    @property
    def _whole(self) -> Piece:
        """All of the reduction."""
        return whole(self.plan, _MAPPING, self.run, True)

    def _placed(
        self, memory: MemoryMap, run: Run, piece: Piece, resident: tuple[int, int] | None
    ) -> PlacedProduct:
        plan, machine = self.plan, self.machine
        own = slice(piece.first_word, piece.first_word + piece.words)

        def words() -> npt.NDArray[np.int8]:
            return np.concatenate(
                [parameter_words(plan, _MAPPING, group, machine)[own] for group in run.groups]
            )

        nbytes = len(run.groups) * piece.words * machine.group_channels(Mode.CONV)
        keep = Keep(0) if not piece.byte else Keep.CONTINUE
        groups: Sequence[ColumnGroup] = run.groups
        if piece.byte + piece.nbytes < plan.input_shape[3]:
            keep |= Keep.UNDRAINED
            groups = ()
        content = ParameterSet(
            memory.put_made(nbytes, words),
            nbytes,
            *put_constants(memory, plan, lambda: self.factors, groups, machine),
            resident,
        )
        return PlacedProduct(self, run, piece, keep, content)


@dataclass(frozen=True, eq=False)
class PlacedProduct:
    """Some neighbouring outputs of a product, or a piece of their reduction, with the parameters.

    Attributes
    ----------
    product, run, piece : MatrixProduct, Run, Piece
        Which.
    keep : Keep
        How it goes on from the piece before, and whether another one does from it.
    parameters : ParameterSet
        Where they are.
    """

    product: MatrixProduct
    run: Run
    piece: Piece
    keep: Keep
    parameters: ParameterSet

    def command(
        self, source: int, target: int, pixels: int = 1, source_pitch: int = 0, pitch: int = 0
    ) -> Compute:
        """The products of so many vectors.

        Parameters: addresses in the activation buffer of the first vector and of its first result,
        and bytes from vector to vector and from result to result.
        """
        plan, width = self.product.plan, self.product.width
        first, start, inputs = self.run.groups[0], self.piece.byte, self.piece.nbytes
        outputs = sum(group.outputs for group in self.run.groups)
        out = target + first.first_output * width.nbytes
        registers = loops(
            plan, _MAPPING, self.run, self.piece, 1, pixels, source_pitch
        ) | compute_registers(
            KEEP=self.keep,
            ACT_ADDRESS=source + start,
            X_START=start,
            Y_START=0,
            INPUT_ROW_BYTES=(pixels - 1) * source_pitch + plan.input_shape[3],
            INPUT_ROWS=1,
            PIXEL_Y_ADDRESS_STEP=0,
            TAP_Y_ADDRESS_STEP=0,
            PARAMETER_ADDRESS=0,
            CONSTANT_ENTRY=0,
            ACT_ZERO_POINT=plan.input_zero_point,
            PARAMETER_ZERO_POINT=plan.weight_zero_point,
            UNIFORM=0,
            ROUNDING=Rounding.DOUBLE,
            OUT_ZERO_POINT=plan.output_zero_point,
            CLAMP_MIN=plan.clamp_min,
            CLAMP_MAX=plan.clamp_max,
            WIDTH=width,
            OUT_ADDRESS=out,
            OUT_X_STEP=pitch,
            OUT_Y_STEP=0,
        )
        return Compute(
            registers,
            reads=(Span(source + start, source + start + (pixels - 1) * source_pitch + inputs),),
            writes=Span(out, out + (pixels - 1) * pitch + outputs * width.nbytes),
        )


def most_pixels(machine: Machine, parts: Sequence[PlacedProduct], wanted: int) -> int:
    """How many vectors the commands of a product take at once: those whose sums the array can keep,
    if some of its reductions come in pieces."""
    if not any(part.keep for part in parts):
        return wanted
    return min(wanted, machine.array.tile * machine.array.kept_tiles)


def wide_group(machine: Machine, width: Width) -> int:
    """Output channels of a group whose results have several bytes: a power of two.

    So the bytes that are written in a cycle lie in one row of the buffer, as `command_check` wants.
    """
    cols, row = machine.group_channels(Mode.CONV), machine.row_bytes
    most = 1 << (cols.bit_length() - 1)
    if width == Width.INT32 and row % (2 * machine.lanes):
        most = min(most, row // width.nbytes)
    return most


def demand_of(
    machine: Machine, matrices: Sequence[MatrixProduct], operator: int, can_stay: bool
) -> Demand:
    """What the parameters of products need."""
    unit = machine.parameter_unit_bytes
    return Demand(
        operator,
        sum(-(-each.nbytes // unit) * unit for each in matrices),
        sum(each.entries for each in matrices),
        max(each.group_bytes for each in matrices),
        can_stay,
    )


def placed_products(
    machine: Machine,
    matrices: Sequence[MatrixProduct],
    memory: MemoryMap,
    layer: str,
    operator: int,
    room: ParameterPlan,
) -> list[list[PlacedProduct]]:
    """Products with their parameters, one product's behind another's."""
    unit = machine.parameter_unit_bytes
    resident = room.resident.get(operator)
    placed = []
    for product in matrices:
        placed.append(product.sets(memory, layer, room, resident))
        if resident is not None:
            nbytes = -(-product.nbytes // unit) * unit
            resident = resident[0] + nbytes, resident[1] + product.entries
    return placed
