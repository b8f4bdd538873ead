"""The command set, defined once: gateware, assembler, disassembler, C header and docs use it.

A program is a sequence of 64-bit little-endian words: a header, then commands. A command sets one
register of a unit (`SET`), starts a unit with the registers as they stand (`GO`), or ends the
program (`END`). Registers keep their values from one GO to the next.

| bits  | SET      | GO                        | END |
|-------|----------|---------------------------|-----|
| 63:60 | opcode 1 | opcode 2                  | opcode 3 |
| 59:56 | unit     | unit                      | 0   |
| 55:48 | register | tokens to wait for        | 0   |
| 47:40 | 0        | tokens to signal when done| 0   |
| 31:0  | value    | layer tag (16 bits)       | 0   |
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, Unpack, cast, get_type_hints

COMMAND_SET_VERSION = 6
"""Rises with every change that makes old programs mean something else."""

MAGIC = 0x534E454D
"""First 32 bits of a program: the letters MENS."""

HEADER_WORDS = 2
"""The words before the first command:

| bits  | word 0 | bits | word 1 |
|-------|--------|------|--------|
| 63:40 | set-up identifier | 63 | 1: this program is that set-up; 0: it needs it |
| 39:32 | version of the command set | 62:32 | all words, header and END included |
| 31:0  | magic  | 31:0 | configuration hash |

A program whose identifier is 0 neither is a set-up nor needs one. One that needs a set-up runs only
if that has ended well and no program has begun since but those that need the same.
"""

VERSION_BITS = 8
SETUP_BITS = 24
WORD_COUNT_BITS = 31

WORD_BYTES = 8

TAG_BITS = 16
"""Bits of a command's layer tag."""


class Opcode(enum.IntEnum):
    """What a word does."""

    SET = 1
    GO = 2
    END = 3


class Unit(enum.IntEnum):
    """The units that take commands."""

    LOAD = 0
    COMPUTE = 1
    STORE = 2


class Token(enum.IntEnum):
    """Counters through which units wait for one another; a GO waits for and signals a set of them.

    A unit starts when every token of its wait set is above zero and takes one from each; when it
    is done it adds one to each token of its signal set.
    """

    PARAMETERS_READY = 0  #: load to compute: parameters and constants are in their buffers
    ACTIVATIONS_READY = 1  #: load to compute: the inputs of a block are in their slot
    RESULTS_READY = 2  #: compute to store: the outputs of a block are in their slot
    PARAMETERS_FREE = 3  #: compute to load: a slot for parameters may be written again
    ACTIVATIONS_FREE = 4  #: compute to load: a slot for inputs may be written again
    RESULTS_FREE = 5  #: store to compute: a slot for outputs may be written again
    STORED = 6  #: store to load: a layer's outputs are in memory
    SETTLED = 7  #: compute to compute: results are in the activation buffer and may be read


class Space(enum.IntEnum):
    """Where a load puts its bytes."""

    ACTIVATION = 0
    PARAMETER = 1
    CONSTANT = 2


class Mode(enum.IntEnum):
    """What the compute unit does with the activations it reads."""

    CONV = 0  #: array: every column sees every byte of a segment
    DEPTHWISE = 1  #: array: a byte of a segment is seen by the columns of its own channel only
    FILTER = 2  #: array as a filter: as DEPTHWISE with multiplier 1, parameters stay, sums move
    MAX = 3  #: vector unit: largest value over the taps
    SUM = 4  #: vector unit: sum over the taps of (value - zero point)
    SCALED_SUM = 5  #: vector unit: tap 0 and tap 1 each rescaled, then added (ADD)
    SCALED_DIFFERENCE = 6  #: vector unit: the same, tap 1 taken from tap 0 (SUB)
    PRODUCT = 7  #: vector unit: tap 0 times tap 1, zero points subtracted (MUL)
    MIN = 8  #: vector unit: smallest value over the taps
    TABLE = 9  #: vector unit: what a table of 256 entries has for each value
    CELL_STATE = 10  #: LSTM cell: the next cell state, of the gates' sums and of the one before
    HIDDEN_STATE = 11  #: LSTM cell: the output gate times the hyperbolic tangent of the cell state
    GATE_SUM = 12  #: LSTM cell: the sum of a gate's two sums, saturated to 16 bits
    DOT = 13  #: LSTM cell: products of pairs of 16-bit numbers, added up
    SOFTMAX = 14  #: softmax unit: each value's share of its row's sum of exponentials

    @property
    def is_tiled(self) -> bool:
        """Whether results grow in the array tile by tile."""
        return self in (Mode.CONV, Mode.DEPTHWISE)

    @property
    def is_dense(self) -> bool:
        """Whether every channel of a group sees every byte of a segment, not one of its own."""
        return self == Mode.CONV

    @property
    def is_vector(self) -> bool:
        """Whether it needs no weights: vector unit, LSTM cell or softmax unit computes it."""
        return self >= Mode.MAX

    @property
    def is_cell(self) -> bool:
        """Whether the LSTM cell computes it, from values of two bytes."""
        return Mode.CELL_STATE <= self <= Mode.DOT

    @property
    def is_scaled(self) -> bool:
        """Whether both taps are rescaled before they are added or subtracted."""
        return self in (Mode.SCALED_SUM, Mode.SCALED_DIFFERENCE)

    @property
    def has_operands(self) -> bool:
        """Whether it has two operands, the two tap rows, each with a zero point of its own."""
        return self.is_scaled or self == Mode.PRODUCT

    @property
    def is_extremum(self) -> bool:
        """Whether it takes one of the values, as it came; those outside count for nothing."""
        return self in (Mode.MAX, Mode.MIN)


_MODES = "what to do: " + ", ".join(
    f"{mode.value} {mode.name.lower().replace('_', ' ')}" for mode in Mode
)

SCALED_SUM_LEFT_SHIFT = 20
"""Bits that both operands of a scaled sum or difference gain before their multipliers."""

TABLE_BYTES = 256
"""Bytes of a command's table: entry v + 128 is for value v."""


EXPONENTIALS = 256
"""Entries of a softmax's table, signed, of four bytes: entry d is the exponential of a value d
below its row's largest, in units of 2**-31. That of the largest itself is always 2**31 - 1. What is
below zero adds nothing to a sum; so -2 stands for a value that is too far away to count."""

EXPONENTIAL_BYTES = 4 * EXPONENTIALS
"""Bytes of such a table."""

MOST_SOFTMAX_ELEMENTS = 4095
"""Elements of a row of a softmax at most, so that its sum fits 31 bits."""


class Keep(enum.IntFlag):
    """What the array does with its sums; the bits of the register KEEP."""

    CONTINUE = 1  #: go on from the sums of the command before
    UNDRAINED = 2  #: leave the sums in the array, for the command after to continue


class Width(enum.IntEnum):
    """Bytes of a result, the least significant first; the values of the register WIDTH."""

    BYTE = 0
    INT16 = 1
    INT32 = 2

    @property
    def nbytes(self) -> int:
        """How many."""
        return 1 << self


class Rounding(enum.IntEnum):
    """How the requantiser rounds."""

    DOUBLE = 0  #: high half rounded, then rounded again by the shift, halves away from zero
    SINGLE = 1  #: rounded once, halves away from zero


@dataclass(frozen=True)
class Register:
    """One register of a unit: its bits, whether it is signed, and what it means."""

    name: str
    bits: int
    signed: bool
    meaning: str

    @property
    def least(self) -> int:
        """Smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def most(self) -> int:
        """Largest value."""
        return (1 << (self.bits - self.signed)) - 1


@dataclass(frozen=True)
class Unsigned:
    """The width of a register in the tables below."""

    bits: int


@dataclass(frozen=True)
class Signed:
    """The same, of one in two's complement."""

    bits: int


ADDRESS_BITS = 32
"""Bits of an address in memory."""

BUFFER_ADDRESS_BITS = 28
"""Bits of a byte address in a buffer; address arithmetic wraps at this width."""


class CopyRegisters(TypedDict, total=False):
    """What a load and a store say."""

    MEMORY_ADDRESS: Annotated[int, Unsigned(32), "address in memory of the first byte"]
    BUFFER_ADDRESS: Annotated[
        int, Unsigned(28), "byte address in the buffer; equal to MEMORY_ADDRESS modulo a beat"
    ]
    ROW_BYTES: Annotated[int, Unsigned(28), "bytes of a row, at least 1"]
    ROWS: Annotated[int, Unsigned(24), "rows, at least 1"]
    MEMORY_PITCH: Annotated[int, Unsigned(32), "bytes from row to row in memory"]
    BUFFER_PITCH: Annotated[
        int, Unsigned(28), "bytes from row to row in the buffer; equal modulo a beat"
    ]


class LoadRegisters(CopyRegisters, total=False):
    """What a load says."""

    SPACE: Annotated[int, Unsigned(2), "buffer to write: 0 activation, 1 parameter, 2 constant"]


class ComputeRegisters(TypedDict, total=False):
    """What a compute command says."""

    MODE: Annotated[int, Unsigned(4), _MODES]
    KEEP: Annotated[
        int,
        Unsigned(2),
        "bit 0: continue the sums of the command before; bit 1: keep them undrained",
    ]
    # Which activations: output pixels in raster order, and for each its taps.
    ACT_ADDRESS: Annotated[
        int, Signed(28), "buffer address of pixel 0, tap 0, group 0, as if not padded"
    ]
    X_START: Annotated[
        int, Signed(24), "byte position in its input row of pixel 0, tap 0; negative in padding"
    ]
    Y_START: Annotated[int, Signed(16), "input row of pixel 0, tap 0; negative in padding"]
    INPUT_ROW_BYTES: Annotated[
        int, Unsigned(24), "bytes of an input row; a byte outside counts as zero point"
    ]
    INPUT_ROWS: Annotated[int, Unsigned(16), "input rows; a row outside counts as zero point"]
    PIXELS: Annotated[int, Unsigned(24), "output pixels of this command, at least 1"]
    OUT_WIDTH: Annotated[int, Unsigned(16), "output pixels in a row, at least 1"]
    PIXEL_X_STEP: Annotated[
        int, Unsigned(24), "bytes from an output pixel's window to the next one's"
    ]
    PIXEL_Y_STEP: Annotated[int, Unsigned(16), "input rows from an output row to the next"]
    PIXEL_Y_ADDRESS_STEP: Annotated[int, Signed(28), "the same in bytes of buffer address"]
    KERNEL_H: Annotated[int, Unsigned(16), "tap rows, at least 1"]
    KERNEL_W: Annotated[int, Unsigned(16), "tap columns, at least 1"]
    TAP_X_STEP: Annotated[int, Unsigned(24), "bytes from a tap to the next in its row"]
    TAP_Y_STEP: Annotated[int, Unsigned(16), "input rows from a tap row to the next"]
    TAP_Y_ADDRESS_STEP: Annotated[int, Signed(28), "the same in bytes of buffer address"]
    SEGMENT: Annotated[int, Unsigned(24), "bytes of a tap that are used, per group, at least 1"]
    LAST_SEGMENT: Annotated[int, Unsigned(24), "the same in the last group"]
    GROUPS: Annotated[int, Unsigned(16), "groups of output channels, at least 1"]
    GROUP_ACT_STEP: Annotated[
        int, Unsigned(24), "bytes in activation address and row position from group to group"
    ]
    GROUP_CHANNELS: Annotated[
        int, Unsigned(8), "output channels of a group, at least 1; at most what the mode allows"
    ]
    LAST_GROUP_CHANNELS: Annotated[int, Unsigned(8), "output channels of the last group"]
    EDGE_CHANNELS: Annotated[
        int, Unsigned(8), "output channels of the last pixel of an output row; 0: as of others"
    ]
    DEPTH_MULTIPLIER: Annotated[int, Unsigned(8), "depthwise: output channels per input channel"]
    # The stream of a filter (rtl/arrays/filter/filter_stream.py gives these from others).
    STREAM_ROWS: Annotated[int, Unsigned(16), "filter: input rows that pass, at least 1"]
    STREAM_COLUMNS: Annotated[int, Unsigned(16), "filter: positions in an input row, at least 1"]
    STREAM_TAPS: Annotated[
        int, Unsigned(8), "filter: words at a position, TAP_X_STEP bytes apart, at least 1"
    ]
    STREAM_STEP: Annotated[int, Unsigned(24), "filter: bytes from a position to the next"]
    STREAM_ROW_STEP: Annotated[
        int, Signed(28), "filter: bytes of buffer address from an input row to the next"
    ]
    STREAM_FIRST: Annotated[
        int, Unsigned(16), "filter: word of a row with which its first result is complete"
    ]
    STREAM_RESULT_STEP: Annotated[
        int, Unsigned(8), "filter: words from a result to the next in its row"
    ]
    STREAM_FIRST_ROW: Annotated[
        int, Unsigned(16), "filter: input row with which the first results are complete"
    ]
    FILTER_ROW: Annotated[int, Unsigned(8), "filter: array row that holds the first tap"]
    FILTER_TAP_STEP: Annotated[
        int, Unsigned(8), "filter: array rows from a tap to the next in its tap row"
    ]
    FILTER_TAP_ROW_STEP: Annotated[
        int, Unsigned(8), "filter: array rows from a tap row to the next"
    ]
    # Parameters.
    PARAMETER_ADDRESS: Annotated[
        int,
        Unsigned(28),
        "address of the first word, or of the table, in the memory for parameters",
    ]
    CONSTANT_ENTRY: Annotated[
        int, Unsigned(12), "first entry of channel records, one entry a group"
    ]
    # The LSTM cell; the sums of its gates' inputs are at ACT_ADDRESS, KERNEL_H gates of them. DOT:
    # KERNEL_H pairs, of which one number is there and the other at STATE_ADDRESS.
    RECURRENT_ADDRESS: Annotated[
        int,
        Unsigned(28),
        "cell: buffer address of the first gate's recurrent sums; of four bytes 17 bits count",
    ]
    STATE_ADDRESS: Annotated[int, Unsigned(28), "cell: buffer address of the cell state"]
    STATE_INTEGER_BITS: Annotated[
        int, Unsigned(3), "cell: bits before the point of the cell state, 0 to 6"
    ]
    # Arithmetic.
    ACT_ZERO_POINT: Annotated[
        int, Signed(8), "zero point of the activations (of operand 0, if there are two)"
    ]
    ACT_ZERO_POINT_1: Annotated[int, Signed(8), "zero point of operand 1"]
    PARAMETER_ZERO_POINT: Annotated[int, Signed(8), "zero point of the parameters"]
    SCALE_0_MULTIPLIER: Annotated[
        int, Unsigned(31), "scaled: multiplier of operand 0, after a left shift of 20"
    ]
    SCALE_0_SHIFT: Annotated[int, Unsigned(5), "scaled: right shift of operand 0"]
    SCALE_1_MULTIPLIER: Annotated[int, Unsigned(31), "scaled: multiplier of operand 1"]
    SCALE_1_SHIFT: Annotated[int, Unsigned(5), "scaled: right shift of operand 1"]
    UNIFORM: Annotated[
        int, Unsigned(1), "1: one bias, multiplier and shift for all channels, from the next three"
    ]
    BIAS: Annotated[int, Signed(32), "uniform bias"]
    MULTIPLIER: Annotated[int, Unsigned(31), "uniform multiplier"]
    SHIFT: Annotated[int, Signed(6), "uniform shift, positive is left; -31 to 30"]
    ROUNDING: Annotated[int, Unsigned(1), "0 double, 1 single"]
    OUT_ZERO_POINT: Annotated[int, Signed(8), "zero point of the outputs"]
    CLAMP_MIN: Annotated[int, Signed(17), "smallest output"]
    CLAMP_MAX: Annotated[int, Signed(17), "largest output"]
    WIDTH: Annotated[int, Unsigned(2), "bytes of an output: 0 one, 1 two, 2 four"]
    # Where results go.
    OUT_ADDRESS: Annotated[int, Unsigned(28), "buffer address of pixel 0, channel 0"]
    OUT_X_STEP: Annotated[int, Unsigned(24), "bytes from an output pixel to the next"]
    OUT_Y_STEP: Annotated[
        int, Signed(28), "bytes from the first pixel of an output row to that of the next"
    ]


def _table(kind: Any) -> tuple[Register, ...]:
    """The registers that a TypedDict declares, in order."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        Register(name, width.bits, isinstance(width, Signed), meaning)
        for name, (width, meaning) in ((n, hint.__metadata__) for n, hint in hints.items())
    )


REGISTERS: dict[Unit, tuple[Register, ...]] = {
    Unit.LOAD: _table(LoadRegisters),
    Unit.STORE: _table(CopyRegisters),
    Unit.COMPUTE: _table(ComputeRegisters),
}
"""Every register of every unit; a register's number is its place here."""

REGISTER_NUMBER: dict[Unit, dict[str, int]] = {
    unit: {register.name: number for number, register in enumerate(registers)}
    for unit, registers in REGISTERS.items()
}
"""A register's number by unit and name."""


def register(unit: Unit, name: str) -> Register:
    """A register by its unit and name."""
    return REGISTERS[unit][REGISTER_NUMBER[unit][name]]


def compute_bits(name: str) -> int:
    """Bits of a register of a compute command."""
    return register(Unit.COMPUTE, name).bits


ENTRY_BITS = compute_bits("CONSTANT_ENTRY")
"""Bits of the number of an entry in the constant buffer."""

CHANNELS_BITS = compute_bits("GROUP_CHANNELS")
"""Bits of a number of channels of a group."""


def copy_registers(**values: Unpack[LoadRegisters]) -> dict[str, int]:
    """Registers of a load or a store, by name; a type checker knows the names."""
    return cast("dict[str, int]", values)


def compute_registers(**values: Unpack[ComputeRegisters]) -> dict[str, int]:
    """Registers of a compute command, by name; a type checker knows the names."""
    return cast("dict[str, int]", values)


COUNTS = (
    "PIXELS",
    "OUT_WIDTH",
    "KERNEL_H",
    "KERNEL_W",
    "GROUPS",
    "LAST_SEGMENT",
    "LAST_GROUP_CHANNELS",
)
"""Registers of a compute command that are at least 1, as they count turns of a loop or channels."""

GROUP_COUNTS = ("SEGMENT", "GROUP_CHANNELS")
"""The same, where there is more than one group."""

MODE_COUNTS = {Mode.FILTER: ("STREAM_ROWS", "STREAM_COLUMNS", "STREAM_TAPS")}
"""The same, by mode, of those that only one mode has."""
