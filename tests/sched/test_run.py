"""Networks on a system with several machines: every engine, what is reported, what is refused."""

import dataclasses
import json

import pytest

from mensa import golden
from mensa.rtl.machine import edge_tpu
from mensa.sched.chrome_trace import chrome_trace
from mensa.sched.engines import EngineError
from mensa.sched.inputs import make_inputs
from mensa.sched.placement import Placement
from mensa.sched.run import run_network, time_network
from mensa.sim.energy.technology import Technology
from mensa.sim.host import cortex_a53
from mensa.sim.host_work import operations, traffic_bytes
from mensa.sim.memory import lpddr4
from mensa.sim.soc import Site, Soc
from tests.sim.pool import POOL, ROOMY
from tests.small_network import small_network

SQUARE = POOL[ROOMY].replace(name="square")
WIDE = POOL["4x12 tiled"].replace(name="wide", clock_hz=100_000_000)
FAST = lpddr4.replace(name="fast", latency_ns=20)
HOST = cortex_a53.replace(name="slow", clock_hz=100_000_000)
PAIR = Soc(
    name="pair",
    sites=(Site(machine=SQUARE, memory=lpddr4), Site(machine=WIDE, memory=FAST)),
    host=HOST,
)
GRAPH = small_network()
IN_TURNS = Placement(
    PAIR.machines,
    {op.index: ("square", "wide", None)[op.index % 3] for op in GRAPH.operators},
)
INPUTS = [make_inputs(GRAPH, "random", 3), make_inputs(GRAPH, "random", 4)]


@pytest.mark.parametrize("engine", ["rtl", "functional", "model"])
def test_every_engine_runs_each_operator_where_it_is_placed(engine):
    check = engine != "model"
    result = run_network(GRAPH, PAIR, INPUTS, engine=engine, placement=IN_TURNS, check=check)
    report = result.report
    on = {op.index: IN_TURNS.operators[op.index] or "host" for op in GRAPH.operators}
    assert {layer.index: layer.machine for layer in report.layers} == on
    assert report.passed
    assert report.bit_exact is (True if check else None)
    for arrays, outputs in zip(INPUTS, result.outputs, strict=True):
        wanted = golden.run(GRAPH, arrays)
        assert all((outputs[index] == wanted[index]).all() for index in GRAPH.outputs)
    assert set(report.provenance["machines"]) == {"square", "wide"}
    assert report.provenance["memories"]["wide"]["latency_ns"] == 20
    assert report.provenance["host"] == dataclasses.asdict(HOST)
    if engine == "functional":
        assert all(layer.time_ns is None for layer in report.layers)
        return
    for layer in report.host_layers:
        operator = GRAPH.operators[layer.index]
        work = operations(GRAPH, operator), traffic_bytes(GRAPH, operator)
        assert layer.time_ns == HOST.time_ns(*work)
    assert report.time_ns == pytest.approx(report.time_ns_without_host + report.host_time_ns)
    assert set(report.setup_cycles) == {"square", "wide"}
    assert set(report.cycles) == {"square", "wide"}
    clocks = {machine.name: machine.clock_hz for machine in PAIR.machines}
    for name, total in report.machines.items():
        assert total.time_ns == pytest.approx(total.cycles * 1e9 / clocks[name])


def test_a_machines_cycles_are_those_of_its_own_memory():
    def cycles(memory):
        wide = Site(machine=WIDE, memory=memory)
        soc = dataclasses.replace(PAIR, sites=(PAIR.sites[0], wide))
        report = run_network(GRAPH, soc, INPUTS[:1], placement=IN_TURNS).report
        return report.cycles

    near, far = cycles(FAST), cycles(FAST.replace(latency_ns=2000))
    assert far["wide"] > near["wide"]
    assert far["square"] == near["square"]


def test_a_faster_host_changes_its_own_time_only():
    def report(host):
        soc = dataclasses.replace(PAIR, host=host)
        return run_network(GRAPH, soc, INPUTS[:1], placement=IN_TURNS).report

    slow, fast = report(HOST), report(HOST.replace(clock_hz=10**9, overhead_ns=0))
    assert 0 < fast.host_time_ns < slow.host_time_ns
    assert fast.time_ns_without_host == slow.time_ns_without_host
    assert fast.cycles == slow.cycles


def test_machines_leak_in_all_of_the_time_unless_they_are_gated():
    def report(**technology):
        soc = dataclasses.replace(PAIR, technology=Technology(**technology))
        return time_network(GRAPH, soc, placement=IN_TURNS)

    plain, gated = report(), report(power_gated=True)
    energy = plain.energy_pj
    watts = plain.provenance["static_w"]
    assert energy["static"] + energy["idle"] == pytest.approx(
        sum(watts.values()) * plain.time_ns * 1e3
    )
    assert gated.energy_pj == energy | {"idle": 0.0}
    for layer in plain.layers:
        if layer.machine == "host":
            assert layer.energy_pj is layer.energy_events is None
        else:
            assert layer.energy_pj["static"] == pytest.approx(
                watts[layer.machine] * layer.time_ns * 1e3
            )


def test_a_trace_has_a_process_for_each_machine_and_one_time():
    result = run_network(GRAPH, PAIR, INPUTS[:1], placement=IN_TURNS)
    rows = json.loads(chrome_trace(GRAPH, result.traces))["traceEvents"]
    names = {row["pid"]: row["args"]["name"] for row in rows if row["name"] == "process_name"}
    assert sorted(names.values()) == ["square", "wide"]
    bars = [row for row in rows if row["ph"] == "X"]
    for bar in bars:
        assert names[bar["pid"]] == IN_TURNS.operators[bar["args"]["layer"]]
    end = max(bar["ts"] + bar["dur"] for bar in bars)
    assert end <= result.report.time_ns_without_host / 1000
    starts = [each.start_ns for each in result.traces]
    assert starts == sorted(starts)
    assert starts[0] == 0


def test_without_a_placement_all_is_on_the_first_machine():
    report = run_network(GRAPH, PAIR, INPUTS[:1]).report
    assert {layer.machine for layer in report.layers} == {"square"}


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        (Placement((edge_tpu,)), "pair has no machine 'edge_tpu'"),
        (Placement((WIDE.replace(rows=2),)), "pair has no machine 'wide'"),
        (Placement(PAIR.machines, {6: "wide"}), "operator 6 is placed; small has 0 to 5"),
    ],
)
def test_a_placement_for_something_else_is_refused(placement, message):
    with pytest.raises(EngineError, match=message):
        run_network(GRAPH, PAIR, INPUTS, placement=placement)


def test_waves_are_of_one_machine(tmp_path):
    with pytest.raises(EngineError, match="--vcd writes the waves of one machine, not of square"):
        run_network(
            GRAPH, PAIR, INPUTS, engine="rtl", placement=IN_TURNS, vcd=tmp_path / "waves.vcd"
        )


def test_a_memory_that_is_too_small_is_refused_by_its_name():
    small = Site(machine=WIDE, memory=FAST.replace(size_bytes=4096))
    soc = dataclasses.replace(PAIR, sites=(PAIR.sites[0], small))
    with pytest.raises(EngineError, match="fast has 4096"):
        run_network(GRAPH, soc, INPUTS, placement=IN_TURNS)
