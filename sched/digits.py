"""The bundled network, which reads handwritten digits, and pictures of what it reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mensa import golden
from mensa.sched.inputs import InputError

__all__ = ["Samples", "load_network", "load_samples", "pictures"]

DATA = Path(__file__).parent / "data"

BRIGHTEST = 16
"""Largest value of a pixel."""

SHADES = " ░▒▓█"
PLAIN_SHADES = " .+#@"
"""The same for a terminal that has no block characters."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Digits that the network was not trained on.

    Attributes
    ----------
    pixels : uint8 array ``[n, 8, 8]``
        0 to 16.
    inputs : int8 array ``[n, 8, 8, 1]``
        As the network takes them.
    labels : int64 array ``[n]``
        What they are.
    """

    pixels: npt.NDArray[np.uint8]
    inputs: npt.NDArray[np.int8]
    labels: npt.NDArray[np.int64]

    def take(self, count: int) -> npt.NDArray[np.int8]:
        """Return the first `count` inputs. Raises: InputError if there are not so many."""
        if count > len(self.inputs):
            raise InputError(
                f"--steps {count}: {len(self.inputs)} digits come with the network; "
                f"ask for fewer, or give --input random"
            )
        return self.inputs[:count]


def load_network() -> golden.Graph:
    """Return the bundled network."""
    return golden.load(DATA / "digits.tflite")


def load_samples() -> Samples:
    """Return the bundled digits."""
    with np.load(DATA / "digits_samples.npz") as file:
        return Samples(file["pixels"], file["inputs"], file["labels"])


def pictures(samples: Samples, predictions: Sequence[int], per_row: int = 4) -> Iterator[str]:
    """Lines of text that show the first samples, each with its predicted and true label."""
    shades = SHADES if _has_blocks() else PLAIN_SHADES
    width = 2 * samples.pixels.shape[2]
    for first in range(0, len(predictions), per_row):
        numbers = range(first, min(first + per_row, len(predictions)))
        for row in range(samples.pixels.shape[1]):
            yield "   ".join(_picture_row(samples.pixels[n, row], shades) for n in numbers).rstrip()
        captions = []
        for n in numbers:
            right = predictions[n] == samples.labels[n]
            caption = f"read {predictions[n]}, is {samples.labels[n]}{'' if right else '  WRONG'}"
            captions.append(caption.ljust(width))
        yield "   ".join(captions).rstrip()
        yield ""


def _picture_row(pixels: npt.NDArray[np.uint8], shades: str) -> str:
    steps = np.rint(pixels / BRIGHTEST * (len(shades) - 1)).astype(int)
    return "".join(2 * shades[step] for step in steps)


def _has_blocks() -> bool:
    try:
        SHADES.encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
