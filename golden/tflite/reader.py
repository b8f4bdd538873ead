"""Reading .tflite files."""

from __future__ import annotations

import math
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden import schema
from mensa.golden.error import GraphError
from mensa.golden.graph import Graph, Operator, Tensor, check_shape, shape_fault
from mensa.golden.int4 import unpack
from mensa.golden.macs import operator_macs
from mensa.golden.options import OPTIONS, NoOptions, Options
from mensa.golden.propagation import propagate
from mensa.golden.tflite.flatbuffer import Source, Table
from mensa.golden.tflite.passed_over import passed_over
from mensa.golden.tflite.subgraphs import joined, within

#: Bytes that all tensors of a network may take together, weights and activations.
DEFAULT_MAX_BYTES = 1 << 29
#: Multiply-accumulates that one inference may take.
DEFAULT_MAX_MACS = 20_000_000_000

_LAYOUTS = {"int32": "<i", "float32": "<f", "bool": "<?", "enum": "<b"}


def load(
    path: str | os.PathLike[str],
    max_bytes: int = DEFAULT_MAX_BYTES,
    max_macs: int = DEFAULT_MAX_MACS,
) -> Graph:
    """Reads a .tflite file.

    Operators that golden can't compute stay in the graph, so that a network can be inspected;
    `golden.check_supported` and `golden.run` name the first of them.

    Parameters
    ----------
    path : path
        The file.
    max_bytes : int
        Most bytes that all tensors may take together.
    max_macs : int
        Most multiply-accumulates that one inference may take.

    Raises
    ------
    GraphError
        For a file that can't be read, is not a .tflite file, is damaged, or asks for more than
        the budget.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise GraphError(f"can't read {file}: {error.strerror or error}") from error
    try:
        return read(data, name=file.stem, max_bytes=max_bytes, max_macs=max_macs)
    except GraphError as error:
        raise GraphError(
            f"{file}: {error.reason}", operator=error.operator, tensor=error.tensor
        ) from error


def read(
    data: bytes,
    *,
    name: str = "",
    max_bytes: int = DEFAULT_MAX_BYTES,
    max_macs: int = DEFAULT_MAX_MACS,
) -> Graph:
    """Reads the bytes of a .tflite file; otherwise as `load`."""
    if not data:
        raise GraphError("the file is empty")
    if len(data) < 8 or data[4:8] != schema.FILE_IDENTIFIER:
        raise GraphError("not a .tflite file: bytes 4 to 7 are not 'TFL3'")
    try:
        graph, numbers = _graph(Source(data), name)
    except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError) as error:
        raise GraphError(f"damaged: {error}") from error
    # What is called comes first: a variable has the shape of what is assigned to it there.
    called: list[Graph] = []
    notes: list[str] = []
    for number, each in zip(numbers, graph.subgraphs, strict=True):
        with within(number):
            called.append(_settled(each, max_bytes, max_macs))
        notes += (f"in subgraph {number}: {note}" for note in called[-1].notes)
    graph = _settled(replace(graph, subgraphs=tuple(called)), max_bytes, max_macs)
    _check_budget(graph, max_bytes, max_macs)
    return replace(graph, notes=(*graph.notes, *notes))


def _settled(graph: Graph, max_bytes: int, max_macs: int) -> Graph:
    """The graph with what follows from it. Raises: GraphError for a tensor that can't be."""
    graph = propagate(graph, max_bytes, max_macs)
    for tensor in graph.tensors:
        check_shape(tensor)
        _check_scales(tensor)
    return graph


def _graph(source: Source, name: str) -> tuple[Graph, tuple[int, ...]]:
    """The graph of a file, and the file's numbers of its further subgraphs."""
    model = source.root()
    version = int(model.number(0, "<I", 0))
    if version != schema.SCHEMA_VERSION:
        raise GraphError(f"schema version {version}; only {schema.SCHEMA_VERSION} can be read")
    codes = [_operator_code(table) for table in model.tables(1)]
    subgraphs = model.tables(2)
    if not subgraphs:
        raise GraphError("the file has no subgraph")
    buffers = model.tables(4)

    def subgraph(number: int) -> Graph:
        return _subgraph(source, subgraphs[number], codes, buffers, name, model.text(3))

    notes = passed_over(model, [op for op, _ in codes])
    graph, numbers = joined(subgraph, len(subgraphs))
    return replace(graph, notes=notes), numbers


def _subgraph(
    source: Source,
    main: Table,
    codes: list[tuple[str, int]],
    buffers: list[Table],
    name: str,
    description: str,
) -> Graph:
    tensors = tuple(
        _tensor(source, table, index, buffers) for index, table in enumerate(main.tables(0))
    )
    operators = tuple(
        _operator(table, index, codes, len(tensors)) for index, table in enumerate(main.tables(3))
    )
    inputs, outputs = main.integers(1), main.integers(2)
    for kind, indices in (("input", inputs), ("output", outputs)):
        for index in indices:
            if not 0 <= index < len(tensors):
                raise GraphError(f"the graph's {kind} {index} is not one of its tensors")
    tensors = _with_empty_constants(tensors, operators, inputs)
    return Graph(tensors, operators, inputs, outputs, name, description)


def _operator_code(table: Table) -> tuple[str, int]:
    """Name and version of an entry of the file's list of operators."""
    # New operators have their number in slot 3; old files have only the byte in slot 0.
    code = max(int(table.number(0, "<b", 0)), int(table.number(3, "<i", 0)))
    version = int(table.number(2, "<i", 1))
    if code == schema.CUSTOM:
        return f"CUSTOM:{table.text(1)}", version
    if 0 <= code < len(schema.OPERATORS):
        return schema.OPERATORS[code], version
    return f"UNKNOWN_{code}", version


def _operator(table: Table, index: int, codes: list[tuple[str, int]], tensors: int) -> Operator:
    code = int(table.number(0, "<I", 0))
    if code >= len(codes):
        raise GraphError(f"operator code {code} of {len(codes)}", operator=f"operator {index}")
    op, version = codes[code]
    inputs, outputs = table.integers(1), table.integers(2)
    where = f"operator {index} ({op})"
    intermediates = table.integers(8)
    for named in (*inputs, *outputs, *intermediates):
        if not -1 <= named < tensors:
            raise GraphError(f"refers to tensor {named} of {tensors}", operator=where)
    options: Options = NoOptions()
    if op in OPTIONS:
        options = _options(OPTIONS[op], table, where)
    custom = table.array(5, np.uint8)
    return Operator(
        index,
        op,
        inputs,
        outputs,
        options,
        version,
        intermediates,
        b"" if custom is None else custom.tobytes(),
    )


def _options(kind: type[Options], operator: Table, where: str) -> Options:
    # A table of another operator's options is as good as none: both oracles pass over it.
    given = int(operator.number(kind.union_slot, "<B", 0))
    table = operator.table(kind.union_slot + 1) if given == kind.union_type else None
    if table is None or kind.union_type == 0:
        return kind(**kind.without_table)
    values: dict[str, Any] = {}
    for item in fields(kind):
        slot, form = item.metadata["slot"], item.metadata["kind"]
        if form == "int32s":
            values[item.name] = table.integers(slot)
        elif form == "text":
            values[item.name] = table.text(slot)
        elif form == "bytes":
            content = table.array(slot, np.uint8)
            values[item.name] = b"" if content is None else content.tobytes()
        elif form == "enum":
            names = item.metadata["names"]
            number = int(table.number(slot, "<b", 0))
            if not 0 <= number < len(names):
                raise GraphError(f"{item.name} {number} is unknown", operator=where)
            values[item.name] = names[number]
        else:
            values[item.name] = table.number(slot, _LAYOUTS[form], item.default)
    return kind(**values)


def _tensor(source: Source, table: Table, index: int, buffers: list[Table]) -> Tensor:
    name = table.text(3)
    where = f"tensor {index} {name!r}"
    shape = table.integers(0)
    type_name, kind = schema.TENSOR_TYPES.get(int(table.number(1, "<b", 0)), ("UNKNOWN", None))
    dtype = np.dtype("V") if kind is None else np.dtype(kind)
    scale, zero_point, dimension = _quantization(table.table(4), where)
    if table.table(6) is not None:
        raise GraphError(
            "is sparse, which golden does not read: convert the network with dense weights",
            tensor=where,
        )
    data = _data(source, table, buffers, shape, dtype, kind is not None, where)
    if type_name == schema.INT4 and data is not None:
        dtype, data = np.dtype(np.int8), unpack(data, shape, where)
    variable = bool(table.number(5, "<?", False))
    return Tensor(
        index, name, shape, dtype, scale, zero_point, dimension, data, variable, type_name
    )


def _quantization(
    table: Table | None, where: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]:
    none = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    if table is None:
        return none
    scale = table.array(2, np.float32)
    if scale is None or scale.size == 0:
        return none
    scale = scale.astype(np.float32)
    if not np.all(np.isfinite(scale)) or np.any(scale < 0):
        raise GraphError("a scale is negative or not finite", tensor=where)
    zero_point = table.array(3, np.int64)
    if zero_point is None or zero_point.size == 0:
        zero_point = np.zeros(scale.size, np.int64)
    if zero_point.size == 1 and scale.size > 1:
        zero_point = np.repeat(zero_point, scale.size)
    if zero_point.size != scale.size:
        raise GraphError(f"{scale.size} scales but {zero_point.size} zero points", tensor=where)
    return scale, zero_point.astype(np.int64), int(table.number(6, "<i", 0))


def _check_scales(tensor: Tensor) -> None:
    count, dimension, shape = tensor.scale.size, tensor.quantized_dimension, tensor.shape
    if count > 1 and not (0 <= dimension < len(shape) and shape[dimension] == count):
        raise GraphError(
            f"{count} scales do not fit dimension {dimension} of shape {list(shape)}",
            tensor=str(tensor),
        )


def _data(
    source: Source,
    table: Table,
    buffers: list[Table],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    known: bool,
    where: str,
) -> npt.NDArray[Any] | None:
    number = int(table.number(2, "<I", 0))
    if number == 0:  # by convention the empty buffer
        return None
    if number >= len(buffers):
        raise GraphError(f"buffer {number} of {len(buffers)}", tensor=where)
    buffer, fault = buffers[number], shape_fault(shape)
    raw = buffer.array(0, np.uint8)
    if raw is None or raw.size == 0:
        # Files beyond 2 GB keep the bytes behind the flatbuffer.
        offset, size = int(buffer.number(1, "<Q", 0)), int(buffer.number(2, "<Q", 0))
        if offset <= 1 or size == 0:
            # A vector of no bytes is all that a constant without elements has.
            empty = raw is not None and known and 0 in shape and fault is None
            return _no_elements(shape, dtype) if empty else None
        raw = np.frombuffer(source.slice(offset, size), np.uint8)
    if fault is not None:
        raise GraphError(fault, tensor=where)
    if not known:
        return raw
    wanted = math.prod(shape) * dtype.itemsize
    if raw.size != wanted:
        raise GraphError(
            f"its buffer has {raw.size} bytes, shape {list(shape)} of {dtype} needs {wanted}",
            tensor=where,
        )
    return raw.view(dtype.newbyteorder("<")).reshape(shape)


def _no_elements(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.zeros(shape, dtype)
    array.setflags(write=False)
    return array


def _with_empty_constants(
    tensors: tuple[Tensor, ...], operators: tuple[Operator, ...], inputs: tuple[int, ...]
) -> tuple[Tensor, ...]:
    """The tensors, of which those without elements are constants where nothing else gives them.

    Files have nothing in the buffers of such constants, or no buffers for them.
    """
    read = {index for operator in operators for index in operator.inputs}
    made = {index for operator in operators for index in operator.outputs} | {*inputs}

    def settled(tensor: Tensor) -> Tensor:
        if tensor.size or tensor.is_variable or tensor.dtype.kind == "V":
            return tensor
        if shape_fault(tensor.shape) is not None:  # refused, unless an operator gives another
            return tensor
        if tensor.index in made:
            return replace(tensor, data=None)
        if tensor.data is None and tensor.index in read:
            return replace(tensor, data=_no_elements(tensor.shape, tensor.dtype))
        return tensor

    return tuple(settled(tensor) for tensor in tensors)


def _check_budget(graph: Graph, max_bytes: int, max_macs: int) -> None:
    total = 0
    for tensor in (tensor for each in (graph, *graph.subgraphs) for tensor in each.tensors):
        total += tensor.nbytes
        if total > max_bytes:
            raise GraphError(
                f"the tensors up to this one take {total} bytes, more than max_bytes = {max_bytes}",
                tensor=str(tensor),
            )
    macs = 0
    for owner, operator in (
        (each, operator) for each in (graph, *graph.subgraphs) for operator in each.operators
    ):
        macs += operator_macs(owner, operator)
        if macs > max_macs:
            raise GraphError(
                f"the operators up to this one take {macs} multiply-accumulates, "
                f"more than max_macs = {max_macs}",
                operator=str(operator),
            )
