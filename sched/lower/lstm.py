"""Lowering UNIDIRECTIONAL_SEQUENCE_LSTM: products on the array, then the LSTM cell, step by step.

The products of all steps' inputs come first, as they depend on no state: each weight is used for
many pixels. Then in each step the recurrent products, of a single pixel, the next cell state, the
hidden state, and the projection. The sums of both products lie in the activation buffer, gate
behind gate: forget, input, cell and output gate. Sequences of a batch go one after the other.

A gate's peephole, a product of the cell state, takes the place of its recurrent sum, which before
that is added to the sum of its inputs.

The sums of the inputs' products may not have room for all steps. Then these come in portions, for
each of which the weights are loaded anew; or, if that is less to move, all sums go through memory
(`spills`): they are a stage of their own then, and each step loads its sums while the one before is
computed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from mensa.golden import Plan
from mensa.golden.operators.lstm import LstmPlan
from mensa.rtl.commands import Keep, Mode, Rounding, Unit, Width, compute_registers, register
from mensa.rtl.machine import Machine
from mensa.sched.lower.buffer_plan import rings_bytes
from mensa.sched.lower.error import LoweringError
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
    Copy,
    Home,
    LayerSite,
    ParameterSet,
    Phase,
    Registers,
    Span,
)

__all__ = [
    "CELL_GATES",
    "LstmInputsPlan",
    "LstmLayer",
    "LstmStepsPlan",
    "inputs_parts",
    "integer_bits",
    "lstm_parts",
    "own_bytes",
    "peepholes",
    "products",
    "spills",
    "steps_parts",
]

CELL_GATES = ("forget", "input", "cell", "output")
"""Order of the gates' sums, as the cell takes them."""

_INPUT_SHARE = 4
"""Sums of the inputs' products take this share of the activation buffer at most, if that is room
for a step's."""

_MOST_ROW_BYTES = register(Unit.COMPUTE, "INPUT_ROW_BYTES").most
_MOST_PIXELS = register(Unit.COMPUTE, "OUT_WIDTH").most

_Command = tuple[Compute, ParameterSet | None]
"""A command, and the parameters that it needs if they are others than before."""


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
    scratch = _Scratch.of(plan, machine, 0, spilled=spills(plan, machine))
    return scratch.end + machine.row_bytes - machine.beat_bytes


def spills(plan: LstmPlan, machine: Machine) -> bool:
    """Whether the sums of the inputs' products go through memory.

    That is if it moves fewer bytes than to load their weights for each portion of the steps, and
    all else has room beside the slots for them.
    """
    steps = _Scratch.of(plan, machine, 0).steps
    if steps == plan.steps or peepholes(plan):
        return False
    rings = rings_bytes(machine)
    tensors = math.prod(plan.input_shape) + math.prod(plan.output_shape)
    states = plan.batch * (plan.output_shape[2] + plan.cells * Width.INT16.nbytes)
    own = _Scratch.of(plan, machine, 0, spilled=True).end + 8 * machine.row_bytes  # gaps
    if tensors + states + own > machine.activation_buffer_bytes - rings:
        return False
    if _sums_pitch(plan, machine) > rings // 4:  # a slot
        return False
    weights, *others = (each.nbytes for each in products(plan, machine))
    if weights + sum(others) <= machine.parameter_bytes:
        return False
    again = -(-plan.steps // steps) - 1
    return plan.batch * again * weights > 2 * _spilled_bytes(plan, machine)


def _sums_pitch(plan: LstmPlan, machine: Machine) -> int:
    """Bytes from the sums of a step's inputs to those of the next."""
    return up_to_rows(machine, len(plan.gates) * plan.cells * Width.INT16.nbytes)


def _spilled_bytes(plan: LstmPlan, machine: Machine) -> int:
    """Of the sums of all steps' inputs in memory."""
    return plan.batch * plan.steps * _sums_pitch(plan, machine)


@dataclass(frozen=True, kw_only=True, eq=False)
class LstmInputsPlan(Plan):
    """The first stage of a layer whose sums go through memory: its inputs' products."""

    layer: LstmPlan

    def nbytes(self, machine: Machine) -> int:
        """Bytes of its result: sums of int16, step after step, sequence after sequence."""
        return _spilled_bytes(self.layer, machine)


@dataclass(frozen=True, kw_only=True, eq=False)
class LstmStepsPlan(Plan):
    """The second stage: all else."""

    layer: LstmPlan


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
    def of(cls, plan: LstmPlan, machine: Machine, start: int, *, spilled: bool = False) -> _Scratch:
        """From an address on; sums begin at rows of the buffer, the inputs' only if not spilled."""

        def up(nbytes: int) -> int:
            return up_to_rows(machine, nbytes)

        sums = len(plan.gates) * plan.cells
        pitch = _sums_pitch(plan, machine)
        fits = machine.activation_buffer_bytes // _INPUT_SHARE // pitch
        steps = min(_most_steps(plan), max(1, fits))
        inputs = up(start)
        recurrent = inputs + (0 if spilled else steps * pitch)
        values = recurrent + up(sums * machine.recurrent_width.nbytes)
        end = values + (up(plan.cells) if plan.projection is not None else 0)
        return cls(inputs, pitch, steps, recurrent, values, end)


def _sequences(plan: LstmPlan) -> tuple[int, int]:
    """Rows from a step to the next and from a sequence to the next, of inputs and of outputs."""
    return (plan.batch, 1) if plan.time_major else (1, plan.steps)


def _most_steps(plan: LstmPlan) -> int:
    """Steps that a command takes at most, whose inputs are a row to it."""
    features = max(1, plan.input_shape[2] * _sequences(plan)[0])
    return min(plan.steps, max(1, min(_MOST_PIXELS, _MOST_ROW_BYTES // features)))


def lstm_parts(
    plan: LstmPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[LstmLayer]:
    """The layer. Raises: LoweringError if something of it finds no room on chip."""
    require_on_chip(site, (*sources, *targets), own_bytes(plan, site.machine))
    source, hidden, state, *weights = (home.address for home in sources)
    target, room = targets[0].address, targets[-1].address
    found = dict(zip(peepholes(plan), weights, strict=True))
    return [LstmLayer(plan, site, room, source, hidden, state, target, found)]


def inputs_parts(
    plan: LstmInputsPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[LstmInputs]:
    """The first stage. Raises: LoweringError if its inputs find no room on chip."""
    require_on_chip(site, sources, own_bytes(plan.layer, site.machine))
    return [LstmInputs(plan.layer, site, sources[0].address, targets[0].address)]


def steps_parts(
    plan: LstmStepsPlan, site: LayerSite, sources: Sequence[Home], targets: Sequence[Home]
) -> list[LstmSteps]:
    """The second stage. Raises: LoweringError if something of it finds no room on chip."""
    *states, spilled = sources
    require_on_chip(site, (*states, *targets), own_bytes(plan.layer, site.machine))
    hidden, state = (home.address for home in states)
    target, room = targets[0].address, targets[-1].address
    return [LstmSteps(plan.layer, site, room, spilled.address, hidden, state, target, {})]


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
        return _demand(self.machine, self.products, operator, can_stay)

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """Its only block. Parameters: as of `Convolution.blocks`."""
        inputs, *others = _placed(self.machine, self.products, memory, layer, operator, room)
        return [Block((), tuple(_phases(self._commands(inputs, others))), ())]

    def _commands(
        self, inputs: Sequence[PlacedProduct], others: Sequence[Sequence[PlacedProduct]]
    ) -> Iterator[_Command]:
        """All commands, in order."""
        plan, scratch = self.plan, self.scratch
        step_rows, sequence_rows = _sequences(plan)
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
    ) -> Iterator[_Command]:
        """What a step of a sequence takes besides the sums of its inputs.

        Parameters: `streamed` as of `Compute`, of those that read them.
        """
        plan = self.plan
        recurrent, *projection = placed
        step_rows, sequence_rows = _sequences(plan)
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


@dataclass(frozen=True, eq=False)
class LstmSteps(LstmLayer):
    """The second stage of a layer whose sums go through memory, where they are at `source`."""

    @cached_property
    def scratch(self) -> _Scratch:
        """Where its other sums are."""
        return _Scratch.of(self.plan, self.machine, self.start, spilled=True)

    @cached_property
    def products(self) -> list[MatrixProduct]:
        """Of the hidden state, and the projection if there is one."""
        return products(self.plan, self.machine)[1:]

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """A block for every step, which loads its sums. Parameters: as of `Convolution.blocks`."""
        placed = _placed(self.machine, self.products, memory, layer, operator, room)
        plan, pitch = self.plan, self.scratch.pitch
        nbytes = len(plan.gates) * plan.cells * Width.INT16.nbytes
        if nbytes > self.site.buffers.inputs.slot_bytes:
            raise LoweringError(layer, f"the {nbytes} B of sums of a step's inputs fit no slot")
        steps = [
            list(self._step(number, step, 0, placed, {"ACT_ADDRESS": 1}))
            for number in range(plan.batch)
            for step in range(plan.steps)
        ]
        phases = iter(_phases(itertools.chain.from_iterable(steps)))
        return [
            Block(
                (Copy(self.source + number * pitch, 0, nbytes),),
                tuple(itertools.islice(phases, len(commands))),
                (),
            )
            for number, commands in enumerate(steps)
        ]


@dataclass(frozen=True, eq=False)
class LstmInputs:
    """The first stage: the inputs' products, whose sums go to memory.

    Attributes
    ----------
    plan, site : LstmPlan, LayerSite
        What, and for which machine.
    source, target : int
        Address of the inputs in the activation buffer, and of their sums in memory.
    """

    plan: LstmPlan
    site: LayerSite
    source: int
    target: int

    @cached_property
    def product(self) -> MatrixProduct:
        """Of all gates."""
        return products(self.plan, self.site.machine)[0]

    def demand(self, operator: int, *, can_stay: bool) -> Demand:
        """What its parameters need."""
        return _demand(self.site.machine, [self.product], operator, can_stay)

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """Blocks of neighbouring outputs, of as many steps as there is room for."""
        plan, machine = self.plan, self.site.machine
        (parts,) = _placed(machine, [self.product], memory, layer, operator, room)
        slot = self.site.buffers.outputs.slot_bytes
        least = max(_row_bytes(machine, (part,))[1] for part in parts)
        most = most_pixels(machine, parts, min(_most_steps(plan), slot // least))
        if not most:
            raise LoweringError(layer, f"the {least} B of sums of a column group fit no slot")
        return [
            self._block(number, first, min(most, plan.steps - first), group)
            for number in range(plan.batch)
            for first in range(0, plan.steps, most)
            for group in self._groups(parts, slot // most)
        ]

    def _groups(
        self, parts: Sequence[PlacedProduct], row_bytes: int
    ) -> Iterator[list[PlacedProduct]]:
        """Neighbouring parts whose sums of a step have room in so many bytes."""
        group: list[PlacedProduct] = []
        for part in parts:
            fits = _row_bytes(self.site.machine, (*group, part))[1] <= row_bytes
            if group and not fits and not part.keep & Keep.CONTINUE:
                yield group
                group = []
            group.append(part)
        yield group

    def _block(self, number: int, first: int, steps: int, parts: Sequence[PlacedProduct]) -> Block:
        """Some outputs of a sequence's steps from `first` on."""
        plan, machine = self.plan, self.site.machine
        features, pitch = plan.input_shape[2], _sums_pitch(plan, machine)
        step_rows, sequence_rows = _sequences(plan)
        source = self.source + (number * sequence_rows + first * step_rows) * features
        begin, row = _row_bytes(machine, parts)
        start = parts[0].run.groups[0].first_output * Width.INT16.nbytes
        phases = []
        for part in parts:
            command = part.command(source, begin - start, steps, step_rows * features, row)
            phases.append(Phase((replace(command, writes=None),), part.parameters))
        last = parts[-1].run.groups[-1]
        nbytes = (last.first_output + last.outputs) * Width.INT16.nbytes - start
        at = self.target + (number * plan.steps + first) * pitch + start
        return Block((), tuple(phases), (Copy(at, begin, nbytes, steps, pitch, row),))


def _row_bytes(machine: Machine, parts: Sequence[PlacedProduct]) -> tuple[int, int]:
    """Where in a row of a slot a step's sums of neighbouring parts begin, and its bytes.

    They begin at the same place of a row of the buffer as in memory.
    """
    first, last = parts[0].run.groups[0], parts[-1].run.groups[-1]
    begin = first.first_output * Width.INT16.nbytes % machine.row_bytes
    nbytes = (last.first_output + last.outputs - first.first_output) * Width.INT16.nbytes
    return begin, up_to_rows(machine, begin + nbytes)


def _demand(
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


def _placed(
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


def _phases(commands: Iterable[_Command]) -> Iterator[Phase]:
    """A phase for each command; those without parameters keep what the next others need."""
    ordered = list(commands)
    latest: ParameterSet | None = None
    following: ParameterSet | None = None
    needed = []
    for _, parameters in reversed(ordered):
        following = following if parameters is None else parameters
        needed.append(following)
    for (command, parameters), coming in zip(ordered, reversed(needed), strict=True):
        latest = parameters or latest
        yield Phase((command,), latest if parameters or latest is coming else None)


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
