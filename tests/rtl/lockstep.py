"""Rigid pipelines: what goes in and comes out is known cycle by cycle, with no handshake.

`play` drives inputs and records outputs in every cycle; `SideBySide` puts several components into
one simulation, since building one costs seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped
from cocotb.triggers import RisingEdge


class SideBySide(wiring.Component):
    """Several components with their members under ``name__``."""

    def __init__(self, parts: Mapping[str, Any]):
        self._parts = parts
        super().__init__({name: Out(part.signature) for name, part in parts.items()})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for name, part in self._parts.items():
            m.submodules[name] = part
            connect(m, flipped(getattr(self, name)), part)
        return m


class Port:
    """The ports of `dut` under a prefix."""

    def __init__(self, dut: Any, prefix: str):
        self._dut, self._prefix = dut, prefix

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dut, f"{self._prefix}__{name}")


async def play(
    dut: Any, cycles: int, inputs: Mapping[str, Sequence[int]], outputs: Iterable[str]
) -> dict[str, list[int]]:
    """Drive inputs for a number of cycles and record outputs.

    Parameters: `inputs`, by port, one value a cycle; a shorter list is followed by zeros.
    Returns: by port, the value in every cycle; one that comes `n` cycles after an input stands
    `n` places further on.
    """
    drive = []
    for name, values in inputs.items():
        drive.append((getattr(dut, name), list(values) + [0] * (cycles - len(values))))
    watch = [(getattr(dut, name), []) for name in outputs]
    before: list[int | None] = [None] * len(drive)
    for cycle in range(cycles):
        for number, (handle, values) in enumerate(drive):
            if values[cycle] != before[number]:
                before[number] = handle.value = values[cycle]
        await RisingEdge(dut.clk)
        for handle, seen in watch:
            seen.append(int(handle.value))
    return dict(zip(outputs, (seen for _, seen in watch), strict=True))


def pack(values: Iterable[int], bits: int) -> int:
    """One number of fields of equal width, the first lowest."""
    mask, word = (1 << bits) - 1, 0
    for place, value in enumerate(values):
        word |= (value & mask) << place * bits
    return word


def signed(value: int, bits: int) -> int:
    """The lowest `bits` bits of a number, read as signed."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def unpack(word: int, bits: int, count: int) -> list[int]:
    """The signed fields of `pack`."""
    return [signed(word >> place * bits, bits) for place in range(count)]
