"""What the constant buffer holds of an output channel."""

from __future__ import annotations

import numpy as np

__all__ = ["CHANNEL_RECORD", "CHANNEL_RECORD_BYTES", "CHANNEL_RECORD_USED_BYTES", "first_bit"]

CHANNEL_RECORD = np.dtype(
    {
        "names": ["bias", "multiplier", "shift"],
        "formats": ["<i4", "<i4", "i1"],
        "offsets": [0, 4, 8],
        "itemsize": 16,
    }
)
"""A record as NumPy knows it: bias, multiplier, shift (positive is left), and padding."""

CHANNEL_RECORD_BYTES = CHANNEL_RECORD.itemsize

CHANNEL_RECORD_USED_BYTES = 9
"""Bytes of a record that mean something, its first; the constant buffer stores no others."""


def first_bit(name: str) -> int:
    """The lowest bit of a field of a record."""
    fields = CHANNEL_RECORD.fields
    assert fields is not None
    return 8 * fields[name][1]
