"""Depthwise convolution as a filter: in which order words pass the array, and where taps sit.

In FILTER mode the array is one long filter per column. A row of places holds one tap or zero in
each column; words of activations, a byte for each column, pass one place after another, and a
result is the sum of what all places make of the words that are there. The tap in the last place
meets the newest word, one that sits d places before it a word that came d words earlier. Every word
passes once and serves all its outputs.

The words of the input rows pass row after row, so from a tap row to the next it is as many words
as an input row has. An array either has as many places between them; or it has a store of the last
input rows (`Lines`), from which a tap row gets its words, and tap rows lie side by side.

Two orders of the words of a row do:

- every pixel once, where a word is one pixel's channels (`STREAM_TAPS` 1);
- for every output all its taps, where a word is several neighbouring pixels (`STREAM_TAPS` is
  KERNEL_W): neighbouring words then share no columns.

Plain Python: lowering, engines and gateware's tests share it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mensa.rtl.commands import compute_registers

__all__ = ["Lines", "filter_feed_cycles", "filter_stream", "filter_taps", "filter_words"]


@dataclass(frozen=True)
class Lines:
    """A store of input rows before the one that passes.

    Attributes
    ----------
    count, words : int
        How many rows, and words of a row at most.
    at_once : int
        Places whose products are added in a cycle, the last ones; a word stays for as many cycles
        as the taps need.
    """

    count: int
    words: int
    at_once: int

    def turns(self, places: int, command: Mapping[str, int]) -> int:
        """Cycles for which a word of a FILTER command stays."""
        return -(-(places - command["FILTER_ROW"]) // self.at_once)


def filter_stream(
    rows: int, command: Mapping[str, int], row_step: int, lines: Lines | None = None
) -> dict[str, int] | None:
    """The stream's registers for a FILTER command, or None where there is no such stream.

    There is none where the taps don't fit the array, and where two pixels or two taps are at the
    same place, a step of 0 apart.

    Parameters
    ----------
    rows : int
        Places for taps: rows of the array (R), if it has one in each.
    command : mapping
        PIXELS (whole output rows), OUT_WIDTH, PIXEL_X_STEP, PIXEL_Y_STEP, KERNEL_H, KERNEL_W,
        TAP_X_STEP and TAP_Y_STEP.
    row_step : int
        Bytes of buffer address from an input row to the next.
    lines : Lines, optional
        The array's store of input rows.

    Returns
    -------
    dict or None
        STREAM_... and FILTER_... registers, of the order with fewer words.

    Raises
    ------
    ValueError
        If the pixels are not whole rows.
    """
    width, kernel_w = command["OUT_WIDTH"], command["KERNEL_W"]
    if command["PIXELS"] % width:
        raise ValueError(f"{command['PIXELS']} pixels are not whole rows of {width}")
    pixel_step, tap_step = command["PIXEL_X_STEP"], command["TAP_X_STEP"]
    output_rows = command["PIXELS"] // width
    steps = (
        (width, pixel_step),
        (output_rows, command["PIXEL_Y_STEP"]),
        (kernel_w, tap_step),
        (command["KERNEL_H"], command["TAP_Y_STEP"]),
    )
    if any(count > 1 and step == 0 for count, step in steps):
        return None
    unit = math.gcd(pixel_step if width > 1 else 0, tap_step if kernel_w > 1 else 0) or 1
    pixel_words = pixel_step // unit if width > 1 else 1
    tap_words = tap_step // unit if kernel_w > 1 else 1
    every_pixel = compute_registers(
        STREAM_COLUMNS=(width - 1) * pixel_words + (kernel_w - 1) * tap_words + 1,
        STREAM_TAPS=1,
        STREAM_STEP=unit,
        STREAM_FIRST=(kernel_w - 1) * tap_words,
        STREAM_RESULT_STEP=pixel_words,
        FILTER_TAP_STEP=tap_words,
    )
    every_tap = compute_registers(
        STREAM_COLUMNS=width,
        STREAM_TAPS=kernel_w,
        STREAM_STEP=pixel_step,
        STREAM_FIRST=kernel_w - 1,
        STREAM_RESULT_STEP=kernel_w,
        FILTER_TAP_STEP=1,
    )
    best = None
    for order in (every_pixel, every_tap):
        words = order["STREAM_COLUMNS"] * order["STREAM_TAPS"]
        tap_row_step = _tap_row_step(command, order, words, lines)
        reach = (command["KERNEL_H"] - 1) * tap_row_step
        reach += (kernel_w - 1) * order["FILTER_TAP_STEP"]
        fits = reach < rows and order["STREAM_RESULT_STEP"] < 256
        if not fits or not _stores(command, words, lines):
            continue
        place = compute_registers(FILTER_TAP_ROW_STEP=tap_row_step, FILTER_ROW=rows - 1 - reach)
        cycles = words * (lines.turns(rows, place) if lines else 1)
        if best is None or cycles < best[0]:
            best = cycles, order | place
    if best is None:
        return None
    first_row = (command["KERNEL_H"] - 1) * command["TAP_Y_STEP"]
    return best[1] | compute_registers(
        STREAM_ROWS=(output_rows - 1) * command["PIXEL_Y_STEP"] + first_row + 1,
        STREAM_FIRST_ROW=first_row,
        STREAM_ROW_STEP=row_step,
    )


def _tap_row_step(
    command: Mapping[str, int], order: Mapping[str, int], words: int, lines: Lines | None
) -> int:
    """Places from a tap row to the next."""
    if command["KERNEL_H"] == 1:
        return 0
    if lines is None:
        return command["TAP_Y_STEP"] * words
    return (command["KERNEL_W"] - 1) * order["FILTER_TAP_STEP"] + 1


def _stores(command: Mapping[str, int], words: int, lines: Lines | None) -> bool:
    """Whether the store has the input rows, of so many words, that a window sees.

    Tap rows get rows that follow each other. A word is written in the cycle after it is read, so
    the same place is read again two cycles later at the earliest.
    """
    if lines is None or command["KERNEL_H"] == 1:
        return True
    neighbours = command["TAP_Y_STEP"] == 1
    return neighbours and command["KERNEL_H"] <= lines.count + 1 and 2 <= words <= lines.words


def filter_taps(command: Mapping[str, int]) -> list[int]:
    """Array row of each tap of a FILTER command, tap row by tap row."""
    return [
        command["FILTER_ROW"]
        + tap_row * command["FILTER_TAP_ROW_STEP"]
        + tap * command["FILTER_TAP_STEP"]
        for tap_row in range(command["KERNEL_H"])
        for tap in range(command["KERNEL_W"])
    ]


def filter_words(command: Mapping[str, int]) -> int:
    """Words of activations that pass for each group of a FILTER command."""
    return command["STREAM_ROWS"] * command["STREAM_COLUMNS"] * command["STREAM_TAPS"]


def filter_feed_cycles(command: Mapping[str, int], turns: int = 1) -> int:
    """Cycles in which the feed of a FILTER command takes a step.

    For every group: one that clears the taps, one for each tap, `turns` for each word.
    """
    taps = command["KERNEL_H"] * command["KERNEL_W"]
    return command["GROUPS"] * (1 + taps + turns * filter_words(command))
