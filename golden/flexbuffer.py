"""Reading a flexbuffer's map of numbers, the form of a custom operator's options."""

from __future__ import annotations

import struct

from mensa.golden.error import GraphError

_NULL, _INT, _UINT, _FLOAT, _MAP, _BOOL = 0, 1, 2, 3, 9, 26
_INDIRECT_INT, _INDIRECT_UINT, _INDIRECT_FLOAT = 6, 7, 8
_SIGNED = {1: "<b", 2: "<h", 4: "<i", 8: "<q"}
_UNSIGNED = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
_REAL = {2: "<e", 4: "<f", 8: "<d"}
# Longest key and most entries of a map that is sound.
_MAX_KEY = 256
_MAX_ENTRIES = 1024

Number = int | float | bool


def read_map(data: bytes) -> dict[str, Number]:
    """Numbers of the map that is the root of `data`, by key; other values are left out.

    Raises: GraphError for bytes that are not such a map.
    """
    try:
        return _read(data)
    except (struct.error, KeyError, ValueError, IndexError) as error:
        raise GraphError("its options are not a sound flexbuffer") from error


def _at(data: bytes, at: int, layouts: dict[int, str], width: int) -> int | float:
    if at < 0:
        raise ValueError(at)
    value: int | float = struct.unpack_from(layouts[width], data, at)[0]
    return value


def _follow(data: bytes, at: int, width: int) -> int:
    """Where the offset at `at` points: offsets go back."""
    return at - int(_at(data, at, _UNSIGNED, width))


def _read(data: bytes) -> dict[str, Number]:
    root_width, root_type = data[-1], data[-2]
    if root_type >> 2 != _MAP:
        raise ValueError(root_type)
    width = 1 << (root_type & 3)
    start = _follow(data, len(data) - 2 - root_width, root_width)
    size = int(_at(data, start - width, _UNSIGNED, width))
    keys_width = int(_at(data, start - 2 * width, _UNSIGNED, width))
    keys = _follow(data, start - 3 * width, width)
    if size > _MAX_ENTRIES:
        raise ValueError(size)
    found: dict[str, Number] = {}
    for entry in range(size):
        name = _follow(data, keys + entry * keys_width, keys_width)
        end = data.index(b"\0", max(name, 0), name + _MAX_KEY)
        kind = data[start + size * width + entry]
        value = _number(data, start + entry * width, width, kind)
        if value is not None:
            found[data[name:end].decode("utf-8", "replace")] = value
    return found


def _number(data: bytes, at: int, width: int, kind: int) -> Number | None:
    form, own_width = kind >> 2, 1 << (kind & 3)
    if form in (_INDIRECT_INT, _INDIRECT_UINT, _INDIRECT_FLOAT):
        at, width = _follow(data, at, width), own_width
    if form in (_INT, _INDIRECT_INT):
        return _at(data, at, _SIGNED, width)
    if form in (_UINT, _INDIRECT_UINT):
        return _at(data, at, _UNSIGNED, width)
    if form in (_FLOAT, _INDIRECT_FLOAT):
        return _at(data, at, _REAL, width)
    if form == _BOOL:
        return bool(_at(data, at, _UNSIGNED, width))
    return None
