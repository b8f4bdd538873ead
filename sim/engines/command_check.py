"""What a command must keep to so that it has a meaning, whatever memory and buffers hold."""

from __future__ import annotations

from mensa.golden.arithmetic.gates import MAX_INTEGER_BITS
from mensa.rtl.commands import (
    COUNTS,
    GROUP_COUNTS,
    MODE_COUNTS,
    MOST_SOFTMAX_ELEMENTS,
    Mode,
    Space,
    Unit,
    Width,
)
from mensa.rtl.machine import Machine
from mensa.rtl.program import Command, ProgramError

__all__ = ["check_command", "columns_per_byte", "refusal", "require"]

_SPACES = frozenset(Space)

_GATES = {Mode.CELL_STATE: (2, 3), Mode.HIDDEN_STATE: (1,), Mode.GATE_SUM: (1,)}
"""Gates that a command of the LSTM cell may have."""


def refusal(command: Command, reason: str) -> ProgramError:
    """An exception that names the command's word."""
    return ProgramError(
        f"word {command.word_index} ({command.unit.name}, layer {command.tag}): {reason}"
    )


def require(command: Command, condition: bool, reason: str) -> None:
    """Raise ProgramError unless `condition` holds."""
    if not condition:
        raise refusal(command, reason)


def columns_per_byte(command: Command) -> int:
    """Output channels that see a byte of the segment, in modes that are not dense."""
    return command["DEPTH_MULTIPLIER"] if command["MODE"] == Mode.DEPTHWISE else 1


def check_command(machine: Machine, command: Command) -> None:
    """Refuse a command that has no meaning on a machine.

    Raises
    ------
    ProgramError
        With the word and the reason: a number that must be at least 1, an unaligned copy, a mode
        or a space that doesn't exist, channels that the columns don't have, a filter whose stream
        is not that of its pixels, sums kept where they can't be, wide results that a row of the
        buffer can't take.
    """
    if command.unit == Unit.COMPUTE:
        _check_compute(machine, command)
        return
    if command.unit == Unit.LOAD:
        space = command["SPACE"]
        require(command, space in _SPACES, f"no SPACE {space}")
    rows = command["ROWS"]
    require(command, rows >= 1 and command["ROW_BYTES"] >= 1, "copies nothing")
    beat = machine.beat_bytes
    for what in ("ADDRESS", "PITCH") if rows > 1 else ("ADDRESS",):
        a, b = command[f"MEMORY_{what}"], command[f"BUFFER_{what}"]
        require(
            command,
            (a - b) % beat == 0,
            f"MEMORY_{what} {a} and BUFFER_{what} {b} differ modulo a beat of {beat} B",
        )


def _check_compute(machine: Machine, command: Command) -> None:
    require(command, command["MODE"] in machine.modes, f"no MODE {command['MODE']}")
    mode = Mode(command["MODE"])
    counts = [
        *COUNTS,
        *(GROUP_COUNTS if command["GROUPS"] != 1 else ()),
        *MODE_COUNTS.get(mode, ()),
    ]
    for name in counts:
        require(command, command[name] >= 1, f"{name} must be at least 1")
    most = machine.group_channels(mode)
    groups = [(command["LAST_SEGMENT"], command["LAST_GROUP_CHANNELS"])]
    if command["GROUPS"] > 1:
        groups.append((command["SEGMENT"], command["GROUP_CHANNELS"]))
    for segment, channels in groups:
        require(
            command,
            1 <= channels <= most and segment >= 1,
            f"a group has {channels} channels of {segment} bytes; channels must be 1 to "
            f"{most}, bytes at least 1",
        )
        edge = command["EDGE_CHANNELS"]
        require(
            command,
            edge <= channels,
            f"the last pixel of a row has {edge} channels of {channels}",
        )
        if not mode.is_dense:
            nbytes = 2 * channels if mode.is_cell else channels
            per_byte = columns_per_byte(command)
            require(
                command,
                nbytes == segment * per_byte,
                f"{channels} channels from {segment} bytes x {per_byte}",
            )
    taps = command["KERNEL_H"] * command["KERNEL_W"]
    if mode.has_operands:
        what = f"a {mode.name.lower().replace('_', ' ')}"
        require(command, taps == 2, f"{what} has 2 taps, not {taps}")
        # The gateware tells its operands apart by their tap rows.
        require(command, command["KERNEL_W"] == 1, f"the taps of {what} are one a tap row")
    _check_width(machine, command, most=max(channels for _, channels in groups))
    if mode.is_cell:
        _check_cell(machine, command)
    if mode == Mode.SOFTMAX:
        _check_softmax(command)
    if mode == Mode.TABLE:
        require(command, taps == 1, f"a table's value has 1 tap, not {taps}")
        for name in ("ACT_ZERO_POINT", "PARAMETER_ZERO_POINT"):
            require(command, command[name] == 0, f"{name} of a table must be 0")
    reason = machine.array.refusal(command.registers)
    if reason is not None:
        raise refusal(command, reason)
    if command["KEEP"]:
        most = machine.array.tile * machine.array.kept_tiles
        require(
            command,
            mode.is_tiled and command["GROUPS"] == 1 and command["PIXELS"] <= most,
            f"KEEP needs a tiled mode, one group and at most {most} pixels",
        )


def _check_width(machine: Machine, command: Command, most: int) -> None:
    """Of groups with at most so many channels."""
    require(command, command["WIDTH"] in machine.widths, f"no WIDTH {command['WIDTH']}")
    width = Width(command["WIDTH"])
    bits = 8 * width.nbytes if width < Width.INT32 else machine.result_bits
    for name in ("CLAMP_MIN", "CLAMP_MAX"):
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        require(command, low <= command[name] <= high, f"{name} is not within {low} and {high}")
    if width == Width.BYTE:
        return
    mode, row = Mode(command["MODE"]), machine.row_bytes
    if width == Width.INT32:
        # A row of the array's takes two cycles for each that others take, and only where a tile
        # has a single one there is so much time.
        # A result of the cell is shorter.
        array = machine.array
        one_row = command["PIXELS"] == 1 or array.tile == 1
        alone = mode.is_tiled and one_row and array.takes_long_rows
        require(
            command,
            alone or (mode.is_cell and 2 * most <= machine.lanes),
            "results of four bytes are those of tiles of a single pixel, on an array that spaces "
            "them widely enough",
        )
    require(command, command["EDGE_CHANNELS"] == 0, "EDGE_CHANNELS is for results of a byte")
    # The bytes of a cycle, two a lane, are written at once.
    cycle = min(most * width.nbytes, 2 * machine.lanes)
    if cycle <= machine.word_bytes:
        return
    starts = ["OUT_ADDRESS"]
    if command["PIXELS"] > 1:
        starts += ["OUT_X_STEP", "OUT_Y_STEP"]
    group = most * width.nbytes
    aligned = all(command[name] % row == 0 for name in starts)
    if command["GROUPS"] > 1:
        aligned = aligned and max(row, group) % min(row, group) == 0
    require(
        command,
        aligned and (group <= row or row % (2 * machine.lanes) == 0),
        f"results of {width.nbytes} bytes must not lie across the rows of {row} B of the buffer",
    )


def _check_softmax(command: Command) -> None:
    """A command of the softmax unit."""
    for name in ("KERNEL_H", "KERNEL_W", "OUT_WIDTH", "UNIFORM", "INPUT_ROWS"):
        require(command, command[name] == 1, f"{name} of a softmax must be 1")
    zeros = ("X_START", "Y_START", "PIXEL_Y_STEP", "ACT_ZERO_POINT", "PARAMETER_ZERO_POINT")
    for name in (*zeros, "EDGE_CHANNELS", "WIDTH", "ROUNDING"):
        require(command, command[name] == 0, f"{name} of a softmax must be 0")
    require(
        command,
        command["GROUP_ACT_STEP"] == command["SEGMENT"] or command["GROUPS"] == 1,
        "groups of a softmax lie side by side",
    )
    elements = (command["GROUPS"] - 1) * command["SEGMENT"] + command["LAST_SEGMENT"]
    require(
        command,
        elements <= MOST_SOFTMAX_ELEMENTS,
        f"a row has {elements} elements, a softmax takes at most {MOST_SOFTMAX_ELEMENTS}",
    )
    require(
        command,
        command["INPUT_ROW_BYTES"] >= elements,
        f"INPUT_ROW_BYTES of a softmax must be at least {elements}",
    )


def _check_cell(machine: Machine, command: Command) -> None:
    """A command of the LSTM cell."""
    gates = _GATES.get(Mode(command["MODE"]))
    if gates is not None:
        says = " or ".join(map(str, gates))
        require(command, command["KERNEL_H"] in gates, f"there must be {says} gates, in KERNEL_H")
    for name in ("PIXELS", "KERNEL_W", "OUT_WIDTH"):
        require(command, command[name] == 1, f"{name} of a cell must be 1")
    for name in ("ACT_ZERO_POINT", "X_START", "Y_START"):
        require(command, command[name] == 0, f"{name} of a cell must be 0")
    require(
        command,
        command["GROUP_ACT_STEP"] == command["SEGMENT"] or command["GROUPS"] == 1,
        "groups of a cell lie side by side",
    )
    long = machine.recurrent_width.nbytes // 2
    row = long * ((command["GROUPS"] - 1) * command["GROUP_ACT_STEP"] + command["LAST_SEGMENT"])
    require(
        command,
        command["INPUT_ROW_BYTES"] >= row and command["INPUT_ROWS"] >= 1,
        f"INPUT_ROW_BYTES of a cell must be at least {row}, and INPUT_ROWS 1",
    )
    require(
        command,
        command["STATE_INTEGER_BITS"] <= MAX_INTEGER_BITS,
        f"STATE_INTEGER_BITS must be at most {MAX_INTEGER_BITS}",
    )
