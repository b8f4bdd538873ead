"""A lowered network as files: what a driver puts into memory, where, and what it starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mensa.golden import Tensor, plan
from mensa.golden.variables import handles, remembered
from mensa.rtl.commands import (
    ADDRESS_BITS,
    COMMAND_SET_VERSION,
    REGISTER_NUMBER,
    WORD_BYTES,
    Opcode,
    Unit,
)
from mensa.rtl.machine import AXI_PAGE_BYTES
from mensa.rtl.program import Bytes, Program, ProgramError, Words
from mensa.rtl.registers import c_header
from mensa.rtl.strict_json import json_text
from mensa.sched.compile_header import network_header
from mensa.sched.files import fresh_directory
from mensa.sched.lower import HostStep, Lowered

__all__ = ["CompiledProgram", "compile_network", "compiled_programs", "memory_map"]

PARAMETERS, MEMORY = "parameters.bin", "memory.hex"

PROGRAMS = r"program_(setup|\d+)\.(bin|hex)"
"""Files whose number depends on the network."""


@dataclasses.dataclass(frozen=True)
class CompiledProgram:
    """One program of a network, with its place among the files.

    Attributes
    ----------
    name : str
        ``setup`` for the one that runs once, else its number.
    program : Program
        Its addresses count from 0.
    """

    name: str
    program: Program

    @property
    def file(self) -> str:
        """Name of its file, without ``.bin`` and ``.hex``."""
        return f"program_{self.name}"


def compiled_programs(lowered: Lowered) -> list[CompiledProgram]:
    """Every program, the one that runs once first and the others in the order of their steps."""
    programs = [] if lowered.setup is None else [CompiledProgram("setup", lowered.setup)]
    programs += [
        CompiledProgram(str(number), program) for number, program in enumerate(lowered.programs)
    ]
    return programs


def relocated(words: Words, base: int) -> Words:
    """The words of a program whose memory begins at address `base` instead of 0."""
    moved = words.copy()
    for unit in (Unit.LOAD, Unit.STORE):
        number = REGISTER_NUMBER[unit]["MEMORY_ADDRESS"]
        what = np.uint64(Opcode.SET << 12 | unit << 8 | number)
        sets = moved >> np.uint64(48) == what
        sets[:2] = False  # the header
        address = (moved[sets] + np.uint64(base)) & np.uint64((1 << ADDRESS_BITS) - 1)
        moved[sets] = what << np.uint64(48) | address
    return moved


def _segments(lowered: Lowered) -> list[tuple[int, bytes]]:
    """Addresses and bytes of all that must be there from the start, by rising address."""
    placed = {
        address: content.tobytes()
        for image in (lowered.image, *(each.program.image for each in compiled_programs(lowered)))
        for address, content in image
    }
    return sorted(placed.items())


def memory_map(lowered: Lowered, base: int = 0) -> dict[str, Any]:
    """The memory map as JSON values.

    Parameters
    ----------
    lowered : Lowered
        The network.
    base : int
        Where its memory begins, a multiple of a page of 4096 bytes.

    Raises
    ------
    ProgramError
        If the memory does not fit there.
    """
    end = base + lowered.memory_bytes
    if base % AXI_PAGE_BYTES or base < 0 or end > 1 << ADDRESS_BITS:
        raise ProgramError(
            f"the memory can't begin at {base:#x}: it must be a multiple of {AXI_PAGE_BYTES} with "
            f"{lowered.memory_bytes:#x} bytes below 4 GiB"
        )
    graph, machine = lowered.graph, lowered.machine
    segments, offset, offsets = [], 0, {}
    for address, content in _segments(lowered):
        segments.append({"address": base + address, "offset": offset, "bytes": len(content)})
        offsets[address] = offset
        offset += len(content)
    return {
        "mensa": metadata.version("mensa"),
        "model": graph.name,
        "rounding": lowered.rounding,
        "machine": machine.settings,
        "lowering": dataclasses.asdict(lowered.options),
        "configuration": machine.config_hash,
        "command_set": COMMAND_SET_VERSION,
        "memory": {"address": base, "bytes": lowered.memory_bytes},
        "parameters": {"file": PARAMETERS, "segments": segments},
        "programs": [
            {
                "name": each.name,
                "files": [f"{each.file}.bin", f"{each.file}.hex"],
                "address": base + each.program.program_address,
                "bytes": each.program.words.nbytes,
                "layers": list(each.program.layers),
            }
            for each in compiled_programs(lowered)
        ],
        "steps": list(_steps(lowered)),
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "tensors": [
            {
                **_stored(graph.tensors[index], base + address),
                "role": _role(lowered, graph.tensors[index]),
            }
            for index, address in sorted(lowered.tensors.items())
        ],
        "variables": [
            {
                **_stored(tensor, base + lowered.variables[index]),
                "offset": offsets[lowered.variables[index]],
                "tensors": [tensor for tensor, of in handles(graph).items() if of == index]
                or [index],
            }
            for index, tensor in remembered(graph).items()
        ],
    }


def _steps(lowered: Lowered) -> Iterator[dict[str, Any]]:
    """What an inference consists of, in order."""
    graph, programs = lowered.graph, 0
    variables = handles(graph)
    for step in lowered.steps:
        if isinstance(step, HostStep):
            operator = graph.operators[step.operator]
            inputs = [variables.get(index, index) for index in operator.inputs]
            work = plan(graph, operator, lowered.rounding)
            yield {
                "host": operator.index,
                "op": operator.op,
                "inputs": inputs,
                "outputs": list(operator.outputs),
                "assigns": [inputs[position] for position in work.states],
                "reason": step.reason,
            }
        else:
            yield {"program": str(programs)}
            programs += 1


def _role(lowered: Lowered, tensor: Tensor) -> str:
    """What a tensor is to a driver."""
    if tensor.data is not None:
        return "constant"
    if tensor.index in lowered.graph.inputs:
        return "input"
    if tensor.index in lowered.graph.outputs:
        return "output"
    return "variable" if tensor.index in lowered.variables else "intermediate"


def _stored(tensor: Tensor, address: int) -> dict[str, Any]:
    """A tensor in memory. One of uint8 is stored as int8 that is 128 less."""
    shifted = 128 if tensor.dtype == np.uint8 else 0
    return {
        "index": tensor.index,
        "name": tensor.name,
        "address": address,
        "bytes": tensor.nbytes,
        "shape": list(tensor.shape),
        "type": "int8" if shifted else tensor.dtype.name,
        "type_in_model": tensor.dtype.name,
        "scale": [float(scale) for scale in tensor.scale],
        "zero_point": [int(zero_point) - shifted for zero_point in tensor.zero_point],
    }


def _memory_hex(memory: Bytes, word_bytes: int) -> str:
    """A memory for ``$readmemh``, in words of so many bytes; words of zeros are left out."""
    words = memory.reshape(-1, word_bytes)[:, ::-1]
    lines, next_number = [], -1
    for number in np.flatnonzero(words.any(axis=1)).tolist():
        if number != next_number:
            lines.append(f"@{number:x}")
        lines.append(words[number].tobytes().hex())
        next_number = number + 1
    return "\n".join([*lines, ""])


def compile_network(lowered: Lowered, directory: str | Path, base: int = 0) -> list[Path]:
    """Write a network's files into `directory`, whole or not at all.

    The same network gives the same bytes.

    Raises
    ------
    ProgramError
        If the memory can't begin at `base`.
    OutputError
        If the directory can't be written.
    """
    about = memory_map(lowered, base)
    files: dict[str, bytes] = {
        "registers.h": c_header(lowered.machine).encode(),
        "network.h": network_header(about).encode(),
        "memory_map.json": json_text(about).encode(),
        PARAMETERS: b"".join(content for _, content in _segments(lowered)),
    }
    memory = lowered.initial_memory()
    for each in compiled_programs(lowered):
        words = relocated(each.program.words, base)
        content = words.astype("<u8").tobytes()
        address = each.program.program_address
        memory[address : address + len(content)] = np.frombuffer(content, np.uint8)
        files[f"{each.file}.bin"] = content
        files[f"{each.file}.hex"] = "".join(f"{word:016x}\n" for word in words.tolist()).encode()
    # As wide as the memory of the example that `mensa rtl` writes.
    files[MEMORY] = _memory_hex(memory, max(lowered.machine.beat_bytes, WORD_BYTES)).encode()
    with fresh_directory(directory, files, PROGRAMS) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
    return [Path(directory) / name for name in files]
