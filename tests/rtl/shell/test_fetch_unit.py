"""The fetch unit: every word in the cycle that the contract names, and every error by its code."""

from __future__ import annotations

import random
from collections import deque

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.commands import COMMAND_SET_VERSION, MAGIC, REGISTERS, Opcode, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.registers import FETCH_LATENCY, PAGE_BITS, PROGRAM_ALIGNMENT_BYTES, ErrorCode
from mensa.rtl.shell.fetch_unit import FetchUnit
from mensa.sim.engines.model.dma import ReadPort
from mensa.sim.engines.model.fetch import FetchTiming
from mensa.sim.memory import PortTiming
from tests.rtl import bench

MACHINE = Machine(
    name="tiny",
    array=Systolic(rows=4, cols=4),
    clock_hz=100_000_000,
    parameter_buffer_bytes=1024,
    activation_buffer_bytes=1024,
)
PORTS = {Unit.LOAD: "load", Unit.COMPUTE: "compute", Unit.STORE: "store"}
LAST_PAGE = (1 << 20) - 1
WATCHDOG = 20_000


def header(
    words,
    *,
    magic=MAGIC,
    version=COMMAND_SET_VERSION,
    configuration=None,
    count=None,
    setup=0,
    is_setup=False,
):
    configuration = MACHINE.config_hash if configuration is None else configuration
    count = len(words) + 2 if count is None else count
    first = setup << 40 | version << 32 | magic
    return [first, is_setup << 63 | count << 32 | configuration, *words]


END = Opcode.END << 60


def set_word(unit, register, value):
    return Opcode.SET << 60 | unit << 56 | register << 48 | value


def go_word(unit, wait, signal, tag):
    return Opcode.GO << 60 | unit << 56 | wait << 48 | signal << 40 | tag


def random_program(rng, length):
    words = []
    while len(words) < length:
        unit = rng.choice(list(Unit))
        if rng.random() < 0.3:
            words.append(go_word(unit, rng.getrandbits(8), rng.getrandbits(8), rng.getrandbits(16)))
        else:
            register = rng.randrange(len(REGISTERS[unit]))
            words.append(set_word(unit, register, rng.getrandbits(32)))
    return header([*words, END])


class Memory:
    """The read port of architecture.md, cycle by cycle."""

    def __init__(self, dut, words, base, *, latency=1, num=1, den=1, outstanding=4, bad=None):
        self.dut, self.words, self.base, self.bad = dut, words, base, bad
        self.latency, self.num, self.den, self.outstanding = latency, num, den, outstanding
        self.requests = []
        self.flight = deque()  # [address, beats left, first cycle]
        self.credit = den + num - 1
        self.cycle = 0

    def drive(self):
        offered = bool(self.flight) and self.flight[0][2] <= self.cycle and self.credit >= self.den
        self.dut.bus__arready.value = int(len(self.flight) < self.outstanding)
        self.dut.bus__rvalid.value = int(offered)
        if offered:
            index = (self.flight[0][0] - self.base) // 8
            word = self.words[index] if index < len(self.words) else random.getrandbits(64)
            self.dut.bus__rdata.value = word
            self.dut.bus__rresp.value = 2 if index == self.bad else 0

    def sample(self):
        """Take what happened in the cycle that ends now."""
        dut = self.dut
        if dut.bus__rvalid.value == 1 and dut.bus__rready.value == 1:
            self.credit -= self.den
            self.flight[0][0] += 8
            self.flight[0][1] -= 1
            if not self.flight[0][1]:
                self.flight.popleft()
        if dut.bus__arvalid.value == 1 and dut.bus__arready.value == 1:
            assert dut.bus__arburst.value == 1
            assert dut.bus__arsize.value == 3
            address, beats = int(dut.bus__araddr.value), int(dut.bus__arlen.value) + 1
            self.requests.append((address, beats))
            self.flight.append([address, beats, self.cycle + self.latency])
        self.cycle += 1
        self.credit = min(self.credit + self.num, self.den + self.num - 1)


class Units:
    """Three units that take a random time to start and to finish."""

    def __init__(self, dut, rng):
        self.dut, self.rng = dut, rng
        self.pending = dict.fromkeys(Unit, 0)  # cycles until the start, 0 when nothing is pending
        self.running = dict.fromkeys(Unit, 0)
        self.latest_start = dict.fromkeys(Unit, -1)
        self.latest_done = -1

    def drive(self):
        for unit, port in PORTS.items():
            getattr(self.dut, f"{port}__pending").value = int(self.pending[unit] > 0)
        self.dut.units_idle.value = int(not any(self.running.values()))

    def clock(self, cycle, went):
        """End `cycle`; `went` is the unit of a GO in it, or None."""
        for unit in Unit:
            if self.running[unit]:
                self.running[unit] -= 1
                if not self.running[unit]:
                    self.latest_done = cycle
            elif self.pending[unit]:
                self.pending[unit] -= 1
                if not self.pending[unit]:
                    self.latest_start[unit] = cycle
                    self.running[unit] = self.rng.randint(1, 12)
        if went is not None:
            assert not self.pending[went]
            self.pending[went] = self.rng.choice([1, 1, 2, 9, 30])


def observed(dut):
    """The command on the ports in the cycle that ends now, as (unit, what was given), or None."""
    found = []
    for unit, name in PORTS.items():

        def get(member, name=name):
            return getattr(dut, f"{name}__{member}").value

        if get("set_valid") == 1:
            found.append((unit, ("set", int(get("set_register")), int(get("set_value")))))
        if get("go_valid") == 1:
            values = tuple(int(get(f"go_{m}")) for m in ("wait", "signal", "tag"))
            found.append((unit, ("go", *values)))
    assert len(found) <= 1
    return found[0] if found else None


def expected(word):
    unit = Unit(word >> 56 & 15)
    if word >> 60 == Opcode.SET:
        return unit, ("set", word >> 48 & 255, word & 0xFFFFFFFF)
    return unit, ("go", word >> 48 & 255, word >> 40 & 255, word & 0xFFFF)


async def run_program(dut, words, memory, units, *, address, fault_at=None, index=None):
    """Run from start to done.

    Returns: cycles of the handled words, the commands with theirs, and the last busy cycle.
    """
    dut.address.value = address
    dut.start.value = 1
    dut.fault.value = 0
    cycle = None  # cycle 0 is the first busy one
    commands, handled = [], []
    count = 0
    for _ in range(WATCHDOG):
        memory.drive()
        units.drive()
        await RisingEdge(dut.clk)
        if cycle is None and dut.busy.value == 1:
            cycle = 0
            dut.start.value = 0
        if cycle is None:
            # Before cycle 0 the memory's clock stands still, unless an old read is on its way.
            if memory.flight:
                memory.sample()
            continue
        memory.sample()
        # `word` counts what was handled before the last cycle.
        told = index is not None and int(dut.word.value) == index and dut.stop.value == 1
        if cycle and int(dut.word.value) > count and not told:
            count += 1
            handled.append(cycle - 2)
            assert int(dut.word.value) == count
        command = observed(dut)
        if command is not None:
            commands.append((cycle, command))
        went = command[0] if command is not None and command[1][0] == "go" else None
        units.clock(cycle, went)
        if fault_at == cycle:
            dut.fault.value = 1
        if dut.busy.value == 1:
            last = cycle
        if dut.done.value == 1:
            assert not memory.flight, "done while reads are on their way"
            assert dut.flush.value == dut.stop.value
            break
        assert dut.active.value == 1
        cycle += 1
    else:
        raise TimeoutError(
            f"not done after {WATCHDOG} cycles; {count} of {len(words)} words handled"
        )
    for late in range(2):
        memory.drive()
        units.drive()
        await RisingEdge(dut.clk)
        assert not dut.active.value, "active after done"
        if index is None and int(dut.word.value) > count:
            count += 1
            handled.append(cycle + late - 1)
    return handled, commands, last


async def begin(dut):
    await bench.start(
        dut, start=0, address=0, fault=0, units_idle=1, bus__arready=0, bus__rvalid=0,
        bus__rresp=0, bus__rdata=0, bus__rlast=0, units_quiet=1, soft_reset=0,
        fault_code=ErrorCode.BANK_CONFLICT, fault_has_word=0, fault_word=0,
        window__first=0, window__last=LAST_PAGE,
        load__pending=0, compute__pending=0, store__pending=0,
    )  # fmt: skip


@cocotb.test()
async def every_word_in_its_cycle(dut):
    await begin(dut)
    for trial in range(bench.parameter("TRIALS")):
        rng = random.Random(random.getrandbits(32))
        words = random_program(rng, rng.choice([0, 1, 13, 14, 15, 40, 300]))
        num, den = rng.choice([(1, 1), (1, 1), (1, 2), (2, 3), (3, 4), (2, 9)])
        timing = {
            "latency": rng.choice([1, 2, 7, 40]),
            "num": num,
            "den": den,
            "outstanding": rng.choice([1, 2, 4]),
        }
        address = rng.randrange(1 << 20) * PROGRAM_ALIGNMENT_BYTES
        memory = Memory(dut, words, address, **timing)
        units = Units(dut, rng)

        # The model follows in lock step: it needs the units' random starts.
        model = FetchTiming(len(words), ReadPort(PortTiming(**timing)))
        starts = {}
        clock = units.clock

        def record(cycle, went, clock=clock, units=units, starts=starts):
            before = dict(units.latest_start)
            clock(cycle, went)
            for unit in Unit:
                if units.latest_start[unit] != before[unit]:
                    starts.setdefault(unit, []).append(cycle)

        units.clock = record
        handled, commands, last = await run_program(dut, words, memory, units, address=address)

        assert [command for _, command in commands] == [expected(word) for word in words[2:-1]]
        assert dut.error.value == ErrorCode.NONE
        assert int(dut.word.value) == len(words)
        assert int(dut.commands.value) == sum(word >> 60 == Opcode.GO for word in words[2:])
        bursts = -(-len(words) // 16)
        assert memory.requests == [(address + 128 * b, 16) for b in range(bursts)]
        assert model.beats == 16 * bursts

        previous, gos, predicted = -1, dict.fromkeys(Unit, 0), []
        for k, word in enumerate(words):
            cycle = max(previous + 1, model.available(k))
            if k >= 2 and word != END:
                unit = Unit(word >> 56 & 15)
                if gos[unit]:
                    cycle = max(cycle, 1 + starts[unit][gos[unit] - 1])
                gos[unit] += word >> 60 == Opcode.GO
            elif word == END:
                cycle = max(cycle, 2 + units.latest_done)
            model.handled(k, cycle)
            predicted.append(cycle)
            previous = cycle
        assert handled == predicted, f"trial {trial}, {timing}"
        assert last == predicted[-1]


GOOD = [set_word(Unit.LOAD, 1, 2), go_word(Unit.STORE, 0, 0, 3), END]
BAD = {
    "magic": (header(GOOD, magic=1), ErrorCode.BAD_MAGIC, 0),
    "version": (header(GOOD, version=77), ErrorCode.BAD_VERSION, 0),
    "configuration": (header(GOOD, configuration=5), ErrorCode.WRONG_CONFIGURATION, 1),
    "no words": (header(GOOD, count=2), ErrorCode.NO_END, 1),
    "count of zero": (header(GOOD, count=0), ErrorCode.NO_END, 1),
    "no end": (header(GOOD[:-1]), ErrorCode.NO_END, 4),
    "opcode 0": (header([0, END]), ErrorCode.BAD_COMMAND, 2),
    "opcode 15": (header([GOOD[0], 15 << 60, END]), ErrorCode.BAD_COMMAND, 3),
    "set of unit 3": (header([set_word(3, 0, 0), END]), ErrorCode.BAD_COMMAND, 2),
    "go of unit 9": (header([go_word(9, 0, 0, 0), END]), ErrorCode.BAD_COMMAND, 2),
    **{
        f"register of {unit.name}": (
            header([GOOD[0], set_word(unit, len(REGISTERS[unit]), 0), END]),
            ErrorCode.BAD_COMMAND,
            3,
        )
        for unit in Unit
    },
}


@cocotb.test()
@cocotb.parametrize(("case", list(BAD)))
async def refuses(dut, case):
    words, code, index = BAD[case]
    await begin(dut)
    # Twice, so that the second start meets reads of the first; then a good program.
    for attempt in range(2):
        rng = random.Random(attempt)
        memory = Memory(dut, words, 0, latency=5)
        _, commands, _ = await run_program(dut, words, memory, Units(dut, rng), address=0)
        assert [command for _, command in commands] == [expected(word) for word in words[2:index]]
        assert dut.error.value == code
        assert int(dut.word.value) == index
    words = header(GOOD)
    await run_program(dut, words, Memory(dut, words, 0), Units(dut, random.Random(1)), address=0)
    assert dut.error.value == ErrorCode.NONE


@cocotb.test()
async def forgets_what_it_read_ahead(dut):
    await begin(dut)
    # What follows END in its burst looks like a program; the next start must not take it for one.
    words = header(GOOD)
    for attempt in range(3):
        memory = Memory(dut, words + words, 0, latency=9)
        units = Units(dut, random.Random(attempt))
        handled, commands, _ = await run_program(dut, words, memory, units, address=0)
        assert handled[0] == 9 + FETCH_LATENCY
        assert [command for _, command in commands] == [expected(word) for word in GOOD[:-1]]


@cocotb.test()
async def reports_bus_errors_faults_and_alignment(dut):
    await begin(dut)
    words = random_program(random.Random(3), 60)
    for bad in (0, 1, 2, 17, 40):
        memory = Memory(dut, words, 0, bad=bad)
        await run_program(dut, words, memory, Units(dut, random.Random(bad)), address=0)
        assert dut.error.value == ErrorCode.BUS_ERROR
        assert int(dut.word.value) == bad
    # An error in a word that is read but not part of the program doesn't matter.
    words = header(GOOD)
    memory = Memory(dut, words, 0, bad=len(words))
    await run_program(dut, words, memory, Units(dut, random.Random(4)), address=0)
    assert dut.error.value == ErrorCode.NONE
    words = random_program(random.Random(5), 200)

    async def run(fault_at=None):
        """Raise a fault after `fault_at`. Returns: the cycle of `done`."""
        memory, units = Memory(dut, words, 0), Units(dut, random.Random(5))
        _, _, last = await run_program(dut, words, memory, units, address=0, fault_at=fault_at)
        dut.fault.value = 0
        return last

    end = await run()
    for fault_at in (0, 5, 50, end - 2, end - 1):
        await run(fault_at)
        assert dut.error.value == ErrorCode.BANK_CONFLICT
        assert int(dut.word.value) < len(words)
    # A fault after END, while reads are on their way, counts; then it is too late.
    await run(end)
    assert dut.error.value == ErrorCode.BANK_CONFLICT
    await run(end + 200)
    assert dut.error.value == ErrorCode.NONE
    memory = Memory(dut, words, 64)
    await run_program(dut, words, memory, Units(dut, random.Random(6)), address=64)
    assert dut.error.value == ErrorCode.UNALIGNED_PROGRAM
    assert not memory.requests


@cocotb.test()
async def a_program_whose_setup_has_not_ended_well_is_refused(dut):
    await begin(dut)
    identifiers = [random.getrandbits(24) | 1 for _ in range(2)]
    known, outcomes = None, set()
    for trial in range(120):
        setup, is_setup = random.choice(
            [(0, False), *((i, s) for i in identifiers for s in (0, 1))]
        )
        fails = random.random() < 0.3
        body = [GOOD[0], 0, END] if fails else GOOD
        words = header(body, setup=setup, is_setup=is_setup)
        missing = bool(setup) and not is_setup and setup != known
        memory = Memory(dut, words, 0, latency=random.choice([1, 5]))
        _, commands, _ = await run_program(dut, words, memory, Units(dut, random), address=0)
        if missing:
            assert dut.error.value == ErrorCode.SETUP_MISSING, trial
            assert int(dut.word.value) == 1
            assert commands == []
        else:
            assert dut.error.value == (ErrorCode.BAD_COMMAND if fails else ErrorCode.NONE), trial
            if is_setup or not setup:
                known = None
            if is_setup and not fails:
                known = setup
        outcomes.add((missing, is_setup, fails))
        if random.random() < 0.1:
            dut.soft_reset.value = 1
            await RisingEdge(dut.clk)
            dut.soft_reset.value = 0
            known = None
    assert len(outcomes) == 6


@cocotb.test()
async def nothing_is_read_outside_the_window(dut):
    await begin(dut)
    refused = 0
    for trial in range(40):
        words = random_program(random, random.choice([3, 300, 900]))
        first = random.randrange(1, 6)
        last = first + random.randrange(3)
        address = random.randrange(first << PAGE_BITS, 8 << PAGE_BITS) // 128 * 128
        dut.window__first.value, dut.window__last.value = first, last
        memory = Memory(dut, words, address, latency=3)
        await run_program(dut, words, memory, Units(dut, random), address=address)
        bursts = range(0, len(words), 16)
        outside = [k for k in bursts if not first <= (address + 8 * k) >> PAGE_BITS <= last]
        if outside:
            assert dut.error.value == ErrorCode.FETCH_OUTSIDE, trial
            assert int(dut.word.value) == outside[0]
        else:
            assert dut.error.value == ErrorCode.NONE, trial
        assert all(first <= start >> PAGE_BITS <= last for start, _ in memory.requests)
        refused += bool(outside)
    assert 5 < refused < 35
    dut.window__first.value, dut.window__last.value = 0, LAST_PAGE


@cocotb.test()
async def a_fault_about_a_command_gives_its_index(dut):
    await begin(dut)
    words = random_program(random.Random(7), 100)
    dut.fault_has_word.value, dut.fault_word.value = 1, 33
    for fault_at in (30, 31, 60):
        memory, units = Memory(dut, words, 0), Units(dut, random.Random(7))
        await run_program(dut, words, memory, units, address=0, fault_at=fault_at, index=33)
        assert dut.error.value == ErrorCode.BANK_CONFLICT
        assert int(dut.word.value) == 33
    dut.fault_has_word.value = 0


@pytest.mark.parametrize("seed", [1])
def test_fetch_unit(seed):
    bench.run(FetchUnit(MACHINE), __file__, env={"TRIALS": 50}, seed=seed)
