"""The processing elements of Pascal's array: R x C multipliers, accumulators and drain registers.

Written in Verilog, as loops, for the reason that `systolic/processing_elements.py` gives.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockSignal, Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.arrays.streams import ACCUMULATOR_BITS, OPERAND_BITS
from mensa.rtl.setting import check_count
from mensa.rtl.verilog import written

__all__ = ["MulticastElements"]


class MulticastElements(wiring.Component):
    """R x C elements; those of a row share an activation, those of a column a parameter.

    The product of what `a` and `b` hold in cycle t joins each element's sum after cycle t + 2; with
    `first` high in that cycle, the sum starts anew. With `last` high every drain register takes its
    element's sum, else with `shift` high that of the element above.

    Nothing is reset.

    Parameters
    ----------
    rows, cols : int
        R and C, at least 1.

    Members
    -------
    a : In(data.ArrayLayout(signed(9), R))
        An activation for each row.
    b : In(data.ArrayLayout(signed(9), C))
        A parameter for each column.
    first, last, shift : In(1)
        Marks for all elements.
    d : Out(data.ArrayLayout(signed(32), C))
        Drain registers of the last row.
    """

    def __init__(self, rows: int, cols: int):
        check_count("Rows", rows)
        check_count("Columns", cols)
        self._rows, self._cols = rows, cols
        super().__init__(
            {
                "a": In(data.ArrayLayout(signed(OPERAND_BITS), rows)),
                "b": In(data.ArrayLayout(signed(OPERAND_BITS), cols)),
                "first": In(1),
                "last": In(1),
                "shift": In(1),
                "d": Out(data.ArrayLayout(signed(ACCUMULATOR_BITS), cols)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        text = _VERILOG.format(
            rows=self._rows,
            cols=self._cols,
            operand=OPERAND_BITS,
            accumulator=ACCUMULATOR_BITS,
        )
        m.submodules.elements = written(
            f"multicast_elements_{self._rows}x{self._cols}",
            text,
            i={
                "clk": ClockSignal(),
                "a": self.a.as_value(),
                "b": self.b.as_value(),
                "first": self.first,
                "last": self.last,
                "shift": self.shift,
            },
            o={"d_edge": self.d.as_value()},
        )
        return m


_VERILOG = """\
  localparam ROWS = {rows}, COLS = {cols}, A = {operand}, D = {accumulator};
  input clk, first, last, shift;
  input [ROWS * A - 1:0] a;
  input [COLS * A - 1:0] b;
  output reg [COLS * D - 1:0] d_edge;

  // Element (r, c) has index (ROWS - 1 - r) * COLS + c: the one above is COLS further. With a power
  // of two as their depth, Verilator needs no bounds checks.
  localparam END = ROWS * COLS, DEPTH = 1 << $clog2(END + COLS);
  // An FPGA's multiplier has registers of its own at both ends: `left`, `right` and `product`.
  reg signed [A - 1:0] left [0:DEPTH - 1], right [0:DEPTH - 1];
  reg signed [D - 1:0] product [0:DEPTH - 1], sum [0:DEPTH - 1], d [0:DEPTH - 1];
  reg [31:0] i, r, c;  // signed ones would cost Verilator the vectors

  // From the last register to the first, so that each still finds what those before it held.
  // Branches stand around the loops, where a C++ compiler can make vectors of them.
  /* verilator lint_off BLKSEQ */
  always @(posedge clk) begin
    for (i = END; i < END + COLS; i = i + 1) d[i] = 0;
    if (last) begin
      for (i = 0; i < END; i = i + 1) d[i] = sum[i];
    end else if (shift) begin
      for (i = 0; i < END; i = i + 1) d[i] = d[i + COLS];
    end
    if (first) begin
      for (i = 0; i < END; i = i + 1) sum[i] = product[i];
    end else begin
      for (i = 0; i < END; i = i + 1) sum[i] = sum[i] + product[i];
    end
    for (i = 0; i < END; i = i + 1) product[i] = left[i] * right[i];
    for (r = 0; r < ROWS; r = r + 1)
      for (c = 0; c < COLS; c = c + 1) begin
        left[r * COLS + c] = a[(ROWS - 1 - r) * A +: A];
        right[r * COLS + c] = b[c * A +: A];
      end
    for (c = 0; c < COLS; c = c + 1) d_edge[c * D +: D] <= d[c];
  end
  /* verilator lint_on BLKSEQ */
endmodule
"""
