"""An LSTM layer in two stages, the sums of its inputs' products going through memory between them.

The first stage stores the sums in blocks of neighbouring outputs, of as many steps as a command can
take, for which each weight is loaded once; in the second each step loads its sums while the one
before is computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mensa.golden import Plan
from mensa.golden.operators.lstm import LstmPlan
from mensa.rtl.commands import Keep, Width
from mensa.rtl.machine import Machine
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.lstm import LstmLayer
from mensa.sched.lower.lstm_sums import (
    Scratch,
    most_steps,
    own_bytes,
    products,
    sequences,
    spilled_bytes,
    sums_pitch,
)
from mensa.sched.lower.matrix_product import (
    MatrixProduct,
    PlacedProduct,
    demand_of,
    most_pixels,
    placed_products,
)
from mensa.sched.lower.memory_map import MemoryMap
from mensa.sched.lower.recurrent import phases_of, require_on_chip, up_to_rows
from mensa.sched.lower.residency import Demand, ParameterPlan
from mensa.sched.lower.work import Block, Copy, Home, LayerSite, Phase

__all__ = ["LstmInputsPlan", "LstmStepsPlan", "inputs_parts", "steps_parts"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LstmInputsPlan(Plan):
    """The first stage of a layer whose sums go through memory: its inputs' products."""

    layer: LstmPlan

    def nbytes(self, machine: Machine) -> int:
        """Bytes of its result: sums of int16, step after step, sequence after sequence."""
        return spilled_bytes(self.layer, machine)


@dataclass(frozen=True, kw_only=True, eq=False)
class LstmStepsPlan(Plan):
    """The second stage: all else."""

    layer: LstmPlan


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
        return demand_of(self.site.machine, [self.product], operator, can_stay)

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """Blocks of neighbouring outputs, of as many steps as there is room for."""
        plan, machine = self.plan, self.site.machine
        (parts,) = placed_products(machine, [self.product], memory, layer, operator, room)
        slot = self.site.buffers.outputs.slot_bytes
        least = max(_row_bytes(machine, (part,))[1] for part in parts)
        most = most_pixels(machine, parts, min(most_steps(plan), slot // least))
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
        features, pitch = plan.input_shape[2], sums_pitch(plan, machine)
        step_rows, sequence_rows = sequences(plan)
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


@dataclass(frozen=True, eq=False)
class LstmSteps(LstmLayer):
    """The second stage of a layer whose sums go through memory.

    Attributes
    ----------
    source : int
        Address in memory of what the first stage stored; all else is on chip, as `LstmLayer` says.
    """

    @cached_property
    def scratch(self) -> Scratch:
        """Where its other sums are."""
        return Scratch.of(self.plan, self.machine, self.start, spilled=True)

    @cached_property
    def products(self) -> list[MatrixProduct]:
        """Of the hidden state, and the projection if there is one."""
        return products(self.plan, self.machine)[1:]

    def blocks(
        self, memory: MemoryMap, layer: str, operator: int, room: ParameterPlan
    ) -> list[Block]:
        """A block for every step, which loads its sums. Parameters: as of `Convolution.blocks`."""
        placed = placed_products(self.machine, self.products, memory, layer, operator, room)
        plan, pitch = self.plan, self.scratch.pitch
        nbytes = len(plan.gates) * plan.cells * Width.INT16.nbytes
        if nbytes > self.site.buffers.inputs.slot_bytes:
            raise LoweringError(layer, f"the {nbytes} B of sums of a step's inputs fit no slot")
        steps = [
            list(self._step(number, step, 0, placed, {"ACT_ADDRESS": 1}))
            for number in range(plan.batch)
            for step in range(plan.steps)
        ]
        phases = iter(phases_of(itertools.chain.from_iterable(steps)))
        return [
            Block(
                (Copy(self.source + number * pitch, 0, nbytes),),
                tuple(itertools.islice(phases, len(commands))),
                (),
            )
            for number, commands in enumerate(steps)
        ]


def _row_bytes(machine: Machine, parts: Sequence[PlacedProduct]) -> tuple[int, int]:
    """Where in a row of a slot a step's sums of neighbouring parts begin, and its bytes.

    They begin at the same place of a row of the buffer as in memory.
    """
    first, last = parts[0].run.groups[0], parts[-1].run.groups[-1]
    begin = first.first_output * Width.INT16.nbytes % machine.row_bytes
    nbytes = (last.first_output + last.outputs - first.first_output) * Width.INT16.nbytes
    return begin, up_to_rows(machine, begin + nbytes)
