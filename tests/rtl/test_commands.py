from __future__ import annotations

import subprocess
import sys

import pytest

from mensa.rtl.commands import (
    ADDRESS_BITS,
    BUFFER_ADDRESS_BITS,
    MAGIC,
    REGISTER_NUMBER,
    REGISTERS,
    WORD_BYTES,
    Mode,
    Opcode,
    Rounding,
    Space,
    Token,
    Unit,
)
from mensa.rtl.machine import machines

ALL = [(unit, register) for unit in Unit for register in REGISTERS[unit]]


def width(unit: Unit, name: str) -> int:
    return next(r.bits for r in REGISTERS[unit] if r.name == name)


def test_every_unit_has_registers_and_their_numbers_fit_a_set_command():
    assert set(REGISTERS) == set(Unit)
    for unit in Unit:
        assert 0 < len(REGISTERS[unit]) <= 1 << 8
        assert unit < 1 << 4


def test_a_register_is_found_by_its_name_and_names_are_unique_in_a_unit():
    for unit in Unit:
        assert len(REGISTER_NUMBER[unit]) == len(REGISTERS[unit])
        for number, register in enumerate(REGISTERS[unit]):
            assert REGISTER_NUMBER[unit][register.name] == number


@pytest.mark.parametrize(("unit", "register"), ALL, ids=[f"{u.name}.{r.name}" for u, r in ALL])
def test_a_register_fits_a_command_value_and_says_what_it_means(unit, register):
    assert 1 <= register.bits <= 32
    assert register.meaning
    assert register.name == register.name.upper()


def test_tokens_and_opcodes_fit_their_fields():
    assert max(Token) < 8
    assert max(Opcode) < 1 << 4
    assert 0 not in list(Opcode), "a word of zeros must be no command"


def test_registers_hold_every_value_of_what_they_choose():
    assert max(Mode) < 1 << width(Unit.COMPUTE, "MODE")
    assert max(Rounding) < 1 << width(Unit.COMPUTE, "ROUNDING")
    assert max(Space) < 1 << width(Unit.LOAD, "SPACE")


def test_registers_hold_every_address_and_channel_of_the_named_machines():
    for machine in machines.values():
        assert machine.activation_buffer_bytes <= 1 << BUFFER_ADDRESS_BITS
        assert machine.parameter_bytes <= 1 << BUFFER_ADDRESS_BITS
        assert machine.constant_entries <= 1 << width(Unit.COMPUTE, "CONSTANT_ENTRY")
        assert machine.array.group < 1 << width(Unit.COMPUTE, "GROUP_CHANNELS")
    assert width(Unit.LOAD, "MEMORY_ADDRESS") == ADDRESS_BITS
    assert width(Unit.COMPUTE, "OUT_ADDRESS") == BUFFER_ADDRESS_BITS


def test_load_and_store_share_their_registers_so_one_lowering_serves_both():
    assert REGISTERS[Unit.LOAD][: len(REGISTERS[Unit.STORE])] == REGISTERS[Unit.STORE]


def test_a_program_begins_with_letters_that_a_dump_shows():
    assert MAGIC.to_bytes(4, "little") == b"MENS"
    assert WORD_BYTES == 8


def test_machines_and_commands_need_no_amaranth():
    code = (
        "import sys; sys.modules['amaranth'] = None; "
        "import mensa.rtl.machine, mensa.rtl.commands, mensa.rtl.program"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
