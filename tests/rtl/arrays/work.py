"""Work for an array: tiles and filters, random, and what their sums are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mensa.rtl.arrays.array import Array


@dataclass
class Tile:
    """A tile: activations [pixels, reduction], parameters [reduction, columns], chunk sizes."""

    activations: np.ndarray
    parameters: np.ndarray
    chunks: list[int]

    def sums(self) -> np.ndarray:
        return self.activations @ self.parameters


def random_operands(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Operands of nine bits, half of them rare ones."""
    rare = rng.choice([0, 1, -1, 255, -255, -256, 127, -128], shape)
    return np.where(rng.random(shape) < 0.5, rare, rng.integers(-256, 256, shape))


def random_tile(rng: np.random.Generator, array: Array) -> Tile:
    most, tile = array.chunk, array.tile
    pixels = int(rng.choice([tile, rng.integers(1, tile + 1), rng.integers(1, min(tile, 4) + 1)]))
    chunks = [int(rng.choice([most, rng.integers(1, most + 1)])) for _ in range(rng.integers(1, 5))]
    span = int(rng.choice([1, 255]))  # 255 * 255 is the largest product of int8 minus zero point
    return Tile(
        rng.integers(-span, span + 1, (pixels, sum(chunks))),
        rng.integers(-span, span + 1, (sum(chunks), array.group)),
        chunks,
    )


@dataclass
class Filter:
    """Depthwise work: taps [groups, tap rows, taps, columns], input rows [groups, rows, bytes]."""

    command: dict[str, int]
    taps: np.ndarray
    rows: np.ndarray

    def sums(self, group: int) -> np.ndarray:
        """[output rows, pixels, columns], written down as depthwise convolution is defined."""
        c, cols = self.command, self.taps.shape[-1]
        height = c["PIXELS"] // c["OUT_WIDTH"]
        sums = np.zeros((height, c["OUT_WIDTH"], cols), int)
        for y, x, ky, kx in np.ndindex(height, c["OUT_WIDTH"], c["KERNEL_H"], c["KERNEL_W"]):
            row = y * c["PIXEL_Y_STEP"] + ky * c["TAP_Y_STEP"]
            at = x * c["PIXEL_X_STEP"] + kx * c["TAP_X_STEP"]
            sums[y, x] += self.taps[group, ky, kx] * self.rows[group, row, at : at + cols]
        return sums


def random_filter(rng: np.random.Generator, array: Array) -> Filter:
    cols = array.group
    while True:
        height, width, kernel_h, kernel_w = (int(n) for n in rng.integers(1, 6, 4))
        if rng.random() < 0.3:
            kernel_h = kernel_w = 1  # its first word comes soonest
        channels = int(rng.choice([cols, 1]))  # of a pixel; a word is cols bytes
        command = {
            "PIXELS": height * width,
            "OUT_WIDTH": width,
            "PIXEL_X_STEP": int(rng.integers(1, 4)) * int(rng.choice([cols, channels])),
            "PIXEL_Y_STEP": int(rng.integers(1, 4)),
            "KERNEL_H": kernel_h,
            "KERNEL_W": kernel_w,
            "TAP_X_STEP": channels * int(rng.integers(1, 3)),
            "TAP_Y_STEP": int(rng.integers(1, 3)),
            "GROUPS": int(rng.integers(1, 4)),
        }
        stream = array.stream(command, 0)
        if stream:
            break
    command |= stream
    row_bytes = (width - 1) * command["PIXEL_X_STEP"] + (kernel_w - 1) * command["TAP_X_STEP"]
    span = int(rng.choice([1, 255]))
    return Filter(
        command,
        rng.integers(-span, span + 1, (command["GROUPS"], kernel_h, kernel_w, cols)),
        rng.integers(-span, span + 1, (command["GROUPS"], stream["STREAM_ROWS"], row_bytes + cols)),
    )
