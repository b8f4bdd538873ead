"""What every unit shares: shadow and active registers, the GO handshake, tokens."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from mensa.rtl.commands import REGISTERS, TAG_BITS, Mode, Token, Unit, register
from mensa.rtl.parts.resetless import later, resetless
from mensa.rtl.setting import check_count

__all__ = [
    "CommandSignature",
    "TokenCounters",
    "UnitFrontend",
    "compute_shape",
    "is_one_of",
    "is_tiled",
    "is_vector",
    "registers_layout",
    "unit_members",
]

TOKEN_COUNT = len(Token)


def registers_layout(unit: Unit) -> data.StructLayout:
    """Layout of a unit's registers: one field a register, named in lower case."""
    return data.StructLayout({r.name.lower(): Shape(r.bits, r.signed) for r in REGISTERS[unit]})


def compute_shape(name: str) -> Shape:
    """Shape of a register of a compute command."""
    found = register(Unit.COMPUTE, name)
    return Shape(found.bits, found.signed)


def is_tiled(mode: Value) -> Value:
    """Whether a MODE register holds a mode of which `Mode.is_tiled` is true."""
    return mode.matches(*(int(m) for m in Mode if m.is_tiled))


def is_vector(mode: Value) -> Value:
    """Whether a MODE register holds a mode of which `Mode.is_vector` is true."""
    return mode.matches(*(int(m) for m in Mode if m.is_vector))


def is_one_of(mode: Value, modes: Collection[Mode]) -> Value:
    """Whether a MODE register holds one of some modes; never if there are none."""
    return mode.matches(*sorted(modes)) if modes else Const(0)


class CommandSignature(wiring.Signature):
    """How the fetch unit programs and starts a unit; neither happens while it is pending.

    `missing` are the tokens that the pending command still lacks, 0 when nothing is pending.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "set_valid": Out(1),
                "set_register": Out(8),
                "set_value": Out(32),
                "go_valid": Out(1),
                "go_wait": Out(TOKEN_COUNT),
                "go_signal": Out(TOKEN_COUNT),
                "go_tag": Out(TAG_BITS),
                "pending": In(1),
                "missing": In(TOKEN_COUNT),
            }
        )


def unit_members() -> dict[str, Any]:
    """Members that every unit has; they are those of its `UnitFrontend`, `done` and `refused`."""
    return {
        "command": In(CommandSignature()),
        "reset": In(1),
        "stop": In(1),
        "available": In(TOKEN_COUNT),
        "take": Out(TOKEN_COUNT),
        "give": Out(TOKEN_COUNT),
        "start": Out(1),
        "done": Out(1),
        "idle": Out(1),
        "tag": Out(TAG_BITS),
        "refused": Out(1),
    }


class UnitFrontend(wiring.Component):
    """Holds a unit's registers and starts its commands.

    A GO in cycle p makes the unit pending from p + 1 until the cycle in which it starts: the one
    after the first in which fewer than `in_flight` commands are running, the unit is `ready` and no
    token is missing. So `start` is a register, which hundreds wait for; what was true in the cycle
    before still is, as no two units wait for the same token. Commands end in order: the unit
    answers `done` for one cycle for the oldest one, which is running up to that cycle.

    Parameters
    ----------
    unit : Unit
        Whose registers these are.
    in_flight : int
        Commands that may be running at once, at least 1.

    Members
    -------
    command : In(CommandSignature())
        From the fetch unit.
    reset : In(1)
        Forget what is pending or running, and set all registers to 0; for the start of a program.
    stop : In(1)
        Forget what is pending, and start nothing; what runs goes on.
    available, take, give : In(8), Out(8), Out(8)
        Tokens that are above zero, taken and given in this cycle.
    ready : In(1)
        The unit can start the pending command in the next cycle, beside those that are running. A
        unit that leaves it unconnected always can.
    start, done : Out(1), In(1)
        Strobes of a command's first and last cycle.
    signal : Out(8)
        With `start`: tokens that the command gives.
    idle : Out(1)
        No command is running.
    tag : Out(16)
        Layer tag of the oldest running command.
    arriving : Out({valid, register, value})
        A SET of the cycle before.
    coming : Out(registers_layout(unit))
        The pending command's registers, from the second cycle on in which it is pending.
    registers : Out(registers_layout(unit))
        Registers of the command that started last, from the cycle after its start on.
    """

    def refuse(self, m: Module, unit: Any, wrong: Value) -> None:
        """Answer for the unit's `refused`: a strobe two cycles after the start of a command.

        Parameters: `wrong`, whether the command's `registers` hold what can't be.
        """
        started = Signal()
        m.d.sync += [started.eq(self.start), unit.refused.eq(started & wrong)]

    def __init__(self, unit: Unit, in_flight: int = 1):
        check_count("Commands in flight", in_flight)
        self._unit = unit
        self._in_flight = in_flight
        members = unit_members()
        del members["refused"]
        super().__init__(
            {
                **members,
                "ready": In(1, init=1),
                "done": In(1),
                "signal": Out(TOKEN_COUNT),
                "arriving": Out(data.StructLayout({"valid": 1, "register": 8, "value": 32})),
                "coming": Out(registers_layout(unit)),
                "registers": Out(registers_layout(unit)),
            }
        )

    def serve(self, m: Module, unit: Any) -> None:
        """Connect a unit's `unit_members` to this frontend, apart from `done`."""
        connect(m, flipped(unit.command), self.command)
        m.d.comb += [
            self.reset.eq(unit.reset),
            self.stop.eq(unit.stop),
            self.available.eq(unit.available),
            unit.take.eq(self.take),
            unit.give.eq(self.give),
            unit.start.eq(self.start),
            unit.idle.eq(self.idle),
            unit.tag.eq(self.tag),
        ]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shadow = resetless(registers_layout(self._unit))  # cleared when a program starts
        pending = Signal()
        wait, signal, tag = Signal(TOKEN_COUNT), Signal(TOKEN_COUNT), Signal(TAG_BITS)
        # What is needed at a running command's end; the oldest command stands lowest.
        entry = data.StructLayout({"signal": TOKEN_COUNT, "tag": TAG_BITS})
        running = Signal(self._in_flight + 1, init=1)  # bit n: n commands are running
        commands = resetless(data.ArrayLayout(entry, self._in_flight))
        registers = resetless(registers_layout(self._unit))
        oldest = commands[0]
        place = Signal.like(running)  # of a command that starts now, a bit for each

        # A SET, like a reset, waits two cycles here, for it comes from far and goes to hundreds of
        # registers: one on its way, one to find out which register it is for.
        arriving = self.arriving
        m.d.sync += [
            arriving.valid.eq(self.command.set_valid),
            arriving.register.eq(self.command.set_register),
            arriving.value.eq(self.command.set_value),
        ]
        value, clear = later(m, arriving.value), Signal(2)
        m.d.sync += clear.eq(Cat(self.reset, clear))
        for number, of_table in enumerate(REGISTERS[self._unit]):
            chosen = Signal(name=f"set_{number}")
            m.d.sync += chosen.eq(arriving.valid & (arriving.register == number))
            with m.If(chosen):
                m.d.sync += shadow[of_table.name.lower()].eq(value)
        with m.If(clear[-1]):
            m.d.sync += shadow.eq(0)
        with m.If(self.command.go_valid):
            m.d.sync += [
                pending.eq(1),
                wait.eq(self.command.go_wait),
                signal.eq(self.command.go_signal),
                tag.eq(self.command.go_tag),
            ]

        missing = Signal(TOKEN_COUNT)
        m.d.comb += [
            missing.eq(wait & ~self.available),
            self.command.pending.eq(pending),
            self.idle.eq(running[0]),
            self.tag.eq(oldest.tag),
            self.signal.eq(signal),
            self.coming.eq(shadow),
            self.registers.eq(registers),
            place.eq(Mux(self.done, running >> 1, running)),
        ]
        m.d.sync += [
            running.eq(Mux(self.start, place << 1, place)),
            self.start.eq(pending & self.ready & ~running[-1] & ~missing.any() & ~self.start),
        ]
        with m.If(pending):
            m.d.comb += self.command.missing.eq(missing)
        with m.If(self.done):
            m.d.comb += self.give.eq(oldest.signal)
            m.d.sync += commands.eq(commands.as_value() >> entry.size)
        with m.If(self.start):
            m.d.comb += self.take.eq(wait)
            m.d.sync += [pending.eq(0), registers.eq(shadow)]
            for number in range(self._in_flight):
                with m.If(place[number]):
                    m.d.sync += commands[number].eq(Cat(signal, tag))
        with m.If(self.stop):
            m.d.sync += [pending.eq(0), self.start.eq(0)]
        with m.If(self.reset):
            m.d.sync += [running.eq(1), pending.eq(0), self.start.eq(0)]
        return m


class TokenCounters(wiring.Component):
    """One counter per token. A token given in cycle t is available from t + 1.

    Members
    -------
    reset : In(1)
        Clear all counters; for the start of a program.
    give, take : In(8)
        Tokens given and taken in this cycle.
    available : Out(8)
        Tokens above zero.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "reset": In(1),
                "give": In(TOKEN_COUNT),
                "take": In(TOKEN_COUNT),
                "available": Out(TOKEN_COUNT),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Takes come late in their cycle, so the count is a cycle behind; whether it is at least one
        # and at least two stands beside it.
        given, taken = Signal(TOKEN_COUNT), Signal(TOKEN_COUNT)
        m.d.sync += [given.eq(self.give), taken.eq(self.take)]
        counts = data.StructLayout({"count": 16, "one": 1, "two": 1})
        counters = [Signal(counts, name=token.name.lower()) for token in Token]
        for token, counter in zip(Token, counters, strict=True):
            count, one, two = counter.count, counter.one, counter.two
            more, less = given[token] & ~taken[token], taken[token] & ~given[token]
            m.d.comb += self.available[token].eq(more | Mux(less, two, one))
            m.d.sync += [
                count.eq(count + given[token] - taken[token]),
                one.eq(self.available[token]),
                two.eq(Mux(more, one, Mux(less, count > 2, two))),
            ]
        with m.If(self.reset):
            m.d.sync += [given.eq(0), taken.eq(0), *(counter.eq(0) for counter in counters)]
        return m
