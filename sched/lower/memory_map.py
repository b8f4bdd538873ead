"""Where everything is in memory, and how tensors are stored there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.golden import Graph, Tensor
from mensa.golden.interpreter import first_values
from mensa.golden.variables import handles, remembered
from mensa.rtl.machine import AXI_PAGE_BYTES, Machine
from mensa.rtl.program import Bytes
from mensa.rtl.registers import PROGRAM_ALIGNMENT_BYTES

SIGN_BIT = np.uint8(0x80)
"""What turns a uint8 value into the int8 value that is 128 less."""


def tensor_to_memory(tensor: Tensor, value: npt.NDArray[Any]) -> Bytes:
    """The bytes of a tensor in memory: dense, little-endian, uint8 as int8 that is 128 less."""
    array = np.ascontiguousarray(value, dtype=tensor.dtype)
    content = np.frombuffer(array.astype(array.dtype.newbyteorder("<")).tobytes(), np.uint8)
    return content ^ SIGN_BIT if tensor.dtype == np.uint8 else content


def tensor_from_memory(tensor: Tensor, memory: Bytes, address: int) -> npt.NDArray[Any]:
    """The tensor whose bytes are at `address` in memory: what `tensor_to_memory` undoes."""
    content = memory[address : address + tensor.nbytes]
    if tensor.dtype == np.uint8:
        content = content ^ SIGN_BIT
    stored = np.frombuffer(content.tobytes(), tensor.dtype.newbyteorder("<"))
    return stored.astype(tensor.dtype).reshape(tensor.shape)


class MemoryMap:
    """Gives out memory from address 0 up, and collects what must be in it at the start.

    Parameters
    ----------
    graph : Graph
        Whose tensors are placed.
    machines : sequence of Machine
        Blocks begin at a burst's boundary of every machine, and at a multiple of its parameters'
        words and of 128.
    rounding : str
        Whose arithmetic.
    for_time : bool
        Leave out all content: only addresses count.
    """

    def __init__(
        self, graph: Graph, machines: Sequence[Machine], rounding: str, *, for_time: bool = False
    ) -> None:
        self._graph = graph
        self._for_time = for_time
        units = [max(each.burst_bytes, each.parameter_unit_bytes) for each in machines]
        self._alignment = max(PROGRAM_ALIGNMENT_BYTES, *units)  # all are powers of two
        self._end = 0
        self._image: list[tuple[int, Bytes]] = []
        first = first_values(graph, rounding)
        self._variables = {
            index: self.put(tensor_to_memory(tensor, first[index]))
            for index, tensor in remembered(graph).items()
        }
        self._tensors = {
            index: address
            for index, address in self._variables.items()
            if index not in handles(graph)
        }

    @property
    def tensors(self) -> dict[int, int]:
        """Addresses of the tensors placed so far, by index."""
        return dict(self._tensors)

    @property
    def variables(self) -> dict[int, int]:
        """Addresses of what the network remembers, by number; first values are there."""
        return dict(self._variables)

    @property
    def memory_bytes(self) -> int:
        """Bytes given out so far, whole pages."""
        return max(1, -(-self._end // AXI_PAGE_BYTES)) * AXI_PAGE_BYTES

    def reserve(self, nbytes: int) -> int:
        """Give out a block. Returns: its address; even an empty block has one of its own."""
        address = -(-self._end // self._alignment) * self._alignment
        self._end = address + max(1, nbytes)
        return address

    def put(self, content: npt.NDArray[Any]) -> int:
        """Give out a block with this content from the start. Returns: its address."""
        return self.put_made(content.nbytes, lambda: content)

    def put_made(self, nbytes: int, make: Callable[[], npt.NDArray[Any]]) -> int:
        """The same with content of so many bytes, which is made if it counts."""
        address = self.reserve(nbytes)
        if not self._for_time:
            flat = np.frombuffer(np.ascontiguousarray(make()).tobytes(), np.uint8)
            assert flat.size == nbytes, f"{flat.size} B made, {nbytes} were meant"
            self._image.append((address, flat))
        return address

    def tensor(self, index: int) -> int:
        """Address of a tensor, placed now unless it has been.

        A constant brings its content.
        """
        if index not in self._tensors:
            tensor = self._graph.tensors[index]
            if tensor.data is None:
                self._tensors[index] = self.reserve(tensor.nbytes)
            else:
                content = tensor.data
                self._tensors[index] = self.put_made(
                    content.nbytes, lambda: tensor_to_memory(tensor, content)
                )
        return self._tensors[index]

    def alias(self, index: int, of: int, offset: int = 0) -> None:
        """Let tensor `index` be bytes of tensor `of`, from the one at `offset` on."""
        self._tensors[index] = self.tensor(of) + offset

    def take_image(self) -> tuple[tuple[int, Bytes], ...]:
        """The content placed since the last call."""
        image = tuple(self._image)
        self._image.clear()
        return image
