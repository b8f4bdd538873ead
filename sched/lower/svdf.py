"""Lowering SVDF: the newest features on the array, and sums over all that is remembered.

The state, ``[filters, memory]`` numbers of 16 bits, moves by one number, so that each filter's
oldest falls out and its newest has room. The LSTM cell then adds up products of the state with the
weights of time, of as many units at once as it has lanes; for that a copy puts what is remembered
of all units side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mensa.golden.operators.svdf import SvdfPlan
from mensa.rtl.commands import Mode, Rounding, Width, compute_registers
from mensa.rtl.machine import Machine
from mensa.sched.lower.elementwise import IDENTITY
from mensa.sched.lower.mappings.columns import ColumnGroup, put_constants
from mensa.sched.lower.matrix_product import MatrixProduct, PlacedProduct
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.recurrent import cell_command, copy_on_chip, require_on_chip, up_to_rows
from mensa.sched.lower.residency import Demand, ParameterPlan
from mensa.sched.lower.work import (
    Block,
    Compute,
    Home,
    LayerSite,
    ParameterSet,
    Phase,
    Span,
)

__all__ = ["SvdfLayer", "features_of", "own_bytes", "svdf_parts", "time_weights"]

_NUMBER = Width.INT16.nbytes


def features_of(plan: SvdfPlan, machine: Machine) -> MatrixProduct:
    """The product of an input with the features' weights."""
    filters = len(plan.feature_weights)
    return MatrixProduct.of(
        machine,
        plan.feature_weights,
        np.zeros(filters, np.int32),
        (np.full(filters, plan.feature_multiplier), np.full(filters, plan.feature_shift)),
        zero_points=(plan.input_zero_point, 0),
        clamp=(-(1 << 15), (1 << 15) - 1),
        width=Width.INT16,
    )


def time_weights(plan: SvdfPlan) -> npt.NDArray[np.int16]:
    """The weights of time ``[rank, memory, units]``, those of a place in memory side by side."""
    memory = plan.time_weights.shape[1]
    by_unit = plan.time_weights.reshape(-1, plan.rank, memory)
    return np.ascontiguousarray(by_unit.transpose(1, 2, 0), np.int16)


def own_bytes(plan: SvdfPlan, machine: Machine) -> int:
    """What the newest features, and what is remembered side by side, take wherever they begin."""
    filters = len(plan.feature_weights)
    newest = up_to_rows(machine, filters * _NUMBER)
    return newest + plan.time_weights.size * _NUMBER + machine.row_bytes - machine.beat_bytes


def svdf_parts(
    plan: SvdfPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[SvdfLayer]:
    """The layer. Raises: LoweringError if something of it finds no room on chip."""
    require_on_chip(site, (*sources, *targets), own_bytes(plan, site.machine))
    source, state, weights = (home.address for home in sources)
    return [SvdfLayer(plan, site, source, state, weights, targets[0].address, targets[-1].address)]


@dataclass(frozen=True, eq=False)
class SvdfLayer:
    """A layer on one machine; all that it works with is in the activation buffer.

    Attributes
    ----------
    plan, site : SvdfPlan, LayerSite
        What, and for which machine.
    source, state, weights, target, room : int
        Addresses of the inputs, the state, the weights of time, the outputs, and of its own bytes.
    """

    plan: SvdfPlan
    site: LayerSite
    source: int
    state: int
    weights: int
    target: int
    room: int

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self.site.machine

    @cached_property
    def features(self) -> MatrixProduct:
        """The product of an input with the features' weights."""
        return features_of(self.plan, self.machine)

    @property
    def _units(self) -> int:
        return self.plan.output_shape[1]

    @property
    def _entries(self) -> int:
        """Groups of units, whose biases are in the constant buffer."""
        return -(-self._units // self.machine.state_lanes)

    def demand(self, operator: int, *, can_stay: bool) -> Demand:
        """What its parameters need."""
        product = self.features
        entries = product.entries + self._entries
        return Demand(operator, product.nbytes, entries, product.group_bytes, can_stay)

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """Its only block. Parameters: as of `Convolution.blocks`."""
        resident = room.resident.get(operator)
        features = self.features.sets(memory, layer, room, resident)
        if resident is not None:
            resident = resident[0], resident[1] + self.features.entries
        biases = self._biases(memory, resident)
        return [Block((), tuple(self._phases(features, biases)), ())]

    def _biases(self, memory: MemoryMap, resident: tuple[int, int] | None) -> ParameterSet:
        plan, lanes, units = self.plan, self.machine.state_lanes, self._units
        scaled = MatrixProduct.of(
            self.machine,
            np.zeros((units, 1), np.int8),
            plan.bias,
            (np.full(units, plan.time_multiplier), np.full(units, plan.time_shift)),
            zero_points=(0, plan.output_zero_point),
            clamp=(-128, 127),
        )
        groups = [
            ColumnGroup(0, 1, first, min(lanes, units - first)) for first in range(0, units, lanes)
        ]
        constants = put_constants(memory, scaled.plan, lambda: scaled.factors, groups, self.machine)
        return ParameterSet(0, 0, *constants, resident)

    def _phases(self, features: Sequence[PlacedProduct], biases: ParameterSet) -> Iterator[Phase]:
        """All commands, in order."""
        plan, machine = self.plan, self.machine
        batch, inputs = plan.input_shape
        filters, memory = plan.time_weights.shape
        nbytes = filters * memory * _NUMBER
        newest = up_to_rows(machine, self.room)
        for number in range(batch):
            state = self.state + number * nbytes
            for part in features:
                command = part.command(self.source + number * inputs, newest)
                yield Phase((command,), part.parameters)
            remembered = newest + up_to_rows(machine, filters * _NUMBER)
            copies = [
                # Without a past there is nothing to move.
                *(
                    copy_on_chip(machine, state + _NUMBER, state, nbytes - _NUMBER)
                    for _ in range(memory > 1)
                ),
                # The newest numbers, behind each filter's others.
                _numbers(
                    newest,
                    state + (memory - 1) * _NUMBER,
                    (filters, 1),
                    (_NUMBER, 0),
                    (memory * _NUMBER, 0),
                ),
                *self._side_by_side(state, remembered),
            ]
            yield Phase(tuple(copies), biases)
            yield Phase((self._sums(remembered, self.target + number * self._units),), biases)

    def _side_by_side(self, state: int, target: int) -> Iterator[Compute]:
        """Put what all units remember of a time side by side, filter by filter of theirs."""
        memory, units = self.plan.time_weights.shape[1], self._units
        for filter_ in range(self.plan.rank):
            yield _numbers(
                state + filter_ * memory * _NUMBER,
                target + filter_ * memory * units * _NUMBER,
                (units, memory),
                (self.plan.rank * memory * _NUMBER, _NUMBER),
                (_NUMBER, units * _NUMBER),
            )

    def _sums(self, remembered: int, target: int) -> Compute:
        plan, units = self.plan, self._units
        size = plan.time_weights.size * _NUMBER
        return cell_command(
            self.machine,
            Mode.DOT,
            units,
            compute_registers(
                ACT_ADDRESS=self.weights,
                STATE_ADDRESS=remembered,
                KERNEL_H=plan.time_weights.size // units,
                TAP_Y_ADDRESS_STEP=units * _NUMBER,
                CONSTANT_ENTRY=0,
                UNIFORM=0,
                ROUNDING=Rounding.DOUBLE,
                OUT_ZERO_POINT=plan.output_zero_point,
                CLAMP_MIN=-128,
                CLAMP_MAX=127,
            ),
            (Span(remembered, remembered + size), Span(self.weights, self.weights + size)),
            target,
            Width.BYTE,
        )


def _numbers(
    source: int,
    target: int,
    counts: tuple[int, int],
    source_steps: tuple[int, int],
    steps: tuple[int, int],
) -> Compute:
    """A copy of numbers of 16 bits, on chip.

    Parameters: how many there are in a row and how many rows, and bytes from number to number and
    from row to row.
    """
    columns, rows = counts

    def end(start: int, steps: tuple[int, int]) -> int:
        return start + (columns - 1) * steps[0] + (rows - 1) * steps[1] + _NUMBER

    return Compute(
        IDENTITY
        | compute_registers(
            MODE=Mode.MAX,
            KEEP=0,
            ACT_ADDRESS=source,
            X_START=0,
            Y_START=0,
            INPUT_ROW_BYTES=(columns - 1) * source_steps[0] + _NUMBER,
            INPUT_ROWS=1,
            PIXELS=columns * rows,
            OUT_WIDTH=columns,
            PIXEL_X_STEP=source_steps[0],
            PIXEL_Y_STEP=0,
            PIXEL_Y_ADDRESS_STEP=source_steps[1],
            KERNEL_H=1,
            KERNEL_W=1,
            TAP_X_STEP=0,
            TAP_Y_STEP=0,
            TAP_Y_ADDRESS_STEP=0,
            SEGMENT=_NUMBER,
            LAST_SEGMENT=_NUMBER,
            GROUPS=1,
            GROUP_ACT_STEP=0,
            GROUP_CHANNELS=_NUMBER,
            LAST_GROUP_CHANNELS=_NUMBER,
            EDGE_CHANNELS=0,
            ACT_ZERO_POINT=0,
            UNIFORM=1,
            OUT_ADDRESS=target,
            OUT_X_STEP=steps[0],
            OUT_Y_STEP=steps[1],
        ),
        reads=(Span(source, end(source, source_steps)),),
        writes=Span(target, end(target, steps)),
    )
