"""Copies of cells: each has few readers, neighbours share one, and circuits do the same.

Small circuits go through yosys' `synth_ecp5`, and what they are before and after the pass runs in
lockstep with their source. Netlists that are drawn by chance have what yosys seldom writes:
cells that read each other in circles and themselves, and pins without a driver.
"""

import copy
import random
import re
from collections import defaultdict

import pytest

from mensa.rtl.fpga.netlist import FLIP_FLOP, LOOK_UP_TABLE
from mensa.rtl.fpga.register_copies import MOST_READERS, OUTPUTS, Copies, copy_registers
from tests.rtl.fpga.netlist_lockstep import TOP, case_of, cells, differing, synthesize, verilog

CASES = {
    "enabled_and_reset": (3, """
        reg go = 0;
        always @(posedge clk) if (i[63]) go <= 0; else if (i[62]) go <= i[61];
        half left(clk, go, i[1:0], o[1:0]);
        half right(clk, go, i[3:2], o[3:2]);
        assign o[63:4] = 0;"""),
    "set": (1, """
        reg go = 1; reg [39:0] r = 0;
        always @(negedge clk) if (i[63]) go <= 1; else if (i[62]) go <= i[61];
        always @(posedge clk) if (go) r <= i[39:0];
        assign o = r;"""),
    "set_at_once": (1, """
        reg go = 1; reg [39:0] r = 0;
        always @(posedge clk, posedge i[63]) if (i[63]) go <= 1; else go <= i[62];
        always @(posedge clk) if (go) r <= i[39:0];
        assign o = r;"""),
    "reset_by_itself": (1, """
        reg go = 0; reg [39:0] r = 0;
        always @(posedge clk) if (go) go <= 0; else go <= ^i[63:56];
        always @(posedge clk) if (go) r <= i[39:0];
        assign o = r;"""),
    "reset_of_others": (1, """
        reg clear = 0; reg [39:0] r = 0;
        always @(posedge clk) begin clear <= i[63]; r <= clear ? 0 : i[39:0]; end
        assign o = r;"""),
    "output_port": (1, """
        reg go = 0; reg [39:0] r = 0;
        always @(posedge clk) begin go <= i[63]; if (go) r <= i[39:0]; end
        assign o = {r, go, go};"""),
    "clock": (0, """
        reg go = 0; reg [39:0] r = 0; reg q = 0;
        always @(posedge clk) begin go <= i[63]; if (go) r <= i[39:0]; end
        always @(posedge go) q <= i[62];
        assign o = {r, q};"""),
    "as_many_as_allowed": (0, """
        reg go = 0; reg [31:0] r = 0;
        always @(posedge clk) begin go <= i[63]; if (go) r <= i[31:0]; end
        assign o = {r, go};"""),
    "one_more": (1, """
        reg go = 0; reg [32:0] r = 0;
        always @(posedge clk) begin go <= i[63]; if (go) r <= i[32:0]; end
        assign o = r;"""),
    "row": (2, """
        reg a = 0, b = 0; reg [30:0] r = 0; reg [32:0] s = 0;
        always @(posedge clk) begin
          a <= i[63]; b <= a;
          if (a) r <= i[30:0];
          if (b) s <= i[63:31];
        end
        assign o = {r, s};"""),
    "look_up_table": (1, """
        reg a = 0, b = 0; reg [39:0] r = 0;
        wire go = a ^ b;
        always @(posedge clk) begin a <= i[63]; b <= i[62]; if (go) r <= i[39:0]; end
        assign o = r;"""),
    "memory": (8, """
        (* ram_style = "distributed" *) reg [159:0] m [0:15];
        integer n; initial for (n = 0; n < 16; n = n + 1) m[n] = 0;
        reg [3:0] at = 0, to = 0;
        wire [159:0] d = m[at];
        always @(posedge clk) begin
          at <= i[3:0]; to <= i[7:4];
          if (i[63]) m[to] <= {i[31:0], ~i, i};
        end
        assign o = d[63:0] ^ d[127:64] ^ d[159:128];"""),
}  # fmt: skip
"""How many copies there are to be, and the source."""

MODULES = """
module part(input clk, go, d, output q);
  reg [24:0] r = 0;
  always @(posedge clk) if (go) r <= {r[23:0], d};
  assign q = ^r;
endmodule
module half(input clk, go, input [1:0] d, output [1:0] q);
  part low(clk, go, d[0], q[0]);
  part high(clk, go, d[1], q[1]);
endmodule
"""

SOURCE = verilog({name: text for name, (_, text) in CASES.items()}) + MODULES


def drawn(seed):
    """A netlist with flip-flops of few and of many readers, anywhere in a hierarchy."""
    draw = random.Random(seed)
    made = {}

    def cell(kind, outputs, inputs, **parameters):
        directions = dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")
        path = "".join(draw.choice(["a.", "b.", f"c[{draw.randrange(4)}]."]) for _ in range(3))
        made[f"{path}{kind}_{len(made)}"] = {
            "type": kind,
            "parameters": parameters,
            "port_directions": directions,
            "connections": inputs | outputs,
        }

    clock, first = 2, 3
    flip_flops = [first + number for number in range(draw.randint(1, 5))]
    tables = [flip_flops[-1] + 1 + number for number in range(draw.randint(1, 4))]
    sources = [*flip_flops, *tables, "0", "1"]
    for net in flip_flops:
        inputs = {pin: [draw.choice(sources)] for pin in ("DI", "CE", "LSR")}
        start = draw.choice(["SET", "RESET"])
        cell(FLIP_FLOP, {"Q": [net]}, {"CLK": [clock]} | inputs, REGSET=start)
    for net in tables:
        cell(LOOK_UP_TABLE, {"Z": [net]}, {pin: [draw.choice(sources)] for pin in "ABCD"})
    # One that nothing reads, which has nothing to do with pins that nothing drives.
    cell(FLIP_FLOP, {}, {pin: ["0"] for pin in ("CLK", "DI", "CE", "LSR")})
    if draw.random() < 0.5:
        cell(FLIP_FLOP, {}, {"CLK": [draw.choice(flip_flops)], "DI": [draw.choice(sources)]})
    ends = (0, 1, MOST_READERS - 1, MOST_READERS, MOST_READERS + 1, 2 * MOST_READERS, 200)
    readers = [bit for bit in [*flip_flops, *tables, "x"] for _ in range(draw.choice(ends))]
    draw.shuffle(readers)
    while readers:
        bits, readers = readers[:4], readers[4:]
        if len(bits) == 4 and draw.random() < 0.3:
            cell("TRELLIS_DPR16X4", {}, {"RAD": bits, "WCK": [clock]})
        else:
            kind = draw.choice(["LUT4", "LUT4", "PFUMX"])
            pins = ("ALUT", "BLUT", "C0") if kind == "PFUMX" else "ABCD"
            cell(kind, {}, {pin: [bit] for pin, bit in zip(pins, bits, strict=False)})
    nets = {f"net{bit}": {"hide_name": 0, "bits": [bit]} for bit in [clock, *flip_flops, *tables]}
    ports = {"clk": {"direction": "input", "bits": [clock]}}
    ports["o"] = {"direction": "output", "bits": draw.choices(sources, k=3)}
    return {"modules": {TOP: {"ports": ports, "cells": made, "netnames": nets}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("synth_copies")


@pytest.fixture(scope="module")
def netlist(folder):
    """What yosys makes of the cases. Don't change it."""
    return synthesize(SOURCE, folder)


@pytest.fixture(scope="module")
def copied(netlist):
    """The netlist after the pass, and how many copies that says to have made. Don't change it."""
    after = copy.deepcopy(netlist)
    return after, copy_registers(after, TOP)


@pytest.fixture(scope="module", params=["yosys", *range(20)])
def step(request):
    """A netlist before and after the pass, and how many copies that says to have made."""
    if request.param == "yosys":
        return request.getfixturevalue("netlist"), *request.getfixturevalue("copied")
    before = drawn(request.param)
    after = copy.deepcopy(before)
    return before, after, copy_registers(after, TOP)


def originals(before, after):
    """Cells that were added, and of which of those before they are copies."""
    return {
        name: name.split("$copy")[0]
        for kind in OUTPUTS
        for name in cells(after, kind)
        if name not in cells(before, kind)
    }


def readers(netlist):
    """Who reads each net. Returns: by net, pairs of a cell and its pin."""
    found = defaultdict(set)
    for name, cell in netlist["modules"][TOP]["cells"].items():
        for pin, bits in cell["connections"].items():
            for bit in bits:
                if cell["port_directions"][pin] == "input":
                    found[bit].add((name, pin))
    return found


def families(before, after):
    """Nets of each cell before the pass and of its copies, the cell's first."""
    nets = {}
    for kind, output in OUTPUTS.items():
        new = cells(after, kind)
        for name in cells(before, kind):
            nets[name] = new[name]["connections"].get(output, [])
        for name, original in originals(before, after).items():
            if name in new:
                nets[original] = nets[original] + new[name]["connections"][output]
    return nets


def free(netlist, pins):
    """Those of some pins that may lie anywhere: not beside what drives them."""
    kinds = netlist["modules"][TOP]["cells"]
    return {pin for pin in pins if kinds[pin[0]]["type"] != "PFUMX" or pin[1] == "C0"}


def is_clock(pins):
    return any(pin in ("CLK", "WCK") for _, pin in pins)


def test_with_one_cell_for_all_its_copies_the_netlist_is_what_it_was(step):
    before, after, _ = step
    same = {bit: nets[0] for nets in families(before, after).values() for bit in nets}
    module = copy.deepcopy(after["modules"][TOP])
    for cell in module["cells"].values():
        for pin, bits in cell["connections"].items():
            cell["connections"][pin] = [same.get(bit, bit) for bit in bits]
    # So a copy has the parameters of the cell and reads the same.
    for name, original in originals(before, after).items():
        kind = module["cells"][original]["type"]
        assert module["cells"].pop(name) == module["cells"][original]
        del module["netnames"][f"{name}.{OUTPUTS[kind]}"]
    # Ports are as they were too: they read the cell itself.
    assert module == before["modules"][TOP]


def test_no_cell_has_many_readers_and_only_one_that_had_is_copied(step):
    before, after, _ = step
    many = readers(after)
    for nets in families(before, after).values():
        if not is_clock(many[nets[0]] if nets else ()):
            assert all(len(free(after, many[net])) <= MOST_READERS for net in nets)
        family = set().union(*(free(after, many[net]) for net in nets))
        assert len(nets) <= 1 or len(family) > MOST_READERS
        assert all(many[net] == free(after, many[net]) != set() for net in nets[1:])


def test_a_clock_is_not_copied(step):
    before, after, _ = step
    clocks = {net for net, pins in readers(before).items() if is_clock(pins)}
    assert all(len(nets) == 1 for nets in families(before, after).values() if clocks & set(nets))


def test_what_was_copied_is_counted(step):
    before, after, said = step
    added = originals(before, after)
    kinds = [sum(name in cells(after, kind) for name in added) for kind in OUTPUTS]
    assert said == Copies(*kinds)


def test_a_second_pass_finds_nothing_to_copy(step):
    _, after, _ = step
    again = copy.deepcopy(after)
    assert copy_registers(again, TOP) == Copies()
    assert again == after


def test_neighbours_in_the_hierarchy_share_a_copy(step):
    before, after, _ = step
    many, added = readers(after), originals(before, after)
    for nets in families(before, after).values():
        below = defaultdict(list)
        for net in nets:
            for name, _ in free(after, many[net]):
                parts = re.split(r"[.[]", name)
                for depth in range(len(parts)):
                    below[tuple(parts[:depth])].append((net, name))
        for pins in below.values():
            # Half of what a flip-flop could have for readers is never cut in two.
            if len(pins) <= MOST_READERS // 2:
                assert len({net for net, name in pins if name not in added}) <= 1


def test_each_module_has_a_copy_that_no_other_reads(copied):
    after, _ = copied
    enabled = [
        {name.rpartition("r_")[0] for name, pin in pins if pin == "CE"}
        for pins in readers(after).values()
    ]
    for module in ("left.low", "left.high", "right.low", "right.high"):
        assert enabled.count({f"enabled_and_reset.{module}."}) == 1


def test_the_cases_have_the_copies_that_their_readers_need(netlist, copied):
    found = dict.fromkeys(CASES, 0)
    for name in originals(netlist, copied[0]):
        found[case_of(CASES, name)] += 1
    assert found == {name: copies for name, (copies, _) in CASES.items()}


def test_the_circuits_do_what_they_did_before(folder, netlist, copied):
    after, _ = copied
    stuck = copy.deepcopy(after)
    for name in originals(netlist, after):
        changed = stuck["modules"][TOP]["cells"][name]
        is_table = changed["type"] == LOOK_UP_TABLE
        changed["parameters"] |= {"INIT": "0" * 16} if is_table else {"CEMUX": "0 "}
    circuits = {"plain": netlist, "copied": after, "stuck": stuck}
    differs = differing(SOURCE, CASES, circuits, folder)
    assert differs["plain"] == set()
    assert differs["copied"] == set()
    # The comparison sees what copies do: these never load.
    assert differs["stuck"] == {name for name, (copies, _) in CASES.items() if copies}
