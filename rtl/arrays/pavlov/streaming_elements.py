"""The processing elements of Pavlov's array: N multipliers and sums that share one activation.

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

__all__ = ["StreamingElements"]


class StreamingElements(wiring.Component):
    """N elements, each with a parameter and a sum of its own, all with the same activation.

    The product of what `activation` and `parameters` hold in cycle t joins each element's sum after
    cycle t + 2 if `take` is high in that cycle; with `begin` too, the sum starts from `kept`.

    Nothing is reset.

    Parameters
    ----------
    count : int
        N, at least 1.

    Members
    -------
    activation : In(signed(9))
        For all elements.
    parameters : In(data.ArrayLayout(signed(9), N))
        One for each.
    take, begin : In(1)
        Marks for all elements.
    kept : In(data.ArrayLayout(signed(32), N))
        What sums start from.
    sums : Out(data.ArrayLayout(signed(32), N))
        The sums.
    """

    def __init__(self, count: int):
        check_count("Elements", count)
        self._count = count
        sums = data.ArrayLayout(signed(ACCUMULATOR_BITS), count)
        super().__init__(
            {
                "activation": In(signed(OPERAND_BITS)),
                "parameters": In(data.ArrayLayout(signed(OPERAND_BITS), count)),
                "take": In(1),
                "begin": In(1),
                "kept": In(sums),
                "sums": Out(sums),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        text = _VERILOG.format(
            count=self._count, operand=OPERAND_BITS, accumulator=ACCUMULATOR_BITS
        )
        m.submodules.elements = written(
            f"streaming_elements_{self._count}",
            text,
            i={
                "clk": ClockSignal(),
                "activation": self.activation,
                "parameters": self.parameters.as_value(),
                "take": self.take,
                "begins": self.begin,
                "kept": self.kept.as_value(),
            },
            o={"sums": self.sums.as_value()},
        )
        return m


_VERILOG = """\
  localparam COUNT = {count}, A = {operand}, D = {accumulator};
  input clk, take, begins;
  input signed [A - 1:0] activation;
  input [COUNT * A - 1:0] parameters;
  input [COUNT * D - 1:0] kept;
  output reg [COUNT * D - 1:0] sums;

  // An FPGA's multiplier has registers of its own at both ends: `left`, `right` and `product`. With
  // a power of two as their depth, Verilator needs no bounds checks.
  localparam DEPTH = 1 << $clog2(COUNT);
  reg signed [A - 1:0] left [0:DEPTH - 1], right [0:DEPTH - 1];
  reg signed [D - 1:0] product [0:DEPTH - 1], sum [0:DEPTH - 1];
  reg [31:0] i;  // a signed one would cost Verilator the vectors

  // From the last register to the first, so that each still finds what those before it held.
  // Branches stand around the loops, where a C++ compiler can make vectors of them.
  /* verilator lint_off BLKSEQ */
  always @(posedge clk) begin
    if (take && begins) begin
      for (i = 0; i < COUNT; i = i + 1) sum[i] = product[i] + kept[i * D +: D];
    end else if (take) begin
      for (i = 0; i < COUNT; i = i + 1) sum[i] = sum[i] + product[i];
    end
    for (i = 0; i < COUNT; i = i + 1) product[i] = left[i] * right[i];
    for (i = 0; i < COUNT; i = i + 1) begin
      left[i] = activation;
      right[i] = parameters[i * A +: A];
    end
    for (i = 0; i < COUNT; i = i + 1) sums[i * D +: D] <= sum[i];  // the same registers
  end
  /* verilator lint_on BLKSEQ */
endmodule
"""
