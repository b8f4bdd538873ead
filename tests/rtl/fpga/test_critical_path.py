"""The critical path of nextpnr's report is told in the design's names."""

import pytest

from mensa.rtl.fpga.critical_path import critical_path


def step(kind, start, end, delay):
    return {"type": kind, "from": {"cell": start}, "to": {"cell": end}, "delay": delay}


def test_the_critical_path_is_told_in_the_designs_names():
    ram, register = (
        "core.parameter_buffer.bank_0_even.0.7",
        "core.feed.read_0__data_TRELLIS_FF_Q_17",
    )
    first, second = f"{register}_DI_PFUMX_Z_C0_LUT4_Z", "$abc$12$lut$34"
    slow = [
        step("clk-to-q", ram, ram, 5.0),
        step("routing", ram, first, 1.0),
        step("logic", first, first, 0.25),
        step("routing", first, second, 2.0),
        step("logic", second, second, 0.25),
        step("routing", second, register, 0.5),
        step("setup", register, register, 0.0),
    ]
    clock, other = "posedge $glbnet$clk", "<async>"
    report = {
        "critical_paths": [
            {"from": clock, "to": clock, "path": slow[:3]},
            {"from": clock, "to": clock, "path": slow},
            {"from": clock, "to": other, "path": [step("routing", ram, ram, 99.0)]},
        ]
    }
    hops = critical_path(report)
    assert [(hop.signal, hop.ns, hop.cells) for hop in hops] == [
        ("parameter_buffer.bank_0_even", 5.0, 1),
        ("feed.read_0.data", 4.0, 3),
    ]
    assert critical_path({"critical_paths": []}) == []


@pytest.mark.parametrize(
    ("cell", "signal"),
    [
        ("core.tokens.stored.two_LUT4_D_Z_LUT4_Z_1", "tokens.stored.two"),
        ("core.compute.post.tiles.0.0_DO_3_LUT4_C_Z_PFUMX_Z", "compute.post.tiles"),
        ("core.fetch.fifo.0.75_DO_LUT4_C", "fetch.fifo"),
        ("core.compute.frontend.start_TRELLIS_FF_Q$copy71793", "compute.frontend.start"),
        ("core.compute.post._0__LUT4_Z_3", "(unnamed)"),
        ("core.compute.$signal_LUT4_A", "(unnamed)"),
        ("$abc$12$lut$34", "(unnamed)"),
    ],
)
def test_a_cell_is_named_after_its_signal(cell, signal):
    clock = "posedge $glbnet$clk"
    path = {"from": clock, "to": clock, "path": [step("clk-to-q", cell, cell, 1.0)]}
    (hop,) = critical_path({"critical_paths": [path]})
    assert hop.signal == signal
