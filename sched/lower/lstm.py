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
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from mensa.golden.operators.lstm import LstmPlan
from mensa.rtl.commands import Mode, Rounding, Width, compute_registers
from mensa.rtl.machine import Machine
from mensa.sched.lower.lstm_sums import (
    CELL_GATES,
    Scratch,
    own_bytes,
    peepholes,
    products,
    sequences,
)
from mensa.sched.lower.matrix_product import (
    MatrixProduct,
    PlacedProduct,
    demand_of,
    most_pixels,
    placed_products,
)
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.recurrent import (
    UNCHANGED,
    Command,
    cell_command,
    copy_on_chip,
    phases_of,
    require_on_chip,
)
from mensa.sched.lower.residency import Demand, ParameterPlan
from mensa.sched.lower.work import Block, Compute, Home, LayerSite, Registers, Span

__all__ = ["LstmLayer", "integer_bits", "lstm_parts"]


def integer_bits(plan: LstmPlan) -> int:
    """Bits before the point of the cell state."""
    return 15 + plan.cell_power


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
    def scratch(self) -> Scratch:
        """Where its sums are."""
        return Scratch.of(self.plan, self.machine, self.start)

    @cached_property
    def products(self) -> list[MatrixProduct]:
        """Of the inputs, of the hidden state, and the projection if there is one."""
        return products(self.plan, self.machine)

    def demand(self, operator: int, *, can_stay: bool) -> Demand:
        """What its parameters need."""
        return demand_of(self.machine, self.products, operator, can_stay)

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """Its only block. Parameters: as of `Convolution.blocks`."""
        inputs, *others = placed_products(
            self.machine, self.products, memory, layer, operator, room
        )
        return [Block((), tuple(phases_of(self._commands(inputs, others))), ())]

    def _commands(
        self, inputs: Sequence[PlacedProduct], others: Sequence[Sequence[PlacedProduct]]
    ) -> Iterator[Command]:
        """All commands, in order."""
        plan, scratch = self.plan, self.scratch
        step_rows, sequence_rows = sequences(plan)
        features = plan.input_shape[2]
        for number in range(plan.batch):
            for first in range(0, plan.steps, scratch.steps):
                steps = min(scratch.steps, plan.steps - first)
                at = number * sequence_rows + first * step_rows
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
                        yield command, part.parameters
                for step in range(steps):
                    sums = scratch.inputs + step * scratch.pitch
                    yield from self._step(number, first + step, sums, others)

    def _step(
        self,
        number: int,
        step: int,
        sums: int,
        placed: Sequence[Sequence[PlacedProduct]],
        streamed: Registers = MappingProxyType({}),
    ) -> Iterator[Command]:
        """What a step of a sequence takes besides the sums of its inputs.

        Parameters: `streamed` as of `Compute`, of those that read them.
        """
        plan = self.plan
        recurrent, *projection = placed
        step_rows, sequence_rows = sequences(plan)
        outputs = plan.output_shape[2]
        hidden = self.hidden + number * outputs
        state = self.state + number * plan.cells * Width.INT16.nbytes
        target = self.target + (number * sequence_rows + step * step_rows) * outputs
        before = target - step_rows * outputs if step else hidden
        # The other way round in every other step, for what is still there.
        backwards = step % 2 and not any(part.keep for part in recurrent)
        for part in recurrent[:: -1 if backwards else 1]:
            yield part.command(before, self.scratch.recurrent), part.parameters
        for command in self._peephole("forget", "input", sums=sums, state=state):
            yield command, None
        yield replace(self._cell_state(sums, state), streamed=streamed), None
        for command in self._peephole("output", sums=sums, state=state):
            yield command, None
        value = self.scratch.values if projection else target
        yield replace(self._hidden_state(sums, state, value), streamed=streamed), None
        for part in projection[0] if projection else ():
            yield part.command(value, target), part.parameters
        if step == plan.steps - 1:
            yield copy_on_chip(self.machine, target, hidden, outputs), None

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
