"""What a command's mode means to those that steer, decoded into flags before the command begins."""

from __future__ import annotations

from collections.abc import Set

from amaranth.hdl import Value
from amaranth.lib import data

from mensa.rtl.commands import Mode
from mensa.rtl.parts.unit import is_one_of

__all__ = ["decode_kind", "kind_layout", "kinds"]


def kinds(own: Set[Mode]) -> dict[str, Set[Mode]]:
    """The modes for which each flag is set, on an array with some modes of its `own`."""
    modes = frozenset(Mode)
    return {
        "tiled": {mode for mode in modes if mode.is_tiled},
        "vector": {mode for mode in modes if mode.is_vector},
        "own": own,
        "cell": {mode for mode in modes if mode.is_cell},
        "softmax": {Mode.SOFTMAX},
        "has_table": {Mode.TABLE, Mode.SOFTMAX},
        "depthwise": {Mode.DEPTHWISE},
        "dot": {Mode.DOT},
        "gate_sum": {Mode.GATE_SUM},
    }


def kind_layout() -> data.StructLayout:
    """The flags."""
    return data.StructLayout(dict.fromkeys(kinds(frozenset()), 1))


def decode_kind(mode: Value, own: Set[Mode]) -> dict[str, Value]:
    """Return the flags of a MODE register, by name."""
    return {name: is_one_of(mode, modes) for name, modes in kinds(own).items()}
