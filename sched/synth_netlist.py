"""A flat netlist of yosys, as JSON, that passes of our own change before nextpnr reads it."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

__all__ = ["FLIP_FLOP", "Bit", "Netlist"]

Bit = int | str
"""What is at a pin: the number of a net, or a constant: "0", "1" or "x"."""

FLIP_FLOP = "TRELLIS_FF"


class Netlist:
    """A module of yosys' JSON, with who drives and who reads each net."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self.cells = module["cells"]
        self._names = module["netnames"]
        self.drivers: dict[Bit, str] = {}
        self.readers = defaultdict[Bit, set[tuple[str, str]]](set)
        for name, cell in self.cells.items():
            for pin, bits in cell["connections"].items():
                for bit in bits:
                    if cell["port_directions"][pin] == "output":
                        self.drivers[bit] = name
                    else:
                        self.readers[bit].add((name, pin))
        for name, port in module["ports"].items():
            if port["direction"] != "input":
                for bit in port["bits"]:
                    self.readers[bit].add(("", name))
        bits = (bit for net in self._names.values() for bit in net["bits"])
        self._next = 1 + max(bit for bit in bits if isinstance(bit, int))

    def named(self, kind: str) -> list[str]:
        """Names of the cells of a type."""
        return [name for name, cell in self.cells.items() if cell["type"] == kind]

    def is_bit(self, name: str, pin: str) -> bool:
        """Whether a pin is one bit wide."""
        return len(self.cells[name]["connections"].get(pin, [])) <= 1

    def bit(self, name: str, pin: str) -> Bit:
        """What is at a pin; "x" if nothing is."""
        bits: list[Bit] = self.cells[name]["connections"].get(pin, [])
        return bits[0] if bits else "x"

    def agrees(self, name: str, pins: Mapping[str, Bit], parameters: Mapping[str, str]) -> bool:
        """Whether pins and parameters have these values or none."""
        cell = self.cells[name]
        return all(
            cell["connections"].get(pin, [bit]) == [bit] for pin, bit in pins.items()
        ) and all(cell["parameters"].get(key, value) == value for key, value in parameters.items())

    def set(self, name: str, pins: Mapping[str, Bit], parameters: Mapping[str, str]) -> None:
        """Give a cell's inputs and parameters these values."""
        cell = self.cells[name]
        cell["parameters"].update(parameters)
        for pin, bit in pins.items():
            self.readers[self.bit(name, pin)].discard((name, pin))
            self.readers[bit].add((name, pin))
            cell["connections"][pin] = [bit]
            cell["port_directions"][pin] = "input"

    def copy(self, name: str, new: str, output: str) -> Bit:
        """Add a copy of a cell that has one output. Returns: its net, which nothing reads yet."""
        net, self._next = self._next, self._next + 1
        self.cells[new] = cell = copy.deepcopy(self.cells[name])
        cell["connections"][output] = [net]
        for pin in cell["connections"]:
            if pin != output:
                self.readers[self.bit(new, pin)].add((new, pin))
        self.drivers[net] = new
        self._names[f"{new}.{output}"] = {"hide_name": 0, "bits": [net], "attributes": {}}
        return net

    def remove(self, name: str) -> None:
        """Take a cell out; what it drove stays without a driver."""
        cell = self.cells.pop(name)
        for pin, bits in cell["connections"].items():
            for bit in bits:
                self.readers[bit].discard((name, pin))
