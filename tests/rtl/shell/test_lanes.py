"""A port of several lanes whose memories answer when they like."""

from __future__ import annotations

import gc
import random
from collections import deque
from dataclasses import dataclass, field

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from mensa.rtl.shell.lanes import ReadLanes, WriteLanes
from tests.rtl import bench
from tests.rtl.lockstep import Port, SideBySide

# Components that are only looked at, or refused.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SHAPES = ((8, 2), (16, 4), (256, 2))
BURSTS = 150
SILENCE = 500
"""Cycles without any transfer after which something hangs."""


def test_lanes():
    parts = {f"read_{b}_{n}": ReadLanes(32, b, n) for b, n in SHAPES}
    parts |= {f"write_{b}_{n}": WriteLanes(32, b, n) for b, n in SHAPES}
    bench.run(SideBySide(parts), __file__)


@pytest.mark.parametrize("wrong", [0, 1, 3, 32])
def test_lanes_that_can_not_be_are_refused(wrong):
    with pytest.raises(ValueError, match="Lanes must be a power of two of at least 2"):
        ReadLanes(32, 16, wrong)
    gc.collect()  # now, while the warning is off


@dataclass
class Stream:
    """One side of a channel that gives: valid stays until it is taken."""

    port: Port
    prefix: str
    rng: random.Random
    items: deque[dict[str, int]] = field(default_factory=deque)
    shown: bool = False

    def took(self) -> bool:
        """Whether what was shown is gone; called at a clock edge."""
        taken = self.shown and bool(int(getattr(self.port, f"{self.prefix}ready").value))
        if taken:
            self.items.popleft()
            self.shown = False
        return taken

    def show(self) -> None:
        self.shown = self.shown or bool(self.items and self.rng.random() < 0.7)
        getattr(self.port, f"{self.prefix}valid").value = int(self.shown)
        if self.shown:
            for name, value in self.items[0].items():
                getattr(self.port, f"{self.prefix}{name}").value = value


@dataclass
class Sink:
    """One side of a channel that takes: ready as it likes; what is offered must stay."""

    port: Port
    prefix: str
    names: tuple[str, ...]
    rng: random.Random
    ready: bool = False
    waiting: dict[str, int] | None = None

    def take(self) -> dict[str, int] | None:
        """What came in the last cycle; called at a clock edge."""
        valid = bool(int(getattr(self.port, f"{self.prefix}valid").value))
        now = {n: int(getattr(self.port, f"{self.prefix}{n}").value) for n in self.names}
        if self.waiting is not None:
            assert valid, f"{self.prefix}valid fell before it was taken"
            assert now == self.waiting, "what was offered changed"
        self.waiting = now if valid and not self.ready else None
        return now if valid and self.ready else None

    def show(self) -> None:
        self.ready = self.rng.random() < 0.6
        getattr(self.port, f"{self.prefix}ready").value = int(self.ready)


def content(lane: int, address: int, nbytes: int) -> int:
    """What a lane's memory holds."""
    return int.from_bytes(random.Random(lane << 32 | address).randbytes(nbytes), "little")


def bursts(rng: random.Random, beat_bytes: int) -> list[tuple[int, int]]:
    """First beat's address, which need not be a multiple, and beats."""
    return [
        (rng.randrange(1 << 20) * beat_bytes + rng.choice([0, rng.randrange(beat_bytes)]), n)
        for n in (rng.randrange(1, 6) for _ in range(BURSTS))
    ]


def quiet_ports() -> dict[str, int]:
    ports = {}
    for beat, count in SHAPES:
        for each in ("read", "write"):
            valids = {"read": ("ar", "r"), "write": ("aw", "w", "b")}[each]
            name = f"{each}_{beat}_{count}"
            for lane in range(count):
                ports |= {f"{name}__lane_{lane}__{c}ready": 0 for c in valids if c in ("ar", "aw")}
            ports |= {f"{name}__bus__{c}valid": 0 for c in valids if c in ("ar", "aw", "w")}
    return ports


@cocotb.test()
@cocotb.parametrize(shape=list(SHAPES))
async def every_beat_is_read_of_all_lanes(dut, shape):
    beat, count = shape
    rng = random.Random(random.getrandbits(32))
    await bench.start(dut, **quiet_ports())
    name = f"read_{beat}_{count}"
    bus = Port(dut, f"{name}__bus")
    lanes = [Port(dut, f"{name}__lane_{lane}") for lane in range(count)]
    work = bursts(rng, beat)
    asks = Stream(bus, "ar", rng)
    asks.items.extend({"addr": a, "len": n - 1, "burst": 1} for a, n in work)
    answers = Sink(bus, "r", ("data", "resp", "last"), rng)
    asked = [Sink(lane, "ar", ("addr", "len", "size"), rng) for lane in lanes]
    given = [Stream(lane, "r", rng) for lane in lanes]
    expected = deque((a // beat * beat + beat * i, i == n - 1) for a, n in work for i in range(n))
    errors: set[int] = set()  # beats of which a lane says that they went wrong
    seen = [0] * count
    number, silence = 0, 0
    while expected:
        await RisingEdge(dut.clk)
        silence += 1
        came = answers.take()
        if came is not None:
            address, last = expected.popleft()
            want = sum(
                content(lane, address // count, beat // count) << (8 * beat // count * lane)
                for lane in range(count)
            )
            assert came["data"] == want
            assert bool(came["last"]) == last
            assert bool(came["resp"]) == (number in errors)
            number, silence = number + 1, 0
        asks.took()
        for lane in range(count):
            request = asked[lane].take()
            given[lane].took()
            if request is None:
                continue
            assert request["size"] == (beat // count).bit_length() - 1
            for i in range(request["len"] + 1):
                wrong = rng.random() < 0.05
                if wrong:
                    errors.add(seen[lane])
                seen[lane] += 1
                at = request["addr"] + i * (beat // count)
                given[lane].items.append(
                    {
                        "data": content(lane, at, beat // count),
                        "resp": rng.choice([2, 3]) if wrong else 0,
                        "last": int(i == request["len"]),
                    }
                )
        for each in (asks, answers, *asked, *given):
            each.show()
        assert silence < SILENCE, f"beat {number} doesn't come"
    assert not asks.items
    assert not any(each.items for each in given)


@cocotb.test()
@cocotb.parametrize(shape=list(SHAPES))
async def every_beat_is_written_to_all_lanes(dut, shape):
    beat, count = shape
    rng = random.Random(random.getrandbits(32))
    await bench.start(dut, **quiet_ports())
    name = f"write_{beat}_{count}"
    bus = Port(dut, f"{name}__bus")
    lanes = [Port(dut, f"{name}__lane_{lane}") for lane in range(count)]
    work = bursts(rng, beat)
    asks, beats = Stream(bus, "aw", rng), Stream(bus, "w", rng)
    asks.items.extend({"addr": a, "len": n - 1, "burst": 1} for a, n in work)
    for _, n in work:
        for i in range(n):
            values = {"data": rng.getrandbits(8 * beat), "strb": rng.getrandbits(beat)}
            beats.items.append({**values, "last": int(i == n - 1)})
    wanted = list(beats.items)
    answers = Sink(bus, "b", ("resp",), rng)
    asked = [Sink(lane, "aw", ("addr", "len", "size"), rng) for lane in lanes]
    taken = [Sink(lane, "w", ("data", "strb", "last"), rng) for lane in lanes]
    given = [Stream(lane, "b", rng) for lane in lanes]
    requests: list[list[dict[str, int]]] = [[] for _ in lanes]
    written: list[list[dict[str, int]]] = [[] for _ in lanes]
    ended, answered, silence = [0] * count, 0, 0
    wrong = [rng.randrange(count) if rng.random() < 0.1 else None for _ in work]
    while answered < len(work):
        await RisingEdge(dut.clk)
        silence += 1
        came = answers.take()
        if came is not None:
            assert bool(came["resp"]) == (wrong[answered] is not None)
            answered, silence = answered + 1, 0
        asks.took()
        beats.took()
        for lane in range(count):
            given[lane].took()
            if (request := asked[lane].take()) is not None:
                requests[lane].append(request)
            if (each := taken[lane].take()) is not None:
                written[lane].append(each)
                silence = 0
                if each["last"]:
                    failed = wrong[ended[lane]] == lane
                    given[lane].items.append({"resp": 2 if failed else 0})
                    ended[lane] += 1
        for each in (asks, beats, answers, *asked, *taken, *given):
            each.show()
        assert silence < SILENCE, f"burst {answered} is not written"
    part = beat // count
    for lane in range(count):
        assert requests[lane] == [
            {"addr": a // beat * part, "len": n - 1, "size": part.bit_length() - 1} for a, n in work
        ]
        assert written[lane] == [
            {
                "data": each["data"] >> (8 * part * lane) & ((1 << 8 * part) - 1),
                "strb": each["strb"] >> (part * lane) & ((1 << part) - 1),
                "last": each["last"],
            }
            for each in wanted
        ]
