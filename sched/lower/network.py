"""Lowering a whole network: which parts run on which machine, and the programs for them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mensa.golden import Graph, Operator, Plan, plan
from mensa.golden.macs import operator_macs
from mensa.golden.planning import resolve_rounding
from mensa.golden.variables import handles
from mensa.rtl.commands import TAG_BITS
from mensa.rtl.machine import Machine
from mensa.rtl.program import Bytes, Command, Program, Words, setup_identifier, with_setup
from mensa.sched.lower.broadcast import is_pair, spreads
from mensa.sched.lower.buffer_plan import BufferPlan, Lifetime, buffer_plans
from mensa.sched.lower.convolution import Convolution
from mensa.sched.lower.convolution_cuts import ConvolutionCuts
from mensa.sched.lower.cuts import choose_cuts
from mensa.sched.lower.emit import Emitter, Traffic
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.functions import Function, functions
from mensa.sched.lower.jobs import Job
from mensa.sched.lower.lowerings import LOWERINGS, PARAMETERISED, Parameterised
from mensa.sched.lower.memory_map import MemoryMap, tensor_to_memory
from mensa.sched.lower.moves import is_move
from mensa.sched.lower.options import LoweringOptions
from mensa.sched.lower.residency import ParameterPlan, parameter_plan
from mensa.sched.lower.room import lacks_room, lacks_table, own_bytes, own_constants, states
from mensa.sched.lower.stages import stages_of
from mensa.sched.lower.supported import why_on_host
from mensa.sched.lower.tables import has_tables
from mensa.sched.lower.views import Place, Views
from mensa.sched.lower.work import Block, Home, LayerSite, LayerWork, ParameterSet, Span, Transfer
from mensa.sched.placement.placement import ON_HOST, Placement

TAG_LIMIT = 1 << TAG_BITS

_OWN_ROOM, _OWN_CONSTANTS = 1 << 10, 1 << 11
"""Places of what an operator has beside operands and stages."""

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
    table_of : int or None
        The operator whose table computes it too, so that it has no commands and no output.
    """

    index: int
    op: str
    name: str
    reason: str | None
    macs: int
    traffic: Traffic
    cached_bytes: int = 0
    copies: bool = False
    table_of: int | None = None

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
    for_time : bool
        Whether programs and memory have no content, and the timing model alone can take them.
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
    for_time: bool = False

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
        """A new memory with every program, its parameters and `image` in place.

        Raises: ValueError if there are none, as it was lowered for time alone.
        """
        if self.for_time:
            raise ValueError("the network was lowered for time alone: lower it without for_time")
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
    *,
    for_time: bool = False,
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
    for_time : bool
        Leave out what is in memory at the start, and touch no weight: the programs are then for
        the timing model alone, for which they are the same.

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
    # Layers that work on chip may find no room beside others. Parts of tensors may begin within a
    # beat, for which the smallest slots have no room.
    for parts, alone in ((True, False), (True, True), (False, False)):
        try:
            return _Lowering(graph, placement, profile, options, parts, alone, for_time).lowered()
        except LoweringError:
            continue
    return _Lowering(graph, placement, profile, options, False, True, for_time).lowered()


class _Lowering:
    """One call of `lower`."""

    def __init__(
        self,
        graph: Graph,
        placement: Placement,
        rounding: str,
        options: LoweringOptions,
        parts: bool,
        alone: bool,
        for_time: bool,
    ) -> None:
        self.graph = graph
        self.placement = placement
        self.options = options
        self.rounding = rounding
        self.for_time = for_time
        self.memory = MemoryMap(graph, placement.machines, rounding, for_time=for_time)
        self.machines: dict[int, Machine] = {}  # of the operators that are not on the host
        self.reasons: dict[int, str | None] = {}
        self.functions = self._functions()
        for op in graph.operators:
            machine = placement.machine(op.index)
            if machine is None:
                reason: str | None = ON_HOST
            elif op.index in self.functions:
                reason = None
            else:
                reason = why_on_host(graph, op, rounding, apart=True)
                reason = reason or lacks_room(graph, op, rounding, machine, options)
            self.reasons[op.index] = reason
            if machine is not None and reason is None:
                self.machines[op.index] = machine
        self._written_out: dict[int, Bytes] = {}  # constants that are broadcast
        self._numbers: dict[tuple[int, int], int] = {}  # of tensors that only lowering knows
        self._sizes: dict[int, int] = {}  # of these, by number
        self.streamed: set[int] = set()  # those of them that must be in memory
        self._addresses: dict[int, int] = {}
        self._alone = {
            op.index
            for op in graph.operators
            if alone and op.index in self.machines and self.works_on_chip(op)
        }
        programs = {
            operator.index: number
            for number, (operators, machine) in enumerate(self.runs())
            for operator in operators
            if machine is not None
        }
        self.views = Views(graph, rounding, programs, parts=parts)
        kept = [state for op in graph.operators for state in self.states(op)]
        self._last_use = {
            self.root(tensor): op.index for op in graph.operators for tensor in op.inputs
        }
        for function in self.functions.values():
            root = self.root(function.source.index)
            self._last_use[root] = max(self._last_use[root], function.operators[-1])
        self._last_use |= {
            self.root(tensor): len(graph.operators) for tensor in (*graph.outputs, *kept)
        }

    def _functions(self) -> dict[int, Function]:
        """The functions that are tables of one machine, by each of their operators."""
        found: dict[int, Function] = {}
        for function in functions(self.graph, self.rounding):
            machine, *others = (self.placement.machine(each) for each in function.operators)
            if (
                machine is not None
                and all(each == machine for each in others)
                and lacks_table(machine) is None
            ):
                found |= dict.fromkeys(function.operators, function)
        return found

    def works_on_chip(self, operator: Operator) -> bool:
        """Whether an operator on a machine has bytes of the activation buffer for itself."""
        work = plan(self.graph, operator, self.rounding)
        return own_bytes(work, self.machines[operator.index]) > 0

    def runs(self) -> list[tuple[list[Operator], Machine | None]]:
        """What runs where, in order."""
        return list(_runs(self.graph, self.machines, self._alone))

    def states(self, operator: Operator) -> list[int]:
        """The states that an operator on a machine leaves for the next inference."""
        if operator.index not in self.machines:
            return []
        return states(self.graph, operator, self.rounding)

    def root(self, tensor: int) -> int:
        """The tensor whose bytes a tensor has."""
        return self.views.place(tensor).tensor

    def jobs(self, operator: Operator) -> list[Job]:
        """What an operator's commands do, in order; nothing if its results are other tensors'.

        An operand that is broadcast is written out in full, as one more tensor with a negative
        number, and so is what stages hand over.
        """
        if operator.index in self.views.operators:
            return []
        if operator.index in self.functions:
            return self._table_jobs(operator, self.functions[operator.index])
        work = plan(self.graph, operator, self.rounding)
        return [*self._spread_jobs(operator, work), *self._stage_jobs(operator, work)]

    def _table_jobs(self, operator: Operator, function: Function) -> list[Job]:
        """The last operator of a function looks its values up; the others have nothing to do."""
        if operator.index != function.operators[-1]:
            return []
        source, result = (
            self.views.place(each.index) for each in (function.source, function.result)
        )
        return [Job(operator, function.work, (function.source,), (source,), (result,))]

    def _spread_jobs(self, operator: Operator, work: Plan) -> Iterator[Job]:
        """What writes computed operands out in full."""
        for spread in spreads(self.graph, operator, work):
            source = self.views.place(spread.tensor.index)
            for step in spread.steps:
                result = self.operand(operator, work, spread.position)
                if step is not spread.steps[-1]:
                    result = self._unnamed(operator, -1 - spread.position, step.nbytes)
                yield Job(operator, step.work, (step.operand,), (source,), (result,))
                source = result

    def _stage_jobs(self, operator: Operator, work: Plan) -> Iterator[Job]:
        """What computes an operator from operands that are written out."""
        operands = [self.graph.tensors[operator.inputs[each]] for each in work.operands]
        sources = [self.operand(operator, work, each) for each in work.operands]
        constants: list[Place] = []
        outputs = [self.views.place(each) for each in (*operator.outputs, *self.states(operator))]
        if room := own_bytes(work, self.machines[operator.index]):
            outputs.append(self._unnamed(operator, _OWN_ROOM, room))
        stages = stages_of(work, operands, self.machines[operator.index])
        for number, stage in enumerate(stages):
            results = tuple(outputs)
            if stage is not stages[-1]:
                nbytes = None
                if stage.result_bytes is not None:
                    nbytes = stage.result_bytes(self.machines[operator.index])
                results = (self._unnamed(operator, len(operands) + number, nbytes),)
                if stage.in_memory:
                    self.streamed.add(results[0].tensor)
            else:
                constants = self._own_constants(operator, work)
            yield Job(
                operator,
                stage.work,
                tuple(operands[each] for each in stage.sources if each < len(operands)),
                (*(sources[each] for each in stage.sources), *constants),
                results,
            )
            sources += results

    def _own_constants(self, operator: Operator, work: Plan) -> list[Place]:
        """Constants that the commands read as they read activations."""
        places = []
        for number, content in enumerate(own_constants(work)):
            flat = np.frombuffer(content.tobytes(), np.uint8)
            unnamed = self._unnamed(operator, _OWN_CONSTANTS + number, flat.size)
            self._written_out[unnamed.tensor] = flat
            places.append(unnamed)
        return places

    def operand(self, operator: Operator, work: Plan, position: int) -> Place:
        """What the commands read as an operand, in the shape that they need."""
        tensor = self.graph.tensors[operator.inputs[position]]
        shape = self.graph.tensors[operator.outputs[0]].shape
        if not is_pair(work) or tensor.size == math.prod(shape):
            return self.views.place(tensor.index)
        unnamed = self._unnamed(operator, position)
        if tensor.data is not None and unnamed.tensor not in self._written_out:
            content = tensor_to_memory(tensor, tensor.data).reshape(tensor.shape)
            self._written_out[unnamed.tensor] = np.broadcast_to(content, shape)
        return unnamed

    def _unnamed(self, operator: Operator, place: int, nbytes: int | None = None) -> Place:
        """A tensor of an operator that only lowering knows, the same for a `place`.

        Parameters: `nbytes` is its size; None is the output's.
        """
        number = self._numbers.setdefault((operator.index, place), -1 - len(self._numbers))
        output = self.graph.tensors[operator.outputs[0]]
        self._sizes[number] = output.nbytes if nbytes is None else nbytes
        return Place(number)

    def address(self, tensor: int) -> int:
        """Of a tensor in memory, which is given one if it has none."""
        if tensor >= 0:
            return self.memory.tensor(tensor)
        if tensor not in self._addresses:
            self._addresses[tensor] = (
                self.memory.put(self._written_out[tensor])
                if tensor in self._written_out
                else self.memory.reserve(self._sizes[tensor])
            )
        return self._addresses[tensor]

    def nbytes(self, tensor: int) -> int:
        """Size of a tensor."""
        if tensor >= 0:
            return self.graph.tensors[tensor].nbytes
        return self._sizes[tensor]

    def is_needed_after(self, tensor: int, operator: int) -> bool:
        """Whether a tensor is an output, or read by an operator after this one."""
        return self._last_use.get(tensor, -1) > operator

    def lowered(self) -> Lowered:
        """The whole network."""
        graph, memory = self.graph, self.memory
        for index in graph.inputs:
            memory.tensor(index)
        runs = self.runs()
        sections = {
            operators[0].index: _Section.best(self, machine, operators)
            for operators, machine in runs
            if machine is not None
        }
        parameterised = (job for each in sections.values() for job in each.parameterised)
        numbers = {job: number for number, job in enumerate(parameterised)}
        rooms = {
            machine.name: parameter_plan(
                [
                    part.demand(numbers[job], can_stay=len(parts) == 1)
                    for section in sections.values()
                    if section.machine == machine
                    for job, parts in section.parameterised.items()
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
            if all(self._table_of(op.index) is not None for op in operators):
                continue  # what they compute is in the table of an operator of another program
            section = sections[operators[0].index]
            draft, used = section.draft(rooms[machine.name], numbers, resident)
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
        for tensor in self.views.tensors:
            place = self.views.place(tensor)
            if place.tensor in memory.tensors:
                memory.alias(tensor, place.tensor, place.offset)
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
                    and op.index not in self.views.operators
                    and is_move(work := plan(graph, op, self.rounding))
                    and not has_tables(work),
                    table_of=self._table_of(op.index),
                )
                for op in graph.operators
            ),
            image=image,
            for_time=self.for_time,
            setups={name: setup.step(self).program for name, setup in setups.items()},
        )
        return lowered if self.for_time else _with_identifier(lowered)

    def _table_of(self, operator: int) -> int | None:
        """The last operator of the function that another one is part of."""
        function = self.functions.get(operator)
        last = None if function is None else function.operators[-1]
        return None if last == operator else last

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
        words, commands = emitter.finish()
        return _ProgramDraft(machine, words, commands, self.memory.reserve(words.nbytes), (), ())


@dataclass(eq=False)
class _Section:
    """A run of operators on one machine, and where its tensors are."""

    lowering: _Lowering
    machine: Machine
    operators: list[Operator]
    jobs: list[Job]
    buffers: BufferPlan
    parameterised: dict[Job, Sequence[Parameterised]] = field(default_factory=dict)
    blocks: dict[Job, list[Block]] = field(default_factory=dict)

    @classmethod
    def best(cls, lowering: _Lowering, machine: Machine, operators: list[Operator]) -> _Section:
        """The one that keeps most on chip of those whose layers fit."""
        jobs = [job for operator in operators for job in lowering.jobs(operator)]
        lifetimes = _lifetimes(lowering, operators, jobs)
        works_on_chip = len(operators) == 1 and lowering.works_on_chip(operators[0])
        plans = list(buffer_plans(lifetimes, machine, lowering.options, must_stay=works_on_chip))
        for number, buffers in enumerate(plans):
            try:
                section = cls(lowering, machine, operators, jobs, buffers)
                for job in jobs:
                    section._lower(job)
            except LoweringError:
                if number == len(plans) - 1:
                    raise
            else:
                break
        return section

    def _home(self, place: Place, moving: Sequence[int]) -> Home:
        tensor, offset = place.tensor, place.offset
        if tensor in self.buffers.tensors:
            return Home(self.buffers.tensors[tensor] + offset, True, tensor in moving)
        return Home(self.lowering.address(tensor) + offset)

    def _lower(self, job: Job) -> None:
        """Lower one job, but for its parameters."""
        work = job.work
        stored = self._stores() if job is self.jobs[-1] else ()
        loaded = self._loads() if job is self.jobs[0] else ()
        targets = [self._home(each, stored) for each in job.results]
        sources = [self._home(each, loaded) for each in job.sources]
        site = LayerSite(self.machine, self.buffers, str(job.operator), job.operands)
        if type(work) in PARAMETERISED:
            self.parameterised[job] = PARAMETERISED[type(work)](work, site, sources, targets)
        else:
            self.blocks[job] = LOWERINGS[type(work)](work, site, sources, targets)

    def draft(
        self,
        room: ParameterPlan,
        numbers: Mapping[Job, int],
        resident: dict[int, list[ParameterSet]],
    ) -> tuple[_ProgramDraft, dict[int, Traffic]]:
        """The program, and its traffic by layer; the parameters that stay join `resident`.

        Parameters: `numbers` are those of the jobs with parameters, in `room`.
        """
        lowering = self.lowering
        self._choose_cuts()
        layers = []
        for job in self.jobs:
            if job in self.parameterised:
                number, name = numbers[job], str(job.operator)
                self.blocks[job] = [
                    block
                    for part in self.parameterised[job]
                    for block in part.blocks(lowering.memory, name, number, room)
                ]
                phases = [phase for block in self.blocks[job] for phase in block.phases]
                used = {phase.parameters: None for phase in phases if phase.parameters}
                if used and number in room.resident:
                    resident.setdefault(job.operator.index, []).extend(used)
            layers.append(self._work(job))
        emitter = Emitter(self.machine, self.buffers, room, lowering.options, self._spilled())
        emitter.emit(layers, self._transfers(self._loads()), self._transfers(self._stores()))
        words, commands = emitter.finish()
        image = lowering.memory.take_image()
        address = lowering.memory.reserve(words.nbytes)
        indices = tuple(operator.index for operator in self.operators)
        return (
            _ProgramDraft(
                self.machine,
                words,
                commands,
                address,
                image,
                indices,
                self._on_chip(emitter.complete),
            ),
            emitter.traffic,
        )

    def _choose_cuts(self) -> None:
        """Cut layers of one part in two where that saves cycles."""
        layers = [(job, part) for job in self.jobs for part in self.parameterised.get(job, [None])]
        parts = [
            part if isinstance(part, Convolution) and part.words is None else None
            for _, part in layers
        ]
        known = [None if part is None else ConvolutionCuts(part) for part in parts]
        cuts = choose_cuts(self.machine, known)
        for (job, _), part, cut in zip(layers, parts, cuts, strict=True):
            if part is not None and cut is not None:
                self.parameterised[job] = [
                    replace(part, cut=cut) if each is part else each
                    for each in self.parameterised[job]
                ]

    def _produced(self) -> list[int]:
        """The tensors that the commands write, in order."""
        return list(dict.fromkeys(tensor for job in self.jobs for tensor in job.written))

    def _loads(self) -> list[int]:
        """Tensors that are on chip from the start."""
        return [tensor for tensor in _taken(self.jobs) if tensor in self.buffers.tensors]

    def _stores(self) -> list[int]:
        """Tensors that are on chip at the end and needed later."""
        last = self.operators[-1].index
        return [
            tensor
            for tensor in self._produced()
            if tensor in self.buffers.tensors and self.lowering.is_needed_after(tensor, last)
        ]

    def _spilled(self) -> list[range]:
        """Where in memory are results that stages hand over; their numbers are negative."""
        tensors = {t for t in self._produced() if t < 0 and t not in self.buffers.tensors}
        starts = {tensor: self.lowering.address(tensor) for tensor in tensors}
        return [range(at, at + self.lowering.nbytes(t)) for t, at in starts.items()]

    def _transfers(self, tensors: Iterable[int]) -> list[Transfer]:
        """Of tensors between memory and where they are on chip."""
        made = []
        for tensor in tensors:
            start = self.buffers.tensors[tensor]
            span = Span(start, start + self.lowering.nbytes(tensor))
            made.append(Transfer(span, self.lowering.address(tensor)))
        return made

    def _work(self, job: Job) -> LayerWork:
        index, blocks = job.operator.index, self.blocks[job]
        if not blocks:
            return LayerWork(index, ())
        on_chip = self.buffers.tensors
        sources = tuple(each for each in job.read if each not in on_chip)
        targets = tuple(each for each in job.written if each not in on_chip)
        return LayerWork(index, tuple(blocks), sources, targets)

    def _on_chip(self, complete: Mapping[int, int]) -> tuple[OnChip, ...]:
        """Outputs that never are in memory."""
        commands: dict[int, int] = {}
        produced, stored = set(self._produced()), set(self._stores())
        found = []
        for operator in self.operators:
            # What needs no commands is there when the last of its operands is.
            done = max((commands.get(each, 0) for each in operator.inputs), default=0)
            done = complete.get(operator.index, done)
            for tensor in operator.outputs:
                commands[tensor] = done
                place = self.lowering.views.place(tensor)
                if place.tensor in self.buffers.tensors and place.tensor in produced - stored:
                    address = self.buffers.tensors[place.tensor] + place.offset
                    found.append(OnChip(tensor, address, done))
        return tuple(found)


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


def _taken(jobs: Sequence[Job]) -> list[int]:
    """The tensors that jobs read before any of them has written them."""
    taken: dict[int, None] = {}
    written: set[int] = set()
    for job in jobs:
        taken |= dict.fromkeys(each for each in job.read if each not in written)
        written |= set(job.written)
    return list(taken)


def _lifetimes(
    lowering: _Lowering, operators: Sequence[Operator], jobs: Sequence[Job]
) -> list[Lifetime]:
    """When each tensor of a run of operators is needed, counted in jobs of the run."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    produced: list[int] = []
    loaded = set(_taken(jobs))
    for number, job in enumerate(jobs):
        for tensor in (*job.read, *job.written):
            first.setdefault(tensor, 0 if tensor in loaded else number)
            last[tensor] = number
        produced += job.written
    for tensor in produced:
        if lowering.is_needed_after(tensor, operators[-1].index):
            last[tensor] = len(jobs)  # it is stored at the end
    stored = {each for each in first if last[each] == len(jobs) and first[each] > 0}
    return [
        Lifetime(
            each,
            lowering.nbytes(each),
            first[each],
            last[each],
            from_end=each in loaded | stored,
            streamed=each in lowering.streamed,
        )
        for each in first
    ]


@dataclass(frozen=True, eq=False)
class _ProgramDraft:
    """A program before the size of the memory is known."""

    machine: Machine
    words: Words
    commands: Sequence[Command]
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
            ).listing(self.commands),
            self.on_chip,
        )


def _has_value(graph: Graph, index: int) -> bool:
    """Whether a tensor is there and is computed: neither a constant nor a variable's handle."""
    return index >= 0 and graph.tensors[index].data is None and index not in handles(graph)


def _runs(
    graph: Graph, machines: Mapping[int, Machine], alone: Collection[int]
) -> Iterator[tuple[list[Operator], Machine | None]]:
    """Host operators one by one, and maximal runs of those on one machine, with it.

    Those that are to be alone are runs of their own. What only says which variables there are and
    what they start from is left out.
    """
    run: list[Operator] = []
    of: Machine | None = None
    for operator in graph.operators:
        if operator.op in _DECLARATIONS:
            continue
        machine = machines.get(operator.index)
        apart = operator.index in alone or (run and run[-1].index in alone)
        if run and (machine != of or apart):
            yield run, of
            run = []
        of = machine
        if machine is None:
            yield [operator], None
        else:
            run.append(operator)
    if run:
        yield run, of
