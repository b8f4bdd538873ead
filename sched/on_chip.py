"""Reading layers' outputs that never are in memory, while an engine runs a program."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from mensa.golden import Graph
from mensa.rtl.commands import Unit
from mensa.sched.lower import ProgramStep, tensor_from_memory
from mensa.sim.engines.functional import Buffers

__all__ = ["OnChipReader"]

Values = npt.NDArray[Any]


class _Command(Protocol):
    """What engines tell of a command."""

    @property
    def unit(self) -> Unit: ...


class OnChipReader:
    """A hook for engines: reads every output as soon as its layer's last command is done.

    Parameters
    ----------
    graph : Graph
        Whose tensors they are.

    Attributes
    ----------
    values : dict of int to array
        The outputs so far, by tensor index.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._waiting: dict[int, list[tuple[int, int]]] = {}
        self._commands = 0
        self.values: dict[int, Values] = {}

    def begin(self, step: ProgramStep | None) -> None:
        """The next commands are this program's, or one's without outputs."""
        self._commands = 0
        self._waiting = {}
        for output in step.on_chip if step else ():
            self._waiting.setdefault(output.commands, []).append((output.tensor, output.address))

    def __call__(self, command: _Command, buffers: Buffers) -> None:
        """Be told of a command that was just done."""
        if command.unit != Unit.COMPUTE:
            return
        self._commands += 1
        for tensor, address in self._waiting.pop(self._commands, ()):
            self.values[tensor] = tensor_from_memory(
                self._graph.tensors[tensor], buffers.activation, address
            )
