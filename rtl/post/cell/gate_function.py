"""What the two oracles' functions of a gate's sum have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.commands import compute_bits
from mensa.rtl.parts.pipeline import Pipeline, Staged

__all__ = ["GATE_INTEGER_BITS", "GateFunction"]

GATE_INTEGER_BITS = 3
"""Bits before the point of a gate's sum, which is in Q3.12."""


class GateFunction(wiring.Component):
    """K lanes that take the sigmoid or the hyperbolic tangent of int16 numbers, in Q0.15.

    Latency is `latency` cycles, throughput K numbers a cycle.

    Parameters
    ----------
    lanes : int
        K.

    Members
    -------
    tanh : In(1)
        Which one.
    integer_bits : In(3)
        Of a hyperbolic tangent's argument, 0 to 6; a sigmoid's has `GATE_INTEGER_BITS`.
    i : In(K x signed(16))
        Arguments.
    o : Out(K x signed(16))
        Results.
    """

    latency: int

    def __init__(self, lanes: int):
        self._lanes = lanes
        super().__init__(
            {
                "tanh": In(1),
                "integer_bits": In(compute_bits("STATE_INTEGER_BITS")),
                "i": In(data.ArrayLayout(signed(16), lanes)),
                "o": Out(data.ArrayLayout(signed(16), lanes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for number in range(self._lanes):
            m.submodules[f"lane_{number}"] = lane = Module()
            pipeline = Pipeline(lane)
            result = self.lane(
                lane,
                pipeline,
                pipeline.enter(self.i[number]),
                pipeline.enter(self.tanh),
                pipeline.enter(self.integer_bits),
            )
            assert result.cycle == self.latency, f"it is {result.cycle}"
            m.d.comb += self.o[number].eq(result.value)
        return m

    @abstractmethod
    def lane(
        self, m: Module, pipeline: Pipeline, x: Staged, tanh: Staged, integer_bits: Staged
    ) -> Staged:
        """One lane."""
