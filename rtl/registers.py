"""The control registers, defined once: gateware, harness, C header and documents use this table.

All registers are 32 bits wide and little-endian; a counter of 64 bits takes two, low half first.
Counters keep still while the core is idle, and are cleared by the next start.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mensa.rtl.commands import (
    COMMAND_SET_VERSION,
    HEADER_WORDS,
    MAGIC,
    REGISTERS,
    WORD_BYTES,
    Opcode,
    Token,
    Unit,
)
from mensa.rtl.machine import AXI_PAGE_BYTES, Machine, edge_tpu

__all__ = [
    "ABOUT_COMMANDS",
    "ADDRESS_BITS",
    "CATEGORIES",
    "CONTROL_REGISTERS",
    "FETCH_BURST_WORDS",
    "FETCH_FIFO_WORDS",
    "FETCH_LATENCY",
    "OFFSET",
    "PAGE_BITS",
    "PROGRAM_ALIGNMENT_BYTES",
    "Access",
    "ControlRegister",
    "ErrorCode",
    "Field",
    "c_header",
    "register_map_markdown",
]

ADDRESS_BITS = 12
"""Bits of a byte address on the control port."""

FETCH_BURST_WORDS = 16
"""Words that the fetch unit reads at a time."""

FETCH_FIFO_WORDS = 64
"""Words of the program that can be on chip or on their way."""

FETCH_LATENCY = 2
"""Cycles from the transfer of a word of the program to the first one in which it can be handled."""

PAGE_BITS = AXI_PAGE_BYTES.bit_length() - 1
"""Bits of an address within a page, which no burst leaves: the grain of the address window."""

PROGRAM_ALIGNMENT_BYTES = FETCH_BURST_WORDS * WORD_BYTES
"""A program starts at a multiple of this, so that no burst of the fetch unit crosses a page."""


class ErrorCode(enum.IntEnum):
    """Why a program stopped before its END."""

    NONE = 0  #: it did not
    BAD_MAGIC = 1  #: word 0 does not start with MENS: wrong address, or no program there
    BAD_VERSION = 2  #: the program was made for another version of the command set
    WRONG_CONFIGURATION = 3  #: the program was made for a core of another configuration
    BAD_COMMAND = 4  #: unknown opcode, unit or register
    BUS_ERROR = 5  #: memory answered a read of the program with an error
    UNALIGNED_PROGRAM = 6  #: PROGRAM_ADDRESS is not a multiple of 128
    NO_END = 7  #: the last word that the header counts is not END
    BANK_CONFLICT = 8  #: two units used one bank of a buffer in the same cycle
    LOAD_BUS_ERROR = 9  #: memory answered a read of the load unit with an error
    STORE_BUS_ERROR = 10  #: memory answered a write of the store unit with an error
    FETCH_OUTSIDE = 11  #: the program leaves the address window
    LOAD_OUTSIDE = 12  #: a load leaves the address window
    STORE_OUTSIDE = 13  #: a store leaves the address window
    SETUP_MISSING = 14  #: the set-up that the program needs was not the latest, or ended badly
    REFUSED = 15  #: a command has a register value that can't be, such as no rows
    DEADLOCK = 16  #: a command waits for a token that no command before it gives
    WATCHDOG_FETCH = 17  #: nothing moved for WATCHDOG cycles; the program's next word is awaited
    WATCHDOG_LOAD = 18  #: the same; the load unit waits
    WATCHDOG_COMPUTE = 19  #: the same; the compute unit waits
    WATCHDOG_STORE = 20  #: the same; the store unit waits
    RESET = 21  #: CONTROL.RESET ended it


ABOUT_COMMANDS = frozenset(
    (
        *(ErrorCode.LOAD_BUS_ERROR, ErrorCode.STORE_BUS_ERROR),
        *(ErrorCode.LOAD_OUTSIDE, ErrorCode.STORE_OUTSIDE),
        *(ErrorCode.REFUSED, ErrorCode.DEADLOCK),
        *(ErrorCode.WATCHDOG_LOAD, ErrorCode.WATCHDOG_COMPUTE, ErrorCode.WATCHDOG_STORE),
    )
)
"""Codes with which PROGRAM_WORD is the index of a GO."""

CATEGORIES = (
    "compute",
    "fill_drain",
    "wait_parameters",
    "wait_activations",
    "wait_store",
    "wait_command",
)
"""Where the compute unit's cycles go, in the order of the trace port's numbers."""


class Access(enum.Enum):
    """What a bus access to a field does."""

    READ = "ro"  #: writes are refused
    WRITE = "rw"
    PULSE = "w1"  #: writing 1 acts, reads as 0
    CLEAR = "w1c"  #: writing 1 clears


@dataclass(frozen=True)
class Field:
    """Some bits of a register."""

    name: str
    low: int
    bits: int
    access: Access
    meaning: str


@dataclass(frozen=True)
class ControlRegister:
    """One register of 32 bits.

    Attributes
    ----------
    name : str
        In upper case.
    offset : int
        Byte address.
    fields : tuple of Field
        Its bits; those not named read as 0.
    meaning : str
        One line.
    """

    name: str
    offset: int
    fields: tuple[Field, ...]
    meaning: str

    @property
    def writable(self) -> bool:
        """Whether a write is accepted."""
        return any(field.access is not Access.READ for field in self.fields)


def _word(access: Access, meaning: str) -> tuple[Field, ...]:
    return (Field("VALUE", 0, 32, access, meaning),)


COUNTERS: dict[str, str] = {
    "CYCLES": "busy cycles",
    **{
        f"{name.upper()}_CYCLES": meaning
        for name, meaning in zip(
            CATEGORIES,
            (
                "cycles in which the operand feed emits",
                "cycles in which the compute unit runs without emitting",
                "cycles of waiting for parameters",
                "cycles of waiting for activations",
                "cycles of waiting for the store unit to free a bank",
                "cycles of waiting for a command",
            ),
            strict=True,
        )
    },
    "READ_BEATS": "beats read on the data port",
    "WRITE_BEATS": "beats written on the data port",
    "FETCH_BEATS": "beats read on the command port",
    "PARAMETER_READS": "words that the compute unit reads from the memory for parameters",
    "ACTIVATION_READS": "words of activations that it asks for, those of padding too",
    "COMMANDS": "GO commands fetched",
}
"""64-bit counters in the order of their addresses. The six categories sum to CYCLES."""

COUNTER_BASE = 0x40


def _table() -> tuple[ControlRegister, ...]:
    registers = [
        ControlRegister("ID", 0x00, _word(Access.READ, "the letters MENS"), "what this core is"),
        ControlRegister(
            "COMMAND_SET_VERSION",
            0x04,
            _word(Access.READ, "version"),
            "programs of this version run here",
        ),
        ControlRegister(
            "CONFIG_HASH",
            0x08,
            _word(Access.READ, "hash"),
            "programs made for the configuration with this hash run here",
        ),
        ControlRegister(
            "CONTROL",
            0x10,
            (
                Field("START", 0, 1, Access.PULSE, "start the program; ignored while busy"),
                Field("INTERRUPT_ENABLE", 1, 1, Access.WRITE, "raise irq while DONE is set"),
                Field(
                    "RESET",
                    2,
                    1,
                    Access.PULSE,
                    "end the program, with the error RESET, and forget the set-up",
                ),
            ),
            "start, interrupt and soft reset",
        ),
        ControlRegister(
            "STATUS",
            0x14,
            (
                Field("BUSY", 0, 1, Access.READ, "a program runs or ends; ports may be busy"),
                Field(
                    "DONE",
                    1,
                    1,
                    Access.CLEAR,
                    "a program has ended since the last start; no burst is outstanding",
                ),
                Field(
                    "STOPPING",
                    2,
                    1,
                    Access.READ,
                    "an error was found; what the bus owes is awaited, then DONE",
                ),
                Field("ERROR", 8, 8, Access.READ, "why it ended, an error code; 0 is well"),
            ),
            "progress and outcome",
        ),
        ControlRegister(
            "PROGRAM_ADDRESS",
            0x18,
            _word(Access.WRITE, "address"),
            f"where the program starts in memory, a multiple of {PROGRAM_ALIGNMENT_BYTES}",
        ),
        ControlRegister(
            "PROGRAM_WORD",
            0x1C,
            _word(Access.READ, "index"),
            "words of the program handled; after an error about a word or a command, its index",
        ),
        ControlRegister(
            "WINDOW_BASE",
            0x20,
            (Field("PAGE", PAGE_BITS, 32 - PAGE_BITS, Access.WRITE, "of the first byte"),),
            "first address that the core may read or write; kept while it is busy",
        ),
        ControlRegister(
            "WINDOW_LIMIT",
            0x24,
            (
                Field("ONES", 0, PAGE_BITS, Access.READ, "all ones"),
                Field("PAGE", PAGE_BITS, 32 - PAGE_BITS, Access.WRITE, "of the last byte"),
            ),
            "last address that the core may read or write; kept while it is busy",
        ),
        ControlRegister(
            "WATCHDOG",
            0x28,
            _word(Access.WRITE, "cycles"),
            "cycles without progress after which a program is ended; 0: never",
        ),
    ]
    for number, (name, meaning) in enumerate(COUNTERS.items()):
        for half, which in enumerate(("LOW", "HIGH")):
            registers.append(
                ControlRegister(
                    f"{name}_{which}",
                    COUNTER_BASE + 8 * number + 4 * half,
                    _word(Access.READ, "count"),
                    f"{meaning}, {which.lower()} half",
                )
            )
    return tuple(registers)


CONTROL_REGISTERS = _table()
"""Every control register, by rising address."""

OFFSET = {register.name: register.offset for register in CONTROL_REGISTERS}
"""A register's byte address by name."""


INTRODUCTION = """\
The control registers and the registers of the commands, made from the tables in `rtl/registers.py`
and `rtl/commands.py`. `mensa rtl` writes this page for a machine, and the same tables as a C
header; how a driver uses them stands in `network.h` of `mensa compile`."""


def reset_value(register: ControlRegister, machine: Machine) -> int:
    """Return what `register` reads before the first start."""
    fixed = {
        "ID": MAGIC,
        "COMMAND_SET_VERSION": COMMAND_SET_VERSION,
        "CONFIG_HASH": machine.config_hash,
        "WINDOW_LIMIT": (1 << 32) - 1,
    }
    return fixed.get(register.name, 0)


def register_map_markdown(machine: Machine | None = None) -> str:
    """Return the control registers, error codes and command registers as a Markdown document.

    Parameters: whose registers they are; None for those of every machine.
    """
    lines = [
        f"# Registers of `{machine.name}`" if machine else f"# Registers\n\n{INTRODUCTION}",
        "",
        "## Control port (AXI4-Lite)",
        "",
        "An access outside this table, or a write to a read-only register, answers SLVERR.",
        "",
        "| offset | register | bits | field | access | after reset | meaning |",
        "|---|---|---|---|---|---|---|",
    ]
    for register in CONTROL_REGISTERS:
        value = "its hash"
        if machine is not None or register.name != "CONFIG_HASH":
            value = f"0x{reset_value(register, machine or edge_tpu):X}"
        for field in register.fields:
            high = field.low + field.bits - 1
            bits = str(high) if field.bits == 1 else f"{high}:{field.low}"
            one = len(register.fields) == 1
            name, meaning = ("", register.meaning) if one else (field.name, field.meaning)
            lines.append(
                f"| 0x{register.offset:03X} | {register.name} | {bits} | {name} | "
                f"{field.access.value} | {value} | {meaning} |"
            )
    lines += ["", "## Error codes", "", "| code | name |", "|---|---|"]
    lines += [f"| {code.value} | {code.name} |" for code in ErrorCode]
    for unit, registers in REGISTERS.items():
        lines += [
            "",
            f"## Registers of the {unit.name.lower()} unit (command SET, unit {unit.value})",
            "",
            "| number | register | bits | meaning |",
            "|---|---|---|---|",
        ]
        for number, entry in enumerate(registers):
            sign = "signed " if entry.signed else ""
            lines.append(f"| {number} | {entry.name} | {sign}{entry.bits} | {entry.meaning} |")
    return "\n".join(lines) + "\n"


def c_header(machine: Machine) -> str:
    """Return a C header with every register, field, error code and command of `machine`."""
    lines = [
        f"/* Registers and commands of the accelerator {machine.name}. Made by mensa. */",
        "#ifndef MENSA_REGISTERS_H",
        "#define MENSA_REGISTERS_H",
        "",
    ]

    def define(name: str, value: str, comment: str = "") -> None:
        note = f" /* {comment} */" if comment else ""
        lines.append(f"#define MENSA_{name} {value}{note}")

    define("MAGIC", f"0x{MAGIC:08X}u")
    define("VERSION", f"{COMMAND_SET_VERSION}u", "of the command set")
    define("CONFIGURATION", f"0x{machine.config_hash:08X}u", "hash of this core's configuration")
    define("HEADER_WORDS", f"{HEADER_WORDS}u")
    define("PROGRAM_ALIGNMENT", f"{PROGRAM_ALIGNMENT_BYTES}u", "bytes")
    for name, value in machine.array.edges.items():
        define(name.upper(), f"{value}u")
    define("BEAT_BYTES", f"{machine.beat_bytes}u")
    define("PARAMETER_BUFFER_BYTES", f"{machine.parameter_bytes}u")
    define("ACTIVATION_BUFFER_BYTES", f"{machine.activation_buffer_bytes}u")
    define("CONSTANT_ENTRIES", f"{machine.constant_entries}u")
    lines += ["", "/* Control registers: byte offsets on the AXI4-Lite port. */"]
    for register in CONTROL_REGISTERS:
        define(f"REG_{register.name}", f"0x{register.offset:03X}u", register.meaning)
        for field in register.fields:
            if len(register.fields) > 1:
                mask = ((1 << field.bits) - 1) << field.low
                define(f"{register.name}_{field.name}", f"0x{mask:08X}u", field.meaning)
                define(f"{register.name}_{field.name}_SHIFT", f"{field.low}u")
    lines += ["", "/* STATUS.ERROR. */"]
    for code in ErrorCode:
        define(f"ERROR_{code.name}", f"{code.value}u")
    lines += ["", "/* Commands: 64-bit little-endian words. */"]
    for opcode in Opcode:
        define(f"OPCODE_{opcode.name}", f"{opcode.value}u")
    for unit in Unit:
        define(f"UNIT_{unit.name}", f"{unit.value}u")
    for token in Token:
        define(f"TOKEN_{token.name}", f"0x{1 << token.value:02X}u")
    define(
        "SET(unit, number, value)",
        "(((uint64_t)MENSA_OPCODE_SET << 60) | ((uint64_t)(unit) << 56) | "
        "((uint64_t)(number) << 48) | (uint32_t)(value))",
    )
    define(
        "GO(unit, wait, signal, tag)",
        "(((uint64_t)MENSA_OPCODE_GO << 60) | ((uint64_t)(unit) << 56) | "
        "((uint64_t)(wait) << 48) | ((uint64_t)(signal) << 40) | (uint16_t)(tag))",
    )
    define("END", "((uint64_t)MENSA_OPCODE_END << 60)")
    for unit, registers in REGISTERS.items():
        lines += ["", f"/* Registers of the {unit.name.lower()} unit, for MENSA_SET. */"]
        for number, entry in enumerate(registers):
            define(f"{unit.name}_{entry.name}", f"{number}u", entry.meaning)
    lines += ["", "#include <stdint.h>", "", "#endif"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":  # python -m mensa.rtl.registers > docs/registers.md
    print(register_map_markdown(), end="")
