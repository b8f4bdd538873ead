"""What of a program's activations stays on chip, where, and what is left to stream the others.

Tensors are placed by size, the largest first, each at the lowest address where nothing else is
alive at the same time ("greedy by size" of Pisarchyk and Lee, arXiv 2001.03288). One that finds no
room is streamed: it goes through memory, block by block, by way of two rings of slots. So that a
copy never meets the compute unit at a port, the rings then have banks of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mensa.rtl.machine import Machine
from mensa.sched.lower.options import LoweringOptions


@dataclass(frozen=True)
class Lifetime:
    """A tensor of a program and when its bytes are needed.

    Attributes
    ----------
    tensor, nbytes : int
        Which one, and how large it is.
    first, last : int
        Layers, counted in the program, from the one that writes it to the last that reads it.
    from_end : bool
        Whether it is placed from the buffer's end down. Tensors that come from memory or go there
        are, so that what the compute unit does meanwhile is probably in other banks.
    streamed : bool
        Whether it is never placed, since parameters are loaded from where it is in memory.
    """

    tensor: int
    nbytes: int
    first: int
    last: int
    from_end: bool = False
    streamed: bool = False

    def meets(self, other: Lifetime) -> bool:
        """Whether both are needed at some time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class RingPlan:
    """Equal slots in the activation buffer: `slots` of `slot_bytes` from `start` on."""

    start: int = 0
    slots: int = 0
    slot_bytes: int = 0

    def address(self, slot: int) -> int:
        """Of a slot."""
        return self.start + slot * self.slot_bytes


@dataclass(frozen=True)
class BufferPlan:
    """How a program uses the activation buffer.

    Attributes
    ----------
    inputs, outputs : RingPlan
        Slots for blocks of inputs and of outputs that are streamed; without bytes if none is.
    tensors : mapping of int to int
        Addresses of the tensors that stay.
    """

    inputs: RingPlan = RingPlan()
    outputs: RingPlan = RingPlan()
    tensors: Mapping[int, int] = field(default_factory=dict)


def buffer_plans(
    lifetimes: Sequence[Lifetime],
    machine: Machine,
    options: LoweringOptions,
    *,
    must_stay: bool = False,
) -> Iterator[BufferPlan]:
    """Plans for a program, those that keep more on chip first; the last one keeps nothing.

    Parameters
    ----------
    lifetimes : sequence of Lifetime
        Of all its tensors.
    machine : Machine
        Whose buffer it is.
    options : LoweringOptions
        How programs are made.
    must_stay : bool
        Whether what stays does so even without residency, as a layer that works on chip needs it.
    """
    if options.residency or must_stay:
        size = machine.activation_buffer_bytes
        found = allocate(lifetimes, size, machine.beat_bytes)
        if len(found) == len(lifetimes):
            yield BufferPlan(tensors=found)
            return
        start = rings_bytes(machine)
        ring_bytes = start // 2
        found = allocate(lifetimes, size - start, machine.beat_bytes)
        if found:
            yield BufferPlan(
                _ring(0, ring_bytes, 2, options.prefetch),
                _ring(ring_bytes, ring_bytes, 2, True),
                {tensor: start + address for tensor, address in found.items()},
            )
    banks = machine.activation_banks // 2
    half = banks * machine.activation_bank_bytes
    yield BufferPlan(_ring(0, half, banks, options.prefetch), _ring(half, half, banks, True))


def rings_bytes(machine: Machine) -> int:
    """Of both rings, where other tensors stay beside them."""
    return 2 * max(1, machine.activation_banks // 8) * machine.activation_bank_bytes


def _ring(start: int, nbytes: int, slots: int, several: bool) -> RingPlan:
    return RingPlan(start, slots if several else 1, nbytes // slots)


def allocate(lifetimes: Sequence[Lifetime], size: int, alignment: int) -> dict[int, int]:
    """Addresses of the tensors that find room in `size` bytes, multiples of `alignment`."""
    placed: list[tuple[int, Lifetime]] = []
    resident = (each for each in lifetimes if not each.streamed)
    for tensor in sorted(resident, key=lambda each: (-each.nbytes, each.first, each.tensor)):
        taken = sorted(
            (start, start + other.nbytes) for start, other in placed if other.meets(tensor)
        )
        room = (size - tensor.nbytes) // alignment * alignment
        address = _highest(taken, tensor.nbytes, room, alignment) if tensor.from_end else 0
        if not tensor.from_end:
            for start, end in taken:
                if address + tensor.nbytes <= start:
                    break
                address = max(address, -(-end // alignment) * alignment)
        if 0 <= address <= room:
            placed.append((address, tensor))
    return {tensor.tensor: address for address, tensor in placed}


def _highest(taken: Sequence[tuple[int, int]], nbytes: int, room: int, alignment: int) -> int:
    """The highest address up to `room` of so many bytes that nobody has taken, or less than 0."""
    address = room
    for start, end in sorted(taken, key=lambda each: each[1], reverse=True):
        if address >= end:
            break  # and so it is behind all others
        address = min(address, (start - nbytes) // alignment * alignment)
    return address
