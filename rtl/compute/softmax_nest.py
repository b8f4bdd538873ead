"""The loop nest of MODE SOFTMAX."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from mensa.rtl.arrays.nest import POSITION_BITS, NestSignature
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, compute_bits
from mensa.rtl.machine import Machine
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import resetless
from mensa.rtl.timing import softmax_waits

__all__ = ["SoftmaxNest"]


class SoftmaxNest(wiring.Component):
    """Walks every row three times, group by group, with waits between: see `Softmax`.

    Its steps' `operand` marks the second pass, `last` its end and all of the third.

    Parameters
    ----------
    machine : Machine
        Its configuration.

    Members
    -------
    nest : In(NestSignature(machine.array))
        Its steps. `start` comes with the last step of the table.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__({"nest": In(NestSignature(machine.array))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        nest = self.nest
        r, step = nest.registers, nest.step
        waits = softmax_waits(self._machine.exponential_lanes)
        active, walks = Signal(), Signal()
        adds, gives = Signal(), Signal()  # second and third pass
        first = Signal()
        rows = Countdown(compute_bits("PIXELS"), "rows")
        groups = Countdown(compute_bits("GROUPS"), "row_groups")
        waiting = Countdown(max(waits).bit_length(), "waiting")
        row, out_row = resetless(BUFFER_ADDRESS_BITS), resetless(BUFFER_ADDRESS_BITS)
        x, out = resetless(POSITION_BITS), resetless(BUFFER_ADDRESS_BITS)
        ends_row = gives & groups.last
        m.d.comb += nest.active.eq(active)
        with m.If(~active):
            m.d.sync += [
                active.eq(nest.start & nest.kind.softmax),
                walks.eq(1),
                adds.eq(0),
                gives.eq(0),
                rows.restart(r.pixels),
                row.eq(r.act_address),
                out_row.eq(0),
            ]
        with m.Elif(walks):
            m.d.sync += [
                first.eq(0),
                groups.step(),
                x.eq(x + r.group_act_step),
                out.eq(out + r.group_channels),
                waiting.restart(Mux(adds, waits[1], waits[0])),
            ]
            with m.If(groups.last):
                m.d.sync += [walks.eq(gives), gives.eq(0)]
            with m.If(ends_row):
                m.d.sync += [
                    active.eq(~rows.last),
                    rows.step(),
                    row.eq(row + r.pixel_y_address_step),
                    out_row.eq(out_row + r.out_y_step),
                ]
        with m.Else():
            m.d.sync += waiting.step()
            with m.If(waiting.last):
                m.d.sync += [walks.eq(1), adds.eq(~adds), gives.eq(adds)]
        with m.If(~active | (walks & groups.last)):
            m.d.sync += [first.eq(1), groups.restart(r.groups), x.eq(0), out.eq(0)]

        m.d.sync += [
            step.fetch_activation.eq(active & walks),
            step.size.eq(Mux(groups.last, r.last_segment, r.segment)),
            step.first.eq(walks & first),
            step.last.eq(walks & (gives | (adds & groups.last))),
            step.operand.eq(adds),
            step.announce.eq(gives),
            step.lanes.eq(1),
            step.entry.eq(nest.group.entry),
            step.channels.eq(Mux(groups.last, r.last_group_channels, r.group_channels)),
            step.inner_x.eq(x),
            step.inner_y_address.eq(row),
            step.out_x.eq(out),
            step.out_y.eq(out_row),
            step.out_group.eq(nest.group.out),
        ]
        return m
