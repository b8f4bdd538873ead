"""The Verilog that the gateware becomes."""

import re

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mensa.rtl.verilog import to_verilog

WORD = data.StructLayout({"lanes": data.ArrayLayout(8, 4), "last": 1})


class Delay(wiring.Component):
    i: In(WORD)
    o: Out(WORD)

    def elaborate(self, platform):
        m = Module()
        word = Signal(WORD)
        m.d.sync += [word.eq(self.i), self.o.eq(word)]
        return m


class Choice(wiring.Component):
    i: In(2)
    o: Out(2)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.i[0]):
            m.d.comb += self.o.eq(self.i ^ 2)
        return m


def test_a_block_runs_at_time_0_in_any_language():
    # No event comes from a value in a declaration in SystemVerilog.
    text = to_verilog(Choice(), "top")
    (register,) = re.findall(r"always @\* begin\n *if \((\S+) \) begin end", text)
    assert f"initial {register}  <= 0;" in text
    assert f"reg {register}  =" not in text


def test_an_element_of_an_array_is_not_called_like_a_bit():
    # yosys' abc9 stops at such names in a large design.
    names = re.findall(r"\\(\S+)", to_verilog(Delay(), "top"))
    assert {f"word.lanes.{n}" for n in range(4)} <= set(names)
    assert not [name for name in names if "[" in name]
