from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given

from mensa.rtl.arrays.systolic.systolic import Systolic
from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES
from mensa.rtl.commands import Mode
from mensa.rtl.machine import (
    AXI_PAGE_BYTES,
    KIB,
    MIB,
    Machine,
    MachineError,
    edge_tpu,
    jacquard,
    machines,
    pascal,
    pavlov,
)
from tests.machines import any_machine

SMALL = Machine(
    name="small",
    array=Systolic(rows=8, cols=8),
    clock_hz=250_000_000,
    parameter_buffer_bytes=8 * KIB,
    activation_buffer_bytes=8 * KIB,
)


def power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@given(any_machine())
def test_an_access_of_a_word_serves_every_column_and_row_and_a_row_whole_beats(machine):
    array = machine.array
    assert machine.word_bytes >= max(array.chunk, machine.lanes)
    if array.store_bytes:
        assert machine.word_bytes >= 2 * machine.lanes  # what is written at once
        assert machine.parameter_row_bytes >= array.group
        assert array.store_bytes % (4 * machine.parameter_row_bytes) == 0
        assert power_of_two(machine.parameter_row_bytes)
    else:
        assert machine.word_bytes >= array.group * array.parameter_rows
        assert machine.parameter_row_bytes == machine.row_bytes
    assert machine.row_bytes == 2 * machine.word_bytes
    assert power_of_two(machine.row_bytes)
    assert machine.row_bytes % machine.beat_bytes == 0


@given(any_machine())
def test_bursts_and_beats_are_legal_axi(machine):
    assert power_of_two(machine.beat_bytes)
    assert machine.beat_bytes // machine.data_lanes <= 128
    assert machine.burst_bytes <= AXI_PAGE_BYTES
    assert AXI_PAGE_BYTES % machine.burst_bytes == 0


@given(any_machine())
def test_buffers_divide_into_whole_rows_and_entries_hold_all_records(machine):
    assert machine.activation_bank_bytes * machine.activation_banks == (
        machine.activation_buffer_bytes
    )
    assert machine.activation_bank_bytes % machine.row_bytes == 0
    assert machine.parameter_bytes // 2 % machine.parameter_row_bytes == 0
    assert machine.constant_entry_bytes >= CHANNEL_RECORD_BYTES * machine.array.group
    assert power_of_two(machine.constant_entry_bytes)
    assert machine.constant_entry_bytes % machine.beat_bytes == 0
    # A beat lies in one row of records, and so do those of the lanes.
    row = machine.constant_row_records
    assert machine.constant_entry_rows * row >= machine.array.group
    if machine.constant_entry_rows > 1:
        assert row % machine.lanes == 0
        assert CHANNEL_RECORD_BYTES * row % machine.beat_bytes == 0
        assert CHANNEL_RECORD_BYTES * row * machine.constant_entry_rows == (
            machine.constant_entry_bytes
        )


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *(("rows", v) for v in (0, -4, 129, 8.0, "8", True)),
        *(("cols", v) for v in (0, 129)),
        *(("clock_hz", v) for v in (0, 2.5e8, 10**11 + 1)),
        *(("activation_banks", v) for v in (0, 1, 3, 32)),
        *(("constant_entries", v) for v in (1, 48, 8192)),
        *(("port_bytes", v) for v in (2, 12, 2048)),
        *(("burst_beats", v) for v in (0, 3, 512)),
        *(("outstanding_reads", v) for v in (0, 65)),
        *(("parameter_buffer_bytes", v) for v in (0, 8 * KIB + 16, 512 * MIB)),
        *(("activation_buffer_bytes", v) for v in (0, 64, 8 * KIB + 64, 512 * MIB)),
    ],
)
def test_a_number_that_can_not_be_built_is_refused_by_name(field, wrong):
    with pytest.raises(MachineError, match=field):
        SMALL.replace(**{field: wrong})


def test_a_burst_longer_than_a_page_is_refused_with_what_fits():
    with pytest.raises(MachineError, match=r"burst_beats.*at most 32"):
        SMALL.replace(port_bytes=128, burst_beats=64)


def test_an_unknown_setting_is_refused_with_those_that_exist():
    with pytest.raises(MachineError, match=r"no setting 'colums'.*cols"):
        SMALL.replace(colums=8)


def test_replace_changes_a_copy():
    assert SMALL.replace(rows=16).settings["rows"] == 16
    assert SMALL.settings["rows"] == 8
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.clock_hz = 16
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.array.post_lanes = 2


CHANGES = {
    "rows": 16,
    "cols": 16,
    "parameter_buffer_bytes": 16 * KIB,
    "activation_buffer_bytes": 16 * KIB,
    "activation_banks": 2,
    "constant_entries": 32,
    "post_lanes": 2,
    "port_bytes": 4,
    "burst_beats": 8,
    "outstanding_reads": 2,
    "cell": "litert",
    "cell_lanes": 2,
    "softmax_lanes": 1,
}


def test_configuration_hash_tells_apart_what_is_built_differently_and_nothing_else():
    hashes = {SMALL.replace(**{field: value}).config_hash for field, value in CHANGES.items()}
    hashes.add(SMALL.config_hash)
    assert len(hashes) == len(CHANGES) + 1
    assert all(0 <= h < 1 << 32 for h in hashes)
    same = SMALL.replace(
        name="other",
        clock_hz=1,
        post_lanes=SMALL.lanes,
        port_bytes=SMALL.beat_bytes,
        cell_lanes=SMALL.state_lanes,
        softmax_lanes=SMALL.exponential_lanes,
    )
    assert same.config_hash == SMALL.config_hash
    assert set(CHANGES) == set(SMALL.settings) - {"name", "array", "clock_hz"}


JACQUARD_CHANGES = {
    "rows": 8,
    "cols": 8,
    "accumulators": 32,
    "reload_rows": 4,
}


def test_the_numbers_of_jacquard_s_array_are_in_the_hash_too():
    hashes = {jacquard.replace(**{name: v}).config_hash for name, v in JACQUARD_CHANGES.items()}
    hashes.add(jacquard.config_hash)
    assert len(hashes) == len(JACQUARD_CHANGES) + 1
    assert jacquard.replace(reload_rows=16).config_hash == jacquard.config_hash
    assert set(JACQUARD_CHANGES) == {field.name for field in dataclasses.fields(jacquard.array)} - {
        "post_lanes"
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"rows": v}, "rows must be between 1 and 64") for v in (0, 65)),
        *(({"cols": v}, "cols must be between 1 and 128") for v in (0, 129)),
        *(({"accumulators": v}, "accumulators must be between 2 and 256") for v in (1, 257)),
        *(({"reload_rows": v}, "reload_rows must be between 1 and 16, the rows") for v in (0, 17)),
        ({"reload_rows": 6}, "reload_rows must be a power of two"),
        ({"rows": 12, "reload_rows": 8}, "reload_rows must divide the 12 rows, not 8"),
    ],
)
def test_an_array_of_jacquard_that_can_not_be_is_refused(change, message):
    with pytest.raises(MachineError, match=message):
        jacquard.replace(**change)


def test_a_beat_wider_than_axi_s_is_that_of_several_lanes():
    for port, lanes in ((64, 1), (128, 1), (256, 2), (1024, 8)):
        assert jacquard.replace(port_bytes=port, burst_beats=4).data_lanes == lanes


def test_jacquard_is_that_of_the_paper():
    # Boroumand et al. 2021: 16 x 16 PEs, 512 GFLOP/s, 128 kB of parameters and of activations.
    assert (jacquard.array.chunk, jacquard.array.group) == (16, 16)
    assert jacquard.peak_macs_per_cycle * 2 * jacquard.clock_hz == 512 * 10**9
    assert jacquard.parameter_buffer_bytes == jacquard.activation_buffer_bytes == 128 * KIB
    assert jacquard.beat_bytes * jacquard.clock_hz == 256 * 10**9


def test_pascal_is_that_of_the_paper():
    # Boroumand et al. 2021: 32 x 32 PEs, 2 TFLOP/s, a 32nd of the Edge TPU's parameter buffer and
    # an eighth of its activation buffer, the same memory.
    assert (pascal.array.tile, pascal.array.group) == (32, 32)
    assert pascal.peak_macs_per_cycle * pascal.clock_hz == edge_tpu.peak_macs_per_cycle * (
        edge_tpu.clock_hz
    )
    assert 32 * pascal.parameter_buffer_bytes == edge_tpu.parameter_buffer_bytes
    assert 8 * pascal.activation_buffer_bytes == edge_tpu.activation_buffer_bytes
    assert pascal.beat_bytes * pascal.clock_hz == 32 * 10**9


@pytest.mark.parametrize("edge", ["rows", "cols"])
@pytest.mark.parametrize("wrong", [0, 129])
def test_an_array_of_pascal_that_can_not_be_is_refused(edge, wrong):
    with pytest.raises(MachineError, match=f"{edge} must be between 1 and 128"):
        pascal.replace(**{edge: wrong})


def test_pavlov_is_that_of_the_paper():
    # Boroumand et al. 2021: 8 x 8 PEs with 512 B each and no parameter buffer, 128 GFLOP/s, 128 kB
    # of activations.
    assert pavlov.peak_macs_per_cycle * 2 * pavlov.clock_hz == 128 * 10**9
    assert pavlov.parameter_buffer_bytes is None
    assert pavlov.parameter_bytes == 64 * 512
    assert pavlov.activation_buffer_bytes == 128 * KIB
    assert pavlov.beat_bytes * pavlov.clock_hz == 256 * 10**9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"rows": v}, "rows must be a power of two") for v in (3, 12)),
        ({"cols": 24}, "cols must be a power of two"),
        ({"rows": 32, "cols": 16}, "rows x cols must be between 1 and 256"),
        *(({"registers": v}, "registers must be a power of two between 4 and 4096")
          for v in (0, 2, 48, 8192)),
        *(({"accumulators": v}, "accumulators must be between 2 and 256") for v in (1, 257)),
        ({"post_lanes": 65}, "post_lanes must be between 1 and 64"),
        ({"parameter_buffer_bytes": 8192}, "pavlov has no parameter buffer: .* as registers says"),
        ({"registers": 8}, "have 512 B of registers together, which must be a multiple of 1024"),
    ],
)  # fmt: skip
def test_an_array_of_pavlov_that_can_not_be_is_refused(change, message):
    with pytest.raises(MachineError, match=message):
        pavlov.replace(**change)


def test_a_buffer_of_no_size_is_refused():
    with pytest.raises(MachineError, match="parameter_buffer_bytes must be an integer"):
        edge_tpu.replace(parameter_buffer_bytes=None)


def test_arrays_of_two_kinds_are_told_apart():
    alike = pascal.replace(rows=8, cols=8)
    other = Machine.of(alike.settings | {"array": "systolic"})
    assert other.config_hash != alike.config_hash


@given(any_machine())
def test_settings_make_the_same_machine_again(machine):
    assert Machine.of(machine.settings) == machine
    assert Machine.of(json.loads(json.dumps(machine.settings))).config_hash == machine.config_hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"array": "sistolic"}, "no array 'sistolic'; there are .*systolic"),
        ({"array": None}, "no array None"),
        ({"colums": 8}, "colums"),
        ({"rows": 0}, "rows must be between 1 and 128"),
    ],
)
def test_settings_that_make_no_machine_are_refused(change, message):
    with pytest.raises(MachineError, match=message):
        Machine.of(SMALL.settings | change)
    with pytest.raises(MachineError, match="clock_hz"):
        Machine.of({k: v for k, v in SMALL.settings.items() if k != "clock_hz"})


def test_a_machine_has_the_modes_of_all_and_its_arrays_own():
    assert SMALL.modes == tuple(Mode)


def test_the_baseline_is_the_edge_tpu_of_the_paper():
    # Boroumand et al. 2021: 64 x 64 PEs, 2 TFLOP/s, 4 MB of parameters, 2 MB of activations.
    assert (edge_tpu.array.tile, edge_tpu.array.group) == (64, 64)
    assert edge_tpu.peak_macs_per_cycle * 2 * edge_tpu.clock_hz == pytest.approx(2e12, rel=0.03)
    assert edge_tpu.parameter_buffer_bytes == 4 * MIB
    assert edge_tpu.activation_buffer_bytes == 2 * MIB


def test_named_machines_go_by_their_names():
    assert machines["edge_tpu"] is edge_tpu
    assert all(machine.name == name for name, machine in machines.items())
