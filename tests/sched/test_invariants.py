"""What must hold of any report, whatever the numbers: sums, signs, and which way they may move."""

from __future__ import annotations

import itertools

import pytest

from mensa.golden.macs import total_macs
from mensa.rtl.machine import KIB
from mensa.rtl.registers import CATEGORIES
from mensa.sched.lower import lower
from mensa.sched.placement import all_on
from mensa.sched.placement.cell import find_system
from mensa.sched.roofline import bytes_per_cycle
from mensa.sched.run import time_network
from mensa.sim.energy.model import COMPONENTS
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.soc import socs
from tests.sched.runner import any_network

NETWORKS = ("digits", "pretrainedResnet_quant", "kws_ref_model", "trained_lstm_int8", "vww_96_int8")
LARGE = 2_000_000
"""Multiply-accumulates from which on a network is what energy per MAC is said of."""

PJ_PER_MAC = (0.5, 20.0)
"""Of such networks at 22 nm: a MAC alone is 0.34; the rest is what it takes to feed it."""


@pytest.fixture(scope="module", params=[(name, soc) for name in NETWORKS for soc in socs], ids=str)
def timed(request):
    """A network, and its report on a named system."""
    name, soc = request.param
    graph = any_network(name)
    return graph, time_network(graph, find_system(soc, network=graph))


def test_cycles_are_the_sum_of_what_they_went_to(timed):
    _, report = timed
    (machine,) = report.machines
    for layer in report.layers:
        if layer.cycles is not None:
            assert set(layer.stalls) == set(CATEGORIES)
            assert min(layer.stalls.values()) >= 0
            assert sum(layer.stalls.values()) == layer.cycles
    assert report.cycles[machine] == sum(layer.cycles or 0 for layer in report.layers)


def test_energy_is_the_sum_of_layers_and_components_and_of_a_sane_size(timed):
    graph, report = timed
    for layer in report.layers:
        if layer.energy_pj is not None:
            assert set(layer.energy_pj) == set(COMPONENTS)
            assert min(layer.energy_pj.values()) >= 0
            assert bool(layer.cycles) == (sum(layer.energy_pj.values()) > 0)
    total = sum(sum(layer.energy_pj.values()) for layer in report.layers if layer.energy_pj)
    assert sum(report.energy_pj.values()) == pytest.approx(total + report.idle_pj)
    if total_macs(graph) > LARGE:
        assert PJ_PER_MAC[0] < report.pj_per_mac < PJ_PER_MAC[1]


def test_a_run_is_below_its_roof(timed):
    """Of a layer it need not hold: its loads may run in the time of the layers before."""
    _, report = timed
    (machine,) = report.machines
    site = next(each for each in socs[report.soc].sites if each.machine.name == machine)
    layers = [layer for layer in report.layers if layer.cycles is not None]
    moved = max(
        sum(layer.dram_read_bytes for layer in layers),
        sum(layer.dram_write_bytes for layer in layers),
    )
    cycles = report.cycles[machine]
    assert moved <= cycles * bytes_per_cycle(site.machine, site.memory)
    assert sum(layer.macs for layer in layers) <= cycles * site.machine.peak_macs_per_cycle
    for layer in layers:
        if layer.roofline is not None:
            assert layer.roofline["achieved_gflops"] <= layer.roofline["peak_gflops"] * (1 + 1e-9)


@pytest.mark.parametrize("soc", socs)
@pytest.mark.parametrize("name", NETWORKS)
def test_more_bandwidth_and_less_latency_never_cost_cycles(name, soc):
    """Of the same program, on the plain memory: all times are sums and largest ones of others."""
    graph = any_network(name)
    system = find_system(soc, {"activation_buffer_bytes": 256 * KIB}, network=graph)
    lowered = lower(graph, all_on(system.machine), for_time=True)
    plain = system.memory_of(system.machine.name)

    def cycles(**changes):
        engine = ModelEngine(system.machine, plain.replace(**changes))
        return [engine.run(program).cycles for program in lowered.programs]

    rates = (10**9, 3 * 10**9, 32 * 10**9, 256 * 10**9)
    by_rate = [cycles(bandwidth_bytes_per_s=rate) for rate in rates]
    by_latency = [cycles(latency_ns=latency) for latency in (1000, 300, 100, 20)]
    for found in (by_rate, by_latency):
        for slow, fast in itertools.pairwise(found):
            assert all(a >= b for a, b in zip(slow, fast, strict=True))
        assert found[0] > found[-1]


@pytest.mark.parametrize("name", ["pretrainedResnet_quant", "kws_ref_model", "vww_96_int8"])
@pytest.mark.parametrize("setting", ["parameter_buffer_bytes", "activation_buffer_bytes"])
def test_a_bigger_buffer_never_costs_bytes(name, setting):
    graph = any_network(name)
    moved = []
    for size in (16, 32, 64, 128, 256, 512, 1024):
        settings = {"rows": 16, "cols": 16, setting: size * KIB}
        report = time_network(graph, find_system("edge_tpu", settings, network=graph))
        moved.append(
            sum(
                (layer.dram_read_bytes or 0) + (layer.dram_write_bytes or 0)
                for layer in report.layers
            )
        )
    assert moved == sorted(moved, reverse=True)
    # Activations of the smallest network fit any of these buffers.
    assert moved[0] > moved[-1] or (name, setting) == ("kws_ref_model", "activation_buffer_bytes")
