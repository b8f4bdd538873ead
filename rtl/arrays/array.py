"""What an array tells the shell about itself: its mapping and its time, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ArrayShape", "output_stationary"]


@dataclass(frozen=True, kw_only=True)
class ArrayShape:
    """The numbers of an array's contract (docs/array-contract.md).

    Operand feed, post-processor and timing model know an array by these alone.

    Attributes
    ----------
    tile : int
        Output pixels that are in the array at once.
    chunk : int
        Bytes of the reduction that one activation word holds.
    group : int
        Output channels at once: parameters of a beat and results of a row.
    pace : int
        Cycles from one row of a tile's results to the next.
    spacing : int
        Cycles between the `last` beats of two tiles, at least.
    latency : int
        Cycles from a tile's `last` beat to its last row of results.
    filter_latency : int
        Cycles from a word of a filter to the result that is complete with it.
    """

    tile: int
    chunk: int
    group: int
    pace: int
    spacing: int
    latency: int
    filter_latency: int

    def tile_cycles(self, pixels: int, taps: int, segment: int) -> int:
        """Cycles that a tile of `pixels` keeps the feed busy.

        A chunk takes max(pixels, its bytes), and a tile at least the spacing.
        """
        full, rest = divmod(segment, self.chunk)
        chunks = full * max(pixels, self.chunk) + (max(pixels, rest) if rest else 0)
        return max(self.spacing, taps * chunks)


def output_stationary(rows: int, cols: int, pace: int) -> ArrayShape:
    """The systolic array of `mensa.rtl.arrays.systolic.gateware`, R x C.

    Latency: one cycle into the array's registers, R - 1 down column 0, four to the multiplier, the
    product, the sum and the drain register, R - 1 times the pace while the other rows shift down,
    C - 1 across the columns; of a filter, the same without the shifts.
    """
    return ArrayShape(
        tile=rows,
        chunk=rows,
        group=cols,
        pace=pace,
        spacing=rows * pace,
        latency=rows + cols + 3 + (rows - 1) * pace,
        filter_latency=rows + cols + 3,
    )
