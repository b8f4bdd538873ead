"""Energy is what is counted times what the constants say, and nothing else."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mensa.rtl.command_events import CommandEvents
from mensa.rtl.machine import edge_tpu, jacquard, machines, pascal, pavlov
from mensa.sim.energy.constants import constants
from mensa.sim.energy.model import COMPONENTS, EnergyModel, LayerEvents
from mensa.sim.energy.technology import Technology, TechnologyError
from mensa.sim.memory import lpddr4, stacked

MODELS = {
    "edge_tpu": EnergyModel(edge_tpu, lpddr4),
    "jacquard": EnergyModel(jacquard, stacked),
    "pascal": EnergyModel(pascal, lpddr4),
    "pavlov": EnergyModel(pavlov, stacked),
}

COUNTS = st.integers(0, 1 << 40)
EVENTS = st.builds(
    LayerEvents,
    compute=st.builds(
        CommandEvents, **{field.name: COUNTS for field in dataclasses.fields(CommandEvents)[1:]}
    ),
    **{field.name: COUNTS for field in dataclasses.fields(LayerEvents)[1:]},
)


def added(one: LayerEvents, other: LayerEvents) -> LayerEvents:
    own = {
        field.name: getattr(one, field.name) + getattr(other, field.name)
        for field in dataclasses.fields(LayerEvents)[1:]
    }
    return LayerEvents(compute=one.compute + other.compute, **own)


def test_every_machine_has_a_model():
    assert set(MODELS) == set(machines)


@pytest.mark.parametrize("name", MODELS)
@given(one=EVENTS, other=EVENTS, moved=st.lists(COUNTS, min_size=4, max_size=4))
def test_energy_is_positive_and_additive(name, one, other, moved):
    model = MODELS[name]
    first = model.of(one, moved[0], moved[1], 1000.0)
    second = model.of(other, moved[2], moved[3], 500.0)
    both = model.of(added(one, other), moved[0] + moved[2], moved[1] + moved[3], 1500.0)
    assert set(first) == set(COMPONENTS)
    assert min(first.values()) >= 0
    for component in COMPONENTS:
        value = first[component] + second[component]
        assert math.isclose(value, both[component], rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_costs_nothing(name):
    assert sum(MODELS[name].of(LayerEvents(), 0, 0, 0.0).values()) == 0


def test_a_layer_worked_out_by_hand():
    """A thousand MACs with a parameter word each, of the file's numbers at 22 nm."""
    compute = CommandEvents(
        macs=1000, parameter_reads=64_000, activation_reads=640, activation_writes=64,
        requantised=64,
    )  # fmt: skip
    events = LayerEvents(compute=compute, activation_writes=640, command_words=50)
    found = MODELS["edge_tpu"].of(events, 640, 64, 1000.0)
    assert edge_tpu.parameter_bytes == 4 << 20
    assert edge_tpu.activation_buffer_bytes == 2 << 20
    assert found["mac"] == pytest.approx(1000 * 0.34)
    assert found["registers"] == pytest.approx(1000 * 6 * 0.024)
    assert found["links"] == pytest.approx(1000 * 2 * 8 * 0.098 * math.sqrt(0.0006))
    assert found["parameter_buffer"] == pytest.approx(64_000 * 8 * 0.468)
    assert found["activation_buffer"] == pytest.approx(640 * 8 * 0.304 + (64 + 640) * 8 * 0.283)
    assert found["post_processor"] == pytest.approx(64 * 0.64)
    assert found["memory"] == pytest.approx((640 + 64) * 8 * 8)
    assert found["commands"] == pytest.approx(50 * 2 + 50 * 8 * 8 * 8)
    assert found["interface"] == pytest.approx((640 + 64 + 400) * 8 * 0.098 * 5)


def test_leakage_worked_out_by_hand():
    kilobytes = (4 << 20, 2 << 20, edge_tpu.constant_entries * 64 * 9)
    buffers = sum(kilobytes) / 1024 * 0.13e-6
    logic = 64 * 64 * 0.0006 * 0.13e-6 * 128 / 0.113
    assert MODELS["edge_tpu"].static_w == pytest.approx(buffers + logic)
    found = MODELS["edge_tpu"].of(LayerEvents(), 0, 0, 1e6)
    assert found["static"] == pytest.approx((buffers + logic) * 1e-3 * 1e12)


def test_what_a_technology_changes_and_what_not():
    events = LayerEvents(compute=CommandEvents(macs=1000, parameter_reads=1000))
    plain = MODELS["pascal"]
    large = dataclasses.replace(plain, technology=Technology(node_nm=28))
    hot = dataclasses.replace(plain, technology=Technology(device="hp", temperature_k=350))
    scale = constants().energy_scale(28)
    before, after = plain.of(events, 100, 0, 0.0), large.of(events, 100, 0, 0.0)
    for component in ("mac", "registers", "parameter_buffer", "interface"):
        assert after[component] == pytest.approx(scale * before[component])
    assert after["links"] == pytest.approx(scale * 28 / 22 * before["links"])  # longer, too
    assert after["memory"] == before["memory"]  # no node of ours
    assert sum(large.area_mm2.values()) == pytest.approx(
        (28 / 22) ** 2 * sum(plain.area_mm2.values())
    )
    assert hot.static_w / plain.static_w == pytest.approx(131 / 0.13)
    assert hot.of(events, 0, 0, 0.0)["parameter_buffer"] == pytest.approx(
        0.89 * before["parameter_buffer"]
    )


def test_a_parameter_costs_pavlov_a_read_of_a_pe_s_registers():
    events = LayerEvents(compute=CommandEvents(parameter_reads=1000))
    assert MODELS["pavlov"].of(events, 0, 0, 0.0)["parameter_buffer"] == pytest.approx(
        8000 * 0.0048
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"node_nm": 7}, "node_nm must be between 14 and 45, not 7"),
        ({"node_nm": True}, "node_nm"),
        ({"device": ["lstp"]}, "device is lstp, lop, hp, not"),
        ({"device": "cmos"}, "device is lstp, lop, hp, not 'cmos'"),
        ({"temperature_k": 400}, "temperature_k is 300 or 350, not 400"),
        ({"power_gated": 1}, "power_gated is on or off, not 1"),
        ({"volts": 1}, "no setting 'volts'"),
    ],
)
def test_a_technology_that_can_not_be_is_refused(change, message):
    with pytest.raises(TechnologyError, match=message):
        Technology().replace(**change)
