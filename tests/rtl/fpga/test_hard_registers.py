"""Flip-flops move into multipliers and block RAMs where that changes nothing, and only there.

Small circuits go through yosys' `synth_ecp5`, and what they are before and after the pass runs in
lockstep with their source under Verilator. Cells are yosys' own models, but for the two blocks, of
which it has none: these follow Lattice's simulation models, of MULT18X18D and, for the block RAM,
of DP16KC, the one of the ECP3, which has the same pins.
"""

import copy

import pytest

from mensa.rtl.fpga.hard_registers import BLOCK_RAM, MULTIPLIER, Moved, move_registers
from mensa.rtl.fpga.netlist import FLIP_FLOP
from tests.rtl.fpga.netlist_lockstep import case_of, cells, differing, synthesize, verilog

OPERANDS, PRODUCT, READ = ("REG_INPUTA_CLK", "REG_INPUTB_CLK"), ("REG_OUTPUT_CLK",), ("REGMODE_B",)
WIDE_READ = ("REGMODE_A", "REGMODE_B")

PRODUCTS = {
    "every_register": (OPERANDS + PRODUCT, 9 + 9 + 18, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; p <= a * b; end
        assign o = p;"""),
    "widest_operands": (OPERANDS + PRODUCT, 18 + 18 + 36, """
        reg signed [17:0] a = 0, b = 0; reg signed [35:0] p = 0;
        always @(posedge clk) begin a <= i[17:0]; b <= i[49:32]; p <= a * b; end
        assign o = p;"""),
    "zeros_before_operands": (OPERANDS + PRODUCT, 16 + 15 + 31, """
        reg [15:0] a = 0; reg [14:0] b = 0; reg [30:0] p = 0;
        always @(posedge clk) begin a <= i[15:0]; b <= i[46:32]; p <= a * b; end
        assign o = p;"""),
    "operands_passed_on": (OPERANDS + PRODUCT, 9 + 18, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; p <= a * b; end
        assign o = {p, a};"""),
    "square": (OPERANDS + PRODUCT, 9 + 18, """
        reg signed [8:0] a = 0; reg signed [17:0] p = 0;
        always @(posedge clk) begin a <= i[8:0]; p <= a * a; end
        assign o = p;"""),
    "second_register": (OPERANDS + PRODUCT, 9 + 9 + 18, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0, q = 0;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; p <= a * b; q <= p; end
        assign o = q;"""),
    "product_sampled_late": (OPERANDS, 9 + 9, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; end
        always @(posedge clk) if (i[63]) p <= a * b;
        assign o = p;"""),
    "product_read_twice": (OPERANDS, 9 + 9, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0, q = 0;
        wire signed [17:0] r = a * b;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; p <= r; q <= r + i[63]; end
        assign o = {p, q};"""),
    "bit_read_by_two_clocks": (OPERANDS, 9 + 9, """
        reg signed [8:0] a = 0, b = 0; reg p = 0, q = 0;
        wire signed [17:0] r = a * b;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; p <= r[17]; end
        always @(posedge other) q <= r[17];
        assign o = {p, q};"""),
    "bit_is_a_clock": (OPERANDS, 9 + 9, """
        reg signed [8:0] a = 0, b = 0; reg p = 0;
        wire signed [17:0] r = a * b;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; end
        always @(posedge r[17]) p <= i[63];
        assign o = p;"""),
    "product_leaves_too": (OPERANDS, 9 + 9, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0;
        wire signed [17:0] r = a * b;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; p <= r; end
        assign o = {p, r};"""),
    "bare_operand": (PRODUCT, 18, """
        reg signed [8:0] a = 0; reg signed [17:0] p = 0;
        wire signed [8:0] b = i[40:32];
        always @(posedge clk) begin a <= i[8:0]; p <= a * b; end
        assign o = p;"""),
    "bare_bit": (PRODUCT, 18, """
        reg signed [7:0] a = 0; reg signed [8:0] b = 0; reg signed [17:0] p = 0;
        wire signed [8:0] c = {i[8], a};
        always @(posedge clk) begin a <= i[7:0]; b <= i[40:32]; p <= c * b; end
        assign o = p;"""),
    "enabled_operands": (PRODUCT, 18, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0;
        always @(posedge clk) if (i[63]) begin a <= i[8:0]; b <= i[40:32]; end
        always @(posedge clk) p <= a * b;
        assign o = p;"""),
    "reset_operands": (PRODUCT, 18, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0;
        always @(posedge clk)
            if (i[63]) begin a <= 0; b <= 0; end else begin a <= i[8:0]; b <= i[40:32]; end
        always @(posedge clk) p <= a * b;
        assign o = p;"""),
    "reset_product": (OPERANDS, 9 + 9, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; p <= i[63] ? 0 : a * b; end
        assign o = p;"""),
    "operands_from_one": (PRODUCT, 18, """
        reg signed [8:0] a = 1, b = 1; reg signed [17:0] p = 0;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; p <= a * b; end
        assign o = p;"""),
    "product_from_one": (OPERANDS, 9 + 9, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 1;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; p <= a * b; end
        assign o = p;"""),
    "one_before_operand": (PRODUCT, 18, """
        reg [7:0] a = 0; reg [8:0] b = 0; reg [17:0] p = 0;
        always @(posedge clk) begin a <= i[7:0]; b <= i[40:32]; p <= {1'b1, a} * b; end
        assign o = p;"""),
    "falling_edge": ((), 0, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0;
        always @(negedge clk) begin a <= i[8:0]; b <= i[40:32]; p <= a * b; end
        assign o = p;"""),
    "product_of_other_clock": (PRODUCT, 18, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0;
        always @(posedge clk) begin a <= i[8:0]; b <= i[40:32]; end
        always @(posedge other) p <= a * b;
        assign o = p;"""),
    "operand_of_other_clock": (PRODUCT, 18, """
        reg signed [8:0] a = 0, b = 0; reg signed [17:0] p = 0;
        always @(posedge clk) begin b <= i[40:32]; p <= a * b; end
        always @(posedge other) a <= i[8:0];
        assign o = p;"""),
}  # fmt: skip
"""Multipliers: which registers come into use, how many flip-flops become fewer, and the source."""

MEMORY = """
        (* ram_style = "block", no_rw_check *) reg [WIDTH-1:0] m [0:15];
        integer n; initial for (n = 0; n < 16; n = n + 1) m[n] = 0;
        reg [WIDTH-1:0] d = 0, r = 0;
        always @(posedge clk) if (i[63]) m[i[3:0]] <= i[61:8];
"""

READS = {
    "read": (READ, 16, 16, """
        always @(posedge clk) begin d <= m[i[7:4]]; r <= d; end
        assign o = r;"""),
    "wide_read": (WIDE_READ, 30, 30, """
        always @(posedge clk) begin d <= m[i[7:4]]; r <= d; end
        assign o = r;"""),
    "word_passed_on": (READ, 16, 16, """
        reg [15:0] s = 0;
        always @(posedge clk) begin d <= m[i[7:4]]; r <= d; s <= r; end
        assign o = s;"""),
    "read_before_product": (READ + PRODUCT, 16 + 18, 16, """
        reg signed [8:0] b = 0; reg signed [17:0] p = 0;
        wire signed [8:0] a = r[8:0];
        always @(posedge clk) begin d <= m[i[7:4]]; r <= d; b <= i[49:41]; p <= a * b; end
        assign o = {p, r};"""),
    "enabled_read": ((), 0, 16, """
        always @(posedge clk) begin if (i[62]) d <= m[i[7:4]]; r <= d; end
        assign o = r;"""),
    "reset_read": ((), 0, 16, """
        always @(posedge clk) begin if (i[62]) d <= 0; else d <= m[i[7:4]]; r <= d; end
        assign o = r;"""),
    "enabled_word": ((), 0, 16, """
        always @(posedge clk) begin d <= m[i[7:4]]; if (i[62]) r <= d; end
        assign o = r;"""),
    "reset_word": ((), 0, 16, """
        always @(posedge clk) begin d <= m[i[7:4]]; r <= i[62] ? 0 : d; end
        assign o = r;"""),
    "word_from_one": ((), 0, 16, """
        reg [15:0] s = 1;
        always @(posedge clk) begin d <= m[i[7:4]]; s <= d; end
        assign o = s;"""),
    "word_read_twice": ((), 0, 16, """
        always @(posedge clk) begin d <= m[i[7:4]]; r <= d; end
        assign o = {r, d};"""),
    "wide_word_read_twice": ((), 0, 30, """
        always @(posedge clk) begin d <= m[i[7:4]]; r <= d; end
        assign o = {r, d[0]};"""),
    "word_of_other_clock": ((), 0, 16, """
        always @(posedge clk) d <= m[i[7:4]];
        always @(posedge other) r <= d;
        assign o = r;"""),
}  # fmt: skip
"""Memories: the same, with the width before the source."""

CASES = PRODUCTS | {
    name: (registers, moved, MEMORY.replace("WIDTH", str(width)) + text)
    for name, (registers, moved, width, text) in READS.items()
}


def bits(name, width):
    return ", ".join(f"{name}{bit}" for bit in reversed(range(width)))


# The registers of operands take SIGNEDA and SIGNEDB too; CE0 enables, RST0 resets.
MULTIPLIER_MODEL = f"""
module MULT18X18D(
    input {bits("A", 18)}, {bits("B", 18)}, {bits("C", 18)},
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0, output {bits("P", 36)});
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_OUTPUT_CLK = "NONE", GSR = "";
  wire signed [18:0] a = {{SIGNEDA & A17, {bits("A", 18)}}}, b = {{SIGNEDB & B17, {bits("B", 18)}}};
  reg signed [18:0] ra = 0, rb = 0;
  reg signed [37:0] rp = 0;
  wire signed [37:0] p = (REG_INPUTA_CLK == "CLK0" ? ra : a) * (REG_INPUTB_CLK == "CLK0" ? rb : b);
  always @(posedge CLK0)
    if (RST0) begin ra <= 0; rb <= 0; rp <= 0; end
    else if (CE0) begin ra <= a; rb <= b; rp <= p; end
  assign {{{bits("P", 36)}}} = REG_OUTPUT_CLK == "CLK0" ? rp : p;
endmodule
"""

# CE enables the array, OCE the register behind it, RST resets both. Port A writes bytes of 9 bits,
# two to a row or four.
BLOCK_RAM_MODEL = f"""
module DP16KD(
    input {bits("DIA", 18)}, {bits("ADA", 14)}, {bits("CSA", 3)}, CEA, OCEA, CLKA, WEA, RSTA,
    input {bits("DIB", 18)}, {bits("ADB", 14)}, {bits("CSB", 3)}, CEB, OCEB, CLKB, WEB, RSTB,
    output {bits("DOA", 18)}, {bits("DOB", 18)});
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter {", ".join(f"INITVAL_{row:02X} = 320'd0" for row in range(64))};
  parameter ASYNC_RESET_RELEASE = "", CLKAMUX = "", CLKBMUX = "", CSDECODE_A = "", CSDECODE_B = "";
  parameter GSR = "", RESETMODE = "", WRITEMODE_A = "", WRITEMODE_B = "";
  localparam WIDE = DATA_WIDTH_A == 36;
  initial if (DATA_WIDTH_A != DATA_WIDTH_B || (!WIDE && DATA_WIDTH_A != 18)) $stop;
  reg [8:0] m [0:2047];
  integer n;
  initial for (n = 0; n < 2048; n = n + 1) m[n] = 0;
  wire [35:0] d = {{{bits("DIB", 18)}, {bits("DIA", 18)}}};
  wire [13:0] aa = {{{bits("ADA", 14)}}}, ab = {{{bits("ADB", 14)}}};
  wire [10:0] row_a = {{aa[13:5], !WIDE & aa[4], 1'b0}}, row_b = {{ab[13:5], !WIDE & ab[4], 1'b0}};
  reg [35:0] q = 0, r = 0;
  always @(posedge CLKA) if (CEA & WEA) begin
    if (aa[0]) m[row_a] <= d[8:0];
    if (aa[1]) m[row_a + 1] <= d[17:9];
    if (WIDE & aa[2]) m[row_a + 2] <= d[26:18];
    if (WIDE & aa[3]) m[row_a + 3] <= d[35:27];
  end
  always @(posedge CLKB) begin
    if (RSTB) q <= 0;
    else if (CEB) q <= {{m[row_b + 3], m[row_b + 2], m[row_b + 1], m[row_b]}};
    if (OCEB) r <= RSTB ? 0 : q;
  end
  wire [17:0] low = (WIDE ? REGMODE_A : REGMODE_B) == "OUTREG" ? r[17:0] : q[17:0];
  wire [17:0] high = REGMODE_B == "OUTREG" ? r[35:18] : q[35:18];
  assign {{{bits("DOB", 18)}}} = WIDE ? high : low;
  assign {{{bits("DOA", 18)}}} = WIDE ? low : 0;
endmodule
"""


SOURCE = verilog({name: text for name, (*_, text) in CASES.items()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("synth_registers")


@pytest.fixture(scope="module")
def netlist(folder):
    """What yosys makes of the cases. Don't change it."""
    return synthesize(SOURCE, folder)


@pytest.fixture(scope="module")
def moved(netlist):
    """The netlist after the pass, and what the pass said. Don't change it."""
    after = copy.deepcopy(netlist)
    return after, move_registers(after, "source")


def registers(netlist):
    """Registers of blocks that are in use. Returns: for each case, their parameters."""
    used = dict.fromkeys(CASES, ())
    for name, cell in cells(netlist, MULTIPLIER, BLOCK_RAM).items():
        chosen = (key for key, value in cell["parameters"].items() if value in ("CLK0", "OUTREG"))
        used[case_of(CASES, name)] += tuple(chosen)
    return {name: sorted(chosen) for name, chosen in used.items()}


def test_flip_flops_move_where_they_can_and_nowhere_else(netlist, moved):
    after, _ = moved
    assert not any(registers(netlist).values())
    assert registers(after) == {name: sorted(chosen) for name, (chosen, *_) in CASES.items()}


def test_what_was_moved_is_counted(netlist, moved):
    after, said = moved
    gone = len(cells(netlist, FLIP_FLOP)) - len(cells(after, FLIP_FLOP))
    assert gone == sum(flip_flops for _, flip_flops, _ in CASES.values())

    def how_many(*wanted):
        return sum(set(wanted) <= set(chosen) for chosen, *_ in CASES.values())

    assert said == Moved(
        flip_flops=gone,
        operands=how_many(*OPERANDS),
        products=how_many(*PRODUCT),
        reads=how_many(*READ),
    )


def test_a_second_pass_finds_nothing_to_move(moved):
    again = copy.deepcopy(moved[0])
    assert move_registers(again, "source") == Moved(flip_flops=0, operands=0, products=0, reads=0)
    assert again == moved[0]


NET = object()
"""Stands for any net."""

UNUSUAL = {
    "dynamic sign": ("every_register", {"SIGNEDA": NET}, {}, PRODUCT),
    "chained operand": ("every_register", {"SOURCEB": "1"}, {}, PRODUCT),
    "enabled multiplier": ("every_register", {"CE0": NET}, {}, ()),
    "reset multiplier": ("every_register", {"RST0": NET}, {}, ()),
    "multiplier of other clock": ("every_register", {"CLK0": NET}, {}, ()),
    "multiplier with global reset": ("every_register", {}, {"GSR": "ENABLED"}, ()),
    "memory that is not always selected": ("read", {"CSB1": NET}, {}, ()),
    "memory at falling edge": ("read", {}, {"CLKBMUX": "INV"}, ()),
    "memory with global reset": ("read", {}, {"GSR": "ENABLED"}, ()),
    "wide memory with one reset": ("wide_read", {"RSTA": NET}, {}, ()),
}  # fmt: skip
"""Blocks that yosys doesn't write: whose, what is changed, and what may come into use."""


@pytest.mark.parametrize("what", UNUSUAL)
def test_a_block_that_is_used_otherwise_is_left_alone(netlist, what):
    case, pins, parameters, chosen = UNUSUAL[what]
    changed = copy.deepcopy(netlist)
    found = cells(changed, MULTIPLIER, BLOCK_RAM)
    (block,) = (cell for name, cell in found.items() if case_of(CASES, name) == case)
    any_net = next(bits for bits in block["connections"].values() if bits[0] not in ("0", "1"))
    for pin, bit in pins.items():
        block["connections"][pin] = any_net if bit is NET else [bit]
        block["port_directions"][pin] = "input"
    block["parameters"].update(parameters)
    move_registers(changed, "source")
    assert registers(changed)[case] == sorted(chosen)


@pytest.mark.parametrize("parameters", [{"GSR": "ENABLED"}, {"LSRMUX": "INV"}])
@pytest.mark.parametrize("case", ["every_register", "read"])
def test_a_flip_flop_that_is_used_otherwise_stays(netlist, case, parameters):
    changed = copy.deepcopy(netlist)
    for cell in cells(changed, FLIP_FLOP).values():
        cell["parameters"].update(parameters)
    assert move_registers(changed, "source").flip_flops == 0
    assert registers(changed)[case] == []


def test_the_circuits_do_what_they_did_before(folder, netlist, moved):
    after, _ = moved
    early = copy.deepcopy(after)
    for cell in cells(early, MULTIPLIER, BLOCK_RAM).values():
        unused = {"CLK0": "NONE", "OUTREG": "NOREG"}
        parameters = cell["parameters"]
        parameters.update({key: unused.get(value, value) for key, value in parameters.items()})
    circuits = {"plain": netlist, "moved": after, "early": early}
    differs = differing(SOURCE, CASES, circuits, folder, MULTIPLIER_MODEL + BLOCK_RAM_MODEL)
    assert differs["plain"] == set()
    assert differs["moved"] == set()
    # Without the registers every one of these is too early: the comparison sees what it should.
    assert differs["early"] == {name for name, (chosen, *_) in CASES.items() if chosen}
