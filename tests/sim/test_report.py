"""The report's JSON and its totals."""

import json

import pytest

from mensa.sim.host import ESTIMATE
from mensa.sim.report import HOST, LayerReport, MachineTotal, Report, TimingCheck

LAYER_KEYS = {
    "index", "op", "name", "machine", "cycles", "time_ns", "macs", "utilization", "stalls",
    "dram_read_bytes", "dram_write_bytes", "parameter_bytes", "spilled_bytes", "buffer_reads",
    "energy_pj", "roofline", "energy_events", "bit_exact", "reason", "copies", "table_of",
}  # fmt: skip


def layer(index, machine="edge_tpu", **changes):
    fields = {
        "index": index,
        "op": "CONV_2D",
        "name": f"layer{index}",
        "shape": (1, 8),
        "machine": machine,
        "macs": 100,
    }
    if machine == HOST:
        fields |= {"time_ns": 100.0, "reason": "why"}
    else:
        fields |= {"cycles": 10 + index, "time_ns": 4.0 * (10 + index), "stalls": {"compute": 1}}
    return LayerReport(**fields | changes)


def report(*layers, **changes):
    fields = {"mensa": "1", "model": "net", "soc": "s", "engine": "rtl", "layers": layers}
    return Report(**fields | changes)


def test_json_has_the_promised_keys_and_is_json():
    tree = json.loads(report(layer(0), layer(1, HOST)).json_text())
    assert set(tree) == {"mensa", "model", "soc", "engine", "layers", "totals", "provenance"}
    for entry in tree["layers"]:
        assert set(entry) == LAYER_KEYS
        assert entry["energy_pj"] is None
    assert set(tree["totals"]) == {
        "cycles", "setup_cycles", "time_ns", "time_ns_without_host", "host_time_ns", "macs",
        "parameter_bytes", "energy_pj", "pj_per_mac", "bit_exact",
    }  # fmt: skip


def test_totals_are_the_sums_of_the_layers():
    parameters = {"cached": 5, "streamed": 7}
    totals = report(
        layer(0), layer(1, parameter_bytes=parameters), layer(2, parameter_bytes=parameters)
    ).to_json()["totals"]
    assert totals["cycles"] == {"edge_tpu": 33}
    assert totals["macs"] == 300
    assert totals["parameter_bytes"] == {"cached": 10, "streamed": 14}
    assert totals["time_ns"] == totals["time_ns_without_host"] == 4.0 * 33
    assert totals["host_time_ns"] == 0.0


def test_energy_is_the_sum_of_the_layers_and_of_machines_that_wait():
    layers = (
        layer(0, macs=100, energy_pj={"mac": 10.0, "static": 1.0}),
        layer(1, macs=50, energy_pj={"mac": 20.0, "static": 2.0}),
        layer(2, HOST, macs=1000),
    )
    totals = report(*layers, idle_pj=3.0).to_json()["totals"]
    assert totals["energy_pj"] == {"mac": 30.0, "static": 3.0, "idle": 3.0}
    assert totals["pj_per_mac"] == 36.0 / 150
    nothing = report(layer(0, HOST), idle_pj=3.0)
    assert nothing.energy_pj is nothing.pj_per_mac is None
    assert report(*layers).energy_pj is None  # an engine without time


def test_each_machine_has_the_sums_of_its_own_layers():
    found = report(
        layer(0),
        layer(1, "other", macs=7),
        layer(2, HOST, macs=1000),
        layer(3, "other", macs=9),
        layer(4),
    )
    assert found.machines == {
        "edge_tpu": MachineTotal(macs=200, cycles=10 + 14, time_ns=4.0 * (10 + 14)),
        "other": MachineTotal(macs=16, cycles=11 + 13, time_ns=4.0 * (11 + 13)),
    }
    assert found.cycles == {"edge_tpu": 24, "other": 24}
    assert found.macs == 1216


def test_the_host_s_time_is_in_one_total_and_not_in_the_other_and_is_called_an_estimate():
    tree = report(layer(0), layer(1, HOST), layer(2, HOST, time_ns=0.5)).to_json()
    assert tree["totals"]["time_ns_without_host"] == 40.0
    assert tree["totals"]["host_time_ns"] == 100.5
    assert tree["totals"]["time_ns"] == 140.5
    assert tree["provenance"]["host_time"] == ESTIMATE
    assert "estimated" in ESTIMATE
    assert "host_time" not in report(layer(0)).to_json()["provenance"]


def test_without_times_there_are_no_totals_wherever_layers_are():
    timeless = [layer(0, cycles=None, time_ns=None), layer(1, HOST, time_ns=None)]
    for layers in (timeless, timeless[:1], timeless[1:]):
        tree = report(*layers).to_json()
        for name in ("time_ns", "time_ns_without_host", "host_time_ns"):
            assert tree["totals"][name] is None
        assert "host_time" not in tree["provenance"]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ((True, True), True),
        ((True, None), None),
        ((False, None), False),
        ((True, False), False),
    ],
)
def test_a_network_is_bit_exact_if_every_layer_was_compared_and_equal(found, wanted):
    made = report(*(layer(i, bit_exact=exact) for i, exact in enumerate(found)))
    assert made.bit_exact is wanted
    assert made.passed is (wanted is not False)


def test_a_report_fails_when_the_timing_model_disagrees():
    check = TimingCheck(cycles={0: 11}, differences=("layer 0: cycles 10, 11",))
    made = report(layer(0, bit_exact=True), timing=check)
    assert not made.passed
    assert made.to_json()["provenance"]["timing_check"]["equal"] is False
