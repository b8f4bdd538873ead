"""Random programs of all compute modes, on buffers that they load, with random tokens."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from mensa.rtl.commands import Mode, Space, Token, Unit, Width
from mensa.rtl.machine import Machine
from mensa.rtl.program import Assembler, Program
from mensa.rtl.registers import PROGRAM_ALIGNMENT_BYTES
from tests.rtl.compute.reference import as_tiles, random_buffers, random_commands

GIVES = {
    Unit.LOAD: (Token.PARAMETERS_READY, Token.ACTIVATIONS_READY),
    Unit.COMPUTE: (Token.PARAMETERS_FREE, Token.ACTIVATIONS_FREE, Token.RESULTS_READY),
    Unit.STORE: (Token.RESULTS_FREE, Token.STORED),
}
TAKES = {
    Unit.LOAD: (Token.PARAMETERS_FREE, Token.ACTIVATIONS_FREE, Token.STORED),
    Unit.COMPUTE: (Token.PARAMETERS_READY, Token.ACTIVATIONS_READY, Token.RESULTS_FREE),
    Unit.STORE: (Token.RESULTS_READY,),
}
"""Who gives and takes each token; SETTLED stays in the compute unit."""


@dataclass
class Go:
    """A command to be."""

    unit: Unit
    registers: dict[str, int]
    wait: set[Token] = field(default_factory=set)
    signal: set[Token] = field(default_factory=set)


def random_program(machine: Machine, rng: random.Random, length: int) -> Program:
    """A program of about `length` commands between random tokens.

    Compute commands read one half of the first bank or two and write the other, so that some need
    what others wrote. Meanwhile loads write the parameters again that are there, and another bank,
    and stores read the last bank: never two users of a place at a time.
    """
    used = min(machine.activation_buffer_bytes // 2, 4 * 1024)
    small = machine.replace(
        activation_buffer_bytes=used - used % (4 * machine.activation_banks * machine.row_bytes)
        or machine.activation_buffer_bytes // 2,
        constant_entries=min(machine.constant_entries, 8),
    )
    if not machine.array.store_bytes:
        small = small.replace(parameter_buffer_bytes=min(machine.parameter_bytes, 4 * 1024))
    content = random_buffers(small, rng)
    image = np.concatenate([content.activation, content.parameter, content.constant])
    spaces = (Space.ACTIVATION, Space.PARAMETER, Space.CONSTANT)
    sizes = [part.size for part in (content.activation, content.parameter, content.constant)]
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    stored = -(-image.size // PROGRAM_ALIGNMENT_BYTES) * PROGRAM_ALIGNMENT_BYTES
    stored_bytes = 1 << 12

    gos = [
        Go(Unit.LOAD, copy(start, 0, size) | {"SPACE": space})
        for space, start, size in zip(spaces, starts, sizes, strict=True)
    ]
    computes = compute_commands(small, rng, length)
    gos[-1].signal.add(Token.PARAMETERS_READY)
    computes[0].wait.add(Token.PARAMETERS_READY)
    bank = machine.activation_bank_bytes
    while computes:
        unit = rng.choices((Unit.LOAD, Unit.COMPUTE, Unit.STORE), (1, rng.choice([2, 8]), 1))[0]
        if unit is Unit.COMPUTE or len(gos) == len(spaces):
            gos.append(computes.pop(0))
        elif unit is Unit.LOAD and rng.random() < 0.5:
            number = rng.choice((1, 2))
            offset = rng.randrange(sizes[number] // 2)
            size = rng.randrange(1, min(600, sizes[number] - offset))
            registers = copy(starts[number] + offset, offset, size) | {"SPACE": spaces[number]}
            gos.append(Go(unit, registers))
        else:
            size = rng.randrange(1, min(600, bank))
            banks = machine.activation_banks - (2 if unit is Unit.LOAD else 1)
            beat = machine.beat_bytes
            offset = rng.randrange((bank - size) // beat + 1) * beat
            memory = rng.randrange(min(image.size - size, 512) // beat) * beat
            if unit is Unit.STORE:
                memory = stored + rng.randrange((stored_bytes - size) // beat) * beat
            registers = copy(memory, banks * bank + offset, size)
            gos.append(Go(unit, registers | ({"SPACE": 0} if unit is Unit.LOAD else {})))
    add_tokens(gos, rng)

    assembler = Assembler(machine)
    for go in gos:
        assembler.go(go.unit, go.registers, go.wait, go.signal, rng.randrange(3))
    words = assembler.finish()
    address = -(-(stored + stored_bytes) // PROGRAM_ALIGNMENT_BYTES) * PROGRAM_ALIGNMENT_BYTES
    return Program(
        machine=machine,
        words=words,
        program_address=address,
        memory_bytes=address + words.nbytes,
        image=((0, image),),
        tensors={},
        layers=(),
    )


def copy(memory: int, buffer: int, size: int) -> dict[str, int]:
    """Registers of a copy of one row."""
    return {
        "MEMORY_ADDRESS": memory,
        "BUFFER_ADDRESS": buffer,
        "ROW_BYTES": size,
        "ROWS": 1,
        "MEMORY_PITCH": 0,
        "BUFFER_PITCH": 0,
    }


def compute_commands(small: Machine, rng: random.Random, length: int) -> list[Go]:
    """Compute commands whose results are settled where others read them."""
    half = small.activation_buffer_bytes // 2
    gos: list[Go] = []
    writer = [-1, -1]  # the latest command that writes each half
    given = -1  # the latest one that gives SETTLED
    long = -1  # the latest one with results of four bytes
    deck: list[Mode] = []
    while len(gos) < length:
        if not deck:
            deck = rng.sample(small.modes, len(small.modes))
        mode = deck.pop() if rng.random() < 0.5 else rng.choice(small.modes[:3])
        chain = random_commands(small, rng, mode)
        if not mode.is_vector and rng.random() < 0.5:
            # Little changes from one to the next, so that fetch keeps up with a short feed.
            tiles = as_tiles(small, chain[0]) if mode == Mode.FILTER else None
            if tiles and rng.random() < 0.5:
                chain.append(tiles)
            chain *= rng.randrange(2, 6)
        reads = rng.randrange(2) if rng.random() < 0.3 else 0
        for registers in chain:
            registers = dict(registers)
            if registers["EDGE_CHANNELS"]:
                channels = (registers["GROUP_CHANNELS"], registers["LAST_GROUP_CHANNELS"])
                registers["EDGE_CHANNELS"] = min(registers["EDGE_CHANNELS"], *channels)
            registers["ACT_ADDRESS"] += reads * half
            if mode.is_cell:
                registers["RECURRENT_ADDRESS"] += reads * half
                registers["STATE_ADDRESS"] += reads * half
            registers["OUT_ADDRESS"] -= reads * half
            go = Go(Unit.COMPUTE, registers)
            last = len(gos) - 1
            least = max(writer[reads], long if registers["PIXELS"] > 1 else -1)
            if last > given and (given < least or rng.random() < 0.1):
                given = rng.randrange(max(given + 1, least), last + 1)
                gos[given].signal.add(Token.SETTLED)
                go.wait.add(Token.SETTLED)
            writer[1 - reads] = len(gos)
            if registers["WIDTH"] == Width.INT32:
                long = len(gos)
            gos.append(go)
    return gos


def add_tokens(gos: list[Go], rng: random.Random) -> None:
    """Let commands wait for tokens that earlier ones are made to give."""
    for late, go in enumerate(gos):
        for token in TAKES[go.unit]:
            if token in go.wait or rng.random() < 0.6:
                continue
            # A token has one giver and one taker: the n-th one taken is the n-th one given.
            taken = [n for n, other in enumerate(gos[:late]) if token in other.wait]
            givers = [n for n, other in enumerate(gos[:late]) if token in other.signal]
            first = givers[-1] + 1 if givers else 0
            free = [
                n
                for n, other in enumerate(gos[first:late], first)
                if token in GIVES[other.unit] and token not in other.signal
            ]
            if len(givers) > len(taken):
                go.wait.add(token)
            elif free:
                gos[rng.choice(free)].signal.add(token)
                go.wait.add(token)
