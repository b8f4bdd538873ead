"""Arithmetic as formulas over registers, whose operands wait for one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Module, Value

from mensa.rtl.parts.resetless import later, resetless

__all__ = ["Pipeline", "Staged"]


@dataclass
class Staged:
    """A value of a pipeline.

    Attributes
    ----------
    value : Value
        As it comes.
    cycle : int
        How many cycles after the pipeline's inputs.
    """

    value: Any
    cycle: int
    _later: list[Any] = field(default_factory=list)


class Pipeline:
    """Formulas, a register behind each; throughput one set of operands a cycle.

    Parameters
    ----------
    m : Module
        Takes the registers.
    """

    def __init__(self, m: Module):
        self._m = m

    def enter(self, value: Any) -> Staged:
        """An input."""
        return Staged(value, 0)

    def step(self, formula: Callable[..., Any], *operands: Staged, shape: Any = None) -> Staged:
        """What a formula gives for operands, a cycle after the latest of them.

        Parameters: `shape` is the result's, by default that of the formula.
        """
        cycle = max(operand.cycle for operand in operands)
        value = Value.cast(formula(*(self.at(operand, cycle) for operand in operands)))
        register = resetless(value.shape() if shape is None else shape, name="formula")
        self._m.d.sync += register.eq(value)
        return Staged(register, cycle + 1)

    def at(self, operand: Staged, cycle: int) -> Any:
        """A value so many cycles after the pipeline's inputs, at least its own."""
        waits = operand._later
        while len(waits) < cycle - operand.cycle:
            waits.append(later(self._m, waits[-1] if waits else operand.value, name="waits"))
        return waits[cycle - operand.cycle - 1] if cycle > operand.cycle else operand.value
