"""Lowering UNIDIRECTIONAL_SEQUENCE_LSTM: products on the array, then the LSTM cell, step by step.

The products of all steps' inputs come first, as they depend on no state: each weight is used for
many pixels. Then in each step the recurrent products, of a single pixel, the next cell state, the
hidden state, and the projection. The sums of both products lie in the activation buffer, gate
behind gate: forget, input, cell and output gate. Sequences of a batch go one after the other.

A gate's peephole, a product of the cell state, takes the place of its recurrent sum, which before
that is added to the sum of its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mensa.golden.operators.lstm import LstmPlan
from mensa.rtl.commands import Mode, Rounding, Unit, Width, compute_registers, register
from mensa.rtl.machine import Machine
from mensa.sched.lower.matrix_product import MatrixProduct, PlacedProduct, most_pixels
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.recurrent import (
    UNCHANGED,
    cell_command,
    copy_on_chip,
    require_on_chip,
    up_to_rows,
)
from mensa.sched.lower.residency import Demand, ParameterPlan
from mensa.sched.lower.work import (
    Block,
    Compute,
    Home,
    LayerSite,
    ParameterSet,
    Phase,
    Registers,
    Span,
)

__all__ = [
    "CELL_GATES",
    "LstmLayer",
    "integer_bits",
    "lstm_parts",
    "own_bytes",
    "peepholes",
    "products",
]

CELL_GATES = ("forget", "input", "cell", "output")
"""Order of the gates' sums, as the cell takes them."""

_INPUT_SHARE = 4
"""Sums of the inputs' products take this share of the activation buffer at most, if that is room
for a step's."""

_MOST_ROW_BYTES = register(Unit.COMPUTE, "INPUT_ROW_BYTES").most
_MOST_PIXELS = register(Unit.COMPUTE, "OUT_WIDTH").most


def integer_bits(plan: LstmPlan) -> int:
    """Bits before the point of the cell state."""
    return 15 + plan.cell_power


def peepholes(plan: LstmPlan) -> dict[str, npt.NDArray[np.int16]]:
    """Weights of the peepholes by gate, in the order of `CELL_GATES`; none for most layers."""
    return {
        name: weights
        for name in CELL_GATES
        if name in plan.gates and (weights := plan.gates[name].peephole_weights) is not None
    }


def own_bytes(plan: LstmPlan, machine: Machine) -> int:
    """What the sums take in the activation buffer, wherever they begin."""
    return _Scratch.of(plan, machine, 0).end + machine.row_bytes - machine.beat_bytes


@dataclass(frozen=True)
class _Scratch:
    """Where the sums are.

    Attributes
    ----------
    inputs, pitch, steps : int
        Of the inputs' products, of so many steps at a time, and bytes from step to step.
    recurrent : int
        Of a step's recurrent products.
    values : int
        Of a step's hidden state before the projection.
    end : int
        One beyond the last byte.
    """

    inputs: int
    pitch: int
    steps: int
    recurrent: int
    values: int
    end: int

    @classmethod
    def of(cls, plan: LstmPlan, machine: Machine, start: int) -> _Scratch:
        """From an address on; sums begin at rows of the buffer."""

        def up(nbytes: int) -> int:
            return up_to_rows(machine, nbytes)

        sums = len(plan.gates) * plan.cells
        pitch = up(sums * Width.INT16.nbytes)
        fits = machine.activation_buffer_bytes // _INPUT_SHARE // pitch
        features = max(1, plan.input_shape[2] * _sequences(plan)[0])
        steps = min(plan.steps, max(1, min(fits, _MOST_PIXELS, _MOST_ROW_BYTES // features)))
        inputs = up(start)
        recurrent = inputs + steps * pitch
        values = recurrent + up(sums * machine.recurrent_width.nbytes)
        end = values + (up(plan.cells) if plan.projection is not None else 0)
        return cls(inputs, pitch, steps, recurrent, values, end)


def _sequences(plan: LstmPlan) -> tuple[int, int]:
    """Rows from a step to the next and from a sequence to the next, of inputs and of outputs."""
    return (plan.batch, 1) if plan.time_major else (1, plan.steps)


def lstm_parts(
    plan: LstmPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[LstmLayer]:
    """The layer. Raises: LoweringError if something of it finds no room on chip."""
    require_on_chip(site, (*sources, *targets), own_bytes(plan, site.machine))
    source, hidden, state, *weights = (home.address for home in sources)
    target, room = targets[0].address, targets[-1].address
    found = dict(zip(peepholes(plan), weights, strict=True))
    return [LstmLayer(plan, site, room, source, hidden, state, target, found)]


@dataclass(frozen=True, eq=False)
class LstmLayer:
    """A layer on one machine; all that it works with is in the activation buffer.

    Attributes
    ----------
    plan, site : LstmPlan, LayerSite
        What, and for which machine.
    start : int
        Where the room for its sums begins.
    source, hidden, state, target : int
        Addresses of the inputs, of both states, and of the outputs.
    peepholes : mapping of str to int
        Of the weights of the peepholes, by gate.
    """

    plan: LstmPlan
    site: LayerSite
    start: int
    source: int
    hidden: int
    state: int
    target: int
    peepholes: Mapping[str, int]

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self.site.machine

    @cached_property
    def scratch(self) -> _Scratch:
        """Where its sums are."""
        return _Scratch.of(self.plan, self.machine, self.start)

    @cached_property
    def products(self) -> list[MatrixProduct]:
        """Of the inputs, of the hidden state, and the projection if there is one."""
        return products(self.plan, self.machine)

    def demand(self, operator: int, *, can_stay: bool) -> Demand:
        """What its parameters need."""
        unit = self.machine.parameter_unit_bytes
        return Demand(
            operator,
            sum(-(-each.nbytes // unit) * unit for each in self.products),
            sum(each.entries for each in self.products),
            max(each.group_bytes for each in self.products),
            can_stay,
        )

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """Its only block. Parameters: as of `Convolution.blocks`."""
        unit = self.machine.parameter_unit_bytes
        resident = room.resident.get(operator)
        placed = []
        for product in self.products:
            placed.append(product.sets(memory, layer, room, resident))
            if resident is not None:
                nbytes = -(-product.nbytes // unit) * unit
                resident = resident[0] + nbytes, resident[1] + product.entries
        return [Block((), tuple(self._phases(placed)), ())]

    def _phases(self, placed: Sequence[Sequence[PlacedProduct]]) -> Iterator[Phase]:
        """All commands, in order."""
        plan, scratch = self.plan, self.scratch
        inputs, recurrent, *projection = placed
        latest: ParameterSet | None = None  # what is on chip

        def phase(command: Compute, parameters: ParameterSet | None = None) -> Phase:
            nonlocal latest
            latest = latest if parameters is None else parameters
            return Phase((command,), latest)

        step_rows, sequence_rows = _sequences(plan)
        features, outputs = plan.input_shape[2], plan.output_shape[2]
        for number in range(plan.batch):
            row = number * sequence_rows
            hidden = self.hidden + number * outputs
            state = self.state + number * plan.cells * Width.INT16.nbytes
            before = hidden
            for first in range(0, plan.steps, scratch.steps):
                steps = min(scratch.steps, plan.steps - first)
                at = row + first * step_rows
                most = most_pixels(self.machine, inputs, steps)
                for step in range(0, steps, most):
                    for part in inputs:
                        command = part.command(
                            self.source + (at + step * step_rows) * features,
                            scratch.inputs + step * scratch.pitch,
                            min(most, steps - step),
                            step_rows * features,
                            scratch.pitch,
                        )
                        yield phase(command, part.parameters)
                for step in range(steps):
                    target = self.target + (at + step * step_rows) * outputs
                    # The other way round in every other step, for what is still there.
                    backwards = (first + step) % 2 and not any(part.keep for part in recurrent)
                    for part in recurrent[:: -1 if backwards else 1]:
                        yield phase(part.command(before, scratch.recurrent), part.parameters)
                    sums = scratch.inputs + step * scratch.pitch
                    for command in self._peephole("forget", "input", sums=sums, state=state):
                        yield phase(command)
                    yield phase(self._cell_state(sums, state))
                    for command in self._peephole("output", sums=sums, state=state):
                        yield phase(command)
                    value = scratch.values if projection else target
                    yield phase(self._hidden_state(sums, state, value))
                    for part in projection[0] if projection else ():
                        yield phase(part.command(value, target), part.parameters)
                    before = target
            yield phase(copy_on_chip(self.machine, before, hidden, outputs))

    def _peephole(self, *gates: str, sums: int, state: int) -> Iterator[Compute]:
        """Add the shares of the cell state to gates that lie side by side.

        Both sums become one, and the product of the state takes the place of the recurrent one.
        """
        found = [name for name in gates if name in self.peepholes]
        if not found:
            return
        plan, cells = self.plan, self.plan.cells
        short, wide = Width.INT16.nbytes, self.machine.recurrent_width
        order = [name for name in CELL_GATES if name in plan.gates]
        first = order.index(found[0])
        inputs = sums + first * cells * short
        recurrent = self.scratch.recurrent + first * cells * wide.nbytes
        yield cell_command(
            self.machine,
            Mode.GATE_SUM,
            len(found) * cells,
            compute_registers(ACT_ADDRESS=inputs, RECURRENT_ADDRESS=recurrent, KERNEL_H=1)
            | UNCHANGED,
            (Span(inputs, inputs + len(found) * cells * short),),
            inputs,
            Width.INT16,
        )
        for number, name in enumerate(found):
            gate, weights = plan.gates[name], self.peepholes[name]
            most = 1 << (self.machine.result_bits - 1)
            yield cell_command(
                self.machine,
                Mode.DOT,
                cells,
                compute_registers(
                    ACT_ADDRESS=weights,
                    STATE_ADDRESS=state,
                    KERNEL_H=1,
                    MULTIPLIER=gate.peephole_multiplier,
                    SHIFT=gate.peephole_shift,
                    ROUNDING=Rounding.DOUBLE,
                    OUT_ZERO_POINT=0,
                    CLAMP_MIN=-most,
                    CLAMP_MAX=most - 1,
                ),
                (Span(state, state + cells * short), Span(weights, weights + cells * short)),
                recurrent + number * cells * wide.nbytes,
                wide,
            )

    def _cell_state(self, sums: int, state: int) -> Compute:
        """The next cell state, in place of the one before."""
        plan, clip = self.plan, self.plan.cell_clip
        low, high = (-clip, clip) if clip > 0 else (-(1 << 15), (1 << 15) - 1)
        scaling = UNCHANGED | compute_registers(CLAMP_MIN=low, CLAMP_MAX=high)
        gates = len(plan.gates) - 1
        return self._cell(Mode.CELL_STATE, 0, gates, sums, state, scaling, state, Width.INT16)

    def _hidden_state(self, sums: int, state: int, target: int) -> Compute:
        """The hidden state, or what is projected to it."""
        plan = self.plan
        scaling = compute_registers(
            MULTIPLIER=plan.hidden_multiplier,
            SHIFT=plan.hidden_shift,
            ROUNDING=Rounding.DOUBLE,
            OUT_ZERO_POINT=plan.output_zero_point,
            CLAMP_MIN=-128,
            CLAMP_MAX=127,
        )
        first = len(plan.gates) - 1
        return self._cell(Mode.HIDDEN_STATE, first, 1, sums, state, scaling, target, Width.BYTE)

    def _cell(
        self,
        mode: Mode,
        first: int,
        gates: int,
        sums: int,
        state: int,
        scaling: Registers,
        target: int,
        width: Width,
    ) -> Compute:
        """What gives a state of `gates` gates from number `first` on."""
        cells = self.plan.cells
        short, long = Width.INT16.nbytes, self.machine.recurrent_width.nbytes
        inputs, recurrent = sums + first * cells * short, self.scratch.recurrent
        recurrent += first * cells * long
        registers = compute_registers(
            ACT_ADDRESS=inputs,
            RECURRENT_ADDRESS=recurrent,
            STATE_ADDRESS=state,
            STATE_INTEGER_BITS=integer_bits(self.plan),
            KERNEL_H=gates,
            TAP_Y_ADDRESS_STEP=cells * short,
        )
        reads = (
            Span(state, state + cells * short),
            Span(inputs, inputs + gates * cells * short),
            Span(recurrent, recurrent + gates * cells * long),
        )
        return cell_command(
            self.machine, mode, cells, {**registers, **scaling}, reads, target, width
        )


def products(plan: LstmPlan, machine: Machine) -> list[MatrixProduct]:
    """Of the inputs, of the hidden state, and the projection if there is one."""
    gates = [plan.gates[name] for name in CELL_GATES if name in plan.gates]
    int16 = -(1 << 15), (1 << 15) - 1
    most = 1 << (machine.result_bits - 1)
    made = [
        MatrixProduct.of(
            machine,
            np.concatenate([gate.input_weights for gate in gates]),
            np.concatenate([gate.bias for gate in gates]),
            (
                np.repeat([gate.input_multiplier for gate in gates], plan.cells),
                np.repeat([gate.input_shift for gate in gates], plan.cells),
            ),
            zero_points=(plan.input_zero_point, 0),
            clamp=int16,
            width=Width.INT16,
        ),
        MatrixProduct.of(
            machine,
            np.concatenate([gate.recurrent_weights for gate in gates]),
            np.zeros(len(gates) * plan.cells, np.int64),
            (
                np.repeat([gate.recurrent_multiplier for gate in gates], plan.cells),
                np.repeat([gate.recurrent_shift for gate in gates], plan.cells),
            ),
            zero_points=(plan.hidden_zero_point, 0),
            clamp=(-most, most - 1),
            width=machine.recurrent_width,
        ),
    ]
    projection = plan.projection
    if projection is not None:
        outputs, clip = len(projection.weights), projection.clip
        made.append(
            MatrixProduct.of(
                machine,
                projection.weights,
                projection.bias,
                (np.full(outputs, projection.multiplier), np.full(outputs, projection.shift)),
                zero_points=(0, plan.hidden_zero_point),
                clamp=(-clip, clip) if clip > 0 else (-128, 127),
            )
        )
    return made
