"""What goes into a network: arrays from a file, random ones, or zeros."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden import Graph, GraphError, Tensor
from mensa.sched.index_ranges import Range, index_ranges

__all__ = ["InputError", "InputSteps", "blaming", "check_inputs", "make_inputs"]

Values = npt.NDArray[Any]

RANDOM, ZEROS = "random", "zeros"


class InputError(ValueError):
    """An input that does not fit the network; the message names the tensor and the file."""


def make_inputs(graph: Graph, source: str, seed: int, rounding: str | None = None) -> list[Values]:
    """Arrays for the inputs of `graph`, in its order.

    Parameters
    ----------
    graph : Graph
        The network.
    source : str
        ``"random"``, ``"zeros"``, or the name of a .npy or .npz file. A .npz file names its arrays
        by tensor index or tensor name; with one array and one input the name is of no account.
    seed : int
        Of the random arrays, at least 0. They are normal numbers, or integers over the whole range
        of their type; indices are inside what they index.
    rounding : "tflm", "litert" or None
        Whose arithmetic is meant; None is the graph's default.

    Raises
    ------
    InputError
        If the file can't be read or does not fit.
    mensa.golden.GraphError
        For a network that golden can't compute.
    """
    tensors = [graph.tensors[index] for index in graph.inputs]
    if source == RANDOM:
        if seed < 0:
            raise InputError(f"the seed of random input must be at least 0, not {seed}")
        rng = np.random.default_rng(seed)
        ranges = index_ranges(graph, rounding)
        return [_random(tensor, rng, ranges.get(tensor.index)) for tensor in tensors]
    if source == ZEROS:
        return [np.zeros(tensor.shape, tensor.dtype) for tensor in tensors]
    return check_inputs(graph, _read(tensors, Path(source)), source)


class InputSteps(Sequence[list[Values]]):
    """The inputs of several inferences, each made when it is asked for.

    Parameters
    ----------
    graph, source, seed, rounding : Graph, str, int, str or None
        As `make_inputs` takes them; number i has seed + i.
    steps : int
        How many.

    Raises
    ------
    InputError
        Here already, if the first can't be made.
    """

    def __init__(
        self, graph: Graph, source: str, seed: int, steps: int, rounding: str | None = None
    ) -> None:
        self._graph, self._source, self._seed, self._steps = graph, source, seed, steps
        self._rounding = rounding
        self[0]

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < self._steps:
            raise IndexError(f"no input {number} of {self._steps}")
        return make_inputs(self._graph, self._source, self._seed + number, self._rounding)


@contextmanager
def blaming(source: str) -> Iterator[None]:
    """While a network that golden can compute runs on inputs from `source`.

    What golden refuses then is a value, such as an index outside of what it indexes; of constants
    alone or of what the inputs led to. Raises: InputError that says what may be done about it,
    where the inputs were made up.
    """
    try:
        yield
    except GraphError as error:
        if source not in (RANDOM, ZEROS):
            raise
        raise InputError(
            f"{error}; made-up inputs ({source}) may have led to this: give --input a file of "
            "inputs that the network is made for"
        ) from error


def check_inputs(graph: Graph, arrays: list[Values], source: str) -> list[Values]:
    """Return `arrays` if they fit the inputs of `graph`. Raises: InputError."""
    for index, array in zip(graph.inputs, arrays, strict=True):
        tensor = graph.tensors[index]
        if array.shape != tensor.shape:
            raise InputError(
                f"{source}: the array for {tensor} has shape {list(array.shape)}, "
                f"the network takes {list(tensor.shape)}"
            )
        if array.dtype != tensor.dtype:
            raise InputError(
                f"{source}: the array for {tensor} is {array.dtype}, "
                f"the network takes {tensor.dtype}"
            )
    return arrays


def _random(tensor: Tensor, rng: np.random.Generator, indices: Range | None) -> Values:
    if tensor.dtype.kind == "f":
        return rng.standard_normal(tensor.shape).astype(tensor.dtype)
    if tensor.dtype.kind == "b":
        return rng.random(tensor.shape) < 0.5
    if tensor.dtype.kind not in "iu":
        raise InputError(f"no random values for {tensor} of type {tensor.dtype}; give a file")
    limits = np.iinfo(tensor.dtype)
    if indices is None:
        return rng.integers(limits.min, limits.max, tensor.shape, tensor.dtype, endpoint=True)
    low, high = np.maximum(indices[0], limits.min), np.minimum(indices[1], limits.max)
    if np.any(low > high):
        raise InputError(f"no value of {tensor} is inside all that it indexes; give a file")
    return np.asarray(rng.integers(low, high, tensor.shape, tensor.dtype, endpoint=True))


def _read(tensors: list[Tensor], path: Path) -> list[Values]:
    if path.suffix not in (".npy", ".npz"):
        raise InputError(
            f"--input {path}: give {RANDOM}, {ZEROS}, or a file that ends in .npy or .npz"
        )
    try:
        arrays = _arrays(path)
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}") from error
    except Exception as error:  # there is no end to what NumPy raises for a damaged file
        raise InputError(f"{path} is not a NumPy file of numbers: {error}") from error
    if not isinstance(arrays, np.ndarray):
        return [_choose(arrays, tensor, len(tensors), path) for tensor in tensors]
    if len(tensors) != 1:
        names = ", ".join(str(tensor) for tensor in tensors) or "none"
        raise InputError(
            f"{path} holds one array, the network takes {len(tensors)}: {names}; "
            f"give a .npz file with one array each, named by tensor index"
        )
    return [arrays]


def _arrays(path: Path) -> Values | dict[str, Values]:
    """The array of a .npy file, or those of a .npz file by name."""
    with path.open("rb") as file:
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        arrays = {name: content[name] for name in content.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name!r} is no array")
    return arrays


def _choose(arrays: dict[str, Values], tensor: Tensor, inputs: int, path: Path) -> Values:
    for name in (str(tensor.index), tensor.name):
        if name in arrays:
            return arrays[name]
    if inputs == len(arrays) == 1:
        return next(iter(arrays.values()))
    found = ", ".join(arrays) or "none"
    raise InputError(f"{path} has no array {str(tensor.index)!r} for {tensor}; it has {found}")
