"""Reading flatbuffers that nobody has checked: every offset is tested against the file's end."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.error import GraphError

# A file that points many times at the same long vector would make reading it take time and
# memory out of proportion; a sound file names each byte about once.
_READS_PER_BYTE = 16
_READS_FREE = 1 << 16


class Source:
    """The bytes of a file and how many of them may still be read.

    Parameters
    ----------
    data : bytes
        The whole file.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._budget = len(data) * _READS_PER_BYTE + _READS_FREE

    def number(self, layout: str, at: int) -> Any:
        """The number at byte `at`; `layout` is of Python's `struct`, little-endian."""
        if at < 0 or at + struct.calcsize(layout) > len(self.data):
            raise GraphError(f"truncated or damaged: nothing at byte {at} of {len(self.data)}")
        return struct.unpack_from(layout, self.data, at)[0]

    def slice(self, at: int, size: int) -> memoryview:
        """`size` bytes from byte `at`, without copying them."""
        if at < 0 or size < 0 or at + size > len(self.data):
            raise GraphError(f"truncated or damaged: {size} bytes at byte {at} of {len(self.data)}")
        return memoryview(self.data)[at : at + size]

    def spend(self, size: int) -> None:
        """Counts `size` bytes as read. Raises: GraphError when that is more than is sound."""
        self._budget -= size + 8
        if self._budget < 0:
            raise GraphError("damaged: parts of the file refer to one another too often")

    def root(self) -> Table:
        """The table that the file starts from."""
        return Table(self, int(self.number("<I", 0)))


class Table:
    """A flatbuffer table: fields by slot, in the schema's order.

    Parameters
    ----------
    source : Source
        The file.
    at : int
        Byte at which the table starts.
    """

    def __init__(self, source: Source, at: int) -> None:
        self._source = source
        self._at = at
        self._vtable = at - int(source.number("<i", at))
        self._vtable_bytes = int(source.number("<H", self._vtable))
        source.spend(8)

    def _field(self, slot: int) -> int | None:
        entry = 4 + 2 * slot
        if entry + 2 > self._vtable_bytes:
            return None
        offset = int(self._source.number("<H", self._vtable + entry))
        return self._at + offset if offset else None

    def _reference(self, slot: int) -> int | None:
        at = self._field(slot)
        return None if at is None else at + int(self._source.number("<I", at))

    def number(self, slot: int, layout: str, default: Any) -> Any:
        """The number in `slot`, `default` where the file leaves it out."""
        at = self._field(slot)
        return default if at is None else self._source.number(layout, at)

    def table(self, slot: int) -> Table | None:
        """The table that `slot` refers to."""
        at = self._reference(slot)
        return None if at is None else Table(self._source, at)

    def array(self, slot: int, dtype: npt.DTypeLike) -> npt.NDArray[Any] | None:
        """The vector of numbers in `slot`, read-only and not copied, None where there is none."""
        at = self._reference(slot)
        if at is None:
            return None
        kind = np.dtype(dtype).newbyteorder("<")
        count = int(self._source.number("<I", at))
        content = self._source.slice(at + 4, count * kind.itemsize)
        self._source.spend(len(content))
        return np.frombuffer(content, kind)

    def integers(self, slot: int, dtype: npt.DTypeLike = np.int32) -> tuple[int, ...]:
        """The vector of integers in `slot`, empty where there is none."""
        array = self.array(slot, dtype)
        return () if array is None else tuple(int(value) for value in array)

    def text(self, slot: int) -> str:
        """The string in `slot`, empty where there is none; bytes that are not UTF-8 are marked."""
        array = self.array(slot, np.uint8)
        return "" if array is None else array.tobytes().decode("utf-8", "replace")

    def tables(self, slot: int) -> list[Table]:
        """The vector of tables in `slot`, empty where there is none."""
        at = self._reference(slot)
        if at is None:
            return []
        count = int(self._source.number("<I", at))
        self._source.slice(at + 4, count * 4)
        self._source.spend(count * 4)
        places = (at + 4 + 4 * item for item in range(count))
        return [Table(self._source, p + int(self._source.number("<I", p))) for p in places]
