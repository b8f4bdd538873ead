"""Flip-flops that become the registers of an ECP5's multipliers and block RAMs.

`MULT18X18D` has registers for its operands and its product, `DP16KD` for what it reads; yosys uses
none of them. `move_registers` is a pass between yosys and nextpnr that does, as vendors' tools do:
in the slowest speed grade a multiplier without registers takes 3.9 ns and two long nets of a cycle
and a block RAM 5.8 ns from clock to data, with registers less than 1 ns.

The circuit does the same as before, in every cycle from the first one on. A flip-flop can move if
it loads in every cycle (no clock enable, no reset), begins at 0 as the registers of blocks do,
knows no global reset, and takes the block's clock, at its rising edge.

*Outputs* move if all that are read go to such flip-flops and to nothing else. A port of a block RAM
must further be enabled in every cycle and never be reset. Its output register has an enable of its
own, OCE, and in Lattice's simulation model of the ECP3's block RAM CE is nothing to it; with a CE
that is constant, nobody need rely on that. The data of a port of 36 bits leave at the outputs of
both ports, so both get registers, as nextpnr has it for PDPW16KD.

*Operands* move if each bit of both comes from such a flip-flop or is a constant 0: nextpnr has no
times for a multiplier of which one operand alone is registered. A flip-flop that is read elsewhere
too stays for that, and the block has a copy. SIGNEDA and SIGNEDB go through the same registers, so
they must be constant; that they begin at 0 only changes the sign of a product of zeros.

Names of pins and parameters are Lattice's: FPGA-TN-02205 is on multipliers, FPGA-TN-02204 on block
RAMs, and yosys' cells_bb_ecp5.v lists them. nextpnr reads them in ecp5/pack.cc, arch.cc and
bitstream.cc, where the values are of those that are not given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mensa.rtl.fpga.netlist import FLIP_FLOP, Bit, Netlist

__all__ = ["Moved", "move_registers"]

MULTIPLIER, BLOCK_RAM = "MULT18X18D", "DP16KD"

NO_GLOBAL_RESET = {"GSR": "DISABLED"}

MOVABLE = {"CEMUX": "1", "CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET"} | NO_GLOBAL_RESET
"""Parameters of a flip-flop that can move if its LSR is a constant 0."""

WIDE = 36
"""Bits of a port whose data leave at the outputs of both ports."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What `move_registers` did.

    Attributes
    ----------
    flip_flops : int
        How many there are fewer.
    operands, products : int
        Multipliers with registers for both operands, and with one for the product.
    reads : int
        Ports of block RAMs with a register for what they read.
    """

    flip_flops: int
    operands: int
    products: int
    reads: int


def move_registers(netlist: Mapping[str, Any], top: str) -> Moved:
    """Move flip-flops into the blocks of a flat netlist, in place.

    Parameters
    ----------
    netlist : mapping
        What yosys' `write_json` wrote after `synth_ecp5`.
    top : str
        Name of the module.
    """
    design = _Design(netlist["modules"][top])
    block_rams, multipliers = design.named(BLOCK_RAM), design.named(MULTIPLIER)
    before = len(design.named(FLIP_FLOP))
    # In this order a flip-flop between two blocks goes to the one that is slower without it.
    reads = sum(_move_read(design, *port) for name in block_rams for port in _ports(design, name))
    products = sum(_move_product(design, name) for name in multipliers)
    operands = sum(_move_operands(design, name) for name in multipliers)
    after = len(design.named(FLIP_FLOP))
    return Moved(flip_flops=before - after, operands=operands, products=products, reads=reads)


def _bus(name: str, width: int) -> list[str]:
    return [f"{name}{bit}" for bit in range(width)]


def _ports(design: _Design, name: str) -> list[tuple[str, str, str]]:
    """Ports of a block RAM that read: its name, the port, and at whose outputs the data leave."""
    parameters = design.cells[name]["parameters"]
    if WIDE in (int(parameters[f"DATA_WIDTH_{port}"], 2) for port in "AB"):
        return [(name, "B", "AB")]
    return [(name, "A", "A"), (name, "B", "B")]


def _move_read(design: _Design, name: str, port: str, outputs: str) -> bool:
    """Give a port a register for what it reads. Returns: whether that is possible."""
    bank = design.after(name, [pin for each in outputs for pin in _bus(f"DO{each}", 18)])
    if bank is None:
        return False
    pins: dict[str, Bit] = {f"CLK{port}": bank.clock, f"CE{port}": "1"}
    pins |= dict.fromkeys(_bus(f"CS{port}", 3), "0") | {f"RST{each}": "0" for each in outputs}
    registers = {f"REGMODE_{each}": "NOREG" for each in outputs}
    free = {f"CLK{port}MUX": f"CLK{port}"} | registers | NO_GLOBAL_RESET
    if not design.agrees(name, pins, free):
        return False
    enables: dict[str, Bit] = {f"OCE{each}": "1" for each in outputs}
    design.set(name, enables, dict.fromkeys(registers, "OUTREG"))
    design.move_after(name, bank)
    return True


def _move_product(design: _Design, name: str) -> bool:
    """Give a multiplier a register for its product. Returns: whether that is possible."""
    bank = design.after(name, _bus("P", 36))
    if bank is None or not _clock(design, name, bank.clock, "REG_OUTPUT_CLK"):
        return False
    design.move_after(name, bank)
    return True


def _move_operands(design: _Design, name: str) -> bool:
    """Give a multiplier registers for its operands. Returns: whether that is possible."""
    bank = design.before(name, _bus("A", 18) + _bus("B", 18))
    if bank is None or not design.agrees(name, {"SOURCEA": "0", "SOURCEB": "0"}, {}):
        return False
    if any(isinstance(design.bit(name, sign), int) for sign in ("SIGNEDA", "SIGNEDB")):
        return False
    if not _clock(design, name, bank.clock, "REG_INPUTA_CLK", "REG_INPUTB_CLK"):
        return False
    design.move_before(name, bank)
    return True


def _clock(design: _Design, name: str, clock: Bit, *registers: str) -> bool:
    """Clock registers of a multiplier. Returns: whether that is possible."""
    # nextpnr ties data that are left open, but not these.
    pins: dict[str, Bit] = {"CLK0": clock, "CE0": "1", "RST0": "0"}
    if not design.agrees(name, pins, dict.fromkeys(registers, "NONE") | NO_GLOBAL_RESET):
        return False
    design.set(name, pins, dict.fromkeys(registers, "CLK0") | NO_GLOBAL_RESET)
    return True


@dataclass(frozen=True)
class _Bank:
    """Flip-flops at pins of a block, all of one clock."""

    clock: Bit
    at: Mapping[str, str]


class _Design(Netlist):
    """A netlist whose flip-flops can move."""

    def after(self, name: str, pins: Iterable[str]) -> _Bank | None:
        """Flip-flops that can move into these outputs of a block; None if one can't."""
        at = {}
        for pin in pins:
            net = self.bit(name, pin)
            readers = self.readers[net] if isinstance(net, int) else ()
            if readers:
                reader, its_pin = next(iter(readers))
                if len(readers) > 1 or its_pin != "DI":
                    return None
                at[pin] = reader
        return self._bank(at)

    def before(self, name: str, pins: Iterable[str]) -> _Bank | None:
        """Flip-flops that can move into these inputs of a block; None if one can't."""
        bits = {pin: self.bit(name, pin) for pin in pins}
        # A register of a block begins at 0: it can't hold a constant 1.
        return self._bank(
            {pin: self.drivers.get(bit, "") for pin, bit in bits.items() if bit not in ("0", "x")}
        )

    def move_after(self, name: str, bank: _Bank) -> None:
        """Let a block's outputs drive what the flip-flops behind them drove."""
        for pin, flip_flop in bank.at.items():
            net = self.bit(flip_flop, "Q")
            self.remove(flip_flop)
            self.cells[name]["connections"][pin] = [net]
            self.drivers[net] = name

    def move_before(self, name: str, bank: _Bank) -> None:
        """Let a block's inputs read what the flip-flops before them read."""
        self.set(name, {pin: self.bit(each, "DI") for pin, each in bank.at.items()}, {})
        for flip_flop in set(bank.at.values()):
            if not self.readers[self.bit(flip_flop, "Q")]:
                self.remove(flip_flop)

    def _bank(self, at: Mapping[str, str]) -> _Bank | None:
        clocks = {self._clock_if_movable(name) for name in at.values()}
        clock = clocks.pop() if len(clocks) == 1 else None
        return None if clock is None else _Bank(clock, at)

    def _clock_if_movable(self, name: str) -> Bit | None:
        cell = self.cells.get(name, {"type": None})
        if cell["type"] != FLIP_FLOP or self.bit(name, "LSR") != "0":
            return None
        # yosys marks a text that could be taken for a number with a blank behind it.
        parameters = {key: str(value).strip() for key, value in cell["parameters"].items()}
        if any(parameters.get(key) != value for key, value in MOVABLE.items()):
            return None
        return self.bit(name, "CLK")
