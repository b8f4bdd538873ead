"""A flat netlist of yosys, as JSON, that passes of our own change before nextpnr reads it."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["FLIP_FLOP", "LOOK_UP_TABLE", "Bit", "Netlist", "Pin"]

Bit = int | str
"""What is at a pin: the number of a net, or a constant: "0", "1" or "x"."""

Pin = tuple[str, str]
"""A cell and its pin, which may have several bits; for a port of the module, "" and its name."""

FLIP_FLOP = "TRELLIS_FF"
LOOK_UP_TABLE = "LUT4"


class Netlist:
    """A module of yosys' JSON, with who drives and who reads each net."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self.cells: dict[str, Any] = module["cells"]
        self._names = module["netnames"]
        self.drivers: dict[Bit, str] = {}
        self.readers = defaultdict[Bit, set[Pin]](set)
        for name in self.cells:
            self._connect(name)
        for name, port in module["ports"].items():
            if port["direction"] != "input":
                for bit in port["bits"]:
                    self.readers[bit].add(("", name))
        bits = (bit for net in self._names.values() for bit in net["bits"])
        self._next = 1 + max((bit for bit in bits if isinstance(bit, int)), default=1)

    def named(self, kind: str) -> list[str]:
        """Names of the cells of a type."""
        return [name for name, cell in self.cells.items() if cell["type"] == kind]

    def bit(self, name: str, pin: str) -> Bit:
        """What is at a pin of one bit; "x" if nothing is."""
        bits: list[Bit] = self.cells[name]["connections"].get(pin, [])
        return bits[0] if bits else "x"

    def agrees(self, name: str, pins: Mapping[str, Bit], parameters: Mapping[str, str]) -> bool:
        """Whether pins and parameters have these values or none."""
        cell = self.cells[name]
        return all(
            cell["connections"].get(pin, [bit]) == [bit] for pin, bit in pins.items()
        ) and all(cell["parameters"].get(key, value) == value for key, value in parameters.items())

    def set(self, name: str, pins: Mapping[str, Bit], parameters: Mapping[str, str]) -> None:
        """Give a cell's inputs, of one bit each, and parameters these values."""
        cell = self.cells[name]
        cell["parameters"].update(parameters)
        for pin, bit in pins.items():
            self.readers[self.bit(name, pin)].discard((name, pin))
            self.readers[bit].add((name, pin))
            cell["connections"][pin] = [bit]
            cell["port_directions"][pin] = "input"

    def copy(self, name: str, output: str, readers: Iterable[Pin]) -> None:
        """Add a copy of a cell, which has one output; of the output's readers, these read it."""
        old, new = self.bit(name, output), self._next
        self._next += 1
        # The net's number makes the name a new one.
        added = f"{name}$copy{new}"
        self.cells[added] = copy.deepcopy(self.cells[name])
        self.cells[added]["connections"][output] = [new]
        self._connect(added)
        self._names[f"{added}.{output}"] = {"hide_name": 0, "bits": [new], "attributes": {}}
        for reader, pin in readers:
            pins = self.cells[reader]["connections"]
            pins[pin] = [new if bit == old else bit for bit in pins[pin]]
            self.readers[old].discard((reader, pin))
            self.readers[new].add((reader, pin))

    def remove(self, name: str) -> None:
        """Take a cell out; what it drove stays without a driver."""
        cell = self.cells.pop(name)
        for pin, bits in cell["connections"].items():
            for bit in bits:
                self.readers[bit].discard((name, pin))

    def _connect(self, name: str) -> None:
        """Note what a cell drives and reads."""
        cell = self.cells[name]
        for pin, bits in cell["connections"].items():
            for bit in bits:
                if cell["port_directions"][pin] == "output":
                    self.drivers[bit] = name
                else:
                    self.readers[bit].add((name, pin))
