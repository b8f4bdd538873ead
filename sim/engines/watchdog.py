"""What a stuck core waits for: every unit and every memory port, in words.

The harness takes a `Snapshot` in the cycle in which it gives up; `who_waits` reads it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mensa.rtl.commands import HEADER_WORDS, WORD_BYTES, Opcode, Token, Unit
from mensa.rtl.registers import ErrorCode

__all__ = ["PORTS", "Snapshot", "command_at", "who_waits"]

PORTS = ("command port", "data port, read", "data port, write")
"""The memory channels, in the harness's order."""

_READ, _WRITE = ("AR", "R"), ("AW", "W", "B")
_CHANNELS = (_READ, _READ, _WRITE)
_FROM_MEMORY = ("R", "B")  # channels on which the memory gives VALID and the core READY


class _Port(ctypes.Structure):
    """One memory channel, `MensaPort` in core.cpp.

    `in_flight` are bursts accepted and not over, `complete` those of them whose data are all there
    (writes only), `valid` and `ready` have a bit per AXI channel in the order of `_CHANNELS`.
    """

    _fields_ = [(name, ctypes.c_uint64) for name in ("in_flight", "complete", "valid", "ready")]


class Snapshot(ctypes.Structure):
    """The core and its ports in one cycle, `MensaSnapshot` in core.cpp.

    `word` counts the words handled and `fetched` those that have arrived, `pending` and `running`
    have a bit per unit, and `missing` for each unit a bit per token that it lacks.
    """

    _fields_ = [
        ("word", ctypes.c_uint64),
        ("fetched", ctypes.c_uint64),
        ("pending", ctypes.c_uint64),
        ("running", ctypes.c_uint64),
        ("missing", ctypes.c_uint64 * len(Unit)),
        ("ports", _Port * len(PORTS)),
    ]


def who_waits(
    snapshot: Snapshot, memory: npt.NDArray[np.uint8], address: int, code: ErrorCode
) -> str:
    """Say of fetch, of every unit and of every port what it does or waits for.

    Parameters
    ----------
    snapshot : Snapshot
        Where the core stands.
    memory : uint8 array
        The memory's contents.
    address : int
        Where the program is in it.
    code : ErrorCode
        Why the core stopped fetching, if it did.
    """
    return "; ".join(
        [
            f"fetch {_fetch(snapshot, memory, address, code)}",
            *(f"{_name(unit)} {_unit(snapshot, unit)}" for unit in Unit),
            *(f"{name}: {_port(snapshot.ports[i], i)}" for i, name in enumerate(PORTS)),
        ]
    )


def command_at(memory: npt.NDArray[np.uint8], address: int, index: int) -> str | None:
    """What word `index` of the program at `address` starts, as text; None if that is nothing."""
    word = _word(memory, address, index)
    if index < HEADER_WORDS or word >> 60 != Opcode.GO or word >> 56 & 15 not in list(Unit):
        return None
    tokens = [token.name for token in Token if word >> 48 + token & 1]
    after = f" after {' and '.join(tokens)}" if tokens else ""
    return f"GO {_name(Unit(word >> 56 & 15))}{after}"


def _word(memory: npt.NDArray[np.uint8], address: int, index: int) -> int:
    start = address + index * WORD_BYTES
    return int.from_bytes(memory[start : start + WORD_BYTES].tobytes(), "little")


def _name(unit: Unit) -> str:
    return unit.name.lower()


def _fetch(snapshot: Snapshot, memory: npt.NDArray[np.uint8], address: int, code: ErrorCode) -> str:
    index: int = snapshot.word
    if code is not ErrorCode.NONE:
        busy = [name for port, name in zip(snapshot.ports, PORTS, strict=True) if port.in_flight]
        return f"stopped with {code.name} and waits for {' and '.join(busy) or 'nothing'}"
    if index >= snapshot.fetched:
        return f"waits for word {index} of the program from the command port"
    word = _word(memory, address, index)
    opcode, number = word >> 60, word >> 56 & 15
    if index >= HEADER_WORDS and opcode == Opcode.END:
        busy = [_name(unit) for unit in Unit if (snapshot.running | snapshot.pending) >> unit & 1]
        if busy:
            return f"waits at word {index}, END, for {' and '.join(busy)} to finish"
    elif index >= HEADER_WORDS and opcode in (Opcode.SET, Opcode.GO) and number in list(Unit):
        unit = Unit(number)
        if snapshot.pending >> unit & 1:
            return (
                f"waits at word {index}, {Opcode(opcode).name} {_name(unit)}, "
                f"for {_name(unit)}, whose command before is still pending"
            )
    return f"handles word {index}"


def _unit(snapshot: Snapshot, unit: Unit) -> str:
    states = []
    if snapshot.running >> unit & 1:
        states.append("runs a command")
    if snapshot.pending >> unit & 1:
        missing = [token.name for token in Token if snapshot.missing[unit] >> token & 1]
        if missing:
            states.append(f"waits for {' and '.join(missing)}")
        elif not states:
            states.append("could start")
    return " and ".join(states) or "is idle"


def _port(port: _Port, index: int) -> str:
    bursts = f"{port.in_flight or 'no'} burst{'' if port.in_flight == 1 else 's'} in flight"
    return ", ".join([bursts, *_handshakes(port, _CHANNELS[index])])


def _handshakes(port: _Port, channels: tuple[str, ...]) -> Iterator[str]:
    due = {
        "R": port.in_flight,
        "W": port.in_flight - port.complete,
        "B": port.complete,
    }
    for bit, channel in enumerate(channels):
        valid, ready = port.valid >> bit & 1, port.ready >> bit & 1
        giver, taker = ("memory", "core") if channel in _FROM_MEMORY else ("core", "memory")
        if valid and not ready:
            yield f"{giver} waits for {channel}READY"
        elif not valid and due.get(channel):
            yield f"{taker} waits for {channel}VALID"
