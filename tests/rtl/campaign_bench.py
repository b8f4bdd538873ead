"""Runs programs with faults drawn for them on a core and a memory of other authors, by cocotb."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
from collections import Counter, defaultdict

import cocotb
import numpy as np
from cocotb.triggers import Event, First, RisingEdge, Timer
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiRamRead,
    AxiRamWrite,
    AxiReadBus,
    AxiWriteBus,
)

from mensa.rtl.commands import Opcode
from mensa.rtl.registers import OFFSET, ErrorCode
from tests.rtl import bench
from tests.rtl import campaign_faults as faults
from tests.rtl.campaign_top import CHECKERS

CYCLE = 10
"""Nanoseconds."""

MOST_CYCLES = 40_000
"""Bound on a program's end."""

START, INTERRUPT_ENABLE, RESET = 1, 2, 4
BUSY, DONE, STOPPING = 1, 2, 4


class Memory:
    """One memory behind both AXI4 ports, which stalls, answers with errors, or holds a channel."""

    def __init__(self, dut):
        self.bytes = bytearray(faults.MEMORY_BYTES)
        common = {"clock": dut.clk, "reset": dut.rst, "mem": self.bytes}
        fetch = AxiRamRead(AxiReadBus.from_prefix(dut, "m_axi_command"), **common)
        load = AxiRamRead(AxiReadBus.from_prefix(dut, "m_axi_data"), **common)
        store = AxiRamWrite(AxiWriteBus.from_prefix(dut, "m_axi_data"), **common)
        self.channels = {
            "fetch_request": fetch.ar_channel,
            "fetch": fetch.r_channel,
            "load_request": load.ar_channel,
            "load": load.r_channel,
            "store_request": store.aw_channel,
            "store_data": store.w_channel,
            "store": store.b_channel,
        }
        for port in (fetch, load, store):
            port.log.setLevel("WARNING")
        for name in ("fetch", "load", "store"):
            self._answer(name, self.channels[name])
        self._count_strobes(self.channels["store_data"])
        self.clear()
        self._stalls = None

    def clear(self):
        """Forget the faults; what is held goes on."""
        if getattr(self, "held", None) is not None:
            self.channels[self.held].pause = False
            self.go_on.set()
        self.beats = Counter()
        self.responses = {}
        self.held = None
        self.held_beat = 0
        self.go_on = Event()

    def hold(self, channel, beat):
        """Let nothing move on a channel from its `beat` on, which is 0 if it is none of answers."""
        self.held, self.held_beat = channel, beat
        self.channels[channel].pause = channel not in ("fetch", "load", "store")

    def _count_strobes(self, channel):
        receive = channel.recv

        async def counted():
            beat = await receive()
            self.beats["strobed"] += int(beat.wstrb) != 0
            return beat

        channel.recv = counted

    def _answer(self, name, channel):
        send = channel.send

        async def answer(transaction):
            beat = self.beats[name]
            self.beats[name] += 1
            if self.held == name and beat >= self.held_beat:
                await self.go_on.wait()
            response = self.responses.get((name, beat))
            if response is not None:
                setattr(transaction, "bresp" if name == "store" else "rresp", response)
            await send(transaction)

        channel.send = answer

    def stall(self, rng):
        """From now on, stall each channel as `rng` says."""
        if self._stalls is not None:
            self._stalls.cancel()
        self._stalls = cocotb.start_soon(self._stall(rng))

    async def _stall(self, rng):
        chances = {name: rng.choice([0, 0, 0.2, 0.5, 0.8]) for name in self.channels}
        while True:
            for name, channel in self.channels.items():
                if name != self.held:
                    channel.pause = rng.random() < chances[name]
            await Timer(rng.randint(1, 12) * CYCLE, "ns")


@dataclasses.dataclass
class Outcome:
    """How a program ended."""

    code: ErrorCode
    word: int
    result: bytes
    before: bytes  # what was in its place


class Bench:
    """The core, its memory and its control port, with the network in memory.

    `setup` is whether the core holds the set-up: True, False, or None if that is not known.
    """

    def __init__(self, dut):
        self.dut = dut
        self.memory = Memory(dut)
        bus = AxiLiteBus.from_prefix(dut, "s_axi_control")
        self.control = AxiLiteMaster(bus, dut.clk, dut.rst)
        for log in (self.control.write_if.log, self.control.read_if.log):
            log.setLevel("WARNING")
        self.network = np.load(os.environ["NETWORK"])
        places = self.network["output_places"].tolist()
        self.places = [slice(start, start + size) for start, size in places]
        self.targets = {}
        self.setup = None

    def stall(self, rng):
        """Pauses on all channels, of the memory and of the control port."""
        self.memory.stall(rng)
        write, read = self.control.write_if, self.control.read_if
        for channel in (write.aw_channel, write.w_channel, write.b_channel,
                        read.ar_channel, read.r_channel):  # fmt: skip
            source = random.Random(rng.getrandbits(32))
            rate = rng.choice([0.0, 0.3, 0.7])
            channel.set_pause_generator(source.random() < rate for _ in itertools.repeat(None))

    async def read(self, register):
        return await self.control.read_dword(OFFSET[register])

    async def write(self, register, value):
        await self.control.write_dword(OFFSET[register], value)

    async def run(self, fault, number):
        """Run the fault's program for inference `number`. Returns: its Outcome."""
        target, memory, network = fault.target, self.memory, self.network
        memory.clear()
        memory.bytes[: network["memory"].size] = network["memory"].tobytes()
        content = b"".join(word.to_bytes(8, "little") for word in target.words)
        memory.bytes[target.address & ~127 : (target.address & ~127) + len(content)] = content
        place = int(network["input_address"])
        given = network["inputs"][number].tobytes()
        memory.bytes[place : place + len(given)] = given
        for place in self.places:
            memory.bytes[place] = random.randbytes(place.stop - place.start)
        before = bytearray(memory.bytes)
        poison = b"".join(memory.bytes[place] for place in self.places)
        memory.responses = fault.responses
        if fault.held:
            memory.hold(fault.held, fault.held_beat)

        await self.write("WINDOW_LIMIT", fault.window_limit)
        await self.write("WATCHDOG", fault.watchdog)
        await self.write("PROGRAM_ADDRESS", target.address)
        await self.write("CONTROL", START | INTERRUPT_ENABLE)
        again = []
        for after, pulse in ((fault.reset_after, RESET), (fault.start_after, START)):
            if after is not None:
                again.append(cocotb.start_soon(self._again(after, pulse)))
        if fault.held:
            await self._stopping()
            assert memory.beats[fault.held] <= fault.held_beat + 2
            await Timer(random.randint(1, 300) * CYCLE, "ns")
            assert self.dut.irq.value == 0, "the interrupt came before the port was quiet"
            memory.clear()
        if self.dut.irq.value != 1:
            await First(RisingEdge(self.dut.irq), Timer(MOST_CYCLES * CYCLE, "ns"))
        for each in again:
            await each
        if self.dut.irq.value != 1:
            where = f"STATUS {await self.read('STATUS'):#x}, word {await self.read('PROGRAM_WORD')}"
            raise TimeoutError(f"no interrupt in {MOST_CYCLES} cycles: {where}")
        status = await self.read("STATUS")
        assert status & (BUSY | DONE | STOPPING) == DONE, f"STATUS is {status:#x} with irq"
        word = await self.read("PROGRAM_WORD")
        await self.write("STATUS", DONE)
        assert self.dut.irq.value == 0
        self._check_rules()
        result = b"".join(memory.bytes[place] for place in self.places)
        for place in self.places:
            before[place] = memory.bytes[place]
        assert memory.bytes == before, "something else was written than the outputs"
        if fault.held == "store_data":
            owed = memory.beats["strobed"]
            assert owed <= 1, f"{owed} beats have strobes, of which one had waited for WREADY"
        return Outcome(ErrorCode(status >> 8), word, result, poison)

    async def _again(self, after, pulse):
        await Timer(after * CYCLE, "ns")
        await self.write("CONTROL", pulse | INTERRUPT_ENABLE)

    async def _stopping(self):
        for _ in range(MOST_CYCLES // 100):
            status = await self.read("STATUS")
            if status & STOPPING:
                assert status & (BUSY | DONE) == BUSY
                return
            await Timer(100 * CYCLE, "ns")
        raise TimeoutError(f"not STOPPING within {MOST_CYCLES} cycles: STATUS {status:#x}")

    def _check_rules(self):
        for which in CHECKERS:
            count = int(getattr(self.dut, f"violations_{which}").value)
            first = int(getattr(self.dut, f"first_{which}").value)
            assert count == 0, f"{count} violations on {which}, the first {first:#04x}"
            if which != "control":
                outstanding = int(getattr(self.dut, f"outstanding_{which}").value)
                assert outstanding == 0, f"{outstanding} bursts are outstanding on {which}"
        early = int(self.dut.early.value)
        assert early == 0, f"irq was high in {early} cycles with a burst outstanding"

    async def check(self, fault, number):
        """Run, and check the outcome. Returns: the code."""
        outcome = await self.run(fault, number)
        target, code = fault.target, outcome.code
        wanted = " or ".join(sorted(each.name for each in fault.codes))
        assert code in fault.codes, f"{code.name} at word {outcome.word}, wanted {wanted}"
        if code == ErrorCode.NONE:
            assert outcome.word == len(target.words)
            if target.name == "inference":
                assert outcome.result == self.network["outputs"][number].tobytes(), "wrong result"
        else:
            exact = self.network["outputs"][number].tobytes()
            for old, new, right in zip(outcome.before, outcome.result, exact, strict=True):
                assert new in (old, right), "what was stored before the error is wrong"
            if fault.word is not None:
                assert outcome.word == fault.word, f"word {outcome.word}, wanted {fault.word}"
            if fault.unit is not None:
                word = target.words[outcome.word]
                assert word >> 56 == Opcode.GO << 4 | fault.unit, f"word {outcome.word}: {word:#x}"
        if fault.reset_after is not None:
            self.setup = False
        elif not fault.knows_setup:
            self.setup = None
        elif target.name == "setup":
            self.setup = code == ErrorCode.NONE
        return code

    async def well(self, name, number):
        """Run one of the network's own programs; it must end well."""
        assert await self.check(faults.nothing(random, self.targets[name]), number) == 0

    async def measure(self):
        """Run both programs without faults, and remember what they move."""
        for name in faults.PROGRAMS:
            place = int(self.network[f"{name}_address"])
            words = tuple(int(word) for word in self.network[name])
            self.targets[name] = faults.Target(name, place, words, {}, 0)
            await self.well(name, 0)
            beats = {each: self.memory.beats[each] for each in ("load", "store")}
            cycles = await self.read("CYCLES_LOW")
            self.targets[name] = faults.Target(name, place, words, beats, cycles)

    async def recover(self):
        """The next programs, as if nothing had been."""
        missing = {ErrorCode.SETUP_MISSING}
        if self.setup is False and random.random() < 0.5:
            held = self.setup
            await self.check(faults.Fault(self.targets["inference"], missing), self.draw())
            assert self.setup is held
        if self.setup is not True or random.random() < 0.3:
            await self.well("setup", 0)
        await self.well("inference", self.draw())

    def draw(self):
        return random.randrange(len(self.network["inputs"]))


@cocotb.test()
async def campaign(dut):
    await bench.start(dut)
    this = Bench(dut)
    await Timer(5 * CYCLE, "ns")
    await this.measure()
    figures = defaultdict(Counter)
    first, runs = bench.parameter("FIRST"), bench.parameter("RUNS")
    for seed in range(first, first + runs):
        # The kind goes by the number, so that all have their turns; all else is drawn.
        random.seed(seed)
        kind = faults.KINDS[seed % len(faults.KINDS)]
        this.stall(random.Random(seed))
        fault = faults.draw(random, this.targets, kind)
        try:
            code = await this.check(fault, this.draw())
            await this.recover()
        except Exception as error:
            about = {
                each.name: getattr(fault, each.name)
                for each in dataclasses.fields(fault)
                if each.name != "target"
            }
            what = str(error).partition("\n")[0] or repr(error)
            raise AssertionError(
                f"run {seed}, {kind.__name__} in {fault.target.name}: {what}; {about}; "
                f"MENSA_CAMPAIGN={seed} repeats it alone"
            ) from error
        figures[kind.__name__][code.name] += 1
    for kind in faults.KINDS:
        codes = figures[kind.__name__]
        said = ", ".join(f"{code} {count}" for code, count in sorted(codes.items()))
        cocotb.log.info("campaign: %s %d: %s", kind.__name__, codes.total(), said)
