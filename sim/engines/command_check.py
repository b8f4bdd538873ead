"""What a command must keep to so that it has a meaning, whatever memory and buffers hold."""

from __future__ import annotations

from mensa.rtl.commands import COUNTS, GROUP_COUNTS, MODE_COUNTS, Mode, Space, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.program import Command, ProgramError

__all__ = ["check_command", "columns_per_byte", "refusal", "require"]

_SPACES = frozenset(Space)


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
        is not that of its pixels, sums kept where they can't be.
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
            per_byte = columns_per_byte(command)
            require(
                command,
                channels == segment * per_byte,
                f"{channels} channels from {segment} bytes x {per_byte}",
            )
    taps = command["KERNEL_H"] * command["KERNEL_W"]
    if mode.has_operands:
        what = f"a {mode.name.lower().replace('_', ' ')}"
        require(command, taps == 2, f"{what} has 2 taps, not {taps}")
        # The gateware tells its operands apart by their tap rows.
        require(command, command["KERNEL_W"] == 1, f"the taps of {what} are one a tap row")
    if mode == Mode.TABLE:
        require(command, taps == 1, f"a table's value has 1 tap, not {taps}")
        for name in ("ACT_ZERO_POINT", "PARAMETER_ZERO_POINT"):
            require(command, command[name] == 0, f"{name} of a table must be 0")
    reason = machine.array.refusal(command.registers)
    if reason is not None:
        raise refusal(command, reason)
    if command["KEEP"]:
        tile = machine.array.tile
        require(
            command,
            mode.is_tiled and command["GROUPS"] == 1 and command["PIXELS"] <= tile,
            f"KEEP needs a tiled mode, one group and at most {tile} pixels",
        )
