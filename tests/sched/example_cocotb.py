"""Drives the example system of `mensa rtl` under cocotb, as network.h of `mensa compile` says."""

import os

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from mensa.rtl.registers import OFFSET
from tests.rtl import bench


@cocotb.test()
async def runs_the_programs(dut):
    control = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_control"), dut.clk, dut.rst)
    await bench.start(dut)
    cocotb.start_soon(bench.watchdog(dut, bench.parameter("MOST_CYCLES"), lambda: "the interrupt"))
    for address in os.environ["PROGRAMS"].split():
        await control.write_dword(OFFSET["PROGRAM_ADDRESS"], int(address))
        await control.write_dword(OFFSET["CONTROL"], 3)  # start, with the interrupt
        if dut.irq.value != 1:
            await RisingEdge(dut.irq)
        assert await control.read_dword(OFFSET["STATUS"]) == 2  # done, without an error
        await control.write_dword(OFFSET["STATUS"], 2)
    with open(os.environ["AFTER"], "w", encoding="ascii") as file:
        for word in dut.memory.words:
            text = str(word.value)
            digits = [text[at : at + 4] for at in range(0, len(text), 4)]
            file.write("".join(f"{int(d, 2):x}" if d.isdecimal() else "x" for d in digits) + "\n")
