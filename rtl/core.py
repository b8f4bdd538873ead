"""The core: units, buffers, tokens and control behind two AXI4 ports and an AXI4-Lite one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from mensa.rtl.axi import LiteSignature, ReadSignature, WriteSignature
from mensa.rtl.buffers.buffer import Buffer
from mensa.rtl.buffers.constant_buffer import ConstantBuffer
from mensa.rtl.buffers.register_store import parameter_memory
from mensa.rtl.commands import (
    ADDRESS_BITS,
    BUFFER_ADDRESS_BITS,
    TAG_BITS,
    WORD_BYTES,
    Space,
    Token,
    Unit,
)
from mensa.rtl.compute.compute_unit import ComputeUnit
from mensa.rtl.machine import Machine
from mensa.rtl.parts.unit import TOKEN_COUNT, TokenCounters
from mensa.rtl.registers import ADDRESS_BITS as CONTROL_ADDRESS_BITS
from mensa.rtl.registers import CATEGORIES
from mensa.rtl.shell.control import Control
from mensa.rtl.shell.faults import Faults
from mensa.rtl.shell.fetch_unit import FetchUnit
from mensa.rtl.shell.lanes import ReadLanes, WriteLanes
from mensa.rtl.shell.load_unit import LoadUnit
from mensa.rtl.shell.store_unit import StoreUnit
from mensa.rtl.verilog import to_verilog

__all__ = ["Core", "core_verilog", "data_lanes"]


def core_verilog(machine: Machine) -> str:
    """Verilog of a machine's core, ports under their usual AXI names.

    The top module is ``mensa_`` and the machine's name; control is ``s_axi_control_…``, command
    fetch ``m_axi_command_…``, data ``m_axi_data_…``, of several lanes ``m_axi_data_0_…`` and so on.
    """
    lanes = data_lanes(machine)
    return to_verilog(
        Core(machine),
        f"mensa_{machine.name}",
        {
            "control__": "s_axi_control_",
            "command__": "m_axi_command_",
            **{f"data_read{lane}__": f"m_axi_data{lane}_" for lane in lanes},
            **{f"data_write{lane}__": f"m_axi_data{lane}_" for lane in lanes},
        },
    )


def data_lanes(machine: Machine) -> list[str]:
    """What stands behind the data port's name for each of its lanes; nothing for a single one."""
    count = machine.data_lanes
    return [""] if count == 1 else [f"_{lane}" for lane in range(count)]


@dataclass(frozen=True)
class _Parts:
    """Control, the fetch unit, and the units that it hands commands to."""

    control: Control
    fetch: FetchUnit
    load: LoadUnit
    compute: ComputeUnit
    store: StoreUnit

    @property
    def units(self) -> tuple[LoadUnit, ComputeUnit, StoreUnit]:
        """What executes commands, in the order of `Unit`."""
        return self.load, self.compute, self.store


class Core(wiring.Component):
    """One accelerator (docs/architecture.md).

    Parameters
    ----------
    machine : Machine
        Its configuration.

    Members
    -------
    control : In(LiteSignature)
        Registers of `mensa.rtl.registers`.
    irq : Out(1)
        Interrupt.
    command : Out(ReadSignature(32, 8))
        Reads programs.
    data_read, data_write : Out(ReadSignature), Out(WriteSignature)
        The two halves of the data port; of several lanes (`lanes.py`), data_read_0 and so on.
    trace_busy : Out(1)
        A program is running.
    trace_category : Out(3)
        What the compute unit does in this cycle, an index into `registers.CATEGORIES`.
    trace_start, trace_done, trace_pending, trace_running : Out(3)
        A bit per `Unit`: a command's first and last cycle, a command waits, a command runs.
    trace_tag_load, trace_tag_compute, trace_tag_store : Out(16)
        Layer tags of the running commands.
    trace_missing_load, trace_missing_compute, trace_missing_store : Out(8)
        Tokens that the pending command of each unit lacks.
    trace_word : Out(32)
        Words of the program that the fetch unit has handled.
    """

    def __init__(self, machine: Machine):
        if not isinstance(machine, Machine):
            raise TypeError(f"Machine must be a mensa.rtl.machine.Machine, not {machine!r}")
        self._machine = machine
        lane_bytes = machine.beat_bytes // machine.data_lanes
        super().__init__(
            {
                "control": In(LiteSignature(CONTROL_ADDRESS_BITS)),
                "irq": Out(1),
                "command": Out(ReadSignature(ADDRESS_BITS, WORD_BYTES)),
                **{
                    f"data_{half}{lane}": Out(signature(ADDRESS_BITS, lane_bytes))
                    for half, signature in (("read", ReadSignature), ("write", WriteSignature))
                    for lane in data_lanes(machine)
                },
                "trace_busy": Out(1),
                "trace_category": Out(range(len(CATEGORIES))),
                "trace_start": Out(len(Unit)),
                "trace_done": Out(len(Unit)),
                "trace_pending": Out(len(Unit)),
                "trace_running": Out(len(Unit)),
                "trace_tag_load": Out(TAG_BITS),
                "trace_tag_compute": Out(TAG_BITS),
                "trace_tag_store": Out(TAG_BITS),
                "trace_missing_load": Out(TOKEN_COUNT),
                "trace_missing_compute": Out(TOKEN_COUNT),
                "trace_missing_store": Out(TOKEN_COUNT),
                "trace_word": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        parts = self._add_parts(m)
        connect(m, flipped(self.control), parts.control.bus)
        connect(m, flipped(self.command), parts.fetch.bus)
        read, write = self._connect_data(m, parts)
        m.submodules.tokens = tokens = TokenCounters()
        m.submodules.faults = faults = Faults()
        beats = {
            "read": read.rvalid & read.rready,
            "write": write.wvalid & write.wready,
            "fetch": self.command.rvalid & self.command.rready,
        }
        self._connect_commands(m, parts, tokens)
        activation = self._connect_buffers(m, parts)
        answers = write.bvalid & write.bready
        self._connect_faults(m, parts, faults, activation, beats, answers)
        category = self._category(m, parts.compute)
        self._connect_control(m, parts, category, beats)
        self._connect_trace(m, parts, category)
        return m

    def _add_parts(self, m: Module) -> _Parts:
        """Add control and what executes commands, which forgets them when a program is stopped."""
        machine = self._machine
        m.submodules.control = control = Control(machine)
        m.submodules.fetch = fetch = FetchUnit(machine)
        load, compute, store = LoadUnit(machine), ComputeUnit(machine), StoreUnit(machine)
        # When a program is stopped, what computes forgets everything at once, and what has ports
        # when nothing is on its way there any more. A cycle later, as these resets go far.
        stopped, flushed = Signal(), Signal()
        m.d.sync += [stopped.eq(fetch.stop), flushed.eq(fetch.flush)]
        m.submodules.load = ResetInserter(flushed)(load)
        m.submodules.compute = ResetInserter(stopped)(compute)
        m.submodules.store = ResetInserter(flushed)(store)
        return _Parts(control, fetch, load, compute, store)

    def _connect_data(self, m: Module, parts: _Parts) -> tuple[Any, Any]:
        """Connect the data port. Returns: where its read and its write channels are whole."""
        machine = self._machine
        if machine.data_lanes == 1:
            connect(m, flipped(self.data_read), parts.load.bus)
            connect(m, flipped(self.data_write), parts.store.bus)
            return self.data_read, self.data_write
        shape = ADDRESS_BITS, machine.beat_bytes, machine.data_lanes
        m.submodules.read_lanes = read = ReadLanes(*shape)
        m.submodules.write_lanes = write = WriteLanes(*shape)
        for half, wide, bus in (("read", read, parts.load.bus), ("write", write, parts.store.bus)):
            connect(m, bus, wide.bus)
            for suffix, lane in zip(data_lanes(machine), wide.lanes, strict=True):
                connect(m, flipped(getattr(self, f"data_{half}{suffix}")), lane)
        return parts.load.bus, parts.store.bus

    def _connect_commands(self, m: Module, parts: _Parts, tokens: TokenCounters) -> None:
        """Commands go from the fetch unit to the units, tokens from units to units."""
        fetch, load, compute, store = parts.fetch, parts.load, parts.compute, parts.store
        connect(m, fetch.load, load.command)
        connect(m, fetch.compute, compute.command)
        connect(m, fetch.store, store.command)
        m.d.comb += [
            fetch.units_idle.eq(Cat(u.idle for u in parts.units).all()),
            fetch.units_quiet.eq(load.quiet & store.quiet),
            tokens.reset.eq(fetch.reset | fetch.stop),
            tokens.give.eq(load.give | compute.give | store.give),
            tokens.take.eq(load.take | compute.take | store.take),
        ]
        for unit in parts.units:
            m.d.comb += [
                unit.reset.eq(fetch.reset),
                unit.stop.eq(fetch.stop),
                unit.available.eq(tokens.available),
            ]

    def _connect_buffers(self, m: Module, parts: _Parts) -> Buffer:
        """Buffers stand between the compute unit, a row at a time, and the ports, a beat at a time.

        Returns the activation buffer, which tells of conflicts.
        """
        machine = self._machine
        load, compute, store = parts.load, parts.compute, parts.store
        m.submodules.activation_buffer = activation = Buffer(
            machine.activation_buffer_bytes,
            machine.row_bytes,
            banks=machine.activation_banks,
            readers=2,
            writers=2,
        )
        m.submodules.parameter_buffer = parameter = parameter_memory(machine)
        m.submodules.constant_buffer = constant = ConstantBuffer(machine)
        connect(m, compute.read_activation, activation.read_0)
        connect(m, compute.read_parameter, parameter.read_0)
        connect(m, compute.write, activation.write_0)
        beat_bits = machine.beat_bytes.bit_length() - 1

        def aligned(address: Value) -> Value:
            return Cat(Const(0, beat_bits), address[beat_bits:])

        read = activation.read_1
        m.d.comb += [
            read.valid.eq(store.read.valid),
            read.address.eq(aligned(store.read.address)),
            read.first.eq(aligned(store.read.address)),
            read.last.eq(aligned(store.read.address) | (machine.beat_bytes - 1)),
            store.read.data.eq(read.data),
        ]
        for space, write in (
            (Space.ACTIVATION, activation.write_1),
            (Space.PARAMETER, parameter.write_0),
        ):
            m.d.comb += [
                write.valid.eq(load.write.valid & (load.write.space == space)),
                write.address.eq(aligned(load.write.address)),
                write.first.eq(aligned(load.write.address)),
                write.last.eq(aligned(load.write.address) | (machine.beat_bytes - 1)),
                write.data.eq(load.write.data),
                write.mask.eq(load.write.mask),
            ]
        m.d.comb += [
            constant.valid.eq(load.write.valid & (load.write.space == Space.CONSTANT)),
            constant.address.eq(load.write.address[:BUFFER_ADDRESS_BITS]),
            constant.data.eq(load.write.data),
            constant.mask.eq(load.write.mask),
            constant.entry.eq(compute.entry),
            constant.part.eq(compute.part),
            compute.records.eq(constant.records),
        ]
        return activation

    def _connect_faults(
        self,
        m: Module,
        parts: _Parts,
        faults: Faults,
        activation: Buffer,
        beats: dict[str, Value],
        answers: Value,
    ) -> None:
        """What units, buffers and watchdog find wrong ends the program."""
        control, fetch, units = parts.control, parts.fetch, parts.units
        # What moves, a cycle later: what happens in a cycle is known late in it.
        m.d.sync += faults.progress.eq(
            Cat(
                *beats.values(),
                answers,
                fetch.handled,
                parts.compute.feeding,
                *(Cat(unit.start, unit.done) for unit in units),
            ).any()
        )
        m.d.comb += [
            faults.reset.eq(fetch.reset),
            faults.go.eq(Cat(u.command.go_valid for u in units)),
            # All units are shown the same word.
            faults.go_wait.eq(parts.load.command.go_wait),
            faults.go_signal.eq(parts.load.command.go_signal),
            faults.handled.eq(fetch.word),
            faults.start.eq(Cat(u.start for u in units)),
            faults.load_done.eq(parts.load.done),
            faults.running.eq(Cat(~u.idle for u in units)),
            faults.pending.eq(Cat(u.command.pending for u in units)),
            faults.conflict.eq(activation.conflict),
            faults.bus_error.eq(Cat(parts.load.error, 0, parts.store.error)),
            faults.outside.eq(Cat(parts.load.outside, 0, parts.store.outside)),
            faults.refused.eq(Cat(u.refused for u in units)),
            faults.busy.eq(fetch.active),
            faults.watchdog.eq(control.watchdog),
            faults.soft_reset.eq(control.soft_reset),
            fetch.fault.eq(faults.fault),
            fetch.fault_code.eq(faults.code),
            fetch.fault_has_word.eq(faults.has_word),
            fetch.fault_word.eq(faults.word),
            fetch.soft_reset.eq(control.soft_reset),
        ]
        for reader in (fetch, parts.load, parts.store):
            connect(m, control.window, reader.window)

    def _category(self, m: Module, compute: ComputeUnit) -> Signal:
        """Return where this cycle goes: what the compute unit does, or what it waits for."""
        category = Signal(range(len(CATEGORIES)))
        missing = compute.command.missing
        with m.If(compute.feeding):
            m.d.comb += category.eq(CATEGORIES.index("compute"))
        with m.Elif(missing[Token.PARAMETERS_READY]):
            m.d.comb += category.eq(CATEGORIES.index("wait_parameters"))
        with m.Elif(missing[Token.ACTIVATIONS_READY]):
            m.d.comb += category.eq(CATEGORIES.index("wait_activations"))
        with m.Elif(missing[Token.RESULTS_FREE]):
            m.d.comb += category.eq(CATEGORIES.index("wait_store"))
        with m.Elif(~compute.idle):
            m.d.comb += category.eq(CATEGORIES.index("fill_drain"))
        with m.Else():
            m.d.comb += category.eq(CATEGORIES.index("wait_command"))
        return category

    def _connect_control(
        self, m: Module, parts: _Parts, category: Signal, beats: dict[str, Value]
    ) -> None:
        """Control starts programs, and shows and counts what becomes of them."""
        control, fetch = parts.control, parts.fetch
        m.d.comb += [
            fetch.start.eq(control.start),
            fetch.address.eq(control.program_address),
            self.irq.eq(control.irq),
            control.busy.eq(fetch.busy),
            control.active.eq(fetch.active),
            control.stop.eq(fetch.stop),
            control.done.eq(fetch.done),
            control.error.eq(fetch.error),
            control.reset.eq(fetch.reset),
            control.word.eq(fetch.word),
            control.commands.eq(fetch.commands),
            control.category.eq(category),
            control.read_beat.eq(beats["read"]),
            control.write_beat.eq(beats["write"]),
            control.fetch_beat.eq(beats["fetch"]),
            control.parameter_read.eq(parts.compute.reads.parameters),
            control.activation_read.eq(parts.compute.reads.activations),
        ]

    def _connect_trace(self, m: Module, parts: _Parts, category: Signal) -> None:
        """The trace port shows simulators what happens inside; in a system it is left open."""
        units = parts.units
        m.d.comb += [
            self.trace_busy.eq(parts.fetch.busy),
            self.trace_category.eq(category),
            self.trace_word.eq(parts.fetch.word),
            self.trace_start.eq(Cat(u.start for u in units)),
            self.trace_done.eq(Cat(u.done for u in units)),
            self.trace_pending.eq(Cat(u.command.pending for u in units)),
            self.trace_running.eq(Cat(~u.idle for u in units)),
        ]
        named = (("load", parts.load), ("compute", parts.compute), ("store", parts.store))
        for name, unit in named:
            m.d.comb += [
                getattr(self, f"trace_tag_{name}").eq(unit.tag),
                getattr(self, f"trace_missing_{name}").eq(unit.command.missing),
            ]
