"""What recurrent layers have in common: they work on chip, by commands of the LSTM cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mensa.rtl.commands import Mode, Rounding, Width, compute_registers
from mensa.rtl.machine import Machine
from mensa.sched.lower.elementwise import IDENTITY, vector_loops
from mensa.sched.lower.error import LoweringError
from mensa.sched.lower.work import (
    Compute,
    Home,
    LayerSite,
    ParameterSet,
    Phase,
    Registers,
    Span,
)

__all__ = [
    "UNCHANGED",
    "Command",
    "cell_command",
    "copy_on_chip",
    "phases_of",
    "require_on_chip",
    "up_to_rows",
]

Command = tuple[Compute, ParameterSet | None]
"""A command, and the parameters that it needs if they are others than before."""

UNCHANGED = compute_registers(
    MULTIPLIER=1 << 30,
    SHIFT=1,
    ROUNDING=Rounding.SINGLE,
    OUT_ZERO_POINT=0,
    CLAMP_MIN=-(1 << 15),
    CLAMP_MAX=(1 << 15) - 1,
)
"""A requantisation that leaves 16 bits as they are."""


def require_on_chip(site: LayerSite, homes: Sequence[Home], own_bytes: int) -> None:
    """Raise LoweringError unless all that a layer works with is in the activation buffer."""
    if not all(home.on_chip for home in homes):
        raise LoweringError(
            site.layer,
            f"its tensors, states and {own_bytes} B of sums are not all in the activation buffer "
            f"of {site.machine.activation_buffer_bytes} B at once; raise activation_buffer_bytes",
        )


def up_to_rows(machine: Machine, nbytes: int) -> int:
    """So many bytes, or more, that are whole rows of the buffer."""
    return -(-nbytes // machine.row_bytes) * machine.row_bytes


def copy_on_chip(machine: Machine, source: int, target: int, nbytes: int) -> Compute:
    """A copy of neighbouring bytes; where both overlap, to lower addresses."""
    registers = IDENTITY | compute_registers(MODE=Mode.MAX, KERNEL_H=1, ACT_ZERO_POINT=0)
    return Compute(
        {**registers, **vector_loops(machine, nbytes, (source,), target)},
        reads=(Span(source, source + nbytes),),
        writes=Span(target, target + nbytes),
    )


def cell_command(
    machine: Machine,
    mode: Mode,
    numbers: int,
    registers: Registers,
    reads: tuple[Span, ...],
    target: int,
    width: Width,
) -> Compute:
    """A command that gives so many neighbouring numbers, K at a time.

    Parameters: `registers` say what of, how many gates or pairs, and what scales the results;
    `reads` is where the former are, `target` where the latter go, of this `width`.
    """
    lanes, short = machine.state_lanes, Width.INT16.nbytes
    groups = -(-numbers // lanes)
    last = numbers - (groups - 1) * lanes
    return Compute(
        compute_registers(
            MODE=mode,
            KEEP=0,
            X_START=0,
            Y_START=0,
            INPUT_ROW_BYTES=numbers * machine.recurrent_width.nbytes,
            INPUT_ROWS=1,
            PIXELS=1,
            OUT_WIDTH=1,
            KERNEL_W=1,
            TAP_Y_ADDRESS_STEP=0,
            SEGMENT=lanes * short,
            LAST_SEGMENT=last * short,
            GROUPS=groups,
            GROUP_ACT_STEP=lanes * short,
            GROUP_CHANNELS=lanes,
            LAST_GROUP_CHANNELS=last,
            EDGE_CHANNELS=0,
            ACT_ZERO_POINT=0,
            UNIFORM=1,
            BIAS=0,
            WIDTH=width,
            OUT_ADDRESS=target,
            OUT_X_STEP=0,
            OUT_Y_STEP=0,
        )
        | dict(registers),
        reads=reads,
        writes=Span(target, target + numbers * width.nbytes),
    )


def phases_of(commands: Iterable[Command]) -> Iterator[Phase]:
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
