"""Layers in parts: the next one begins while results of the one before drain."""

from __future__ import annotations

import random

import numpy as np
import pytest

import mensa.golden as golden
from mensa.rtl.commands import Keep, Mode, Token, Unit
from mensa.rtl.machine import edge_tpu
from mensa.sched.lower import cuts, lower, network
from mensa.sched.lower.work import Channels, Span
from mensa.sched.placement import all_on
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.memory import lpddr4
from tests.sched.lower.hazards import Watcher
from tests.sched.runner import assert_equals_golden, random_inputs

SMALL = edge_tpu.replace(rows=16, cols=16)
CHAINS = {
    "rows": ((16, 12), 16, 16),
    "groups": ((5, 3), 32, 40),
    "both": ((9, 6), 24, 16),
}
"""Size of the image, and channels of the layers in turn."""


def chain(size, *channels, pairs=3):
    """Pointwise and depthwise layers in turn, as in a mobile network."""
    rng = np.random.default_rng(1)
    builder = golden.GraphBuilder()
    x = builder.input((1, *size, channels[-1]), scale=0.5, zero_point=3)
    last = channels[-1]
    fields = {"weight_scale": 0.02, "scale": 0.7, "zero_point": -5}
    for number in range(pairs):
        for kind in ("conv", "depthwise"):
            count = channels[number % len(channels)]
            shape = (count, 1, 1, last) if kind == "conv" else (1, 3, 3, count)
            weights = rng.integers(-127, 128, shape).astype(np.int8)
            layer = builder.conv2d if kind == "conv" else builder.depthwise_conv2d
            x = layer(x, weights, rng.integers(-999, 999, count), **fields)
            last = count
    return builder.build([x])


def cycles(lowered):
    (program,) = lowered.programs
    return ModelEngine(SMALL, lpddr4).run(program).cycles


@pytest.mark.parametrize("name", CHAINS)
def test_cuts_save_cycles_and_none_saves_much_more(name, monkeypatch):
    graph = chain(*CHAINS[name])
    layers = []

    def seen(machine, given):
        layers[:] = given
        return cuts.choose_cuts(machine, given)

    monkeypatch.setattr(network, "choose_cuts", seen)
    lowered = lower(graph, all_on(SMALL))
    assert_equals_golden(lowered, random_inputs(graph, 1), Watcher)
    chosen = cycles(lowered)

    choices = [[None, *(layer.cuts([]) if layer else ())] for layer in layers]
    rng = random.Random(name)
    tried = [[None] * len(layers)]
    tried += [[rng.choice(each) for each in choices] for _ in range(60)]
    found = []
    for way in tried:
        monkeypatch.setattr(network, "choose_cuts", lambda _, __, way=way: way)
        found.append(cycles(lower(graph, all_on(SMALL))))
    assert chosen < found[0]
    assert chosen <= 1.01 * min(found)


@pytest.mark.parametrize("name", CHAINS)
def test_every_cut_computes_the_same(name, monkeypatch):
    graph = chain(*CHAINS[name], pairs=2)
    kinds = set()
    rng = random.Random(name)
    for _ in range(6):

        def any_cut(_, layers):
            ways = [rng.choice([None, *layer.cuts([])]) if layer else None for layer in layers]
            kinds.update(cut.of_groups for cut in ways if cut is not None)
            return ways

        monkeypatch.setattr(network, "choose_cuts", any_cut)
        lowered = lower(graph, all_on(SMALL))
        assert_equals_golden(lowered, random_inputs(graph, 1), Watcher)
    assert kinds == ({False} if name == "rows" else {False, True})


def test_channels_of_one_group_are_all_that_a_filter_s_waits_for():
    graph = chain((5, 3), 32, pairs=3)
    (program,) = lower(graph, all_on(SMALL)).programs
    commands = [c for c in program.commands() if c.unit == Unit.COMPUTE]
    filters = [n for n, c in enumerate(commands) if c["MODE"] == Mode.FILTER and c.tag == 3]
    first, second = filters
    assert commands[first].tag == commands[second].tag
    # The convolution before has two commands, too; each filter waits for one of them.
    assert [c.tag for c in commands[first - 2 : first]] == [2, 2]
    assert Token.SETTLED in commands[first].wait
    assert Token.SETTLED in commands[first - 2].signal


def test_sums_of_the_channels_that_are_there_wait_for_the_others():
    graph = chain((5, 3), 32, pairs=3)
    lowered = lower(graph, all_on(SMALL))
    (program,) = lowered.programs
    commands = [c for c in program.commands() if c.unit == Unit.COMPUTE]
    kept = [c for c in commands if c["KEEP"] == Keep.UNDRAINED]
    assert {c.tag for c in kept} >= {2}
    for command in kept:
        following = commands[commands.index(command) + 1]
        assert following["KEEP"] == Keep.CONTINUE
        assert command["SEGMENT"] + following["SEGMENT"] == 32
        assert all(Token.SETTLED in each.wait for each in (command, following))
    assert_equals_golden(lowered, random_inputs(graph, 2), Watcher)


def test_a_span_of_some_channels_meets_only_what_shares_them():
    low, high, middle = (
        Span(0, 320, Channels(0, 32, *ends)) for ends in ((0, 16), (16, 32), (8, 24))
    )
    elsewhere = Span(0, 320, Channels(16, 32, 16, 32))  # of another tensor: who knows
    for one, other, meet in (
        (low, high, False),
        (low, middle, True),
        (high, middle, True),
        (low, Span(100, 101), True),
        (low, Span(320, 330), False),
        (low, elsewhere, True),
    ):
        assert one.overlaps(other) == other.overlaps(one) == meet
    assert Span(0, 320).covers(low)
    assert not low.covers(Span(0, 320))
    assert low.covers(Span(0, 100, low.channels))
    assert not low.covers(Span(0, 100, high.channels))
