"""Any component behind four pins, so that place and route needs no board and no package."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, ValueCastable
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PinWrapper"]


class PinWrapper(wiring.Component):
    """Registers every port of a component and strings the registers to two shift chains.

    Every input of the component comes from a register and every output goes to one, so no path
    between registers is longer or shorter than it would be inside a system. A core has more ports
    than a package has pins, and in a system few of them leave the chip.

    Parameters
    ----------
    component : wiring.Component
        What to wrap; it becomes the submodule ``core``.
    unused : tuple of str
        Ports whose names begin so are left open, and what drives nothing else is left out.

    Members
    -------
    i, o : In(1), Out(1)
        Into the chain of inputs; out of the chain of outputs.
    capture : In(1)
        The chain of outputs takes their values, else it shifts.
    """

    def __init__(self, component: Any, unused: tuple[str, ...] = ()):
        self._component = component
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        for path, member, value in component.signature.flatten(component):
            if isinstance(value, ValueCastable):
                value = value.as_value()
            if not isinstance(value, Const) and not str(path[0]).startswith(unused):
                ports = self._outputs if member.flow == wiring.Out else self._inputs
                ports.append(value)
        super().__init__({"i": In(1), "o": Out(1), "capture": In(1)})

    @property
    def registers(self) -> int:
        """Flip-flops of the two chains."""
        return sum(len(value) for value in (*self._inputs, *self._outputs))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.core = self._component
        inputs, outputs = Cat(self._inputs), Cat(self._outputs)
        into, out = Signal(len(inputs)), Signal(len(outputs))
        m.d.comb += [inputs.eq(into), self.o.eq(out[0])]
        m.d.sync += [
            into.eq(Cat(into[1:], self.i)),
            out.eq(Mux(self.capture, outputs, out >> 1)),
        ]
        return m
