"""Graph: tensors and operators, as in the .tflite file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden.error import GraphError
from mensa.golden.options import NoOptions, Options


def _no_scales() -> npt.NDArray[np.float32]:
    return np.zeros(0, np.float32)


def _no_zero_points() -> npt.NDArray[np.int64]:
    return np.zeros(0, np.int64)


_MAX_RANK = 8
_MAX_SIZE = 1 << 40


def shape_fault(shape: tuple[int, ...]) -> str | None:
    """Why no tensor of a file can have this shape; None if one can."""
    if len(shape) > _MAX_RANK or any(size < 0 for size in shape):
        return f"shape {list(shape)} is not possible"
    # NumPy refuses a shape whose other sizes are beyond memory even where one of them is 0.
    if math.prod(max(size, 1) for size in shape) >= _MAX_SIZE:
        return f"shape {list(shape)} is beyond any memory"
    return None


def check_shape(tensor: Tensor) -> None:
    """Raises: GraphError if no tensor can have the shape of this one."""
    fault = shape_fault(tensor.shape)
    if fault is not None:
        raise GraphError(fault, tensor=str(tensor))


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a graph: an activation, or a constant when it has `data`.

    Parameters
    ----------
    index : int
        Place among the file's tensors; operators name tensors by it.
    name : str
        Name in the file; need not be unique.
    shape : tuple of int
        Sizes, for images ``[batch, height, width, channels]``: as the file gives them, but of
        computed tensors as their operators do.
    dtype : numpy.dtype
        Type of an element; ``numpy.dtype("V")`` for a type that NumPy has no twin for.
    scale, zero_point : arrays, float32 and int64
        ``real = scale * (value - zero_point)``: empty when not quantised, one element per
        tensor, or one per index along `quantized_dimension`.
    quantized_dimension : int
        The dimension that scales run along when there are several.
    data : numpy.ndarray or None
        Elements of a constant, read-only, of `shape` and `dtype`.
    is_variable : bool
        Whether the tensor keeps its value from one run to the next.
    type_name : str
        The schema's name of the element type, such as ``"INT8"``. Constants of ``"INT4"`` have
        an element a byte here.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: npt.NDArray[np.float32] = field(default_factory=_no_scales)
    zero_point: npt.NDArray[np.int64] = field(default_factory=_no_zero_points)
    quantized_dimension: int = 0
    data: npt.NDArray[Any] | None = None
    is_variable: bool = False
    type_name: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"tensor {self.index} {self.name!r}"


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator of a graph.

    Parameters
    ----------
    index : int
        Place among the file's operators, which is also the order of execution; those of a
        composite count in its place, and those that are folded when the file is read not at all.
    op : str
        The schema's name, such as ``"CONV_2D"``; ``"CUSTOM:<name>"`` for a custom operator.
    inputs, outputs : tuple of int
        Tensor indices; -1 marks an optional input that is absent.
    options : Options
        The operator's options; `NoOptions` where golden reads none.
    version : int
        The operator's version in the file.
    intermediates : tuple of int
        Tensors that an LSTM names only for the scales of its internal values.
    custom_options : bytes
        Options of a custom operator, in a format of its own.
    """

    index: int
    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options = field(default_factory=NoOptions)
    version: int = 1
    intermediates: tuple[int, ...] = ()
    custom_options: bytes = b""

    def __str__(self) -> str:
        return f"operator {self.index} ({self.op})"


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: tensors, operators in order of execution, and what goes in and comes out.

    Parameters
    ----------
    tensors, operators : tuples
        In the file's order: ``tensors[i].index == i``, ``operators[i].index == i``. Operators
        whose outputs are in `folded` are left out, and the others count on.
    inputs, outputs : tuple of int
        Tensor indices.
    name : str
        For people: the file's name without its suffix, or what its builder was given.
    description : str
        What the file says about itself.
    folded : tuple of int
        Constants that operators of the file compute from its constants and shapes alone.
    notes : tuple of str
        What reading the file left out or worked out, in sentences.
    subgraphs : tuple of Graph
        Further subgraphs of the file that operators call, by number, the first as 1.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str = ""
    description: str = ""
    folded: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    subgraphs: tuple[Graph, ...] = ()
    _plans: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def input_tensor(self, operator: Operator, position: int) -> Tensor | None:
        """Input number `position` of `operator`, None when it is absent."""
        if position >= len(operator.inputs) or operator.inputs[position] < 0:
            return None
        return self.tensors[operator.inputs[position]]

    def output_tensor(self, operator: Operator, position: int = 0) -> Tensor:
        """Output number `position` of `operator`. Raises: GraphError when it has none."""
        if position >= len(operator.outputs) or operator.outputs[position] < 0:
            raise GraphError(f"has no output {position}", operator=str(operator))
        return self.tensors[operator.outputs[position]]

    def first_output(self, operator: Operator) -> Tensor | None:
        """The first output of `operator`, None for one without, such as ASSIGN_VARIABLE."""
        if not operator.outputs or operator.outputs[0] < 0:
            return None
        return self.tensors[operator.outputs[0]]

    def parameter_bytes(self, operator: Operator) -> int:
        """Bytes of the constants that `operator` reads, of int4 ones as they are here."""
        constants = {index for index in operator.inputs if index >= 0}
        return sum(
            self.tensors[index].nbytes
            for index in constants
            if self.tensors[index].data is not None
        )

    def activation_bytes(self, operator: Operator) -> int:
        """Bytes of the activations that `operator` reads and writes."""
        indices = {index for index in (*operator.inputs, *operator.outputs) if index >= 0}
        return sum(
            self.tensors[index].nbytes for index in indices if self.tensors[index].data is None
        )

    @property
    def activation_dtype(self) -> np.dtype[Any] | None:
        """uint8 when any activation is uint8, else int8 when any is, else None."""
        kinds = {tensor.dtype for tensor in self.tensors if tensor.data is None}
        for kind in (np.dtype(np.uint8), np.dtype(np.int8)):
            if kind in kinds:
                return kind
        return None
