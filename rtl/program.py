"""Program: the command words for one machine, with the memory image and map that they need.

`Assembler` writes words, `decode` reads them back with every register of every command,
`disassemble` prints them, and `Program` keeps them with the memory they work on.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mensa.rtl.commands import (
    ADDRESS_BITS,
    COMMAND_SET_VERSION,
    HEADER_WORDS,
    MAGIC,
    REGISTER_NUMBER,
    REGISTERS,
    SETUP_BITS,
    TAG_BITS,
    VERSION_BITS,
    WORD_COUNT_BITS,
    Opcode,
    Register,
    Token,
    Unit,
)
from mensa.rtl.machine import Machine
from mensa.rtl.registers import PROGRAM_ALIGNMENT_BYTES

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

_LOW32 = (1 << 32) - 1
_LOW8 = (1 << 8) - 1
_UNITS = {unit.value: unit for unit in Unit}
_TOKEN_MASK = sum(1 << token for token in Token)

_TAG_MASK = (1 << TAG_BITS) - 1

_ALL_REGISTERS = {unit: {register.name: 0 for register in REGISTERS[unit]} for unit in Unit}
"""Of each unit, as they are before any command."""


class ProgramError(ValueError):
    """A program that is malformed or can't run; the message names the word or the register."""


def set_word(unit: Unit, name: str, value: int) -> int:
    """The word that writes `value` into a register.

    Raises
    ------
    ProgramError
        If the unit has no such register or the value doesn't fit it.
    """
    number = REGISTER_NUMBER[unit].get(name)
    if number is None:
        known = ", ".join(REGISTER_NUMBER[unit])
        raise ProgramError(f"{unit.name} has no register {name!r}; it has {known}")
    register = REGISTERS[unit][number]
    if not _fits(register, value):
        raise ProgramError(
            f"{unit.name} register {name} takes {_range(register)}, not {int(value)}"
        )
    return Opcode.SET << 60 | unit << 56 | number << 48 | int(value) & _LOW32


def go_word(
    unit: Unit, wait: Iterable[Token] = (), signal: Iterable[Token] = (), tag: int = 0
) -> int:
    """The word that starts `unit` once it has a token of each kind in `wait`."""
    if not 0 <= tag < 1 << TAG_BITS:
        raise ProgramError(f"a layer tag is between 0 and {(1 << TAG_BITS) - 1}, not {tag}")
    return Opcode.GO << 60 | unit << 56 | _token_bits(wait) << 48 | _token_bits(signal) << 40 | tag


def end_word() -> int:
    """The word that ends a program."""
    return Opcode.END << 60


class Assembler:
    """Writes a program: one `go` per command, with only the SETs that change something.

    Parameters
    ----------
    machine : Machine
        Which configuration the program is for; its hash goes into the header.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._words = [0] * HEADER_WORDS
        self._state: dict[Unit, dict[str, int]] = {unit: {} for unit in Unit}
        self._commands: list[Command] = []
        self._finished = False

    @property
    def commands(self) -> Sequence[Command]:
        """Commands written so far: what `decode` gives of the words."""
        return self._commands

    @property
    def word_count(self) -> int:
        """Words written so far, header included."""
        return len(self._words)

    def go(
        self,
        unit: Unit,
        registers: Mapping[str, int],
        wait: Iterable[Token] = (),
        signal: Iterable[Token] = (),
        tag: int = 0,
    ) -> None:
        """Append one command.

        Parameters
        ----------
        unit : Unit
            Who runs it.
        registers : mapping of str to int
            Values by name. A register left out keeps the value that it had in the unit's command
            before; one that no command has given yet is undefined.
        wait, signal : tokens
            What the command takes when it starts and gives when it is done.
        tag : int
            The layer it counts for, 16 bits.

        Raises
        ------
        ProgramError
            For an unknown register, a value out of its range, or a program already finished.
        """
        if self._finished:
            raise ProgramError("the program is finished; begin a new Assembler")
        state = self._state[unit]
        words = [
            set_word(unit, name, value)
            for name, value in registers.items()
            if state.get(name) != value
        ]
        words.append(go_word(unit, wait, signal, tag))
        self._words += words
        state.update((name, int(value)) for name, value in registers.items())
        self._commands.append(
            Command(
                unit=unit,
                registers=_ALL_REGISTERS[unit] | state,
                wait=frozenset(wait),
                signal=frozenset(signal),
                tag=tag,
                word_index=len(self._words) - 1,
            )
        )

    def finish(self) -> Words:
        """End the program. Returns: all its words, header and END included."""
        if not self._finished:
            self._words.append(end_word())
            self._words[0] = COMMAND_SET_VERSION << 32 | MAGIC
            self._words[1] = len(self._words) << 32 | self._machine.config_hash
            self._finished = True
        return np.array(self._words, dtype=np.uint64)


@dataclass(frozen=True)
class Header:
    """What the first words of a program say.

    Attributes
    ----------
    version : int
        Of the command set.
    configuration : int
        Hash of the machine's configuration.
    words : int
        All words of the program.
    setup : int
        Identifier of the set-up that the program is or needs; 0 for neither.
    is_setup : bool
        Whether it is the set-up itself.
    """

    version: int
    configuration: int
    words: int
    setup: int = 0
    is_setup: bool = False

    @classmethod
    def of(cls, words: Words) -> Header:
        """Read it from a program that begins with `MAGIC`."""
        first, second = int(words[0]) >> 32, int(words[1])
        return cls(
            version=first & ((1 << VERSION_BITS) - 1),
            configuration=second & _LOW32,
            words=second >> 32 & ((1 << WORD_COUNT_BITS) - 1),
            setup=first >> VERSION_BITS,
            is_setup=bool(second >> 63),
        )


def setup_identifier(setup: Program, memory: Bytes) -> int:
    """What tells a set-up from others: a checksum of its commands and all bytes that they load.

    Another network, or other parameters, make another one. A program that is moved in memory keeps
    the one it has.

    Parameters: `memory` from address 0 on, with what the set-up loads in place. Returns: a number
    of SETUP_BITS bits, never 0.
    """
    check = zlib.crc32(setup.words[HEADER_WORDS:].tobytes())
    for command in setup.commands():
        if command.unit == Unit.LOAD:
            for row in range(command["ROWS"]):
                start = command["MEMORY_ADDRESS"] + row * command["MEMORY_PITCH"]
                check = zlib.crc32(memory[start : start + command["ROW_BYTES"]].tobytes(), check)
    return check % ((1 << SETUP_BITS) - 1) + 1


def with_setup(program: Program, identifier: int, *, is_setup: bool = False) -> Program:
    """The program, marked as the set-up of that identifier or as one that needs it.

    Raises
    ------
    ProgramError
        If the identifier is 0 or has more than SETUP_BITS bits.
    """
    if not 0 < identifier < 1 << SETUP_BITS:
        raise ProgramError(
            f"a set-up's identifier is between 1 and {(1 << SETUP_BITS) - 1}, not {identifier}"
        )
    header = Header.of(program.words)
    words = program.words.copy()
    words[0] = identifier << 32 + VERSION_BITS | header.version << 32 | MAGIC
    words[1] = is_setup << 63 | header.words << 32 | header.configuration
    return dataclasses.replace(program, words=words).listing(program.commands())


@dataclass(frozen=True)
class Command:
    """One GO with everything that it works from.

    Attributes
    ----------
    unit : Unit
        Who runs it.
    registers : mapping of str to int
        Every register of the unit, in their order; 0 for one that was never set.
    wait, signal : frozenset of Token
        What it takes when it starts and gives when it is done.
    tag : int
        The layer it counts for.
    word_index : int
        Place of the GO among the program's words.
    """

    unit: Unit
    registers: Mapping[str, int]
    wait: frozenset[Token]
    signal: frozenset[Token]
    tag: int
    word_index: int

    def __getitem__(self, name: str) -> int:
        return self.registers[name]


@dataclass(frozen=True, eq=False)
class WordKinds:
    """What each word of a program is, for the timing model.

    Attributes
    ----------
    opcode : uint8 array
        `Opcode` of each word; 0 for the words of the header.
    unit : uint8 array
        `Unit` of each SET and GO; 0 elsewhere.
    """

    opcode: npt.NDArray[np.uint8]
    unit: npt.NDArray[np.uint8]


def word_kinds(words: Words) -> WordKinds:
    """Opcode and unit of every word of a program that `decode` accepts."""
    opcode = (words >> np.uint64(60)).astype(np.uint8)
    unit = ((words >> np.uint64(56)) & np.uint64(15)).astype(np.uint8)
    opcode[:HEADER_WORDS] = 0
    unit[:HEADER_WORDS] = 0
    return WordKinds(opcode, unit)


def decode(words: Words, machine: Machine | None = None) -> list[Command]:
    """Every command of a program, with all its registers.

    Parameters
    ----------
    words : uint64 array
        The program, header and END included.
    machine : Machine or None
        When given, the header's configuration hash must be this machine's.

    Raises
    ------
    ProgramError
        For anything that the core would refuse or that has no meaning, with the word's number.
    """
    _check_header(words, machine)
    state = {unit: dict(registers) for unit, registers in _ALL_REGISTERS.items()}
    commands: list[Command] = []
    for index, word in enumerate(words[HEADER_WORDS:].tolist(), HEADER_WORDS):
        opcode = word >> 60
        if opcode == Opcode.SET:
            unit, register, value = _decode_set(word, index)
            state[unit][register.name] = value
        elif opcode == Opcode.GO:
            commands.append(_decode_go(word, index, state))
        elif opcode == Opcode.END:
            if word != end_word():
                raise ProgramError(f"word {index}: END has bits that must be 0: {word:#018x}")
            if index != len(words) - 1:
                raise ProgramError(f"word {index}: END before the last word, {len(words) - 1}")
            return commands
        else:
            raise ProgramError(f"word {index}: no opcode {opcode}: {word:#018x}")
    raise ProgramError(f"word {len(words) - 1}: the last word is not END")


def disassemble(words: Words) -> Iterator[str]:
    """A readable line for every word of a program.

    Raises
    ------
    ProgramError
        At the first word that is malformed; the lines before it have been given by then.
    """
    _check_header(words, None)
    header = Header.of(words)
    role = f", {'is' if header.is_setup else 'needs'} set-up {header.setup:06x}"
    yield f"{0:6}  mensa program, command set {header.version}{role if header.setup else ''}"
    yield f"{1:6}  configuration {header.configuration:08x}, {len(words)} words"
    for index, word in enumerate(words[HEADER_WORDS:].tolist(), HEADER_WORDS):
        opcode = word >> 60
        if opcode == Opcode.SET:
            unit, register, value = _decode_set(word, index)
            text = f"set {unit.name.lower():8}{register.name} = {value}"
        elif opcode == Opcode.GO:
            unit = _unit(word, index)
            wait, signal = _tokens(word >> 48), _tokens(word >> 40)
            text = f"go  {unit.name.lower():8}layer {word & _TAG_MASK}"
            text += "".join(
                f"  {label} {', '.join(t.name.lower() for t in sorted(tokens))}"
                for label, tokens in (("after", wait), ("gives", signal))
                if tokens
            )
        elif opcode == Opcode.END:
            text = "end"
        else:
            raise ProgramError(f"word {index}: no opcode {opcode}: {word:#018x}")
        yield f"{index:6}  {text}"


@dataclass(frozen=True, eq=False)
class Program:
    """Words for one machine with the memory that they work on.

    Attributes
    ----------
    machine : Machine
        What runs it.
    words : uint64 array
        Header, commands, END.
    program_address : int
        Where the words are in memory, a multiple of `PROGRAM_ALIGNMENT_BYTES`.
    memory_bytes : int
        Bytes of memory that the program knows of: all its addresses are below.
    image : tuple of (int, uint8 array)
        Addresses and bytes of what must be in memory before the start, except the words.
    tensors : mapping of int to int
        Address in memory by tensor index. uint8 tensors are stored as int8, 128 less.
    layers : tuple of int
        Operator indices in the order of execution. The tag of a command is the operator's index.
    """

    machine: Machine
    words: Words
    program_address: int
    memory_bytes: int
    image: tuple[tuple[int, Bytes], ...]
    tensors: Mapping[int, int]
    layers: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.program_address % PROGRAM_ALIGNMENT_BYTES:
            raise ProgramError(
                f"the program's address must be a multiple of {PROGRAM_ALIGNMENT_BYTES}, "
                f"not {self.program_address:#x}"
            )
        if not 0 < self.memory_bytes <= 1 << ADDRESS_BITS:
            raise ProgramError(f"memory_bytes must be between 1 and 4 GiB, not {self.memory_bytes}")
        for address, content in (*self.image, (self.program_address, self._word_bytes())):
            if address < 0 or address + content.size > self.memory_bytes:
                raise ProgramError(
                    f"the image has {content.size} bytes at {address:#x}, "
                    f"beyond the memory of {self.memory_bytes:#x} bytes"
                )

    def _word_bytes(self) -> Bytes:
        return np.frombuffer(self.words.astype("<u8").tobytes(), np.uint8)

    def commands(self) -> Sequence[Command]:
        """`decode` of the words, for this machine, once."""
        return self._commands

    @cached_property
    def _commands(self) -> Sequence[Command]:
        return decode(self.words, self.machine)

    def listing(self, commands: Sequence[Command]) -> Program:
        """Take what its words say from who wrote them, so that none is decoded. Returns: self."""
        self.__dict__["_commands"] = commands
        return self

    def initial_memory(self) -> Bytes:
        """A new memory of `memory_bytes` with image and words in place, 0 elsewhere."""
        memory = np.zeros(self.memory_bytes, np.uint8)
        self.put_into(memory)
        return memory

    def put_into(self, memory: Bytes) -> None:
        """Write image and words into a memory that several programs may share."""
        for address, content in (*self.image, (self.program_address, self._word_bytes())):
            memory[address : address + content.size] = content

    def save(self, path: str | Path) -> None:
        """Write everything to a compressed .npz file."""
        about = {
            "machine": self.machine.settings,
            "program_address": self.program_address,
            "memory_bytes": self.memory_bytes,
            "image": [address for address, _ in self.image],
            "tensors": sorted(self.tensors.items()),
            "layers": self.layers,
        }
        arrays: dict[str, Any] = {
            f"image_{number}": content for number, (_, content) in enumerate(self.image)
        }
        with Path(path).open("wb") as file:
            text = np.array(json.dumps(about, allow_nan=False))
            np.savez_compressed(file, about=text, words=self.words, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Program:
        """Read what `save` wrote.

        Raises
        ------
        ProgramError
            If the file is not one of these.
        """
        try:
            with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                return cls(
                    machine=Machine.of(about["machine"]),
                    words=file["words"].astype(np.uint64),
                    program_address=about["program_address"],
                    memory_bytes=about["memory_bytes"],
                    image=tuple(
                        (address, file[f"image_{number}"].astype(np.uint8))
                        for number, address in enumerate(about["image"])
                    ),
                    tensors=dict(about["tensors"]),
                    layers=tuple(about["layers"]),
                )
        except (OSError, ProgramError):
            raise
        except Exception as error:
            raise ProgramError(f"{path} is not a saved program: {error}") from error


def _fits(register: Register, value: int) -> bool:
    if register.signed:
        return -(1 << (register.bits - 1)) <= value < 1 << (register.bits - 1)
    return 0 <= value < 1 << register.bits


def _range(register: Register) -> str:
    low = -(1 << (register.bits - 1)) if register.signed else 0
    high = (1 << (register.bits - register.signed)) - 1
    return f"{low} to {high}"


def _token_bits(tokens: Iterable[Token]) -> int:
    bits = 0
    for token in tokens:
        bits |= 1 << token
    return bits


def _tokens(bits: int) -> frozenset[Token]:
    return frozenset(token for token in Token if bits >> token & 1)


def _unit(word: int, index: int) -> Unit:
    unit = _UNITS.get(word >> 56 & 15)
    if unit is None:
        raise ProgramError(f"word {index}: no unit {word >> 56 & 15}: {word:#018x}")
    return unit


def _decode_set(word: int, index: int) -> tuple[Unit, Register, int]:
    unit = _unit(word, index)
    number = word >> 48 & _LOW8
    if number >= len(REGISTERS[unit]):
        raise ProgramError(f"word {index}: {unit.name} has no register {number}: {word:#018x}")
    if word >> 32 & 0xFFFF:
        raise ProgramError(f"word {index}: SET has bits that must be 0: {word:#018x}")
    register = REGISTERS[unit][number]
    value = word & _LOW32
    if register.signed and value >> 31:
        value -= 1 << 32
    if not _fits(register, value):
        raise ProgramError(
            f"word {index}: {unit.name} register {register.name} takes {_range(register)}, "
            f"not {value}"
        )
    return unit, register, value


def _decode_go(word: int, index: int, state: Mapping[Unit, Mapping[str, int]]) -> Command:
    unit = _unit(word, index)
    if (word >> 48 | word >> 40) & _LOW8 & ~_TOKEN_MASK or word >> 16 & 0xFFFFFF:
        raise ProgramError(f"word {index}: GO has bits that must be 0: {word:#018x}")
    return Command(
        unit=unit,
        registers=dict(state[unit]),
        wait=_tokens(word >> 48),
        signal=_tokens(word >> 40),
        tag=word & _TAG_MASK,
        word_index=index,
    )


def _check_header(words: Words, machine: Machine | None) -> None:
    if words.ndim != 1 or words.dtype != np.uint64:
        raise ProgramError(
            f"a program is a vector of uint64 words, not {words.dtype} {words.shape}"
        )
    if len(words) < HEADER_WORDS:
        raise ProgramError(f"a program has at least {HEADER_WORDS} words, this one {len(words)}")
    magic, header = int(words[0]) & _LOW32, Header.of(words)
    if magic != MAGIC:
        raise ProgramError(f"word 0: begins with {magic:#010x}, a program with {MAGIC:#x}")
    if header.version != COMMAND_SET_VERSION:
        raise ProgramError(
            f"word 0: the program has command set {header.version}, wanted {COMMAND_SET_VERSION}"
        )
    if header.is_setup and not header.setup:
        raise ProgramError("word 1: the program is said to be a set-up, but has no identifier")
    if header.words != len(words):
        raise ProgramError(
            f"word 1: the header promises {header.words} words, there are {len(words)}"
        )
    if machine is not None and header.configuration != machine.config_hash:
        raise ProgramError(
            f"word 1: the program is for configuration {header.configuration:08x}, but "
            f"{machine.name} as configured is {machine.config_hash:08x}; compile it again"
        )
