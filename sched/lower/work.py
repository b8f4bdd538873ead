"""What a layer asks of the units, before anybody has decided on slots and tokens.

A layer is blocks of its output; a block is copies in, phases of computing, copies out. What is
streamed is addressed from the start of the slot that `mensa.sched.lower.emit` gives the block;
tensors that stay on chip are addressed as they lie in the activation buffer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mensa.golden import Tensor
from mensa.rtl.machine import Machine
from mensa.sched.lower.buffer_plan import BufferPlan

Registers = Mapping[str, int]


@dataclass(frozen=True)
class Home:
    """Where a tensor is while a program runs.

    Attributes
    ----------
    address : int
        Of its first byte, in memory or in the activation buffer.
    on_chip : bool
        Whether it is in the activation buffer.
    moves : bool
        Whether its bytes are on their way from or to memory while the layer runs: always, if it is
        not on chip.
    """

    address: int
    on_chip: bool = False
    moves: bool = True


@dataclass(frozen=True)
class LayerSite:
    """What a layer is lowered for.

    Attributes
    ----------
    machine : Machine
        Which core.
    buffers : BufferPlan
        Its slots for what is streamed.
    layer : str
        What errors call the layer.
    operands : tuple of Tensor
        What its plan takes, as the graph has it.
    """

    machine: Machine
    buffers: BufferPlan
    layer: str
    operands: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Channels:
    """Channels `first` to `last` - 1 of every pixel of a tensor on chip.

    Attributes
    ----------
    tensor, pixel_bytes : int
        Address of the tensor's first byte, and bytes from pixel to pixel.
    """

    tensor: int
    pixel_bytes: int
    first: int
    last: int

    def apart(self, other: Channels) -> bool:
        """Whether they are known to share no byte."""
        same = (self.tensor, self.pixel_bytes) == (other.tensor, other.pixel_bytes)
        return same and (self.last <= other.first or other.last <= self.first)


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end` - 1 of the activation buffer, or of these only some channels'."""

    start: int
    end: int
    channels: Channels | None = None

    def overlaps(self, other: Span) -> bool:
        """Whether they may share a byte."""
        if self.channels and other.channels and self.channels.apart(other.channels):
            return False
        return self.start < other.end and other.start < self.end

    def covers(self, other: Span) -> bool:
        """Whether all of `other` is inside."""
        if self.channels not in (None, other.channels):
            return False
        return self.start <= other.start and other.end <= self.end


@dataclass(frozen=True)
class Transfer:
    """A whole tensor that is on chip and in memory.

    Attributes
    ----------
    span : Span
        Its bytes in the activation buffer.
    memory_address : int
        Of its first byte in memory, equal to the span's start modulo a beat.
    """

    span: Span
    memory_address: int

    def copy(self, part: Span | None = None) -> Copy:
        """Of some of its bytes, or all; `offset` is an address of the activation buffer."""
        part = part or self.span
        address = self.memory_address + part.start - self.span.start
        return Copy(address, part.start, part.end - part.start)


@dataclass(frozen=True)
class Copy:
    """Rows of bytes between memory and the activation buffer.

    Attributes
    ----------
    memory_address, offset : int
        Of the first byte, in memory and in the block's slot; equal modulo a beat.
    row_bytes, rows : int
        What is copied.
    memory_pitch, pitch : int
        Bytes from row to row in memory and in the buffer; of no account for a single row.
    """

    memory_address: int
    offset: int
    row_bytes: int
    rows: int = 1
    memory_pitch: int = 0
    pitch: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes that are copied."""
        return self.row_bytes * self.rows


@dataclass(frozen=True, eq=False)
class ParameterSet:
    """Parameters and constants that are on chip together.

    Attributes
    ----------
    parameter_address, parameter_bytes, constant_address, constant_bytes : int
        Where in memory they are and how much; 0 bytes of constants for none.
    resident : (int, int) or None
        The parameter buffer's address and the constant buffer's entry where they stay; None if
        they are loaded for the phases that need them.
    computed : bool
        Whether an earlier layer stores the parameters.
    """

    parameter_address: int
    parameter_bytes: int
    constant_address: int
    constant_bytes: int
    resident: tuple[int, int] | None = None
    computed: bool = False


@dataclass(frozen=True, eq=False)
class Compute:
    """One compute command.

    Attributes
    ----------
    registers : mapping of str to int
        PARAMETER_ADDRESS and CONSTANT_ENTRY count from the start of the phase's parameters,
        OUT_ADDRESS from the start of the block's slot for results unless `writes` is given.
    streamed : mapping of str to int
        How often a register contains the start of the block's slot for inputs.
    reads : tuple of Span
        Which tensors on chip it reads, and where.
    writes : Span or None
        What it writes of a tensor on chip; None if its results are streamed.
    """

    registers: Registers
    streamed: Mapping[str, int] = field(default_factory=dict)
    reads: tuple[Span, ...] = ()
    writes: Span | None = None


@dataclass(frozen=True, eq=False)
class Phase:
    """Compute commands that work from the same parameters.

    Attributes
    ----------
    commands : tuple of Compute
        In order.
    parameters : ParameterSet or None
        What they need; the same object as the phase's before if that is still good.
    """

    commands: tuple[Compute, ...]
    parameters: ParameterSet | None = None


@dataclass(frozen=True, eq=False)
class Block:
    """A part of a layer's output; what is streamed of its inputs and its outputs fits a slot."""

    loads: tuple[Copy, ...]
    phases: tuple[Phase, ...]
    stores: tuple[Copy, ...]


@dataclass(frozen=True, eq=False)
class LayerWork:
    """All blocks of the operator with index `operator`, or of one of its jobs, in order.

    Attributes
    ----------
    operator : int
        Its index.
    blocks : tuple of Block
        None for an operator without commands.
    sources : tuple of int
        Tensors that the blocks stream from memory.
    targets : tuple of int
        The tensors that they stream to memory.
    """

    operator: int
    blocks: tuple[Block, ...]
    sources: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
