"""The operand address generator: which bytes meet in the array, beat by beat."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Mode, Unit
from mensa.rtl.countdown import Countdown
from mensa.rtl.filter_nest import FilterNest
from mensa.rtl.machine import Machine
from mensa.rtl.nest import POSITION_BITS, size_shape, step_layout
from mensa.rtl.tile_nest import TileNest
from mensa.rtl.unit import registers_layout

__all__ = ["LATENCY", "AddressGenerator", "beat_layout"]

LATENCY = 3
"""Cycles from a step of the loop nest to its beat on `o`."""

ENTRY_BITS = 12


def beat_layout(machine: Machine) -> data.StructLayout:
    """What one beat asks for; see `AddressGenerator`."""
    return data.StructLayout(
        {
            # Activations: `size` bytes at `address`.
            "fetch_activation": 1,
            "address": BUFFER_ADDRESS_BITS,
            "x": signed(POSITION_BITS),  # byte position of the first byte in its input row
            "row_valid": 1,  # the input row exists
            "size": size_shape(machine),
            "operand": 1,  # of a scaled sum
            # Parameters: one word of `cols` bytes.
            "fetch_parameter": 1,
            "parameter_address": BUFFER_ADDRESS_BITS,
            "diagonal": 8,  # depthwise: first column that sees it
            "clear": 1,  # filter: forget all taps
            # Row of the array that the activations, or a filter's tap, are for.
            "lane": range(machine.array.tile),
            # Marks of a reduction: a tile's first and last beat, so that the last ones of two tiles
            # are R cycles apart even where the second has fewer parameters.
            "first": 1,
            "last": 1,
            # Where the lane's result goes, told once per tile.
            "announce": 1,
            "lanes": range(machine.array.tile + 1),
            "out_address": BUFFER_ADDRESS_BITS,
            "entry": ENTRY_BITS,
            "channels": 8,
        }
    )


class AddressGenerator(wiring.Component):
    """Walks the compute unit's loop nests (docs/architecture.md), one beat a cycle without a gap.

    The first step is in the cycle after `start`; a step's beat is on `o` `LATENCY` cycles later.
    `active` is high in every cycle of a step, so it is high as many cycles as
    `mensa.rtl.timing.feed_cycles` says.

    Parameters
    ----------
    machine : Machine
        Gives R and C.

    Members
    -------
    start : In(1)
        Strobe; `registers` are valid from this cycle until the last beat.
    registers : In(registers_layout(Unit.COMPUTE))
        The command.
    active : Out(1)
        A step is being taken in this cycle.
    o : Out(stream.Signature(beat_layout(machine), always_ready=True))
        Beats, in the order of the loop nest. A beat that fetches nothing only passes time.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "start": In(1),
                "registers": In(registers_layout(Unit.COMPUTE)),
                "active": Out(1),
                "o": Out(stream.Signature(beat_layout(machine), always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        machine = self._machine
        m.submodules.tile = tile = TileNest(machine)
        m.submodules.filter = filter_ = FilterNest(machine)
        r = self.registers
        is_filter = Signal()
        m.d.comb += is_filter.eq(r.mode == Mode.FILTER)

        # Groups of output channels; within one, the mode's nest walks.
        active = Signal()
        group_over = Signal()
        step = Signal(step_layout(machine))
        m.d.comb += [
            self.active.eq(active),
            group_over.eq(active & Mux(is_filter, filter_.nest.group_over, tile.nest.group_over)),
            step.eq(Mux(is_filter, filter_.nest.step, tile.nest.step)),
        ]
        # The group after this one is the last: so this counts one turn less than there are groups.
        next_is_last = Countdown(16, "groups")
        coming_is_last, is_last = Signal(), Signal()
        group_x = Signal(POSITION_BITS)
        out_group = Signal(BUFFER_ADDRESS_BITS)
        entry = Signal(ENTRY_BITS)
        m.d.comb += coming_is_last.eq(Mux(self.start, r.groups == 1, next_is_last.last))
        for nest in (tile.nest, filter_.nest):
            m.d.comb += [
                nest.start.eq(self.start),
                nest.active.eq(active),
                nest.registers.eq(r),
                nest.coming_is_last.eq(coming_is_last),
            ]
        with m.If(group_over):
            m.d.sync += [
                active.eq(~is_last),
                is_last.eq(coming_is_last),
                next_is_last.step(),
                group_x.eq(group_x + r.group_act_step),
                out_group.eq(out_group + r.group_channels),
                entry.eq(entry + 1),
            ]
        with m.If(self.start):
            m.d.sync += [
                active.eq(1),
                is_last.eq(coming_is_last),
                next_is_last.restart(r.groups - 1),
                group_x.eq(0),
                out_group.eq(0),
                entry.eq(r.constant_entry),
            ]
        channels = Signal(8)
        with m.If(step.edge & r.edge_channels.any()):
            m.d.comb += channels.eq(r.edge_channels)
        with m.Elif(is_last):
            m.d.comb += channels.eq(r.last_group_channels)
        with m.Else():
            m.d.comb += channels.eq(r.group_channels)

        # 1: sums of two terms each.
        beat_1 = Signal(beat_layout(machine))
        valid_1 = Signal()
        x_1, group_x_1 = Signal(POSITION_BITS), Signal(POSITION_BITS)
        y_1 = Signal(17)
        y_address_1, group_out_1 = Signal(BUFFER_ADDRESS_BITS), Signal(BUFFER_ADDRESS_BITS)
        m.d.sync += [
            valid_1.eq(active),
            *(
                beat_1[name].eq(step[name])
                for name in beat_1.shape().members
                if name in step.shape().members
            ),
            beat_1.out_address.eq(step.out_x + step.out_y),
            beat_1.entry.eq(entry),
            beat_1.channels.eq(channels),
            x_1.eq(step.outer_x + step.inner_x),
            group_x_1.eq(group_x + step.chunk_offset),
            y_1.eq(step.outer_y + step.inner_y),
            y_address_1.eq(step.outer_y_address + step.inner_y_address),
            group_out_1.eq(out_group),
        ]
        # 2: with the command's bases.
        beat_2 = Signal(beat_layout(machine))
        valid_2 = Signal()
        offset = Signal(POSITION_BITS)
        y = Signal(signed(18))
        base, out_base = Signal(BUFFER_ADDRESS_BITS), Signal(BUFFER_ADDRESS_BITS)
        m.d.sync += [
            valid_2.eq(valid_1),
            beat_2.eq(beat_1),
            offset.eq(x_1 + group_x_1),
            y.eq(r.y_start + y_1),
            base.eq(r.act_address + y_address_1),
            out_base.eq(r.out_address + group_out_1),
        ]
        # 3: in all.
        m.d.sync += [
            self.o.valid.eq(valid_2),
            self.o.payload.eq(beat_2),
            self.o.payload.address.eq(base + offset),
            self.o.payload.x.eq(r.x_start + offset),
            self.o.payload.row_valid.eq((y >= 0) & (y < r.input_rows)),
            self.o.payload.out_address.eq(out_base + beat_2.out_address),
        ]
        return m
