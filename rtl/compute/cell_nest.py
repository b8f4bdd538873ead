"""The loop nest of the LSTM cell's modes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from mensa.rtl.arrays.nest import NestSignature
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, compute_bits
from mensa.rtl.machine import Machine
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import resetless

__all__ = ["CellNest"]


class CellNest(wiring.Component):
    """Walks the cell states group by group: of each the state, then both sums of every gate.

    GATE_SUM wants no state. DOT takes the state's place in every pair, with steps as the gates'.

    Parameters
    ----------
    machine : Machine
        Its configuration.

    Members
    -------
    nest : In(NestSignature(machine.array))
        Its steps.
    """

    def __init__(self, machine: Machine):
        self._array = machine.array
        self._recurrent_scale = machine.recurrent_width.nbytes // 2
        super().__init__({"nest": In(NestSignature(machine.array))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        nest = self.nest
        r, group, step = nest.registers, nest.group, nest.step
        active, first = Signal(), Signal()
        # What the step reads: the cell state, a gate's sum of inputs, or its recurrent sum.
        reads_state, reads_recurrent = Signal(), Signal()
        is_dot, has_state = nest.kind.dot, ~nest.kind.gate_sum
        gates = Countdown(compute_bits("KERNEL_H"), "gates")
        state, sums, recurrent = (
            resetless(BUFFER_ADDRESS_BITS, name=name) for name in ("state", "sums", "recurrent")
        )
        ends_gate = Mux(is_dot, ~reads_state, reads_recurrent)
        ends_group = ends_gate & gates.last
        m.d.comb += [
            nest.active.eq(active),
            nest.group_over.eq(active & ends_group),
        ]
        with m.If(active):
            m.d.sync += [
                active.eq(~(ends_group & group.is_last)),
                first.eq(ends_group),
                reads_state.eq(Mux(is_dot, ~reads_state, has_state & ends_group)),
                reads_recurrent.eq(~is_dot & ~reads_state & ~reads_recurrent),
            ]
            with m.If(ends_gate):
                m.d.sync += [
                    gates.step(),
                    state.eq(state + r.tap_y_address_step),
                    sums.eq(sums + r.tap_y_address_step),
                    recurrent.eq(recurrent + self._recurrent_scale * r.tap_y_address_step),
                ]
        with m.Else():
            m.d.sync += [
                active.eq(nest.start & nest.kind.cell),
                first.eq(1),
                reads_state.eq(has_state),
                reads_recurrent.eq(0),
            ]
        with m.If(~active | ends_group):
            m.d.sync += [
                gates.restart(r.kernel_h),
                state.eq(r.state_address),
                sums.eq(r.act_address),
                recurrent.eq(r.recurrent_address),
            ]

        nbytes = Mux(group.is_last, r.last_segment, r.segment)
        m.d.sync += [
            step.fetch_activation.eq(active),
            step.size.eq(Mux(reads_recurrent, self._recurrent_scale * nbytes, nbytes)),
            step.first.eq(first),
            step.last.eq(ends_group),
            step.announce.eq(first),
            step.lanes.eq(1),
            step.entry.eq(group.entry),
            step.channels.eq(Mux(group.is_last, r.last_group_channels, r.group_channels)),
            # Recurrent sums may be twice as long, so their groups are twice as far apart.
            step.outer_x.eq(group.x),
            step.inner_x.eq(Mux(reads_recurrent & (self._recurrent_scale > 1), group.x, 0)),
            step.inner_y.eq(r.y_start),
            step.inner_y_address.eq(Mux(reads_state, state, Mux(reads_recurrent, recurrent, sums))),
            step.out_group.eq(group.out),
        ]
        return m
