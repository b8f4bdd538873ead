"""What stops a program: its code, the word it is about, and never a fault where there is none."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from mensa.rtl.commands import SETUP_BITS, Token, Unit
from mensa.rtl.registers import ErrorCode
from mensa.rtl.shell.faults import Faults
from mensa.rtl.shell.setup_record import SetupRecord
from tests.rtl import bench
from tests.rtl.lockstep import Port, SideBySide

CYCLES = 3000
ALL = (1 << len(Token)) - 1


def test_faults():
    bench.run(SideBySide({"faults": Faults(), "setups": SetupRecord()}), __file__)


async def begin(dut):
    names = ("reset", "go", "go_wait", "go_signal", "handled", "start", "running", "pending")
    names += (
        "load_done",
        "conflict",
        "bus_error",
        "outside",
        "refused",
        "busy",
        "progress",
        "watchdog",
    )
    faults = dict.fromkeys((f"faults__{name}" for name in (*names, "soft_reset")), 0)
    setups = ("asked", "begin", "identifier", "is_setup", "needs_it", "ended", "forget")
    await bench.start(dut, **faults, **dict.fromkeys((f"setups__{name}" for name in setups), 0))
    await RisingEdge(dut.clk)
    return Port(dut, "faults")


async def fault(dut, faults, cycles):
    """The first fault of the next cycles as (cycle, code, word or None), or None."""
    for cycle in range(cycles):
        await RisingEdge(dut.clk)
        if faults.fault.value == 1:
            await RisingEdge(dut.clk)
            word = int(faults.word.value) if faults.has_word.value == 1 else None
            return cycle, ErrorCode(int(faults.code.value)), word
    return None


async def go(dut, faults, unit, index, wait=0, signal=0):
    """Handle a GO that is word `index` of its program."""
    faults.go.value, faults.go_wait.value, faults.go_signal.value = 1 << unit, wait, signal
    await RisingEdge(dut.clk)
    faults.go.value = 0
    faults.handled.value = index


@cocotb.test()
async def a_wait_is_a_deadlock_exactly_if_no_go_before_it_gives_the_token(dut):
    faults = await begin(dut)
    deadlocks = 0
    for trial in range(300):
        faults.reset.value = 1
        await RisingEdge(dut.clk)
        faults.reset.value = 0
        promised = [0] * len(Token)
        for index in range(2, 40):
            unit = random.choice(list(Unit))
            wait = random.getrandbits(8) & random.getrandbits(8) & random.getrandbits(8)
            if random.random() < 0.8:
                wait &= sum(1 << token for token in Token if promised[token])
            signal = random.getrandbits(8)
            await go(dut, faults, unit, index, wait, signal)
            missing = any(wait >> token & 1 and not promised[token] for token in Token)
            # Commands may follow one another in consecutive cycles.
            if missing or random.random() < 0.3:
                found = await fault(dut, faults, 3)
                assert (found is not None) == missing, (trial, index)
                if found is not None:
                    assert found[1:] == (ErrorCode.DEADLOCK, index)
                    deadlocks += 1
                    break
            for token in Token:
                promised[token] += (signal >> token & 1) - (wait >> token & 1)
    assert deadlocks > 50


@cocotb.test()
async def every_strobe_has_its_code_and_names_the_command_that_started_last(dut):
    faults = await begin(dut)
    named = {
        ("conflict", None): "BANK_CONFLICT",
        ("bus_error", Unit.LOAD): "LOAD_BUS_ERROR",
        ("bus_error", Unit.STORE): "STORE_BUS_ERROR",
        ("outside", Unit.LOAD): "LOAD_OUTSIDE",
        ("outside", Unit.STORE): "STORE_OUTSIDE",
        **{("refused", unit): "REFUSED" for unit in Unit},
        ("soft_reset", None): "RESET",
    }
    for _ in range(5):
        running = {}
        for unit in Unit:
            running[unit] = random.getrandbits(32)
            await go(dut, faults, unit, running[unit], 0, ALL)
            await ClockCycles(dut.clk, 2)
            faults.start.value = 1 << unit
            await RisingEdge(dut.clk)
            faults.start.value = 0
            # One that waits is not meant.
            await go(dut, faults, unit, random.getrandbits(32), 0, ALL)
            await RisingEdge(dut.clk)
        for (port, unit), code in named.items():
            handle = getattr(faults, port)
            handle.value = 1 if unit is None else 1 << unit
            assert await fault(dut, faults, 1) == (0, ErrorCode[code], running.get(unit))
            handle.value = 0
            await RisingEdge(dut.clk)
            assert await fault(dut, faults, 3) is None


@cocotb.test()
async def a_bus_error_is_the_older_one_of_two_loads(dut):
    faults = await begin(dut)
    running = []
    for cycle in range(CYCLES):
        starts = len(running) < 2 and random.random() < 0.3
        done = bool(running) and random.random() < 0.3
        if starts:
            word = random.getrandbits(32)
            await go(dut, faults, Unit.LOAD, word, 0, ALL)
            await ClockCycles(dut.clk, 2)
        faults.start.value, faults.load_done.value = starts << Unit.LOAD, done
        faults.running.value = bool(running) << Unit.LOAD
        await RisingEdge(dut.clk)
        faults.start.value = faults.load_done.value = 0
        running = running[done:] + [word] * starts
        faults.running.value = bool(running) << Unit.LOAD
        if running:
            for port, code, index in (("bus_error", "BUS_ERROR", 0), ("refused", "REFUSED", -1)):
                handle = getattr(faults, port)
                handle.value = 1 << Unit.LOAD
                found = await fault(dut, faults, 1)
                handle.value = 0
                name = code if code == "REFUSED" else f"LOAD_{code}"
                assert found == (0, ErrorCode[name], running[index]), cycle
                await RisingEdge(dut.clk)


@cocotb.test()
async def the_watchdog_names_who_waits_after_so_many_cycles(dut):
    faults = await begin(dut)
    words = {}
    for unit in Unit:
        words[unit] = random.getrandbits(32)
        await go(dut, faults, unit, words[unit], 0, ALL)
        await ClockCycles(dut.clk, 2)
        faults.start.value = 1 << unit
        await RisingEdge(dut.clk)
        faults.start.value = 0
    for _ in range(60):
        limit = random.choice([1, 2, 3, 10, 50])
        running, pending = random.getrandbits(3), random.getrandbits(3)
        running &= random.getrandbits(3)
        faults.running.value, faults.pending.value = running, pending
        faults.watchdog.value, faults.busy.value, faults.progress.value = limit, 1, 1
        await ClockCycles(dut.clk, 3)
        # As long as something moves at least so often, there is no fault.
        for _ in range(5):
            faults.progress.value = 0
            assert await fault(dut, faults, random.randrange(limit)) is None
            faults.progress.value = 1
            assert await fault(dut, faults, 1) is None
        faults.progress.value = 0
        cycle, code, word = await fault(dut, faults, limit + 2)
        assert cycle == limit, "the strobe is a register"
        order = (Unit.LOAD, Unit.STORE, Unit.COMPUTE)
        waiting = [unit for bits in (running, pending) for unit in order if bits >> unit & 1]
        name = waiting[0].name if waiting else "FETCH"
        assert code == ErrorCode[f"WATCHDOG_{name}"]
        assert word == (words[waiting[0]] if waiting else None)
    # Nothing is watched while no program runs, nor with 0.
    for limit, busy in ((5, 0), (0, 1)):
        faults.watchdog.value, faults.busy.value, faults.progress.value = limit, busy, 1
        await ClockCycles(dut.clk, 3)
        faults.progress.value = 0
        assert await fault(dut, faults, 100) is None


@cocotb.test()
async def a_setup_counts_from_its_end_until_another_program_begins(dut):
    await begin(dut)
    setups = Port(dut, "setups")
    latest, running, valid = 0, False, False
    settled = 0
    identifiers = [random.getrandbits(SETUP_BITS) for _ in range(3)]
    for cycle in range(CYCLES):
        asked = random.choice(identifiers)
        event = random.choice(["", "", "", "setup", "inference", "other", "ended", "forget"])
        identifier = random.choice(identifiers)
        needs = event == "inference" and valid and identifier == latest
        setups.asked.value, setups.identifier.value = asked, identifier
        setups.begin.value = event in ("setup", "inference", "other")
        setups.is_setup.value, setups.needs_it.value = event == "setup", needs
        setups.ended.value, setups.forget.value = event == "ended", event == "forget"
        await RisingEdge(dut.clk)
        assert int(setups.settled.value) == (valid and asked == latest), cycle
        settled += valid
        if event == "setup":
            latest, running, valid = identifier, True, False
        elif event in ("inference", "other"):
            running, valid = False, needs
        elif event == "ended" and running:
            running, valid = False, True
        elif event == "forget":
            running = valid = False
    assert settled > CYCLES / 50  # these draws give about 1 in 18
