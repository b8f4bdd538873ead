"""Where activations are on chip: no two share a byte that both still need."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mensa.rtl.machine import KIB
from mensa.sched.lower.buffer_plan import Lifetime, allocate, buffer_plans
from mensa.sched.lower.options import LoweringOptions
from tests.sched.runner import machine_of

MACHINE = machine_of(8, 8, 4 * KIB, 4 * KIB, entries=16, banks=4)


@st.composite
def all_lifetimes(draw):
    layers = draw(st.integers(1, 12))
    made = []
    for tensor in range(draw(st.integers(1, 14))):
        first = draw(st.integers(0, layers - 1))
        last = draw(st.integers(first, layers))
        nbytes, from_end = draw(st.integers(1, 9 * KIB)), draw(st.booleans())
        made.append(Lifetime(tensor, nbytes, first, last, from_end))
    return made


def share_bytes(a, b, addresses):
    start, other = addresses[a.tensor], addresses[b.tensor]
    return start < other + b.nbytes and other < start + a.nbytes


def alive_together(a, b):
    return a.first <= b.last and b.first <= a.last


@given(all_lifetimes(), st.integers(0, 20 * KIB), st.sampled_from([4, 16, 64]))
def test_tensors_that_are_alive_together_share_no_byte(lifetimes, size, alignment):
    addresses = allocate(lifetimes, size, alignment)
    placed = [each for each in lifetimes if each.tensor in addresses]
    for each in placed:
        assert addresses[each.tensor] % alignment == 0
        assert 0 <= addresses[each.tensor] <= size - each.nbytes
    for a, b in itertools.combinations(placed, 2):
        assert not (alive_together(a, b) and share_bytes(a, b, addresses)), (a, b)
    for left_out in (each for each in lifetimes if each.tensor not in addresses):
        others = [each for each in placed if alive_together(each, left_out)]
        # It is left out only if something larger, or the buffer's size, is in the way.
        assert others or left_out.nbytes > size


def test_a_tensor_from_the_end_is_behind_all_that_it_meets():
    # The one that begins last ends before another.
    lifetimes = [
        Lifetime(0, 4, 0, 0),
        Lifetime(1, 1, 0, 3, True),
        Lifetime(2, 4, 0, 1),
        Lifetime(3, 9, 2, 3, True),
    ]
    addresses = allocate(lifetimes, 12, 1)
    assert {0, 2, 3} <= addresses.keys()
    assert 1 not in addresses or not share_bytes(lifetimes[1], lifetimes[3], addresses)


@given(all_lifetimes())
def test_slots_for_streaming_have_banks_of_their_own(lifetimes):
    plans = list(buffer_plans(lifetimes, MACHINE, LoweringOptions()))
    for plan in plans:
        everything = len(plan.tensors) == len(lifetimes)
        assert everything == (plan.outputs.slots == 0)
        used = [
            set(range(start // bank, -(-end // bank)))
            for bank in (MACHINE.activation_bank_bytes,)
            for start, end in (
                *(
                    (ring.start, ring.start + ring.slots * ring.slot_bytes)
                    for ring in (plan.inputs, plan.outputs)
                ),
                (
                    min(plan.tensors.values(), default=0),
                    max((plan.tensors[e.tensor] + e.nbytes for e in lifetimes
                         if e.tensor in plan.tensors), default=0),
                ),
            )
        ]  # fmt: skip
        assert all(bank in range(MACHINE.activation_banks) for banks in used for bank in banks)
        for a, b in itertools.combinations(used, 2):
            assert not a & b
    if len(plans[-1].tensors) < len(lifetimes):
        assert not plans[-1].tensors


@given(all_lifetimes(), st.integers(0, 2**32))
def test_what_must_be_in_memory_finds_no_room(lifetimes, chosen):
    streamed = [
        replace(each, streamed=bool(chosen >> number & 1)) for number, each in enumerate(lifetimes)
    ]
    for plan in buffer_plans(streamed, MACHINE, LoweringOptions()):
        assert not {each.tensor for each in streamed if each.streamed} & plan.tensors.keys()
        if len(plan.tensors) < len(streamed):
            assert min(plan.inputs.slots, plan.outputs.slots) > 0
