"""The steps before those of modes TABLE and SOFTMAX: they bring the table to its unit."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.arrays.nest import NestSignature
from mensa.rtl.commands import BUFFER_ADDRESS_BITS, EXPONENTIAL_BYTES, TABLE_BYTES
from mensa.rtl.machine import Machine
from mensa.rtl.parts.countdown import Countdown
from mensa.rtl.parts.resetless import resetless

__all__ = ["TableNest"]


class TableNest(wiring.Component):
    """Walks a table, `Machine.table_step_bytes` or `Machine.exponential_step_bytes` a step.

    Parameters
    ----------
    machine : Machine
        Its configuration.

    Members
    -------
    nest : In(NestSignature(machine.array))
        Its steps: parameters alone.
    over : Out(1)
        This step is the last.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__({"nest": In(NestSignature(machine.array)), "over": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        nest = self.nest
        machine = self._machine
        is_softmax = nest.kind.softmax
        nbytes = Mux(is_softmax, machine.exponential_step_bytes, machine.table_step_bytes)
        steps = (
            EXPONENTIAL_BYTES // machine.exponential_step_bytes,
            TABLE_BYTES // machine.table_step_bytes,
        )
        left = Countdown(max(steps).bit_length(), "table_steps")
        active = Signal()
        address = resetless(BUFFER_ADDRESS_BITS)
        m.d.comb += [nest.active.eq(active), self.over.eq(active & left.last)]
        with m.If(active):
            m.d.sync += [
                active.eq(~left.last),
                left.step(),
                address.eq(address + nbytes),
            ]
        with m.Else():
            m.d.sync += [
                active.eq(nest.start),
                left.restart(Mux(is_softmax, *steps)),
                address.eq(nest.registers.parameter_address),
            ]
        m.d.sync += [nest.step.fetch_parameter.eq(active), nest.step.parameter_address.eq(address)]
        return m
