"""What a report's table shows, and that it is whole on a terminal of any width."""

import dataclasses

import pytest
from rich.console import Console

from mensa.rtl.machine import edge_tpu
from mensa.sched import digits
from mensa.sched.cli import table
from mensa.sched.inputs import make_inputs
from mensa.sched.lower import LoweringOptions
from mensa.sched.run import run_network
from mensa.sim.host import ESTIMATE
from mensa.sim.report import HOST, LayerReport, Report
from mensa.sim.soc import Soc
from mensa.sim.soc import edge_tpu as system


@pytest.fixture(scope="module")
def report():
    """Of a machine that loads all parameters for each inference, so that no column is empty."""
    graph = digits.load_network()
    small = edge_tpu.replace(rows=8, cols=8)
    soc = Soc.single("small", small, system.memory_of(system.machine.name))
    inputs = [make_inputs(graph, "zeros", 0)]
    return run_network(graph, soc, inputs, options=LoweringOptions(residency=False)).report


def columns(report, width):
    made = table.layer_table(report, Console(width=width))
    return {column.header: list(column.cells) for column in made.columns}


def printed(report, width):
    out = Console(width=width, record=True, quiet=True)
    out.print(table.layer_table(report, out))
    return out.export_text().splitlines()


def test_a_log_has_all_that_a_layer_s_cycles_went_to(report):
    shown = columns(report, table.WIDTH_OF_A_LOG)
    headings = {"compute": "work"} | {name: each[0] for name, each in table.LOSSES.items()}
    for place, layer in enumerate(report.layers):
        assert layer.machine == HOST or set(headings) == set(layer.stalls)
        for category, heading in headings.items():
            wanted = "-"
            if layer.cycles and layer.stalls[category]:
                wanted = f"{layer.stalls[category] / layer.cycles:.0%}"
            assert shown[heading][place] == wanted


def test_a_narrow_terminal_has_the_largest_loss_of_every_layer(report):
    shown = columns(report, 80)["lost to"]
    for layer, cell in zip(report.layers, shown, strict=True):
        lost = {name: (layer.stalls or {}).get(name, 0) for name in table.LOSSES}
        most = max(lost, key=lost.get)
        assert cell.startswith(table.LOSSES[most][1] if lost[most] else "-")


@pytest.mark.parametrize("width", [80, 100, 120, 140, 180, 250])
def test_nothing_is_cut_off(report, width):
    for layer, line in zip(report.layers, printed(report, width)[3:], strict=False):
        assert "…" not in line
        assert line.split()[:2] == [str(layer.index), layer.op]


def test_the_parameters_that_stay_and_that_are_loaded_are_summed(report):
    (line,) = (each for each in table.summary(report) if each.startswith("parameters"))
    wanted = sum(
        layer.parameter_bytes["streamed"] for layer in report.layers if layer.machine != HOST
    )
    assert line == (
        f"parameters and constants: 0 B stay on chip, {wanted:,} B are loaded by each inference"
    )


HOST_NS = 5000.0


def layer(index, machine, macs, cycles, clock_hz):
    return LayerReport(
        index=index,
        op="CONV_2D",
        name="",
        shape=(1, 8),
        machine=machine,
        macs=macs,
        cycles=cycles,
        time_ns=HOST_NS if cycles is None else cycles * 1e9 / clock_hz,
        parameter_bytes=None if cycles is None else {"cached": 3, "streamed": 5},
        reason="why" if cycles is None else None,
    )


def test_the_summary_says_which_layers_are_copies():
    layers = (
        layer(0, "small", 0, 1000, 250_000_000),
        dataclasses.replace(layer(1, "small", 0, 2000, 250_000_000), op="PAD", copies=True),
        dataclasses.replace(layer(2, "small", 0, 34, 250_000_000), op="TILE", copies=True),
    )
    made = Report(mensa="1", model="net", soc="one", engine="model", layers=layers)
    wanted = "run as copies, which compute nothing: 1 PAD, 2 TILE, 2,034 cycles"
    assert wanted in list(table.summary(made))


def test_the_summary_says_what_goes_to_memory_and_comes_back():
    layers = (
        dataclasses.replace(layer(0, "small", 9, 1000, 250_000_000), op="LSTM", spilled_bytes=4096),
        dataclasses.replace(layer(1, "small", 9, 1000, 250_000_000), spilled_bytes=0),
        dataclasses.replace(layer(2, "small", 9, 1000, 250_000_000), op="RNN", spilled_bytes=8),
    )
    made = Report(mensa="1", model="net", soc="one", engine="model", layers=layers)
    wanted = "intermediate results to memory and back: 4,104 B, of 0 LSTM, 2 RNN"
    assert wanted in list(table.summary(made))


def test_the_summary_has_each_machine_s_own_work_and_time():
    layers = (
        layer(0, "small", 100, 1000, 250_000_000),
        layer(1, "large", 7000, 2000, 500_000_000),
        layer(2, HOST, 11, None, None),
        layer(3, "small", 50, 3000, 250_000_000),
    )
    made = Report(
        mensa="1", model="net", soc="two", engine="model", layers=layers,
        setup_cycles={"small": 12, "large": 34},
    )  # fmt: skip
    lines = list(table.summary(made))
    assert lines[:7] == [
        "small: 4,000 cycles, 16.0 us, 150 of 7,161 MACs",
        "large: 2,000 cycles, 4.0 us, 7,000 of 7,161 MACs",
        "all machines, one after another: 20.0 us, 7,150 of 7,161 MACs",
        f"host: 1 layer(s), about 5.0 us, 11 of 7,161 MACs; {ESTIMATE}",
        "with the host: about 25.0 us, 20.0% of it the host's; without it: 20.0 us",
        "small: 12 cycles once, to load the parameters that stay on chip",
        "large: 34 cycles once, to load the parameters that stay on chip",
    ]

    assert "layer 2 CONV_2D is on the host: why; about 5.0 us" in lines


def test_the_summary_of_an_engine_without_times_says_none():
    layers = (
        dataclasses.replace(layer(0, "small", 100, 1, 1), cycles=None, time_ns=None),
        dataclasses.replace(layer(1, HOST, 11, None, None), time_ns=None),
    )
    made = Report(mensa="1", model="net", soc="one", engine="functional", layers=layers)
    assert list(table.summary(made)) == ["layer 1 CONV_2D is on the host: why"]


def test_a_network_that_is_wholly_on_the_host_has_its_time():
    made = Report(
        mensa="1", model="net", soc="one", engine="model", layers=(layer(0, HOST, 11, None, None),)
    )
    assert list(table.summary(made)) == [
        f"host: 1 layer(s), about 5.0 us, 11 of 11 MACs; {ESTIMATE}",
        "with the host: about 5.0 us, 100.0% of it the host's; without it: 0.0 us",
        "layer 0 CONV_2D is on the host: why; about 5.0 us",
    ]


def test_the_summary_of_one_machine_has_no_total_beside_its_own(report):
    names = [line.split(":")[0] for line in table.summary(report)]
    assert names.count("edge_tpu") == 1
    assert not any(name.startswith("all machines") for name in names)
