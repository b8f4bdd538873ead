"""The processing elements of Jacquard's array: R x C multipliers and an adder tree for each column.

Written in Verilog, as loops, for the reason that `systolic/processing_elements.py` gives.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockSignal, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.arrays.streams import ACCUMULATOR_BITS, OPERAND_BITS
from mensa.rtl.setting import check_count
from mensa.rtl.verilog import written

__all__ = ["ReducingElements"]


class ReducingElements(wiring.Component):
    """R x C elements, each with two places for an activation and its parameter.

    Place q of a column belongs to row q of elements, or q - R where q is R or more: these, the
    upper places, are what its multiplier takes unless `turn` is high. What is in the places in
    cycle t is in the sums in cycle t + 2 + ceil(log2 R). What is given in cycle t is in the places
    in cycle t + 1.

    Activations: with `load` every upper place takes the byte of its row, the same in all columns.
    With `move` (which comes first) each place takes what the next one has, or if its `source` is k
    > 0 what word k - 1 of `stream` has for its column. Parameters: with `clear` all become zero;
    else with `swap` the upper places take those of the lower ones, and place q takes those of row
    q mod W of `beat` where `hold` says so.

    Nothing is reset.

    Parameters
    ----------
    rows, cols, parameter_rows, words : int
        R, C, W and the words of `stream`, at least 1.

    Members
    -------
    load, move, swap, clear, turn : In(1)
        See above.
    word : In(data.ArrayLayout(signed(9), R))
        A pixel's bytes.
    stream : In(data.ArrayLayout(signed(9), words x C))
        A word's bytes, one a column, then those of the rows before.
    source : In(data.ArrayLayout(range(words + 1), 2 R))
        Where each place's activation comes from.
    beat : In(data.ArrayLayout(signed(9), W x C))
        Parameters, row by row.
    hold : In(2 R)
        The places that they are for.
    sums : Out(data.ArrayLayout(signed(32), C))
        Of each column.
    """

    def __init__(self, rows: int, cols: int, parameter_rows: int, words: int):
        check_count("Rows", rows)
        check_count("Columns", cols)
        check_count("Parameter rows", parameter_rows)
        check_count("Words", words)
        self._rows, self._cols = rows, cols
        self._parameter_rows, self._words = parameter_rows, words
        operands = {
            "word": rows,
            "stream": words * cols,
            "beat": parameter_rows * cols,
        }
        super().__init__(
            {
                **{mark: In(1) for mark in ("load", "move", "swap", "clear", "turn")},
                **{
                    name: In(data.ArrayLayout(signed(OPERAND_BITS), count))
                    for name, count in operands.items()
                },
                "source": In(data.ArrayLayout(range(words + 1), 2 * rows)),
                "hold": In(2 * rows),
                "sums": Out(data.ArrayLayout(signed(ACCUMULATOR_BITS), cols)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        text = _VERILOG.format(
            rows=self._rows,
            cols=self._cols,
            parameter_rows=self._parameter_rows,
            words=self._words,
            operand=OPERAND_BITS,
            accumulator=ACCUMULATOR_BITS,
            **_tree(self._rows),
        )
        marks = {name: getattr(self, name) for name in ("load", "move", "swap", "clear", "turn")}
        values = {
            name: getattr(self, name).as_value() for name in ("word", "stream", "source", "beat")
        }
        sums = Signal(self.sums.shape())
        m.submodules.elements = written(
            f"reducing_elements_{self._rows}x{self._cols}_{self._parameter_rows}_{self._words}",
            text,
            i={"clk": ClockSignal(), **marks, **values, "hold": self.hold},
            o={"sums": sums.as_value()},
        )
        m.d.comb += self.sums.eq(sums)
        return m


def _tree(rows: int) -> dict[str, str]:
    """The registers of the adder tree, and the loops that add, from the last level on."""
    names, count = ["product"], rows
    loops: list[str] = []
    while count > 1:
        half = -(-count // 2)
        before, name = names[-1], f"sum_{len(names)}"
        lines = [
            f"    for (i = 0; i < {count - half} * COLS; i = i + 1)",
            f"      {name}[i] = {before}[i] + {before}[i + {half} * COLS];",
        ]
        if half > count - half:
            lines += [
                f"    for (i = {count - half} * COLS; i < {half} * COLS; i = i + 1)",
                f"      {name}[i] = {before}[i];",
            ]
        names.append(name)
        loops.insert(0, "\n".join(lines))
        count = half
    registers = ", ".join(f"{name} [0:ELEMENTS - 1]" for name in names)
    return {"registers": registers, "tree": "\n".join(loops), "root": names[-1]}


_VERILOG = """\
  localparam ROWS = {rows}, COLS = {cols}, W = {parameter_rows}, WORDS = {words};
  localparam A = {operand}, D = {accumulator}, S = $clog2(WORDS + 1);
  input clk, load, move, swap, clear, turn;
  input [ROWS * A - 1:0] word;
  input [WORDS * COLS * A - 1:0] stream;
  input [2 * ROWS * S - 1:0] source;
  input [W * COLS * A - 1:0] beat;
  input [2 * ROWS - 1:0] hold;
  output reg [COLS * D - 1:0] sums;

  // Column c of place q is q * COLS + c; behind the last place there is nothing. With a power of
  // two as their depth, Verilator needs no bounds checks.
  localparam UPPER = ROWS * COLS, END = 2 * UPPER;
  localparam DEPTH = 1 << $clog2(END + COLS), ELEMENTS = 1 << $clog2(UPPER + COLS);
  reg signed [A - 1:0] activation [0:DEPTH - 1], parameter_ [0:DEPTH - 1];
  // An FPGA's multiplier has registers of its own at both ends: `left`, `right` and `product`.
  reg signed [A - 1:0] left [0:ELEMENTS - 1], right [0:ELEMENTS - 1];
  reg signed [D - 1:0] {registers};
  reg [S - 1:0] from;
  reg signed [A - 1:0] next;
  reg [31:0] i, q, c, k;  // signed ones would cost Verilator the vectors

  // From the last register to the first, so that each still finds what those before it held.
  // Branches stand around the loops, where a C++ compiler can make vectors of them.
  /* verilator lint_off BLKSEQ */
  always @(posedge clk) begin
{tree}
    for (i = 0; i < UPPER; i = i + 1) product[i] = left[i] * right[i];
    if (turn) begin
      for (i = 0; i < UPPER; i = i + 1) left[i] = activation[i];
      for (i = 0; i < UPPER; i = i + 1) right[i] = parameter_[i];
    end else begin
      for (i = 0; i < UPPER; i = i + 1) left[i] = activation[i + UPPER];
      for (i = 0; i < UPPER; i = i + 1) right[i] = parameter_[i + UPPER];
    end
    if (clear) begin
      for (i = 0; i < END; i = i + 1) parameter_[i] = 0;
    end else begin
      if (swap) for (i = 0; i < UPPER; i = i + 1) parameter_[i + UPPER] = parameter_[i];
      for (q = 0; q < 2 * ROWS; q = q + 1)
        if (hold[q])
          for (c = 0; c < COLS; c = c + 1)
            parameter_[q * COLS + c] = beat[(q % ROWS % W * COLS + c) * A +: A];
    end
    for (i = END; i < END + COLS; i = i + 1) activation[i] = 0;
    if (move) begin
      for (q = 0; q < 2 * ROWS; q = q + 1) begin
        from = source[q * S +: S];
        for (c = 0; c < COLS; c = c + 1) begin
          next = activation[(q + 1) * COLS + c];
          for (k = 0; k < WORDS; k = k + 1)
            if (from == k[S - 1:0] + 1'b1) next = stream[(k * COLS + c) * A +: A];
          activation[q * COLS + c] = next;
        end
      end
    end else if (load) begin
      for (q = 0; q < ROWS; q = q + 1)
        for (c = 0; c < COLS; c = c + 1)
          activation[UPPER + q * COLS + c] = word[q * A +: A];
    end
    for (c = 0; c < COLS; c = c + 1) sums[c * D +: D] <= {root}[c];
  end
  /* verilator lint_on BLKSEQ */
endmodule
"""
