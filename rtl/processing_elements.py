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

from mensa.rtl.verilog import written

__all__ = ["ACCUMULATOR_BITS", "OPERAND_BITS", "ProcessingElements"]

OPERAND_BITS = 9
ACCUMULATOR_BITS = 32


class ProcessingElements(wiring.Component):
    """R x C elements that multiply and accumulate, each linked to its neighbours.

    An element has registers `a` and `b` for its operands, their product, an accumulator and a drain
    register `d`. Operands `a` and the mark `shift` move to the right, `b`, `first`, `last` and, for
    a whole row, `filter` down, an element a cycle. What is given at an edge in cycle t is in the
    edge's elements in cycle t + 1.

    For tiles (`filter` low) the product of what `a` and `b` hold in cycle t joins the accumulator
    after cycle t + 1; with `first` there in that cycle, the accumulator starts anew. With `last`
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
    filter : In(1)
        What the first row does; to be changed while nothing that counts is inside.
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
        for name, value in (("Rows", rows), ("Columns", cols)):
            if not isinstance(value, int) or value < 1:
                raise TypeError(f"{name} must be a positive integer, not {value!r}")
        self._rows = rows
        self._cols = cols
        super().__init__(
            {
                "filter": In(1),
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
  input clk, filter_edge;
  input [ROWS * A - 1:0] a_edge;
  input [COLS * A - 1:0] b_edge;
  input [COLS - 1:0] first_edge, last_edge;
  input [ROWS - 1:0] shift_edge;
  output reg [COLS * D - 1:0] d_edge;

  // Element (r, c) has index (r + 1) * PITCH + c + 1; row and column 0 are what the edges give.
  // With a power of two as their depth, Verilator needs no bounds checks.
  localparam PITCH = COLS + 1, END = (ROWS + 1) * PITCH, DEPTH = 1 << $clog2(END);
  reg signed [A - 1:0] a [0:DEPTH - 1], b [0:DEPTH - 1];
  reg signed [D - 1:0] product [0:DEPTH - 1], sum [0:DEPTH - 1], d [0:DEPTH - 1];
  reg first [0:DEPTH - 1], last [0:DEPTH - 1], shift [0:DEPTH - 1];
  reg filter [0:(1 << $clog2(ROWS + 1)) - 1];  // by row
  integer i, r;

  // From the last element to the first, so that each still finds what its neighbours held.
  /* verilator lint_off BLKSEQ */
  always @(posedge clk) begin
    filter[0] = filter_edge;
    for (i = 0; i < ROWS; i = i + 1) begin
      a[(i + 1) * PITCH] = a_edge[i * A +: A];
      shift[(i + 1) * PITCH] = shift_edge[i];
    end
    for (i = 0; i < COLS; i = i + 1) begin
      b[i + 1] = b_edge[i * A +: A];
      first[i + 1] = first_edge[i];
      last[i + 1] = last_edge[i];
      d[i + 1] = 0;
    end
    for (r = ROWS; r > 0; r = r - 1) begin
      for (i = r * PITCH + COLS; i > r * PITCH; i = i - 1) begin
        if (filter[r] | last[i]) d[i] = sum[i];
        else if (shift[i]) d[i] = d[i - PITCH];
        sum[i] = (first[i] ? 0 : filter[r] ? d[i - PITCH] : sum[i]) + product[i];
        product[i] = a[i] * b[i];
        if (!filter[r]) a[i] = a[i - 1];
        else if (last[i - PITCH]) a[i] = 0;
        else if (shift[i - 1]) a[i] = b[i - PITCH];
        b[i] = b[i - PITCH];
        first[i] = first[i - PITCH];
        last[i] = last[i - PITCH];
        shift[i] = shift[i - 1];
      end
      filter[r] = filter[r - 1];
    end
    for (i = 0; i < COLS; i = i + 1) d_edge[i * D +: D] <= d[ROWS * PITCH + i + 1];
  end
  /* verilator lint_on BLKSEQ */
endmodule
"""
