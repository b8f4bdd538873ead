"""Lowering a whole network: which parts run on which machine, and the programs for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mensa.golden import Graph, Operator, Plan, ReshapePlan, plan
from mensa.golden.macs import operator_macs
from mensa.golden.plan import PairPlan
from mensa.golden.planning import resolve_rounding
from mensa.golden.variables import handles
from mensa.rtl.commands import TAG_BITS
from mensa.rtl.machine import Machine
from mensa.rtl.program import Bytes, Program, Words, setup_identifier, with_setup
from mensa.sched.lower.buffer_plan import BufferPlan, Lifetime, buffer_plans
from mensa.sched.lower.convolution import Convolution
from mensa.sched.lower.cuts import choose_cuts
from mensa.sched.lower.emit import Emitter, Traffic
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.lowerings import LOWERINGS, PARAMETERISED, Parameterised
from mensa.sched.lower.memory_map import MemoryMap, tensor_to_memory
from mensa.sched.lower.moves import is_move
from mensa.sched.lower.options import LoweringOptions
from mensa.sched.lower.residency import ParameterPlan, parameter_plan
from mensa.sched.lower.room import lacks_room
from mensa.sched.lower.supported import why_on_host
from mensa.sched.lower.work import Block, Home, LayerSite, LayerWork, ParameterSet, Span, Transfer
from mensa.sched.placement.placement import ON_HOST, Placement

TAG_LIMIT = 1 << TAG_BITS

_DECLARATIONS = ("CALL_ONCE", "VAR_HANDLE")


@dataclass(frozen=True)
class HostStep:
    """One operator that the host computes, from tensors in memory to a tensor in memory.

    Attributes
    ----------
    operator : int
        Its index.
    reason : str
        Why it is not accelerated.
    """

    operator: int
    reason: str


@dataclass(frozen=True)
class OnChip:
    """A layer's output that never is in memory.

    Attributes
    ----------
    tensor : int
        Which tensor.
    address : int
        Of its first byte in the activation buffer, where it lies dense.
    commands : int
        It is there when so many of the program's compute commands are done, until the next one is.
    """

    tensor: int
    address: int
    commands: int


@dataclass(frozen=True, eq=False)
class ProgramStep:
    """One start of the core.

    Attributes
    ----------
    program : Program
        Its `layers` are the operators that it computes.
    on_chip : tuple of OnChip
        Their outputs that are not in memory afterwards.
    """

    program: Program
    on_chip: tuple[OnChip, ...] = ()


Step = HostStep | ProgramStep


@dataclass(frozen=True)
class LoweredLayer:
    """What lowering knows of one operator, for reports.

    Attributes
    ----------
    index, op, name : int, str, str
        The operator and the name of its output.
    reason : str or None
        Why it runs on the host; None on the machine.
    macs : int
        Multiply-accumulates, padding included.
    traffic : Traffic
        Bytes copied and commands of an inference; nothing for an operator on the host and for a
        RESHAPE, whose output is its input.
    cached_bytes : int
        Parameters and constants that stay on chip from inference to inference.
    copies : bool
        Whether its commands compute nothing but move bytes.
    """

    index: int
    op: str
    name: str
    reason: str | None
    macs: int
    traffic: Traffic
    cached_bytes: int = 0
    copies: bool = False

    @property
    def streamed_bytes(self) -> int:
        """Parameters and constants that every inference loads."""
        return self.traffic.parameter_bytes


@dataclass(frozen=True, eq=False)
class Lowered:
    """A network for the machines of a placement.

    All programs share one memory: tensors keep their addresses, so between steps the host reads
    and writes them with `tensor_from_memory` and `tensor_to_memory`.

    Attributes
    ----------
    graph, placement, rounding, options : Graph, Placement, str, LoweringOptions
        What was lowered, where to, with whose arithmetic, and how.
    steps : tuple of HostStep and ProgramStep
        What to do, in order.
    tensors : mapping of int to int
        Address of every tensor that is in memory at some time, by index.
    variables : mapping of int to int
        Address of all that stays from one inference to the next, numbered as golden's state:
        variables and variable tensors, which are among `tensors` too.
    memory_bytes : int
        Bytes of the memory that all programs share.
    layers : tuple of LoweredLayer
        One per operator, in order.
    image : tuple of (int, uint8 array)
        Addresses and bytes of what must be in memory before the first inference and is of no
        program: outputs that are constants, and variables where only the host computes.
    setups : mapping of str to Program
        By a machine's name what loads the parameters that stay on its chip; to be run once, before
        its first inference. Machines that keep none have none.
    """

    graph: Graph
    placement: Placement
    rounding: str
    options: LoweringOptions
    steps: tuple[Step, ...]
    tensors: Mapping[int, int]
    variables: Mapping[int, int]
    memory_bytes: int
    layers: tuple[LoweredLayer, ...]
    image: tuple[tuple[int, Bytes], ...] = ()
    setups: Mapping[str, Program] = field(default_factory=dict)

    @property
    def machine(self) -> Machine:
        """The machine, of a placement that has one. Raises: ValueError where there are several."""
        (machine,) = self.placement.machines
        return machine

    @property
    def setup(self) -> Program | None:
        """The only machine's set-up, if it has one. Raises: ValueError as `machine`."""
        return self.setups.get(self.machine.name)

    @property
    def programs(self) -> tuple[Program, ...]:
        """The programs of an inference, in order."""
        return tuple(step.program for step in self.steps if isinstance(step, ProgramStep))

    def initial_memory(self) -> Bytes:
        """A new memory with every program, its parameters and `image` in place."""
        memory = np.zeros(self.memory_bytes, np.uint8)
        for address, content in self.image:
            memory[address : address + content.size] = content
        for program in (*self.setups.values(), *self.programs):
            program.put_into(memory)
        return memory


def lower(
    graph: Graph,
    placement: Placement,
    rounding: str | None = None,
    options: LoweringOptions = LoweringOptions(),  # noqa: B008  it is frozen
) -> Lowered:
    """Programs that compute a network where a placement wants it.

    Parameters
    ----------
    graph : Graph
        The network.
    placement : Placement
        What runs it; `all_on(machine)` is the simplest.
    rounding : "tflm", "litert" or None
        Whose arithmetic; None is the graph's default.
    options : LoweringOptions
        How programs are made.

    Returns
    -------
    Lowered
        Each maximal run of operators on one machine as one program, the others as host steps.

    Raises
    ------
    LoweringError
        If a layer can't be cut into blocks that fit the machine's buffers.
    mensa.golden.GraphError
        If golden can't compute an operator.
    """
    profile = resolve_rounding(graph, rounding)
    if len(graph.operators) > TAG_LIMIT:
        raise LoweringError(f"operator {TAG_LIMIT}", f"a program has at most {TAG_LIMIT} operators")
    return _Lowering(graph, placement, profile, options).lowered()


class _Lowering:
    """One call of `lower`."""

    def __init__(
        self, graph: Graph, placement: Placement, rounding: str, options: LoweringOptions
    ) -> None:
        self.graph = graph
        self.placement = placement
        self.options = options
        self.rounding = rounding
        self.memory = MemoryMap(graph, placement.machines, rounding)
        self.machines: dict[int, Machine] = {}  # of the operators that are not on the host
        self.reasons: dict[int, str | None] = {}
        for op in graph.operators:
            machine = placement.machine(op.index)
            reason = ON_HOST if machine is None else why_on_host(graph, op, rounding)
            if machine is not None and reason is None:
                reason = lacks_room(graph, op, rounding, machine, options)
            self.reasons[op.index] = reason
            if machine is not None and reason is None:
                self.machines[op.index] = machine
        self._broadcast: dict[int, Bytes] = {}
        self._addresses: dict[int, int] = {}
        self.roots: dict[int, int] = {}  # of tensors that are other tensors, reshaped
        for operator in graph.operators:
            if self.reasons[operator.index] is None and self.is_alias(operator):
                self.roots[operator.outputs[0]] = self.root(operator.inputs[0])
        self._last_use = {
            self.root(tensor): op.index for op in graph.operators for tensor in op.inputs
        } | {self.root(tensor): len(graph.operators) for tensor in graph.outputs}

    def is_alias(self, operator: Operator) -> bool:
        """Whether an accelerated operator's output is its input under another shape."""
        return isinstance(plan(self.graph, operator, self.rounding), ReshapePlan)

    def root(self, tensor: int) -> int:
        """The tensor whose bytes a tensor has."""
        return self.roots.get(tensor, tensor)

    def operand(self, operator: Operator, work: Plan, position: int) -> int:
        """The tensor that the commands read as an operand, in the shape that they need.

        A constant that is broadcast is written out in full, as one more tensor with a negative
        number.
        """
        tensor = self.graph.tensors[operator.inputs[position]]
        if tensor.data is None or not isinstance(work, PairPlan):
            return self.root(tensor.index)
        shape = self.graph.tensors[operator.outputs[0]].shape
        if tensor.size == math.prod(shape):
            return tensor.index
        number = -1 - len(work.operands) * operator.index - position
        if number not in self._broadcast:
            content = tensor_to_memory(tensor, tensor.data).reshape(tensor.shape)
            self._broadcast[number] = np.broadcast_to(content, shape)
        return number

    def address(self, tensor: int) -> int:
        """Of a tensor in memory, which is given one if it has none."""
        if tensor >= 0:
            return self.memory.tensor(tensor)
        if tensor not in self._addresses:
            self._addresses[tensor] = self.memory.put(self._broadcast[tensor])
        return self._addresses[tensor]

    def nbytes(self, tensor: int) -> int:
        """Size of a tensor."""
        if tensor >= 0:
            return self.graph.tensors[tensor].nbytes
        return self._broadcast[tensor].size

    def is_needed_after(self, tensor: int, operator: int) -> bool:
        """Whether a tensor is an output, or read by an operator after this one."""
        return self._last_use.get(tensor, -1) > operator

    def lowered(self) -> Lowered:
        """The whole network."""
        graph, memory = self.graph, self.memory
        for index in graph.inputs:
            memory.tensor(index)
        runs = list(_runs(graph, self.machines))
        sections = {
            operators[0].index: _Section.best(self, machine, operators)
            for operators, machine in runs
            if machine is not None
        }
        rooms = {
            machine.name: parameter_plan(
                [
                    part.demand(index, can_stay=len(parts) == 1)
                    for section in sections.values()
                    if section.machine == machine
                    for index, parts in section.parameterised.items()
                    for part in parts
                ],
                machine,
                self.options,
            )
            for machine in self.placement.machines
        }
        drafts: list[HostStep | _ProgramDraft] = []
        traffic: dict[int, Traffic] = {}
        resident: dict[int, list[ParameterSet]] = {}
        for operators, machine in runs:
            reason = self.reasons[operators[0].index]
            if machine is None:
                assert reason is not None
                for index in (*operators[0].inputs, *operators[0].outputs):
                    if _has_value(graph, index):
                        memory.tensor(self.root(index))
                drafts.append(HostStep(operators[0].index, reason))
                continue
            draft, used = sections[operators[0].index].draft(rooms[machine.name], resident)
            drafts.append(draft)
            traffic |= used
        for index in graph.outputs:
            memory.tensor(self.root(index))
        image = memory.take_image()
        setups = {
            machine.name: setup
            for machine in self.placement.machines
            if (setup := self._setup(machine, resident, rooms[machine.name])) is not None
        }
        for tensor, root in self.roots.items():
            if root in memory.tensors:
                memory.alias(tensor, root)
        lowered = Lowered(
            graph=graph,
            placement=self.placement,
            rounding=self.rounding,
            options=self.options,
            steps=tuple(
                draft if isinstance(draft, HostStep) else draft.step(self) for draft in drafts
            ),
            tensors=memory.tensors,
            variables=memory.variables,
            memory_bytes=memory.memory_bytes,
            layers=tuple(
                LoweredLayer(
                    index=op.index,
                    op=op.op,
                    name="" if (output := graph.first_output(op)) is None else output.name,
                    reason=self.reasons[op.index],
                    macs=operator_macs(graph, op),
                    traffic=traffic.get(op.index, Traffic()),
                    cached_bytes=sum(
                        each.parameter_bytes + each.constant_bytes
                        for each in resident.get(op.index, ())
                    ),
                    copies=self.reasons[op.index] is None
                    and is_move(plan(graph, op, self.rounding)),
                )
                for op in graph.operators
            ),
            image=image,
            setups={name: setup.step(self).program for name, setup in setups.items()},
        )
        return _with_identifier(lowered)

    def _setup(
        self,
        machine: Machine,
        resident: Mapping[int, Sequence[ParameterSet]],
        room: ParameterPlan,
    ) -> _ProgramDraft | None:
        """The program that loads what stays on a machine's chip."""
        layers = [layer for layer in resident if self.machines[layer] == machine]
        if not layers:
            return None
        emitter = Emitter(machine, BufferPlan(), room, self.options)
        for layer in layers:
            emitter.load_resident(layer, resident[layer])
        words = emitter.finish()
        return _ProgramDraft(machine, words, self.memory.reserve(words.nbytes), (), ())


@dataclass(eq=False)
class _Section:
    """A run of operators on one machine, and where its tensors are."""

    lowering: _Lowering
    machine: Machine
    operators: list[Operator]
    buffers: BufferPlan
    parameterised: dict[int, Sequence[Parameterised]] = field(default_factory=dict)
    blocks: dict[int, list[Block]] = field(default_factory=dict)

    @classmethod
    def best(cls, lowering: _Lowering, machine: Machine, operators: list[Operator]) -> _Section:
        """The one that keeps most on chip of those whose layers fit."""
        lifetimes = _lifetimes(lowering, operators)
        plans = list(buffer_plans(lifetimes, machine, lowering.options))
        for number, buffers in enumerate(plans):
            try:
                section = cls(lowering, machine, operators, buffers)
                for operator in operators:
                    section._lower(operator)
            except LoweringError:
                if number == len(plans) - 1:
                    raise
            else:
                break
        return section

    def _home(self, tensor: int, moving: Sequence[int]) -> Home:
        if tensor in self.buffers.tensors:
            return Home(self.buffers.tensors[tensor], True, tensor in moving)
        return Home(self.lowering.address(tensor))

    def _lower(self, operator: Operator) -> None:
        """Lower one operator, but for its parameters."""
        graph, machine, buffers = self.lowering.graph, self.machine, self.buffers
        index, layer = operator.index, str(operator)
        if self.lowering.is_alias(operator):
            return
        work = plan(graph, operator, self.lowering.rounding)
        busy = [each.index for each in self.operators if not self.lowering.is_alias(each)]
        stored = self._stores() if index == busy[-1] else ()
        loaded = self._loads() if index == busy[0] else ()
        targets = [self._home(each, stored) for each in self._results(operator)]
        sources = [self._home(each, loaded) for each in self._sources(operator)]
        operands = tuple(graph.tensors[operator.inputs[each]] for each in work.operands)
        site = LayerSite(machine, buffers, layer, operands)
        if type(work) in PARAMETERISED:
            self.parameterised[index] = PARAMETERISED[type(work)](work, site, sources, targets)
        else:
            self.blocks[index] = LOWERINGS[type(work)](work, site, sources, targets)

    def draft(
        self, room: ParameterPlan, resident: dict[int, list[ParameterSet]]
    ) -> tuple[_ProgramDraft, dict[int, Traffic]]:
        """The program, and its traffic by layer; the parameters that stay join `resident`."""
        lowering = self.lowering
        self._choose_cuts()
        layers = []
        for operator in self.operators:
            index = operator.index
            if index in self.parameterised:
                self.blocks[index] = [
                    block
                    for part in self.parameterised[index]
                    for block in part.blocks(lowering.memory, str(operator), index, room)
                ]
            blocks = self.blocks.get(index, [])
            if index in room.resident:
                used = {phase.parameters: None for block in blocks for phase in block.phases}
                resident[index] = [each for each in used if each is not None]
            layers.append(self._work(operator, blocks))
        emitter = Emitter(self.machine, self.buffers, room, lowering.options)
        emitter.emit(layers, self._transfers(self._loads()), self._transfers(self._stores()))
        words = emitter.finish()
        image = lowering.memory.take_image()
        address = lowering.memory.reserve(words.nbytes)
        indices = tuple(operator.index for operator in self.operators)
        return (
            _ProgramDraft(
                self.machine, words, address, image, indices, self._on_chip(emitter.complete)
            ),
            emitter.traffic,
        )

    def _choose_cuts(self) -> None:
        """Cut layers of one part in two where that saves cycles."""
        layers = [
            (index, part)
            for index in (operator.index for operator in self.operators)
            for part in self.parameterised.get(index, [None] if index in self.blocks else [])
        ]
        parts = [part if isinstance(part, Convolution) else None for _, part in layers]
        cuts = choose_cuts(self.machine, parts)
        for (index, _), part, cut in zip(layers, parts, cuts, strict=True):
            if part is not None and cut is not None:
                of_layer = self.parameterised[index]
                self.parameterised[index] = [
                    replace(part, cut=cut) if each is part else each for each in of_layer
                ]

    def _sources(self, operator: Operator) -> list[int]:
        """The tensors that an operator's commands read."""
        return _sources(self.lowering, operator)

    def _results(self, operator: Operator) -> list[int]:
        """The tensors that an operator's commands write; none for an alias."""
        return _results(self.lowering, operator)

    def _produced(self) -> list[int]:
        """The tensors that the commands write, in order."""
        return [tensor for op in self.operators for tensor in self._results(op)]

    def _loads(self) -> list[int]:
        """Tensors that are on chip from the start."""
        produced = set(self._produced())
        return [tensor for tensor in self.buffers.tensors if tensor not in produced]

    def _stores(self) -> list[int]:
        """Tensors that are on chip at the end and needed later."""
        last = self.operators[-1].index
        return [
            tensor
            for tensor in self._produced()
            if tensor in self.buffers.tensors and self.lowering.is_needed_after(tensor, last)
        ]

    def _transfers(self, tensors: Iterable[int]) -> list[Transfer]:
        """Of tensors between memory and where they are on chip."""
        made = []
        for tensor in tensors:
            start = self.buffers.tensors[tensor]
            span = Span(start, start + self.lowering.nbytes(tensor))
            made.append(Transfer(span, self.lowering.address(tensor)))
        return made

    def _work(self, operator: Operator, blocks: Sequence[Block]) -> LayerWork:
        if not blocks:
            return LayerWork(operator.index, ())
        on_chip = self.buffers.tensors
        sources = tuple(each for each in self._sources(operator) if each not in on_chip)
        targets = tuple(each for each in self._results(operator) if each not in on_chip)
        return LayerWork(operator.index, tuple(blocks), sources, targets)

    def _on_chip(self, complete: Mapping[int, int]) -> tuple[OnChip, ...]:
        """Outputs that never are in memory."""
        commands = {
            tensor: complete[op.index]
            for op in self.operators
            if op.index in complete
            for tensor in self._results(op)
        }
        stored = set(self._stores())
        outputs = [tensor for operator in self.operators for tensor in operator.outputs]
        return tuple(
            OnChip(tensor, self.buffers.tensors[root], commands[root])
            for tensor, root in ((each, self.lowering.root(each)) for each in outputs)
            if root in self.buffers.tensors and root in commands and root not in stored
        )


def _with_identifier(lowered: Lowered) -> Lowered:
    """The programs, so marked that a core refuses an inference without its parameters."""
    if not lowered.setups:
        return lowered
    memory = lowered.initial_memory()
    identifiers = {name: setup_identifier(setup, memory) for name, setup in lowered.setups.items()}
    return replace(
        lowered,
        setups={
            name: with_setup(setup, identifiers[name], is_setup=True)
            for name, setup in lowered.setups.items()
        },
        steps=tuple(
            replace(step, program=with_setup(step.program, identifiers[step.program.machine.name]))
            if isinstance(step, ProgramStep) and step.program.machine.name in identifiers
            else step
            for step in lowered.steps
        ),
    )


def _results(lowering: _Lowering, operator: Operator) -> list[int]:
    """The tensors that an operator's commands write; none for an alias."""
    if lowering.is_alias(operator):
        return []
    return [lowering.root(tensor) for tensor in operator.outputs]


def _sources(lowering: _Lowering, operator: Operator) -> list[int]:
    """The tensors that an operator's commands read; none for an alias."""
    if lowering.is_alias(operator):
        return []
    work = plan(lowering.graph, operator, lowering.rounding)
    return [lowering.operand(operator, work, position) for position in work.operands]


def _lifetimes(lowering: _Lowering, operators: Sequence[Operator]) -> list[Lifetime]:
    """When each tensor of a run of operators is needed, counted in operators of the run."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    produced = []
    for number, operator in enumerate(operators):
        results = _results(lowering, operator)
        for tensor in (*_sources(lowering, operator), *results):
            first.setdefault(tensor, number if tensor in results else 0)
            last[tensor] = number
        produced += results
    for tensor in produced:
        if lowering.is_needed_after(tensor, operators[-1].index):
            last[tensor] = len(operators)  # it is stored at the end
    loaded = first.keys() - set(produced)
    stored = {each for each in first if last[each] == len(operators) and first[each] > 0}
    return [
        Lifetime(each, lowering.nbytes(each), first[each], last[each], each in loaded | stored)
        for each in first
    ]


@dataclass(frozen=True, eq=False)
class _ProgramDraft:
    """A program before the size of the memory is known."""

    machine: Machine
    words: Words
    address: int
    image: tuple[tuple[int, Bytes], ...]
    layers: tuple[int, ...]
    on_chip: tuple[OnChip, ...] = ()

    def step(self, lowering: _Lowering) -> ProgramStep:
        memory = lowering.memory
        return ProgramStep(
            Program(
                machine=self.machine,
                words=self.words,
                program_address=self.address,
                memory_bytes=memory.memory_bytes,
                image=self.image,
                tensors=memory.tensors,
                layers=self.layers,
            ),
            self.on_chip,
        )


def _has_value(graph: Graph, index: int) -> bool:
    """Whether a tensor is there and is computed: neither a constant nor a variable's handle."""
    return index >= 0 and graph.tensors[index].data is None and index not in handles(graph)


def _runs(
    graph: Graph, machines: Mapping[int, Machine]
) -> Iterator[tuple[list[Operator], Machine | None]]:
    """Host operators one by one, and maximal runs of those on one machine, with it.

    What only says which variables there are and what they start from is left out.
    """
    run: list[Operator] = []
    of: Machine | None = None
    for operator in graph.operators:
        if operator.op in _DECLARATIONS:
            continue
        machine = machines.get(operator.index)
        if run and machine != of:
            yield run, of
            run = []
        of = machine
        if machine is None:
            yield [operator], None
        else:
            run.append(operator)
    if run:
        yield run, of
