"""What every unit shares: shadow and active registers, the GO handshake, tokens."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import REGISTERS, TAG_BITS, Token, Unit

__all__ = ["TAG_BITS", "CommandSignature", "TokenCounters", "UnitFrontend", "registers_layout"]

TOKEN_COUNT = 8


def registers_layout(unit: Unit) -> data.StructLayout:
    """Layout of a unit's registers: one field a register, named in lower case."""
    return data.StructLayout({r.name.lower(): Shape(r.bits, r.signed) for r in REGISTERS[unit]})


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


class UnitFrontend(wiring.Component):
    """Holds a unit's registers and starts its commands.

    A GO in cycle p makes the unit pending from p + 1 until the cycle in which it starts: the first
    one in which it is idle and no token is missing. `registers` are valid from the cycle after
    `start` until the next start. The unit answers `done` for one cycle, and is idle from the next.

    Parameters
    ----------
    unit : Unit
        Whose registers these are.

    Members
    -------
    command : In(CommandSignature())
        From the fetch unit.
    reset : In(1)
        Forget what is pending; for the start of a program.
    available, take, give : In(8), Out(8), Out(8)
        Tokens that are above zero, taken and given in this cycle.
    start, done : Out(1), In(1)
        Strobes of a command's first and last cycle.
    idle : Out(1)
        No command is running.
    tag : Out(16)
        Layer tag of the running command.
    registers : Out(registers_layout(unit))
        The running command's registers.
    """

    def __init__(self, unit: Unit):
        self._unit = unit
        super().__init__(
            {
                "command": In(CommandSignature()),
                "reset": In(1),
                "available": In(TOKEN_COUNT),
                "take": Out(TOKEN_COUNT),
                "give": Out(TOKEN_COUNT),
                "start": Out(1),
                "done": In(1),
                "idle": Out(1),
                "tag": Out(TAG_BITS),
                "registers": Out(registers_layout(unit)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shadow = Signal(registers_layout(self._unit))
        running = Signal()
        pending = Signal()
        wait, signal, tag = Signal(TOKEN_COUNT), Signal(TOKEN_COUNT), Signal(TAG_BITS)
        running_signal = Signal(TOKEN_COUNT)

        with m.If(self.command.set_valid), m.Switch(self.command.set_register):
            for number, register in enumerate(REGISTERS[self._unit]):
                with m.Case(number):
                    m.d.sync += shadow[register.name.lower()].eq(self.command.set_value)
        with m.If(self.command.go_valid):
            m.d.sync += [
                pending.eq(1),
                wait.eq(self.command.go_wait),
                signal.eq(self.command.go_signal),
                tag.eq(self.command.go_tag),
            ]

        m.d.comb += [
            self.command.pending.eq(pending),
            self.idle.eq(~running),
            self.start.eq(pending & ~running & ~(wait & ~self.available).any()),
        ]
        with m.If(pending):
            m.d.comb += self.command.missing.eq(wait & ~self.available)
        with m.If(self.start):
            m.d.comb += self.take.eq(wait)
            m.d.sync += [
                running.eq(1),
                pending.eq(0),
                self.registers.eq(shadow),
                running_signal.eq(signal),
                self.tag.eq(tag),
            ]
        with m.If(self.done):
            m.d.comb += self.give.eq(running_signal)
            m.d.sync += running.eq(0)
        with m.If(self.reset):
            m.d.sync += [running.eq(0), pending.eq(0)]
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
        for token in Token:
            count = Signal(16, name=f"{token.name.lower()}_count")
            m.d.comb += self.available[token].eq(count.any())
            m.d.sync += count.eq(count + self.give[token] - self.take[token])
            with m.If(self.reset):
                m.d.sync += count.eq(0)
        return m
