"""Lowering a whole network: which parts run on the machine, and the programs for them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mensa.golden import (
    AddPlan,
    ConvPlan,
    Graph,
    Operator,
    PoolPlan,
    RequantPlan,
    plan,
)
from mensa.golden.plan import resolve_rounding
from mensa.rtl.machine import Machine
from mensa.rtl.program import Bytes, Program, Words
from mensa.sched.lower.convolution import lower_convolution
from mensa.sched.lower.elementwise import lower_add, lower_quantize
from mensa.sched.lower.emit import Emitter, Traffic
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.memory_map import MemoryMap, tensor_to_memory
from mensa.sched.lower.pool import lower_pool
from mensa.sched.lower.supported import why_on_host
from mensa.sched.lower.work import LayerWork

TAG_LIMIT = 1 << 16


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


@dataclass(frozen=True, eq=False)
class ProgramStep:
    """One start of the core.

    Attributes
    ----------
    program : Program
        Its `layers` are the operators that it computes.
    """

    program: Program


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
        Bytes copied and commands; nothing for an operator on the host and for a RESHAPE, whose
        output is its input.
    """

    index: int
    op: str
    name: str
    reason: str | None
    macs: int
    traffic: Traffic


@dataclass(frozen=True, eq=False)
class Lowered:
    """A network for one machine.

    All programs share one memory: tensors keep their addresses, so between steps the host reads
    and writes them with `tensor_from_memory` and `tensor_to_memory`.

    Attributes
    ----------
    graph, machine, rounding : Graph, Machine, str
        What was lowered, for what, and whose arithmetic.
    steps : tuple of HostStep and ProgramStep
        What to do, in order.
    tensors : mapping of int to int
        Address of every tensor that a step reads or writes, by index.
    memory_bytes : int
        Bytes of the memory that all programs share.
    layers : tuple of LoweredLayer
        One per operator, in order.
    """

    graph: Graph
    machine: Machine
    rounding: str
    steps: tuple[Step, ...]
    tensors: Mapping[int, int]
    memory_bytes: int
    layers: tuple[LoweredLayer, ...]

    @property
    def programs(self) -> tuple[Program, ...]:
        """The programs, in order."""
        return tuple(step.program for step in self.steps if isinstance(step, ProgramStep))

    def initial_memory(self) -> Bytes:
        """A new memory with every program and its parameters in place."""
        memory = np.zeros(self.memory_bytes, np.uint8)
        for program in self.programs:
            program.place(memory)
        return memory


def lower(graph: Graph, machine: Machine, rounding: str | None = None) -> Lowered:
    """Programs that compute a network on a machine.

    Parameters
    ----------
    graph : Graph
        The network.
    machine : Machine
        What runs it.
    rounding : "tflm", "litert" or None
        Whose arithmetic; None is the graph's default.

    Returns
    -------
    Lowered
        Each maximal run of accelerated operators as one program, the others as host steps.

    Raises
    ------
    LoweringError
        If a layer can't be cut into tiles that fit the machine's buffers.
    mensa.golden.GraphError
        If golden can't compute an operator.
    """
    profile = resolve_rounding(graph, rounding)
    if len(graph.operators) > TAG_LIMIT:
        raise LoweringError(f"operator {TAG_LIMIT}", f"a program has at most {TAG_LIMIT} operators")
    reasons = {op.index: why_on_host(graph, op, profile) for op in graph.operators}
    memory = MemoryMap(graph, machine)
    for index in graph.inputs:
        memory.tensor(index)
    drafts: list[HostStep | _Draft] = []
    traffic: dict[int, Traffic] = {}
    for operators, reason in _runs(graph, reasons):
        if reason is not None:
            for index in (*operators[0].inputs, *operators[0].outputs):
                if index >= 0 and graph.tensors[index].data is None:
                    memory.tensor(index)
            drafts.append(HostStep(operators[0].index, reason))
            continue
        emitter = Emitter(machine)
        emitter.emit([_lower_operator(graph, op, machine, profile, memory) for op in operators])
        traffic |= emitter.traffic
        words = emitter.finish()
        image = memory.take_image()
        address = memory.reserve(words.nbytes)
        drafts.append(_Draft(words, address, image, tuple(op.index for op in operators)))
    for index in graph.outputs:
        memory.tensor(index)
    return Lowered(
        graph=graph,
        machine=machine,
        rounding=profile,
        steps=tuple(
            draft if isinstance(draft, HostStep) else draft.step(machine, memory)
            for draft in drafts
        ),
        tensors=memory.tensors,
        memory_bytes=memory.memory_bytes,
        layers=tuple(
            LoweredLayer(
                index=op.index,
                op=op.op,
                name=graph.output_tensor(op).name,
                reason=reasons[op.index],
                macs=graph.macs(op),
                traffic=traffic.get(op.index, Traffic()),
            )
            for op in graph.operators
        ),
    )


@dataclass(frozen=True, eq=False)
class _Draft:
    """A program before the size of the memory is known."""

    words: Words
    address: int
    image: tuple[tuple[int, Bytes], ...]
    layers: tuple[int, ...]

    def step(self, machine: Machine, memory: MemoryMap) -> ProgramStep:
        return ProgramStep(
            Program(
                machine=machine,
                words=self.words,
                program_address=self.address,
                memory_bytes=memory.memory_bytes,
                image=self.image,
                tensors=memory.tensors,
                layers=self.layers,
            )
        )


def _runs(
    graph: Graph, reasons: Mapping[int, str | None]
) -> Iterator[tuple[list[Operator], str | None]]:
    """Host operators one by one, and maximal runs of accelerated ones (with no reason)."""
    run: list[Operator] = []
    for operator in graph.operators:
        reason = reasons[operator.index]
        if reason is None:
            run.append(operator)
            continue
        if run:
            yield run, None
            run = []
        yield [operator], reason
    if run:
        yield run, None


def _lower_operator(
    graph: Graph, operator: Operator, machine: Machine, rounding: str, memory: MemoryMap
) -> LayerWork:
    """One accelerated operator; its tensors and parameters are placed in `memory`."""
    index, layer = operator.index, str(operator)
    source, result = operator.inputs[0], operator.outputs[0]
    if operator.op == "RESHAPE":
        memory.alias(result, source)
        return LayerWork(index, ())
    work = plan(graph, operator, rounding)
    if isinstance(work, AddPlan):
        first, second = (_operand(graph, work, operator, place, memory) for place in (0, 1))
        return lower_add(work, machine, index, layer, (first, second), memory.tensor(result))
    addresses = memory.tensor(source), memory.tensor(result)
    if isinstance(work, ConvPlan):
        return lower_convolution(work, machine, memory, index, layer, *addresses)
    if isinstance(work, PoolPlan):
        return lower_pool(work, machine, index, layer, *addresses)
    assert isinstance(work, RequantPlan)
    return lower_quantize(work, machine, index, layer, *addresses)


def _operand(graph: Graph, work: AddPlan, operator: Operator, place: int, memory: MemoryMap) -> int:
    """Address of an operand of ADD in the output's shape; a constant is written out in full."""
    tensor = graph.tensors[operator.inputs[place]]
    if tensor.data is None or math.prod(work.input_shapes[place]) == math.prod(work.output_shape):
        return memory.tensor(tensor.index)
    content = tensor_to_memory(tensor, tensor.data).reshape(tensor.shape)
    return memory.place(np.broadcast_to(content, work.output_shape))
