"""The control port: start, status and counters of the core on AXI4-Lite."""

from __future__ import annotations

import functools
import operator
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.axi import OKAY, LiteSignature
from mensa.rtl.commands import COMMAND_SET_VERSION, MAGIC
from mensa.rtl.machine import Machine
from mensa.rtl.registers import ADDRESS_BITS, CATEGORIES, CONTROL_REGISTERS, COUNTERS, PAGE_BITS
from mensa.rtl.shell.window import WindowSignature

__all__ = ["Control"]

SLVERR = 0b10

_NUMBER = {register.name: number for number, register in enumerate(CONTROL_REGISTERS)}


def _decoded(address: Value) -> Value:
    """A bit for each of CONTROL_REGISTERS: whether the address is its own."""
    return Cat(address[2:] == register.offset >> 2 for register in CONTROL_REGISTERS)


_COUNTED = ("read_beat", "write_beat", "fetch_beat", "parameter_read", "activation_read")
"""What happens at most once a cycle, and is counted."""


class _Fields:
    """Fields of registers that control keeps to itself."""

    def __init__(self) -> None:
        self.interrupt_enable = Signal()
        self.finished = Signal()  # STATUS.DONE
        self.busy = Signal()  # STATUS.BUSY


class _Write:
    """The write at hand: address and data each wait in a register until the other is there."""

    def __init__(self) -> None:
        self.address, self.data = Signal(ADDRESS_BITS), Signal(32)
        self.strobe = Signal(4)
        self.have_address, self.have_data = Signal(), Signal(name="have_data")
        # The address is decoded; a bit for each of CONTROL_REGISTERS.
        self.decoded, self.target = Signal(), Signal(len(CONTROL_REGISTERS))
        self.acts = Signal(name="write")

    def to(self, name: str) -> Value:
        """Return whether it acts in this cycle, and on this register."""
        return self.acts & self.target[_NUMBER[name]]


class Control(wiring.Component):
    """The registers of `mensa.rtl.registers`, and the counters behind them.

    Address and data of a write may come in any order and any distance; a write acts when the data
    is there, two cycles after its address at the earliest, and its response is valid from the next
    cycle on. A read's data is valid three cycles after its address. At most one write and one read
    are worked on at a time: a write takes at least 3 cycles, a read 4. An access outside the
    register map answers SLVERR and does nothing, and so does a write to a register with no writable
    field. The two low address bits are ignored.

    A write of CONTROL.START while the core is idle raises `start` until `busy` answers; STATUS.BUSY
    reads as 1 from then on, until `active` falls. Counters count in cycles with `busy` high;
    `reset` clears them. They are up to date two cycles after `busy`. A write of CONTROL.RESET
    raises `soft_reset` for a cycle; with CONTROL.START in the same write, nothing is started.

    Parameters
    ----------
    machine : Machine
        Whose configuration hash it shows.

    Members
    -------
    bus : In(LiteSignature(ADDRESS_BITS))
        The control port.
    irq : Out(1)
        High while STATUS.DONE and CONTROL.INTERRUPT_ENABLE are set.
    start : Out(1)
        Start the program; high until `busy`.
    program_address : Out(32)
        Where; keeps still while the core is busy.
    window : Out(WindowSignature())
        WINDOW_BASE and WINDOW_LIMIT.
    watchdog : Out(32)
        The register.
    soft_reset : Out(1)
        Strobe: end the program.
    reset, busy, active, stop, done, error, word, commands : In
        From the fetch unit.
    category : In(3)
        Index into `registers.CATEGORIES`: what this cycle counts as.
    read_beat, write_beat, fetch_beat : In(1)
        A beat is transferred on the data port's R or W channel or the command port's R channel.
    parameter_read, activation_read : In(1)
        The compute unit reads a word of a buffer.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "bus": In(LiteSignature(ADDRESS_BITS)),
                "irq": Out(1),
                "start": Out(1),
                "program_address": Out(32),
                "window": Out(WindowSignature()),
                "watchdog": Out(32),
                "soft_reset": Out(1),
                "reset": In(1),
                "busy": In(1),
                "active": In(1),
                "stop": In(1),
                "done": In(1),
                "error": In(8),
                "word": In(32),
                "commands": In(32),
                "category": In(range(len(CATEGORIES))),
                **{name: In(1) for name in _COUNTED},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fields, write = _Fields(), _Write()
        last_page = Signal(len(self.window.last), init=-1)
        m.d.comb += [
            self.window.last.eq(last_page),
            fields.busy.eq(self.start | self.active),
            self.irq.eq(fields.finished & fields.interrupt_enable),
        ]
        counts = self._counters(m)
        self._take_write(m, write)
        self._write_registers(m, write, fields, last_page)
        self._read(m, self._values(fields, last_page, counts))
        return m

    def _values(
        self, fields: _Fields, last_page: Signal, counts: dict[str, Value]
    ) -> dict[str, Value]:
        """Return what each register reads as."""
        status = Cat(fields.busy, fields.finished, self.stop, Const(0, 5), self.error)
        values: dict[str, Value] = {
            "ID": Const(MAGIC, 32),
            "COMMAND_SET_VERSION": Const(COMMAND_SET_VERSION, 32),
            "CONFIG_HASH": Const(self._machine.config_hash, 32),
            "CONTROL": Cat(Const(0, 1), fields.interrupt_enable),
            "STATUS": status,
            "PROGRAM_ADDRESS": self.program_address,
            "PROGRAM_WORD": self.word,
            "WINDOW_BASE": Cat(Const(0, PAGE_BITS), self.window.first),
            "WINDOW_LIMIT": Cat(Const(-1, PAGE_BITS), last_page),
            "WATCHDOG": self.watchdog,
        }
        for name, count in counts.items():
            values[f"{name}_LOW"] = count[:32]
            values[f"{name}_HIGH"] = count[32:]
        return values

    def _take_write(self, m: Module, write: _Write) -> None:
        """Take address and data, in any order, and answer when both have come."""
        bus = self.bus
        m.d.comb += [
            bus.awready.eq(~write.have_address),
            bus.wready.eq(~write.have_data),
            write.acts.eq(write.decoded & write.have_data & ~bus.bvalid),
        ]
        m.d.sync += [
            write.decoded.eq(write.have_address & ~write.acts),
            write.target.eq(_decoded(write.address)),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [write.have_address.eq(1), write.address.eq(bus.awaddr)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [
                write.have_data.eq(1),
                write.data.eq(bus.wdata),
                write.strobe.eq(bus.wstrb),
            ]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(write.acts):
            m.d.sync += [
                write.have_address.eq(0),
                write.have_data.eq(0),
                bus.bvalid.eq(1),
                bus.bresp.eq(SLVERR),
            ]
        for register in CONTROL_REGISTERS:
            if register.writable:
                with m.If(write.to(register.name)):
                    m.d.sync += bus.bresp.eq(OKAY)

    def _write_registers(
        self, m: Module, write: _Write, fields: _Fields, last_page: Signal
    ) -> None:
        """Do what a write asks; what a program depends on keeps still while one runs."""
        data, strobe = write.data, write.strobe
        m.d.sync += self.soft_reset.eq(0)
        with m.If(write.to("CONTROL") & strobe[0]):
            m.d.sync += [fields.interrupt_enable.eq(data[1]), self.soft_reset.eq(data[2])]
            with m.If(data[0] & ~data[2] & ~fields.busy):
                m.d.sync += [self.start.eq(1), fields.finished.eq(0)]
        with m.If(write.to("STATUS") & strobe[0] & data[1]):
            m.d.sync += fields.finished.eq(0)
        for name, register, low in (
            ("PROGRAM_ADDRESS", self.program_address, 0),
            ("WINDOW_BASE", self.window.first, PAGE_BITS),
            ("WINDOW_LIMIT", last_page, PAGE_BITS),
            ("WATCHDOG", self.watchdog, 0),
        ):
            with m.If(write.to(name) & ~fields.busy):
                for byte in range(4):
                    begin, end = max(8 * byte, low), 8 * byte + 8
                    if begin < end:
                        with m.If(strobe[byte]):
                            m.d.sync += register[begin - low : end - low].eq(data[begin:end])
        with m.If(self.busy):
            m.d.sync += self.start.eq(0)
        with m.If(self.done):
            m.d.sync += fields.finished.eq(1)

    def _read(self, m: Module, values: dict[str, Value]) -> None:
        """Answer a read in three steps: its address is there, it is decoded, its value is there."""
        bus = self.bus
        read_address, source = Signal(ADDRESS_BITS), Signal(len(CONTROL_REGISTERS))
        steps = Signal(2)  # the first two, of the read at hand
        m.d.comb += bus.arready.eq(~steps.any() & ~bus.rvalid)
        m.d.sync += [
            steps.eq(Cat(bus.arvalid & bus.arready, steps)),
            read_address.eq(bus.araddr),
            source.eq(_decoded(read_address)),
        ]
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(steps[1]):
            m.d.sync += [
                bus.rvalid.eq(1),
                bus.rdata.eq(
                    functools.reduce(
                        operator.or_,
                        (
                            Mux(source[number], values[register.name], 0)
                            for number, register in enumerate(CONTROL_REGISTERS)
                        ),
                    )
                ),
                bus.rresp.eq(Mux(source.any(), OKAY, SLVERR)),
            ]

    def _counters(self, m: Module) -> dict[str, Value]:
        # Of the cycle before, as what happens in a cycle is known late in it.
        category, counted = Signal.like(self.category), Signal(len(_COUNTED))
        busy, reset = Signal(), Signal()
        m.d.sync += [
            category.eq(self.category),
            counted.eq(Cat(getattr(self, name) for name in _COUNTED)),
            busy.eq(self.busy),
            reset.eq(self.reset),
        ]
        events: dict[str, Value] = {
            "CYCLES": Const(1),
            **{f"{c.upper()}_CYCLES": category == i for i, c in enumerate(CATEGORIES)},
            **{f"{name.upper()}S": bit for name, bit in zip(_COUNTED, counted, strict=True)},
        }
        counts: dict[str, Value] = {"COMMANDS": Cat(self.commands, Const(0, 32))}
        for name, event in events.items():
            count = Signal(64, name=name.lower())
            with m.If(busy & event):
                m.d.sync += count.eq(count + 1)
            with m.If(reset):
                m.d.sync += count.eq(0)
            counts[name] = count
        assert counts.keys() == COUNTERS.keys()
        return counts
