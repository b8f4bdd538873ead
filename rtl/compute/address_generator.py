"""The operand address generator: which bytes meet in the array, beat by beat."""

from __future__ import annotations

import functools
import operator
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.arrays.kind import kind_layout
from mensa.rtl.arrays.nest import (
    POSITION_BITS,
    ROW_BITS,
    group_layout,
    step_layout,
    work_fields,
)
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, Unit, compute_bits
from mensa.rtl.compute.cell_nest import CellNest
from mensa.rtl.compute.softmax_nest import SoftmaxNest
from mensa.rtl.compute.table_nest import TableNest
from mensa.rtl.compute.tile_nest import TileNest
from mensa.rtl.machine import Machine
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import resetless
from mensa.rtl.parts.unit import registers_layout

__all__ = ["LATENCY", "AddressGenerator", "beat_layout"]

LATENCY = 3
"""Cycles from a step of the loop nest to its beat on `o`."""


def beat_layout(machine: Machine) -> data.StructLayout:
    """What one beat asks for; see `AddressGenerator`."""
    return data.StructLayout(
        {
            **work_fields(machine.array),
            "address": BUFFER_ADDRESS_BITS,  # of the activations
            "x": signed(POSITION_BITS),  # byte position of the first one in its input row
            "row_valid": 1,  # the input row exists
            "out_address": BUFFER_ADDRESS_BITS,
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
        Strobe; `registers` and `kind` are valid from this cycle until the last beat.
    registers, kind : In(registers_layout(Unit.COMPUTE)), In(kind_layout())
        The command, and what its mode means.
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
                "kind": In(kind_layout()),
                "active": Out(1),
                "o": Out(stream.Signature(beat_layout(machine), always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        machine = self._machine
        m.submodules.tile = tile = TileNest(machine.array)
        m.submodules.table = table = TableNest(machine)
        nests = [tile.nest, table.nest]
        kind = self.kind
        others: list[tuple[Value, Any]] = []  # with whether a command is for it
        if machine.state_lanes:
            m.submodules.cell = cell = CellNest(machine)
            others.append((kind.cell, cell.nest))
        if machine.array.own_modes:
            m.submodules.filter = own = machine.array.nest()
            others.append((kind.own, own.nest))
        if machine.exponential_lanes:
            m.submodules.softmax = softmax = SoftmaxNest(machine)
            others.append((kind.softmax, softmax.nest))
        nests += [nest for _, nest in others]
        r = self.registers

        # Groups of output channels; within one, the mode's nest walks. What begins with `start` is
        # set as long as nothing is active, so that nothing waits for the strobe.
        group, group_over = Signal(group_layout()), Signal()
        # The group after this one is the last: so this counts one turn less than there are groups.
        next_is_last = Countdown(compute_bits("GROUPS"), "groups")
        m.d.comb += [
            group_over.eq(functools.reduce(operator.or_, (nest.group_over for nest in nests))),
            self.active.eq(functools.reduce(operator.or_, (nest.active for nest in nests))),
            group.next_is_last.eq(next_is_last.last),
            group.next_x.eq(group.x + r.group_act_step),
        ]
        for nest in nests:
            m.d.comb += [
                nest.registers.eq(r),
                nest.kind.eq(kind),
                nest.group.eq(group),
            ]
        # A table comes before all else.
        start = Mux(kind.has_table, table.over, self.start)
        m.d.comb += [
            table.nest.start.eq(self.start & kind.has_table),
            tile.nest.start.eq(start & ~(kind.own | kind.cell | kind.softmax)),
        ]
        for _, nest in others:
            m.d.comb += nest.start.eq(start)
        with m.If(~self.active):
            m.d.sync += [
                group.is_last.eq(r.groups == 1),
                next_is_last.restart(r.groups - 1),
                group.x.eq(0),
                group.out.eq(r.out_address),
                group.entry.eq(r.constant_entry),
            ]
        with m.Elif(group_over):
            m.d.sync += [
                group.is_last.eq(next_is_last.last),
                next_is_last.step(),
                group.x.eq(group.next_x),
                group.out.eq(group.out + (r.group_channels << r.width)),
                group.entry.eq(group.entry + 1),
            ]

        # 1: a step's terms, from the nest that runs.
        step, valid = Signal(step_layout(machine.array)), Signal()
        edge_differs = Signal()  # of a command, from its first step on
        of_table = Signal()
        m.d.comb += step.eq(tile.nest.step)
        for number, (is_for_it, nest) in enumerate(others):
            of_nest = Signal(name=f"of_nest_{number}")
            m.d.sync += of_nest.eq(is_for_it)
            with m.If(of_nest):
                m.d.comb += step.eq(nest.step)
        with m.If(of_table):
            m.d.comb += step.eq(table.nest.step)
        m.d.sync += [
            valid.eq(self.active),
            of_table.eq(table.nest.active),
            edge_differs.eq(r.edge_channels.any()),
        ]
        # 2: sums of two terms each.
        beat, beat_valid = resetless(beat_layout(machine)), Signal()
        offset = resetless(POSITION_BITS)
        y = resetless(signed(ROW_BITS + 2))
        base, out_group = resetless(BUFFER_ADDRESS_BITS), resetless(BUFFER_ADDRESS_BITS)
        m.d.sync += [
            beat_valid.eq(valid),
            *(beat[name].eq(step[name]) for name in work_fields(machine.array)),
            offset.eq(step.outer_x + step.inner_x),
            y.eq(step.outer_y + step.inner_y),
            base.eq(step.outer_y_address + step.inner_y_address),
            beat.out_address.eq(step.out_x + step.out_y),
            out_group.eq(step.out_group),
        ]
        with m.If(step.edge & edge_differs):
            m.d.sync += beat.channels.eq(r.edge_channels)
        # 3: in all.
        m.d.sync += [
            self.o.valid.eq(beat_valid),
            self.o.payload.eq(beat),
            self.o.payload.address.eq(base + offset),
            self.o.payload.x.eq(r.x_start + offset),
            self.o.payload.row_valid.eq((y >= 0) & (y < r.input_rows)),
            self.o.payload.out_address.eq(out_group + beat.out_address),
        ]
        return m
