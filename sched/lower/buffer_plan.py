"""What of a program's activations stays on chip, where, and what is left to stream the others.

Tensors are placed by size, the largest first, each at the lowest address where nothing else is
alive at the same time ("greedy by size" of Pisarchyk and Lee, arXiv 2001.03288). One that finds no
room is streamed: it goes through memory, tile by tile, by way of two rings of places. So that a
copy never meets the compute unit at a port, the rings then have banks of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mensa.rtl.machine import Machine


@dataclass(frozen=True)
class Lifetime:
    """A tensor of a program and when its bytes are needed.

    Attributes
    ----------
    tensor, nbytes : int
        Which one, and how large it is.
    first, last : int
        Layers, counted in the program, from the one that writes it to the last that reads it.
    """

    tensor: int
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class RingPlan:
    """Equal places in the activation buffer: `places` of `place_bytes` from `start` on."""

    start: int = 0
    places: int = 0
    place_bytes: int = 0

    def address(self, place: int) -> int:
        """Of a place."""
        return self.start + place * self.place_bytes


@dataclass(frozen=True)
class BufferPlan:
    """How a program uses the activation buffer.

    Attributes
    ----------
    inputs, outputs : RingPlan
        Places for tiles of inputs and of outputs that are streamed; without bytes if none is.
    tensors : mapping of int to int
        Addresses of the tensors that stay.
    """

    inputs: RingPlan = RingPlan()
    outputs: RingPlan = RingPlan()
    tensors: Mapping[int, int] = field(default_factory=dict)


def buffer_plans(lifetimes: Sequence[Lifetime], machine: Machine) -> Iterator[BufferPlan]:
    """Plans for a program, those that keep more on chip first; the last one keeps nothing.

    Parameters
    ----------
    lifetimes : sequence of Lifetime
        Of all its tensors.
    machine : Machine
        Whose buffer it is; its `residency` and `prefetch` count.
    """
    if machine.residency:
        size = machine.activation_buffer_bytes
        found = place(lifetimes, size, machine.beat_bytes)
        if len(found) == len(lifetimes):
            yield BufferPlan(tensors=found)
            return
        banks = max(1, machine.activation_banks // 8)
        ring_bytes = banks * machine.activation_bank_bytes
        start = 2 * ring_bytes
        found = place(lifetimes, size - start, machine.beat_bytes)
        if found:
            yield BufferPlan(
                _ring(0, ring_bytes, 2, machine.prefetch),
                _ring(ring_bytes, ring_bytes, 2, True),
                {tensor: start + address for tensor, address in found.items()},
            )
    banks = machine.activation_banks // 2
    half = banks * machine.activation_bank_bytes
    yield BufferPlan(_ring(0, half, banks, machine.prefetch), _ring(half, half, banks, True))


def _ring(start: int, nbytes: int, places: int, several: bool) -> RingPlan:
    return RingPlan(start, places if several else 1, nbytes // places)


def place(lifetimes: Sequence[Lifetime], size: int, alignment: int) -> dict[int, int]:
    """Addresses of the tensors that find room in `size` bytes, multiples of `alignment`."""
    placed: list[tuple[int, int, Lifetime]] = []
    for tensor in sorted(lifetimes, key=lambda each: (-each.nbytes, each.first, each.tensor)):
        address = 0
        for start, end, other in sorted(placed, key=lambda each: each[0]):
            if other.first <= tensor.last and tensor.first <= other.last:
                if address + tensor.nbytes <= start:
                    break
                address = max(address, -(-end // alignment) * alignment)
        if address + tensor.nbytes <= size:
            placed.append((address, address + tensor.nbytes, tensor))
    return {tensor.tensor: address for address, _, tensor in placed}
