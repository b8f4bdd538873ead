"""The functional engine: commands carried out on memory and buffers, without time.

It states what commands mean, in NumPy, from the command definition alone: lowering is tested on
it, and gateware is compared with it command by command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mensa.golden.arithmetic.fixed_point import requantize_double, requantize_single
from mensa.rtl.channel_record import CHANNEL_RECORD, CHANNEL_RECORD_BYTES
from mensa.rtl.commands import (
    BUFFER_ADDRESS_BITS,
    EXPONENTIAL_BYTES,
    SCALED_SUM_LEFT_SHIFT,
    TABLE_BYTES,
    Keep,
    Mode,
    Rounding,
    Space,
    Unit,
    Width,
)
from mensa.rtl.machine import Machine
from mensa.rtl.program import Bytes, Command, Header, Program, ProgramError
from mensa.sim.engines.command_check import check_command, columns_per_byte, refusal, require
from mensa.sim.engines.command_order import CommandOrder
from mensa.sim.engines.lstm_cell import cell_result, gate_sum
from mensa.sim.engines.softmax import softmax_rows

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

_GATHER_LIMIT = 1 << 22
"""Bytes of activations that are gathered at a time, so that a big layer needs little memory."""


@dataclass(frozen=True, eq=False)
class Buffers:
    """The core's buffers, as bytes."""

    activation: Bytes
    parameter: Bytes
    constant: Bytes

    @classmethod
    def empty(cls, machine: Machine) -> Buffers:
        """The buffers of `machine`, all 0."""
        return cls(
            np.zeros(machine.activation_buffer_bytes, np.uint8),
            np.zeros(machine.parameter_bytes, np.uint8),
            np.zeros(machine.constant_entries * machine.constant_entry_bytes, np.uint8),
        )

    def __getitem__(self, space: Space) -> Bytes:
        return (self.activation, self.parameter, self.constant)[space]


CommandHook = Callable[[Command, Buffers], None]


@dataclass(frozen=True, eq=False)
class Access:
    """What a command reads or writes at once.

    Attributes
    ----------
    command : Command
        Whose access it is.
    space : Space or None
        In which buffer; None is memory.
    writes : bool
        Whether it writes.
    addresses : int64 array
        Of every byte, or of the first and the last one of a stretch.
    """

    command: Command
    space: Space | None
    writes: bool
    addresses: Int64


AccessHook = Callable[[Access], None]


class FunctionalEngine:
    """Carries out programs in program order.

    Buffers and kept sums live on from one program to the next, as in the core; `reset` forgets
    them.

    Parameters
    ----------
    machine : Machine
        Whose buffers and array shape the commands see.
    on_command : callable or None
        Called with each command and the buffers just after it was carried out.
    on_access : callable or None
        Called with every `Access` of memory and buffers, before the command's `on_command`.

    Attributes
    ----------
    buffers : Buffers
        The buffers as the last command left them.
    """

    def __init__(
        self,
        machine: Machine,
        on_command: CommandHook | None = None,
        on_access: AccessHook | None = None,
    ) -> None:
        self.machine = machine
        self._on_command = on_command
        self._on_access = on_access
        self.reset()

    def reset(self) -> None:
        """Start afresh: empty the buffers."""
        self.buffers = Buffers.empty(self.machine)
        self._order = CommandOrder(self.machine.activation_buffer_bytes)
        self._sums: Int64 | None = None
        self._setup = 0  # identifier of the set-up that has ended well, as the core keeps it

    def run(self, program: Program, memory: Bytes) -> None:
        """Carry out a program on `memory`, in place.

        Parameters
        ----------
        program : Program
            For this machine.
        memory : uint8 array
            At least the program's `memory_bytes`.

        Raises
        ------
        ProgramError
            For a command that has no meaning: an access out of range, an unaligned copy, a number
            of pixels that doesn't fit, a token that no earlier command has signalled (the core
            would wait for ever), or results read that no token says to be there; for a program
            whose set-up was not run before it. The message names the word.
        """
        if memory.dtype != np.uint8 or memory.ndim != 1 or memory.size < program.memory_bytes:
            raise ProgramError(
                f"memory must be a vector of at least {program.memory_bytes} uint8, "
                f"not {memory.dtype} {memory.shape}"
            )
        header = Header.of(program.words)
        if header.setup and not header.is_setup and header.setup != self._setup:
            raise ProgramError(
                f"word 1: the program needs set-up {header.setup:06x}, which was not run, or other "
                f"programs have run since; run the set-up first"
            )
        if header.is_setup or not header.setup:
            self._setup = 0
        self._order.begin()
        for command in program.commands():
            missing = self._order.start(command)
            if missing is not None:
                raise refusal(
                    command,
                    f"waits for {missing.name}, which no earlier command has signalled: the core "
                    f"would wait for ever",
                )
            check_command(self.machine, command)
            require(
                command,
                not self._order.crowds(command),
                "may give results while those of four bytes of an earlier command are written; "
                "a command of several pixels waits for SETTLED first",
            )
            if command.unit == Unit.LOAD:
                self._load(command, memory)
            elif command.unit == Unit.STORE:
                self._store(command, memory)
            else:
                self._compute(command)
            self._order.done(command)
            if self._on_command is not None:
                self._on_command(command, self.buffers)
        if header.is_setup:
            self._setup = header.setup

    def _load(self, command: Command, memory: Bytes) -> None:
        space = Space(command["SPACE"])
        source, target = _rows(command)
        self._touch(command, None, source, memory)
        self._touch(command, space, target, self.buffers[space], writes=True)
        self.buffers[space][target] = memory[source]
        if space is Space.ACTIVATION:
            self._order.written(command.unit, target)

    def _store(self, command: Command, memory: Bytes) -> None:
        target, source = _rows(command)
        self._touch(command, None, target, memory, writes=True)
        self._touch(command, Space.ACTIVATION, source, self.buffers.activation)
        self._require_settled(command, source)
        memory[target] = self.buffers.activation[source]

    def _touch(
        self,
        command: Command,
        space: Space | None,
        addresses: Int64,
        place: Bytes,
        *,
        writes: bool = False,
    ) -> None:
        """Refuse an access outside of the place, and tell of every other one."""
        low, high = int(addresses.min()), int(addresses.max())
        if low < 0 or high >= place.size:
            where = "memory" if space is None else f"the {space.name.lower()} buffer"
            raise refusal(
                command,
                f"touches bytes {low} to {high} of {where}, which has {place.size} bytes",
            )
        if self._on_access is not None:
            self._on_access(Access(command, space, writes, addresses))

    def _require_settled(self, command: Command, addresses: Int64) -> None:
        """Refuse a read of results that may not be there yet."""
        late = self._order.read(command.unit, addresses)
        require(
            command,
            late is None,
            f"reads byte {late} of the activation buffer, which an earlier command writes, and no "
            f"token says that it is done; a compute command waits for SETTLED",
        )

    def _compute(self, command: Command) -> None:
        pixels = command["PIXELS"]
        groups = _groups(command)
        if Mode(command["MODE"]).is_cell:
            for group in groups:
                self._write(command, group, 0, self._cell(command, group)[None, :])
            return
        if command["MODE"] == Mode.SOFTMAX:
            self._softmax(command, groups)
            return
        most = max(
            1, _GATHER_LIMIT // (command["KERNEL_H"] * command["KERNEL_W"] * groups[0].segment)
        )
        results = []
        for first in range(0, pixels, most):
            window: _Window | None = None
            for group in groups:
                start = group.number * command["GROUP_ACT_STEP"]
                if window is None or window.start != start or window.segment != group.segment:
                    window = self._gather(command, start, group.segment, first, most)
                results.append((group, first, self._accumulate(command, group, window)))
        if command["KEEP"] & Keep.CONTINUE:
            kept = self._sums
            shape = results[0][2].shape
            if kept is None or kept.shape != shape:
                raise refusal(command, "KEEP continues sums that nobody kept")
            results = [(results[0][0], 0, _wrap32(kept + results[0][2]))]
        self._sums = results[0][2] if command["KEEP"] & Keep.UNDRAINED else None
        if command["KEEP"] & Keep.UNDRAINED:
            return
        for group, first, sums in results:
            self._write(command, group, first, sums)

    def _accumulate(self, command: Command, group: _Group, window: _Window) -> Int64:
        """Sums [pixels, channels] of a group, as int32 values."""
        mode = Mode(command["MODE"])
        if mode == Mode.MAX:
            largest: Int64 = np.where(window.real, window.values, -128).max(axis=1)
            return largest
        if mode == Mode.MIN:
            smallest: Int64 = np.where(window.real, window.values, 127).min(axis=1)
            return smallest
        values = window.centred
        if mode == Mode.PRODUCT:
            product: Int64 = values.prod(axis=1)
            return product
        if mode == Mode.TABLE:
            return self._table(command)[values[:, 0] + TABLE_BYTES // 2]
        if mode == Mode.SUM:
            total: Int64 = values.sum(axis=1)
            return total
        if mode.is_scaled:
            scaled = [
                requantize_double(
                    values[:, tap] << SCALED_SUM_LEFT_SHIFT,
                    command[f"SCALE_{tap}_MULTIPLIER"],
                    -command[f"SCALE_{tap}_SHIFT"],
                )
                for tap in (0, 1)
            ]
            sign = 1 if mode == Mode.SCALED_SUM else -1
            return _wrap32(scaled[0] + sign * scaled[1])
        weights = self._weights(command, group)
        if not mode.is_dense:
            wide = values.repeat(columns_per_byte(command), axis=2)
            return _wrap32((wide * weights).sum(axis=1))
        # A product of 9-bit numbers, summed up to 2**36 times, is exact in float64.
        return _wrap32((window.flat @ weights.astype(np.float64)).astype(np.int64))

    def _gather(self, command: Command, start: int, segment: int, first: int, most: int) -> _Window:
        """Up to `most` pixels from `first` on, `start` bytes into their rows."""
        last = min(first + most, command["PIXELS"])
        pixel = np.arange(first, last, dtype=np.int64).reshape(-1, 1, 1, 1)
        oy, ox = np.divmod(pixel, command["OUT_WIDTH"])
        ky = np.arange(command["KERNEL_H"], dtype=np.int64).reshape(-1, 1, 1)
        kx = np.arange(command["KERNEL_W"], dtype=np.int64).reshape(-1, 1)
        along = (
            ox * command["PIXEL_X_STEP"]
            + kx * command["TAP_X_STEP"]
            + start
            + np.arange(segment, dtype=np.int64)
        )
        x = command["X_START"] + along
        y = command["Y_START"] + oy * command["PIXEL_Y_STEP"] + ky * command["TAP_Y_STEP"]
        address = (
            command["ACT_ADDRESS"]
            + oy * command["PIXEL_Y_ADDRESS_STEP"]
            + ky * command["TAP_Y_ADDRESS_STEP"]
            + along
        )
        real = (x >= 0) & (x < command["INPUT_ROW_BYTES"])
        real = real & ((y >= 0) & (y < command["INPUT_ROWS"]))
        address = address & ((1 << BUFFER_ADDRESS_BITS) - 1)
        if real.any():
            used = address[real]
            self._touch(command, Space.ACTIVATION, used, self.buffers.activation)
            self._require_settled(command, used)
        address = np.where(real, address, 0)
        values = self.buffers.activation.view(np.int8)[address].astype(np.int64)
        shape = (last - first, -1, segment)
        values, real = values.reshape(shape), real.reshape(shape)
        zero_point = np.full((values.shape[1], 1), command["ACT_ZERO_POINT"])
        if Mode(command["MODE"]).has_operands:
            zero_point[1] = command["ACT_ZERO_POINT_1"]
        centred = np.where(real, values - zero_point, 0)
        flat = centred.reshape(len(centred), -1).astype(np.float64)
        return _Window(start, segment, values, real, centred, flat)

    def _cell(self, command: Command, group: _Group) -> Int64:
        """What the LSTM cell gives for a group of cell states."""
        mode, wide = Mode(command["MODE"]), self.machine.recurrent_width
        start = group.number * command["GROUP_ACT_STEP"]
        scale = wide.nbytes // 2  # recurrent sums are so much longer than the others

        def numbers(name: str, gate: int, width: Width = Width.INT16, scale: int = 1) -> Int64:
            offset = scale * (gate * command["TAP_Y_ADDRESS_STEP"] + start)
            return self._numbers(command, command[name] + offset, group.channels, width)

        gates = range(command["KERNEL_H"])
        inputs = [numbers("ACT_ADDRESS", gate) for gate in gates]
        if mode == Mode.DOT:
            others = [numbers("STATE_ADDRESS", gate) for gate in gates]
            return _wrap32((np.array(inputs) * np.array(others)).sum(axis=0))
        recurrent = [numbers("RECURRENT_ADDRESS", gate, wide, scale) for gate in gates]
        sums = list(zip(inputs, recurrent, strict=True))
        if mode == Mode.GATE_SUM:
            return gate_sum(*sums[0])
        assert self.machine.cell is not None
        return cell_result(
            self.machine.cell,
            mode,
            command["STATE_INTEGER_BITS"],
            numbers("STATE_ADDRESS", 0),
            sums,
        )

    def _softmax(self, command: Command, groups: Sequence[_Group]) -> None:
        """Every row's exponentials, scaled by the reciprocal of their sum."""
        pixels = command["PIXELS"]
        rows = [
            self._gather(command, each.number * command["GROUP_ACT_STEP"], each.segment, 0, pixels)
            for each in groups
        ]
        start = command["PARAMETER_ADDRESS"]
        self._touch(
            command,
            Space.PARAMETER,
            np.array([start, start + EXPONENTIAL_BYTES - 1]),
            self.buffers.parameter,
        )
        table = self.buffers.parameter[start : start + EXPONENTIAL_BYTES]
        values = np.concatenate([row.values[:, 0] for row in rows], axis=1)
        softmax = softmax_rows(values, table.view("<i4"))
        last = 0
        for group in groups:
            first, last = last, last + group.segment
            self._put(command, group, 0, softmax.scaled(first, last, command["BIAS"]))

    def _numbers(self, command: Command, address: int, count: int, width: Width) -> Int64:
        """Signed numbers in the activation buffer; of four bytes the low 17 bits count."""
        used = (address + np.arange(count * width.nbytes)) & ((1 << BUFFER_ADDRESS_BITS) - 1)
        self._touch(command, Space.ACTIVATION, used, self.buffers.activation)
        self._require_settled(command, used)
        numbers: Int64 = self.buffers.activation[used].view(f"<i{width.nbytes}").astype(np.int64)
        unused = 64 - min(8 * width.nbytes, self.machine.result_bits)
        return (numbers << unused) >> unused

    def _table(self, command: Command) -> Int64:
        """The table of a command, from the entry of -128 on."""
        start = command["PARAMETER_ADDRESS"]
        ends = np.array([start, start + TABLE_BYTES - 1])
        self._touch(command, Space.PARAMETER, ends, self.buffers.parameter)
        table = self.buffers.parameter[start : start + TABLE_BYTES]
        return table.view(np.int8).astype(np.int64)

    def _weights(self, command: Command, group: _Group) -> Int64:
        """A group's parameters [words, channels], zero point subtracted."""
        taps = command["KERNEL_H"] * command["KERNEL_W"]
        dense = Mode(command["MODE"]).is_dense
        words = taps * group.segment if dense else taps
        before = group.number * (taps * command["SEGMENT"] if dense else taps)
        word_bytes = self.machine.group_channels(Mode(command["MODE"]))
        start = command["PARAMETER_ADDRESS"] + before * word_bytes
        ends = np.array([start, start + words * word_bytes - 1])
        self._touch(command, Space.PARAMETER, ends, self.buffers.parameter)
        content = self.buffers.parameter[start : start + words * word_bytes].view(np.int8)
        weights = content.reshape(words, word_bytes)[:, : group.channels].astype(np.int64)
        return weights - command["PARAMETER_ZERO_POINT"]

    def _write(self, command: Command, group: _Group, first: int, sums: Int64) -> None:
        """Post-process sums [pixels, channels] and write them to the activation buffer."""
        bias, multiplier, shift = self._constants(command, group)
        single = command["ROUNDING"] == Rounding.SINGLE
        requantize = requantize_single if single else requantize_double
        self._put(command, group, first, requantize(_wrap32(sums + bias), multiplier, shift))

    def _put(self, command: Command, group: _Group, first: int, scaled: Int64) -> None:
        """Write scaled sums [pixels, channels], with their zero point and clamped."""
        results = scaled + command["OUT_ZERO_POINT"]
        results = np.clip(results, command["CLAMP_MIN"], command["CLAMP_MAX"])
        pixel = np.arange(first, first + len(scaled), dtype=np.int64)[:, None]
        oy, ox = np.divmod(pixel, command["OUT_WIDTH"])
        width = Width(command["WIDTH"])
        byte = np.arange(group.channels * width.nbytes, dtype=np.int64)
        address = (
            command["OUT_ADDRESS"]
            + group.number * command["GROUP_CHANNELS"] * width.nbytes
            + oy * command["OUT_Y_STEP"]
            + ox * command["OUT_X_STEP"]
            + byte
        ) & ((1 << BUFFER_ADDRESS_BITS) - 1)
        content = results.astype(f"<i{width.nbytes}").view(np.int8)
        if command["EDGE_CHANNELS"]:
            kept = (ox < command["OUT_WIDTH"] - 1) | (byte < command["EDGE_CHANNELS"])
            address, content = address[kept], content[kept]
        self._touch(command, Space.ACTIVATION, address, self.buffers.activation, writes=True)
        self.buffers.activation.view(np.int8)[address] = content
        self._order.written(command.unit, address)

    def _constants(
        self, command: Command, group: _Group
    ) -> tuple[Int64 | int, Int64 | int, Int64 | int]:
        """Bias, multiplier and shift of a group's channels."""
        if command["UNIFORM"]:
            return command["BIAS"], command["MULTIPLIER"], command["SHIFT"]
        entry = command["CONSTANT_ENTRY"] + group.number
        require(
            command,
            entry < self.machine.constant_entries,
            f"reads constant entry {entry} of {self.machine.constant_entries}",
        )
        start = entry * self.machine.constant_entry_bytes
        end = start + CHANNEL_RECORD_BYTES * group.channels
        self._touch(command, Space.CONSTANT, np.array([start, end - 1]), self.buffers.constant)
        records = self.buffers.constant[start:end].view(CHANNEL_RECORD)
        bias, multiplier, shift = (
            records[name].astype(np.int64) for name in ("bias", "multiplier", "shift")
        )
        return bias, multiplier, shift


@dataclass(frozen=True, eq=False)
class _Window:
    """Activations [pixels, taps, bytes] as int8 values, and what is derived from them.

    `real` tells which are inside the input; `centred` has the zero point subtracted and 0 where
    not real; `flat` is the same as [pixels, taps x bytes].
    """

    start: int
    segment: int
    values: Int64
    real: npt.NDArray[np.bool_]
    centred: Int64
    flat: Float64


@dataclass(frozen=True)
class _Group:
    """One group of output channels of a command."""

    number: int
    segment: int
    channels: int


def _groups(command: Command) -> list[_Group]:
    count = command["GROUPS"]
    return [
        _Group(number, command["SEGMENT"], command["GROUP_CHANNELS"]) for number in range(count - 1)
    ] + [_Group(count - 1, command["LAST_SEGMENT"], command["LAST_GROUP_CHANNELS"])]


def _rows(command: Command) -> tuple[Int64, Int64]:
    """Memory and buffer addresses of every byte that a copy moves, both [rows, row bytes]."""
    byte = np.arange(command["ROW_BYTES"], dtype=np.int64)
    row = np.arange(command["ROWS"], dtype=np.int64)[:, None]
    return (
        command["MEMORY_ADDRESS"] + row * command["MEMORY_PITCH"] + byte,
        command["BUFFER_ADDRESS"] + row * command["BUFFER_PITCH"] + byte,
    )


def _wrap32(values: Int64) -> Int64:
    return values.astype(np.int32).astype(np.int64)
