"""The processing elements of the systolic array: R x C multipliers, accumulators and registers.

This is the one part that is written in Verilog, as a loop: thousands of equal elements as modules
would take minutes to pass Amaranth and Verilator, and as straight code they would not fit a
processor's caches.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockSignal, Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.arrays.streams import ACCUMULATOR_BITS, OPERAND_BITS
from mensa.rtl.setting import check_count
from mensa.rtl.verilog import written

__all__ = ["ProcessingElements"]


class ProcessingElements(wiring.Component):
    """R x C elements that multiply and accumulate, each linked to its neighbours.

    An element has registers `a` and `b` for its operands, the multiplier's copies of them, their
    product, an accumulator and a drain register `d`. Operands `a` and the mark `shift` move to the
    right, `b`, `first`, `last` and `filter` down, an element a cycle. What is given at an edge in
    cycle t is in the edge's elements in cycle t + 1.

    For tiles (`filter` low) the product of what `a` and `b` hold in cycle t joins the accumulator
    after cycle t + 2; with `first` there in that cycle, the accumulator starts anew. With `last`
    there the drain register takes the accumulator, else with `shift` there the drain register of
    the element above.

    As a filter, `a` holds a tap. It becomes zero where `last` arrives, else what arrives with it
    for `b` where `shift` arrives. The accumulator starts from the drain register above, or with
    `first` there from zero; the drain register always takes the accumulator: a sum takes two cycles
    to the next row, `b` one.

    Nothing is reset.

    Parameters
    ----------
    rows, cols : int
        R and C, at least 1.

    Members
    -------
    filter : In(C)
        What the first row does; an element that is told in cycle t does so with what is given to it
        from cycle t + 1 on, and with the sums and drain registers that it has then.
    a : In(data.ArrayLayout(signed(9), R))
        Activations for the first column.
    b : In(data.ArrayLayout(signed(9), C))
        For the first row: parameters; of a filter, taps and activations.
    first, last : In(C)
        Marks for the first row.
    shift : In(R)
        Marks for the first column.
    d : Out(data.ArrayLayout(signed(32), C))
        Drain registers of the last row.
    """

    def __init__(self, rows: int, cols: int):
        check_count("Rows", rows)
        check_count("Columns", cols)
        self._rows = rows
        self._cols = cols
        super().__init__(
            {
                "filter": In(cols),
                "a": In(data.ArrayLayout(signed(OPERAND_BITS), rows)),
                "b": In(data.ArrayLayout(signed(OPERAND_BITS), cols)),
                "first": In(cols),
                "last": In(cols),
                "shift": In(rows),
                "d": Out(data.ArrayLayout(signed(ACCUMULATOR_BITS), cols)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.elements = written(
            f"processing_elements_{self._rows}x{self._cols}",
            _VERILOG.format(
                rows=self._rows,
                cols=self._cols,
                operand=OPERAND_BITS,
                accumulator=ACCUMULATOR_BITS,
            ),
            i={
                "clk": ClockSignal(),
                "filter_edge": self.filter,
                "a_edge": self.a.as_value(),
                "b_edge": self.b.as_value(),
                "first_edge": self.first,
                "last_edge": self.last,
                "shift_edge": self.shift,
            },
            o={"d_edge": self.d.as_value()},
        )
        return m


_VERILOG = """\
  localparam ROWS = {rows}, COLS = {cols}, A = {operand}, D = {accumulator};
  input clk;
  input [ROWS * A - 1:0] a_edge;
  input [COLS * A - 1:0] b_edge;
  input [COLS - 1:0] filter_edge, first_edge, last_edge;
  input [ROWS - 1:0] shift_edge;
  output reg [COLS * D - 1:0] d_edge;

  // Element (r, c) has index (ROWS - 1 - r) * PITCH + COLS - 1 - c: its left neighbour is the next,
  // the one above PITCH further. What the edges give stands where the first row and column have
  // neighbours. With a power of two as their depth, Verilator needs no bounds checks.
  localparam PITCH = COLS + 1, END = ROWS * PITCH, DEPTH = 1 << $clog2(END + PITCH);
  // An FPGA's multiplier has registers of its own at both ends: `left`, `right` and `product`.
  reg signed [A - 1:0] a [0:DEPTH - 1], b [0:DEPTH - 1];
  reg signed [A - 1:0] left [0:DEPTH - 1], right [0:DEPTH - 1];
  reg signed [D - 1:0] product [0:DEPTH - 1], sum [0:DEPTH - 1], d [0:DEPTH - 1];
  reg filter [0:DEPTH - 1], first [0:DEPTH - 1], last [0:DEPTH - 1], shift [0:DEPTH - 1];
  reg signed [A - 1:0] tap;
  reg signed [D - 1:0] base;
  reg [31:0] i;  // a signed one would cost Verilator the vectors

  // A C++ compiler makes vectors of a loop only if nothing branches in it: a function's arguments
  // are read whatever it chooses. What holds a register or clears it is no mask, for then synthesis
  // finds no enable or reset.
  function signed [D - 1:0] wide(input choice, input signed [D - 1:0] one, other);
    wide = choice ? one : other;
  endfunction
  function signed [A - 1:0] narrow(input choice, input signed [A - 1:0] one, other);
    narrow = choice ? one : other;
  endfunction

  // From the last element to the first, so that each still finds what its neighbours held; a loop
  // for each register where they don't need each other's old value.
  /* verilator lint_off BLKSEQ */
  always @(posedge clk) begin
    for (i = END; i < END + PITCH; i = i + 1) begin
      a[i] = 0;
      b[i] = 0;
      d[i] = 0;
      filter[i] = 0;
      first[i] = 0;
      last[i] = 0;
      shift[i] = 0;
    end
    for (i = 0; i < ROWS; i = i + 1) begin
      a[END - 1 - i * PITCH] = a_edge[i * A +: A];
      shift[END - 1 - i * PITCH] = shift_edge[i];
    end
    for (i = 0; i < COLS; i = i + 1) begin
      b[END + COLS - 1 - i] = b_edge[i * A +: A];
      filter[END + COLS - 1 - i] = filter_edge[i];
      first[END + COLS - 1 - i] = first_edge[i];
      last[END + COLS - 1 - i] = last_edge[i];
    end
    for (i = 0; i < END; i = i + 1) begin
      base = (d[i + PITCH] & {{D{{filter[i]}}}}) | (sum[i] & ~{{D{{filter[i]}}}});
      d[i] = wide(filter[i] | last[i], sum[i], wide(shift[i], d[i + PITCH], d[i]));
      sum[i] = (base & ~{{D{{first[i]}}}}) + product[i];
    end
    for (i = 0; i < END; i = i + 1) product[i] = left[i] * right[i];
    for (i = 0; i < END; i = i + 1) left[i] = a[i];
    for (i = 0; i < END; i = i + 1) right[i] = b[i];
    for (i = 0; i < END; i = i + 1) begin
      tap = narrow(last[i + PITCH], 0, narrow(shift[i + 1], b[i + PITCH], a[i]));
      a[i] = narrow(filter[i], tap, a[i + 1]);
    end
    for (i = 0; i < END; i = i + 1) b[i] = b[i + PITCH];
    for (i = 0; i < END; i = i + 1) filter[i] = filter[i + PITCH];
    for (i = 0; i < END; i = i + 1) first[i] = first[i + PITCH];
    for (i = 0; i < END; i = i + 1) last[i] = last[i + PITCH];
    for (i = 0; i < END; i = i + 1) shift[i] = shift[i + 1];
    for (i = 0; i < COLS; i = i + 1) d_edge[i * D +: D] <= d[COLS - 1 - i];
  end
  /* verilator lint_on BLKSEQ */
endmodule
"""
