"""Cycles of depthwise layers in the ways that the systolic array allows: docs/depthwise.md's table.

Closed forms only. Run from the repository's root::

    PYTHONSAFEPATH=1 python scripts/depthwise_cycles.py
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mensa.rtl.arrays.filter.filter_stream import filter_stream, filter_words
from mensa.rtl.commands import Mode
from mensa.rtl.machine import Machine, edge_tpu
from mensa.rtl.timing import SETUP_CYCLES, drain_cycles, feed_cycles
from mensa.sched.lower.mappings.choice import mapper


@dataclass(frozen=True)
class Layer:
    """A depthwise layer with a square kernel and multiplier 1; width and height of its output."""

    width: int
    height: int
    channels: int
    kernel: int
    stride: int

    @property
    def macs(self) -> int:
        """Products of the layer, padding counted."""
        return self.width * self.height * self.channels * self.kernel**2


LAYERS = (
    Layer(112, 112, 32, 3, 1),
    Layer(28, 28, 144, 3, 2),
    Layer(14, 14, 384, 3, 1),
    Layer(7, 7, 960, 3, 1),
    Layer(28, 28, 192, 5, 1),
    Layer(14, 14, 240, 5, 2),
)


def diagonal(machine: Machine, layer: Layer) -> int:
    """MODE DEPTHWISE: every tap of a group passes all its channels' bytes."""
    groups = math.ceil(layer.channels / machine.array.group)
    registers = {
        "MODE": Mode.DEPTHWISE,
        "PIXELS": layer.width * layer.height,
        "KERNEL_H": layer.kernel,
        "KERNEL_W": layer.kernel,
        "SEGMENT": min(layer.channels, machine.array.group),
        "LAST_SEGMENT": layer.channels - (groups - 1) * machine.array.group,
        "GROUPS": groups,
    }
    feed = feed_cycles(machine, registers)
    return SETUP_CYCLES + feed + drain_cycles(machine, Mode.DEPTHWISE)


def patches(machine: Machine, layer: Layer) -> int:
    """MODE CONV on patches of p x q outputs with all or some of their channels on the columns."""
    least = None
    for p in range(1, machine.array.group + 1):
        for q in range(1, machine.array.group // p + 1):
            channels = min(layer.channels, machine.array.group // (p * q))
            groups = math.ceil(layer.channels / channels)
            height = (p - 1) * layer.stride + layer.kernel
            width = (q - 1) * layer.stride + layer.kernel
            lanes = math.ceil(layer.height / p) * math.ceil(layer.width / q)
            tiles, rest = divmod(lanes, machine.array.tile)
            # Bytes of neighbouring pixels lie together only if a pixel has no other channels.
            taps, segment = height * width, channels
            if groups == 1:
                taps, segment = height, width * channels
            cycles = tiles * machine.array.tile_cycles(machine.array.tile, taps, segment)
            cycles += machine.array.tile_cycles(rest, taps, segment) if rest else 0
            total = SETUP_CYCLES + groups * cycles + drain_cycles(machine, Mode.CONV)
            least = total if least is None else min(least, total)
    assert least is not None
    return least


@dataclass(frozen=True)
class Filtered:
    """A layer in MODE FILTER: pixels a strip is wide, cycles in all, words that pass."""

    strips: tuple[int, ...]
    cycles: int
    words: int


def filtered(machine: Machine, layer: Layer) -> Filtered | None:
    """MODE FILTER with the pixels a word that take the fewest cycles, as the compiler chooses."""
    most = machine.array.group // layer.channels if layer.stride == 1 else 1
    ways = (_filtered(machine, layer, pixels) for pixels in range(1, max(1, most) + 1))
    return min((way for way in ways if way), key=lambda way: way.cycles, default=None)


def _filtered(machine: Machine, layer: Layer, pixels: int) -> Filtered | None:
    def registers(words: int) -> dict[str, int]:
        return {
            "MODE": Mode.FILTER,
            "PIXELS": words * layer.height,
            "OUT_WIDTH": words,
            "PIXEL_X_STEP": pixels * layer.stride * layer.channels,
            "PIXEL_Y_STEP": layer.stride,
            "KERNEL_H": layer.kernel,
            "KERNEL_W": layer.kernel,
            "TAP_X_STEP": layer.channels,
            "TAP_Y_STEP": 1,
            "GROUPS": math.ceil(layer.channels / machine.array.group),
        }

    found = mapper(machine).strips(math.ceil(layer.width / pixels), registers)
    if found is None:
        return None
    words = 0
    for width in found[0]:
        command = registers(width)
        stream = filter_stream(machine.array.tile, command, 0)
        assert stream is not None
        words += command["GROUPS"] * filter_words(stream)
    cycles = SETUP_CYCLES + found[1] + drain_cycles(machine, Mode.FILTER)
    return Filtered(tuple(width * pixels for width in found[0]), cycles, words)


def share(machine: Machine, layer: Layer, cycles: int) -> str:
    """Cycles, and which part of the array's multipliers they keep busy."""
    return f"{cycles:,} ({layer.macs / cycles / (machine.array.tile * machine.array.group):.1%})"


def main() -> None:
    """Prints the table."""
    machine = edge_tpu
    half = machine.replace(rows=machine.array.tile // 2)
    print(
        "| output, kernel | diagonal | patches | filter | its strips | their words "
        "| bound reached | feed twice as wide |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for layer in LAYERS:
        one, two = filtered(machine, layer), filtered(half, layer)
        shape = f"{layer.width}x{layer.height}x{layer.channels}"
        cells = [
            f"{shape}, {layer.kernel}x{layer.kernel} s{layer.stride}",
            share(machine, layer, diagonal(machine, layer)),
            share(machine, layer, patches(machine, layer)),
            share(machine, layer, one.cycles) if one else "-",
            " + ".join(map(str, one.strips)) if one else "-",
            f"{one.words:,}" if one else "-",
            f"{one.words / one.cycles:.1%}" if one else "-",
            share(machine, layer, -(-two.cycles // 2)) if two else "-",
        ]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
