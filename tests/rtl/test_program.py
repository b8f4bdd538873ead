"""Programs survive assembling, decoding and saving; malformed ones are refused by word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.commands import (
    HEADER_WORDS,
    REGISTERS,
    TAG_BITS,
    Keep,
    Opcode,
    Register,
    Token,
    Unit,
)
from mensa.rtl.machine import KIB, Machine, edge_tpu
from mensa.rtl.program import (
    Assembler,
    Program,
    ProgramError,
    decode,
    disassemble,
    end_word,
    go_word,
    set_word,
    word_kinds,
)
from mensa.rtl.registers import PROGRAM_ALIGNMENT_BYTES


def values_of(register: Register) -> st.SearchStrategy[int]:
    if register.signed:
        return st.integers(-(1 << (register.bits - 1)), (1 << (register.bits - 1)) - 1)
    return st.integers(0, (1 << register.bits) - 1)


@st.composite
def commands(draw: st.DrawFn) -> tuple[Unit, dict[str, int], set[Token], set[Token], int]:
    unit = draw(st.sampled_from(Unit))
    chosen = draw(st.sets(st.sampled_from(REGISTERS[unit]), max_size=5))
    registers = {r.name: draw(values_of(r)) for r in chosen}
    tokens = st.sets(st.sampled_from(Token))
    return unit, registers, draw(tokens), draw(tokens), draw(st.integers(0, 0xFFFF))


# One definition each: a second one could go another way.
def test_a_programs_address_is_one_that_the_core_takes():
    def at(address):
        words = Assembler(edge_tpu).finish()
        return Program(edge_tpu, words, address, 1 << 16, (), {}, ())

    at(PROGRAM_ALIGNMENT_BYTES)
    for wrong in (1, PROGRAM_ALIGNMENT_BYTES // 2, 3 * PROGRAM_ALIGNMENT_BYTES // 2):
        with pytest.raises(ProgramError, match=f"a multiple of {PROGRAM_ALIGNMENT_BYTES}, not"):
            at(wrong)


def test_tag_and_keep_have_the_bits_that_the_gateware_gives_them():
    go_word(Unit.LOAD, tag=(1 << TAG_BITS) - 1)
    with pytest.raises(ProgramError, match="a layer tag"):
        go_word(Unit.LOAD, tag=1 << TAG_BITS)
    keep = next(r for r in REGISTERS[Unit.COMPUTE] if r.name == "KEEP")
    assert max(Keep.CONTINUE | Keep.UNDRAINED, *Keep) == (1 << keep.bits) - 1


@given(st.lists(commands(), max_size=8))
def test_decode_gives_back_every_command_with_all_registers(script):
    assembler = Assembler(edge_tpu)
    state = {unit: {r.name: 0 for r in REGISTERS[unit]} for unit in Unit}
    expected = []
    for unit, registers, wait, signal, tag in script:
        assembler.go(unit, registers, wait, signal, tag)
        state[unit].update(registers)
        expected.append((unit, dict(state[unit]), wait, signal, tag))
    words = assembler.finish()
    decoded = decode(words, edge_tpu)
    assert [(c.unit, dict(c.registers), c.wait, c.signal, c.tag) for c in decoded] == expected
    assert len(list(disassemble(words))) == len(words)
    kinds = word_kinds(words)
    assert [c.word_index for c in decoded] == np.flatnonzero(kinds.opcode == Opcode.GO).tolist()
    assert [c.unit for c in decoded] == kinds.unit[kinds.opcode == Opcode.GO].tolist()
    assert kinds.opcode[-1] == Opcode.END
    assert not kinds.opcode[:HEADER_WORDS].any()


def test_only_changes_are_written():
    assembler = Assembler(edge_tpu)
    assembler.go(Unit.STORE, {"ROWS": 3, "ROW_BYTES": 8})
    before = assembler.word_count
    assembler.go(Unit.STORE, {"ROWS": 3, "ROW_BYTES": 9})
    assert assembler.word_count == before + 2  # SET ROW_BYTES, GO
    assembler.go(Unit.LOAD, {"ROWS": 3})
    assert assembler.word_count == before + 4  # another unit has registers of its own


@pytest.mark.parametrize("unit", Unit)
def test_registers_are_checked_at_their_limits(unit):
    for register in REGISTERS[unit]:
        high = 1 << (register.bits - register.signed)
        low = -high if register.signed else 0
        for value in (low, high - 1):
            words = program_of(set_word(unit, register.name, value), go_word(unit))
            assert decode(words)[0][register.name] == value
        for value in (low - 1, high):
            with pytest.raises(ProgramError, match=f"{register.name} takes"):
                Assembler(edge_tpu).go(unit, {register.name: value})
    with pytest.raises(ProgramError, match="no register 'NONSENSE'"):
        Assembler(edge_tpu).go(unit, {"NONSENSE": 0})


def program_of(*body: int) -> np.ndarray:
    words = Assembler(edge_tpu).finish()
    whole = [*words[:-1].tolist(), *body, end_word()]
    whole[1] = len(whole) << 32 | whole[1] & 0xFFFFFFFF
    return np.array(whole, np.uint64)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (0x7 << 60, "word 2: no opcode 7"),
        (0, "word 2: no opcode 0"),
        (Opcode.SET << 60 | 5 << 56, "word 2: no unit 5"),
        (Opcode.GO << 60 | 3 << 56, "word 2: no unit 3"),
        (Opcode.SET << 60 | 99 << 48, "word 2: LOAD has no register 99"),
        (set_word(Unit.LOAD, "ROWS", 1) | 1 << 32, "word 2: SET has bits"),
        (set_word(Unit.LOAD, "ROWS", 1) | 1 << 31, "word 2: LOAD register ROWS takes"),
        (go_word(Unit.LOAD) | 1 << 39, "word 2: GO has bits"),
        (go_word(Unit.LOAD) | 1 << 16, "word 2: GO has bits"),
        (end_word() | 1, "word 2: END has bits"),
        (end_word(), "word 2: END before"),
    ],
)
def test_malformed_words_are_named(word, message):
    with pytest.raises(ProgramError, match=message):
        decode(program_of(word))


def test_malformed_headers_are_named():
    words = Assembler(edge_tpu).finish()
    for index, flip, message in (
        (0, 1, "word 0: begins with"),
        (0, 1 << 32, "word 0: the program has command set"),
        (1, 1 << 32, "word 1: the header promises"),
    ):
        broken = words.copy()
        broken[index] ^= np.uint64(flip)
        with pytest.raises(ProgramError, match=message):
            decode(broken)
    with pytest.raises(ProgramError, match="word 1: the program is for configuration"):
        decode(words, edge_tpu.replace(rows=8))
    with pytest.raises(ProgramError, match="at least 2 words"):
        decode(words[:1])
    cut = words[:-1].copy()
    cut[1] -= np.uint64(1 << 32)
    with pytest.raises(ProgramError, match="not END"):
        decode(cut)


@pytest.fixture
def program() -> Program:
    machine = Machine(
        name="small",
        array=Systolic(rows=4, cols=4),
        clock_hz=1,
        parameter_buffer_bytes=KIB,
        activation_buffer_bytes=KIB,
    )
    assembler = Assembler(machine)
    assembler.go(Unit.LOAD, {"ROWS": 1}, signal=[Token.ACTIVATIONS_READY], tag=7)
    return Program(
        machine=machine,
        words=assembler.finish(),
        program_address=256,
        memory_bytes=512,
        image=((3, np.arange(5, dtype=np.uint8)),),
        tensors={4: 0, 2: 64},
        layers=(7,),
    )


def test_program_survives_saving(program, tmp_path):
    program.save(tmp_path / "p.npz")
    again = Program.load(tmp_path / "p.npz")
    assert again.machine == program.machine
    assert again.commands() == program.commands()
    assert again.tensors == program.tensors
    assert again.layers == program.layers
    assert np.array_equal(again.initial_memory(), program.initial_memory())
    (tmp_path / "bad.npz").write_bytes(b"nonsense")
    with pytest.raises(ProgramError, match="not a saved program"):
        Program.load(tmp_path / "bad.npz")


def test_initial_memory_has_image_and_words(program):
    memory = program.initial_memory()
    assert memory[3:8].tolist() == [0, 1, 2, 3, 4]
    size = 8 * len(program.words)
    assert np.array_equal(memory[256 : 256 + size].view("<u8"), program.words)


def test_memory_map_is_checked(program):
    fields = {f: getattr(program, f) for f in program.__dataclass_fields__}
    for change, message in (
        ({"program_address": 100}, "multiple of 128"),
        ({"memory_bytes": 260}, "beyond the memory"),
        ({"memory_bytes": 0}, "between 1 and 4 GiB"),
    ):
        with pytest.raises(ProgramError, match=message):
            Program(**(fields | change))
