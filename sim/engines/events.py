"""What a run of a program gives: an event per command, and where the cycles of each layer went.

The Verilated core and the timing model make the same `RunTrace`, equal in every number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mensa.rtl.buffer_reads import BufferReads
from mensa.rtl.commands import Unit
from mensa.rtl.machine import Machine
from mensa.rtl.registers import CATEGORIES

__all__ = [
    "CommandEvent",
    "LayerTiming",
    "ProgramTrace",
    "RunTrace",
    "layer_timing",
    "timing_by_layer",
]


@dataclass(frozen=True)
class CommandEvent:
    """One command, carried out.

    Attributes
    ----------
    unit : Unit
        Who ran it.
    tag : int
        The layer it counts for.
    start, done : int
        Cycles of its two strobes; cycle 0 is the first busy one.
    beats : int
        Beats that it moved over the data port: reads of a load, writes of a store.
    categories : tuple of int
        How many of the cycles 0 to `done` fell into each of `registers.CATEGORIES`.
    """

    unit: Unit
    tag: int
    start: int
    done: int
    beats: int
    categories: tuple[int, ...]


@dataclass(frozen=True)
class RunTrace:
    """A run from start to END.

    Attributes
    ----------
    cycles : int
        Busy cycles.
    events : tuple of CommandEvent
        By `done`, then by unit.
    categories : tuple of int
        All busy cycles by `registers.CATEGORIES`; they sum to `cycles`.
    read_beats, write_beats : int
        Beats over the data port.
    reads : BufferReads
        Words that the compute unit read from the buffers.
    """

    cycles: int
    events: tuple[CommandEvent, ...]
    categories: tuple[int, ...]
    read_beats: int
    write_beats: int
    reads: BufferReads


@dataclass(frozen=True)
class ProgramTrace:
    """A program's events in the time of the whole system.

    Attributes
    ----------
    machine : Machine
        What ran it.
    start_ns : float
        Its cycle 0, in nanoseconds.
    trace : RunTrace
        Its events, in cycles of the machine's clock.
    """

    machine: Machine
    start_ns: float
    trace: RunTrace


@dataclass(frozen=True)
class LayerTiming:
    """One layer's share of a run.

    Attributes
    ----------
    tag : int
        Its tag.
    cycles : int
        From the end of the layer before to its own.
    stalls : dict of str to int
        The same cycles by category; they sum to `cycles`.
    read_beats, write_beats : int
        Beats over the data port of the commands with its tag.
    """

    tag: int
    cycles: int
    stalls: dict[str, int]
    read_beats: int
    write_beats: int


def layer_timing(trace: RunTrace) -> list[LayerTiming]:
    """Share the cycles of a run among its layers, in the order in which they end.

    A layer ends with the cycle in which its last command is done; its cycles are those after the
    end of the layer before. The last one gets the cycles up to the core's last busy one, so that
    all of them sum to `trace.cycles`.
    """
    last: dict[int, CommandEvent] = {}
    beats: dict[int, dict[Unit, int]] = {}
    for event in trace.events:
        if event.tag not in last or event.done > last[event.tag].done:
            last[event.tag] = event
        by_unit = beats.setdefault(event.tag, dict.fromkeys(Unit, 0))
        by_unit[event.unit] += event.beats

    layers = []
    end, counts = 0, (0,) * len(CATEGORIES)
    order = sorted(last.items(), key=lambda item: item[1].done)
    for place, (tag, event) in enumerate(order):
        final = place == len(order) - 1
        next_end = trace.cycles if final else event.done + 1
        next_counts = trace.categories if final else event.categories
        stalls = {
            name: after - before
            for name, before, after in zip(CATEGORIES, counts, next_counts, strict=True)
        }
        layers.append(
            LayerTiming(
                tag=tag,
                cycles=next_end - end,
                stalls=stalls,
                read_beats=beats[tag][Unit.LOAD],
                write_beats=beats[tag][Unit.STORE],
            )
        )
        end, counts = next_end, next_counts
    return layers


def timing_by_layer(traces: Iterable[RunTrace | None]) -> dict[int, LayerTiming]:
    """Timing of all layers of some programs, by tag; None is a program whose times nobody knows."""
    return {
        timing.tag: timing
        for trace in traces
        if trace is not None
        for timing in layer_timing(trace)
    }
