"""Writing .tflite files that TensorFlow Lite loads."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden import schema
from mensa.golden.error import GraphError
from mensa.golden.graph import Graph, Operator, Tensor
from mensa.golden.int4 import pack
from mensa.golden.options import OPTIONS, Options

# TFLite maps constants in place and wants them aligned like this.
_DATA_ALIGNMENT = 16
# What stands before the name of a custom operator in `Operator.op`.
_CUSTOM_PREFIX = "CUSTOM:"
_TYPE_NUMBERS = {
    np.dtype(kind): number for number, (_, kind) in schema.TENSOR_TYPES.items() if kind is not None
}

_NAMED_NUMBERS = {
    name: number
    for number, (name, _) in schema.TENSOR_TYPES.items()
    if name in (schema.INT4, schema.RESOURCE)
}


def _type_number(tensor: Tensor) -> int | None:
    """The schema's number of a tensor's type, None where golden has no such tensors."""
    packed = tensor.type_name == schema.INT4 and tensor.dtype == np.int8
    if packed or tensor.dtype.kind == "V":
        return _NAMED_NUMBERS.get(tensor.type_name)
    return _TYPE_NUMBERS.get(tensor.dtype.newbyteorder("="))


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Writes `graph` as a .tflite file; the same graph always gives the same bytes.

    The file is written whole or not at all: one that is there is replaced at the end.

    Raises: GraphError for an operator or an element type that golden can't write, or a file
    that can't be written.
    """
    data = write(graph)
    try:
        _write_whole(Path(path), data)
    except OSError as error:
        raise GraphError(f"can't write {path}: {error.strerror or error}") from error


def _write_whole(path: Path, data: bytes) -> None:
    if path.exists() and not path.is_file():
        path.write_bytes(data)  # a device or a pipe; a directory says what it is
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:200]}.{os.urandom(8).hex()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write(graph: Graph) -> bytes:
    """The bytes of `graph` as a .tflite file; otherwise as `save`."""
    import flatbuffers

    return _Writer(flatbuffers.Builder(1 << 16)).model(graph)


class _Writer:
    """One file in the making. A flatbuffer is written backwards, children before parents."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def model(self, graph: Graph) -> bytes:
        builder = self._builder
        graphs = (graph, *graph.subgraphs)
        if any(each.subgraphs for each in graph.subgraphs):
            raise GraphError("a subgraph that has subgraphs can't be written")
        constants = [
            (number, tensor)
            for number, each in enumerate(graphs)
            for tensor in each.tensors
            if tensor.data is not None
        ]
        buffers = [self._table([])]
        buffers += [self._table([(0, "offset", self._bytes(tensor))]) for _, tensor in constants]
        buffer_of: list[dict[int, int]] = [{} for _ in graphs]
        for position, (number, tensor) in enumerate(constants):
            buffer_of[number][tensor.index] = 1 + position
        codes = sorted({(op.op, op.version) for each in graphs for op in each.operators})
        subgraphs = [
            self._subgraph(each, f"subgraph_{number}" if number else "main", own_buffers, codes)
            for number, (each, own_buffers) in enumerate(zip(graphs, buffer_of, strict=True))
        ]
        model = self._table(
            [
                (0, "uint32", schema.SCHEMA_VERSION),
                (1, "offset", self._offsets([self._code(*code) for code in codes])),
                (2, "offset", self._offsets(subgraphs)),
                (3, "offset", builder.CreateString(graph.description or graph.name)),
                (4, "offset", self._offsets(buffers)),
            ]
        )
        builder.Finish(model, file_identifier=schema.FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _subgraph(
        self, graph: Graph, name: str, buffer_of: dict[int, int], codes: list[tuple[str, int]]
    ) -> int:
        tensors = [self._tensor(tensor, buffer_of) for tensor in graph.tensors]
        operators = [self._operator(operator, codes) for operator in graph.operators]
        return self._table(
            [
                (0, "offset", self._offsets(tensors)),
                (1, "offset", self._array(np.array(graph.inputs, np.int32))),
                (2, "offset", self._array(np.array(graph.outputs, np.int32))),
                (3, "offset", self._offsets(operators)),
                (4, "offset", self._builder.CreateString(name)),
            ]
        )

    def _table(self, values: list[tuple[int, str, Any]]) -> int:
        """A table of (slot, kind, value); a value is always written, default or not."""
        builder = self._builder
        put: dict[str, Callable[[Any], None]] = {
            "offset": builder.PrependUOffsetTRelative,
            "int8": builder.PrependInt8,
            "uint8": builder.PrependUint8,
            "int32": builder.PrependInt32,
            "uint32": builder.PrependUint32,
            "float32": builder.PrependFloat32,
            "bool": builder.PrependBool,
            "enum": builder.PrependInt8,
        }
        builder.StartObject(1 + max((slot for slot, _, _ in values), default=-1))
        for slot, kind, value in values:
            put[kind](value)
            builder.Slot(slot)
        return int(builder.EndObject())

    def _array(self, array: npt.NDArray[Any]) -> int:
        return int(self._builder.CreateNumpyVector(array))

    def _offsets(self, offsets: list[int]) -> int:
        builder = self._builder
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    def _bytes(self, tensor: Tensor) -> int:
        assert tensor.data is not None
        packed = tensor.type_name == schema.INT4 and tensor.dtype == np.int8
        data = pack(tensor) if packed else np.ascontiguousarray(tensor.data)
        content = data.tobytes()
        self._builder.Prep(_DATA_ALIGNMENT, len(content))
        return int(self._builder.CreateByteVector(content))

    def _tensor(self, tensor: Tensor, buffer_of: dict[int, int]) -> int:
        number = _type_number(tensor)
        if number is None:
            raise GraphError(
                f"elements of type {tensor.type_name or tensor.dtype} can't be written",
                tensor=str(tensor),
            )
        values: list[tuple[int, str, Any]] = [
            (0, "offset", self._array(np.array(tensor.shape, np.int32))),
            (1, "int8", number),
            (2, "uint32", buffer_of.get(tensor.index, 0)),
            (3, "offset", self._builder.CreateString(tensor.name)),
        ]
        if tensor.scale.size:
            quantization = self._table(
                [
                    (2, "offset", self._array(tensor.scale.astype(np.float32))),
                    (3, "offset", self._array(tensor.zero_point.astype(np.int64))),
                    (6, "int32", tensor.quantized_dimension),
                ]
            )
            values.append((4, "offset", quantization))
        if tensor.is_variable:
            values.append((5, "bool", True))
        return self._table(values)

    def _code(self, op: str, version: int) -> int:
        custom = op.startswith(_CUSTOM_PREFIX)
        number = schema.CUSTOM if custom else schema.OPERATORS.index(op)
        values: list[tuple[int, str, Any]] = [
            (0, "int8", min(number, schema.PLACEHOLDER_FOR_GREATER_OP_CODES)),
            (2, "int32", version),
            (3, "int32", number),
        ]
        if custom:
            name = op.removeprefix(_CUSTOM_PREFIX)
            values.append((1, "offset", self._builder.CreateString(name)))
        return self._table(values)

    def _operator(self, operator: Operator, codes: list[tuple[str, int]]) -> int:
        custom = operator.op.startswith(_CUSTOM_PREFIX)
        if operator.op not in OPTIONS and not custom:
            raise GraphError("this operator can't be written", operator=str(operator))
        values: list[tuple[int, str, Any]] = [
            (0, "uint32", codes.index((operator.op, operator.version))),
            (1, "offset", self._array(np.array(operator.inputs, np.int32))),
            (2, "offset", self._array(np.array(operator.outputs, np.int32))),
        ]
        if custom:
            content = self._builder.CreateByteVector(operator.custom_options)
            values.append((5, "offset", content))
        elif operator.options.union_type:
            slot = operator.options.union_slot
            values.append((slot, "uint8", operator.options.union_type))
            values.append((slot + 1, "offset", self._options(operator.options)))
        if operator.intermediates:
            values.append((8, "offset", self._array(np.array(operator.intermediates, np.int32))))
        return self._table(values)

    def _options(self, options: Options) -> int:
        values: list[tuple[int, str, Any]] = []
        for item in fields(options):
            slot, kind = item.metadata["slot"], item.metadata["kind"]
            value = getattr(options, item.name)
            if kind == "enum":
                value = item.metadata["names"].index(value)
            elif kind == "int32s":
                kind, value = "offset", self._array(np.array(value, np.int32))
            elif kind == "text":
                kind, value = "offset", self._builder.CreateString(value)
            elif kind == "bytes":
                kind, value = "offset", self._builder.CreateByteVector(value)
            values.append((slot, kind, value))
        return self._table(values)
