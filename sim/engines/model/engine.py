"""The timing model: the exact cycle of everything in a program, without simulating it.

The units of docs/architecture.md, command by command in program order: fetch handles a word, a
unit starts when its turn has come and its tokens are there, and works for as long as
`dma` and `compute` beside this file say. All of it is one (max, +) recurrence.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mensa.rtl.buffer_reads import BufferReads, buffer_reads
from mensa.rtl.commands import HEADER_WORDS, WORD_BYTES, Token, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.program import Command, Program, word_kinds
from mensa.rtl.timing import SETTLED_AHEAD, start_cycle
from mensa.sim.engines.command_check import check_command, refusal
from mensa.sim.engines.events import CommandEvent, RunTrace
from mensa.sim.engines.model import dma as copies
from mensa.sim.engines.model.compute import ComputeTiming
from mensa.sim.engines.model.fetch import FetchTiming
from mensa.sim.memory import Memory

__all__ = ["ModelEngine"]


@dataclass
class _UnitState:
    """A copying unit in the recurrence: its latest command's start and done cycles."""

    timing: copies.CopyTiming
    start: int = -1
    done: int = -1


class ModelEngine:
    """Time, stalls and traffic of programs on a machine and its memory, to the cycle.

    Parameters
    ----------
    machine : Machine
        Which core.
    memory : Memory
        What its ports see.
    """

    def __init__(self, machine: Machine, memory: Memory):
        self.machine = machine
        self.memory = memory

    def run(self, program: Program) -> RunTrace:
        """Trace of a run of `program`, which starts with all ports idle.

        Raises
        ------
        ProgramError
            If the program is malformed, has a command without a meaning, or would wait for ever.
        """
        machine = self.machine
        command_timing = self.memory.port_timing(machine.clock_hz, WORD_BYTES)
        command_port = copies.ReadPort(command_timing, WORD_BYTES)
        data_timing = self.memory.port_timing(machine.clock_hz, machine.beat_bytes)
        fetch = FetchTiming(len(program.words), command_port, program.program_address)
        tokens: dict[Token, deque[int]] = {token: deque() for token in Token}
        compute = ComputeTiming(machine)
        reads_port = copies.ReadPort(data_timing, machine.beat_bytes)
        load = copies.LoadTiming(machine, reads_port)
        writes_port = copies.WritePort(data_timing, machine.beat_bytes)
        store = copies.StoreTiming(machine, writes_port)
        units: dict[int, _UnitState | ComputeTiming] = {
            Unit.LOAD: _UnitState(load),
            Unit.COMPUTE: compute,
            Unit.STORE: _UnitState(store),
        }
        events: list[tuple[Command, int, int, int]] = []
        reads = writes = 0
        words = BufferReads()

        handled = -1
        word = 0

        def handle(start_of_unit: int) -> None:
            """Handle the next word, not before the cycle after `start_of_unit`."""
            nonlocal handled, word
            handled = max(handled + 1, fetch.available(word), start_of_unit + 1)
            fetch.handled(word, handled)
            word += 1

        for _ in range(HEADER_WORDS):
            handle(-1)
        word_units = word_kinds(program.words).unit.tolist()
        for command in program.commands():
            check_command(machine, command)
            unit = units[command.unit]
            while word <= command.word_index:
                handle(units[word_units[word]].start)
            given: dict[Token, int] = {}
            for token in command.wait:
                if not tokens[token]:
                    raise refusal(
                        command,
                        f"waits for {token.name}, which no earlier command has signalled: the core "
                        f"would wait for ever",
                    )
                given[token] = tokens[token].popleft() + 1
            beats = 0
            if isinstance(unit, ComputeTiming):
                compute.run(command, handled, given)
                words += buffer_reads(machine, command.registers)
            else:
                start = start_cycle(handled, unit.timing.room, given.values())
                copied = unit.timing.run(
                    start,
                    memory_address=command["MEMORY_ADDRESS"],
                    row_bytes=command["ROW_BYTES"],
                    rows=command["ROWS"],
                    memory_pitch=command["MEMORY_PITCH"],
                )
                if command.unit is Unit.LOAD:
                    reads += copied.beats
                else:
                    writes += copied.beats
                unit.start, unit.done, beats = start, copied.done, copied.beats
            for token in command.signal:
                ahead = SETTLED_AHEAD if token is Token.SETTLED else 0
                tokens[token].append(unit.done - ahead)
            events.append((command, unit.start, unit.done, beats))

        # END waits for all units, and for what they may still complain of.
        handle(1 + max(unit.done for unit in units.values()))
        cycles = handled + 1
        compute.wait(cycles)

        order = sorted(events, key=lambda event: (event[2], event[0].unit))
        counts = compute.counts([event[2] for event in order] + [cycles - 1])
        return RunTrace(
            cycles=cycles,
            events=tuple(
                CommandEvent(
                    unit=command.unit,
                    tag=command.tag,
                    start=start,
                    done=done,
                    beats=beats,
                    categories=count,
                )
                for (command, start, done, beats), count in zip(order, counts, strict=False)
            ),
            categories=counts[-1],
            read_beats=reads,
            write_beats=writes,
            reads=words,
        )
