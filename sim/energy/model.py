"""What a layer's events cost: energy by component, static power, and the area of a machine.

docs/energy.md says what is counted and what each component is made of. Units: pJ, mm2, W.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import cached_property

from mensa.rtl.channel_record import CHANNEL_RECORD_BYTES, CHANNEL_RECORD_USED_BYTES
from mensa.rtl.command_events import CommandEvents, command_events
from mensa.rtl.commands import TABLE_BYTES, WORD_BYTES, Space, Unit
from mensa.rtl.machine import Machine
from mensa.rtl.program import Command
from mensa.sim.energy.constants import constants
from mensa.sim.energy.technology import Technology
from mensa.sim.memory import Memory

__all__ = ["COMPONENTS", "EnergyModel", "LayerEvents", "layer_events"]

COMPONENTS = {
    "mac": "multiplications and additions in PEs",
    "registers": "operands and sums in PEs",
    "kept_sums": "accumulator memories for several tiles in PEs",
    "links": "wires between PEs",
    "parameter_buffer": "its reads and writes, or those of the PEs' parameter registers",
    "activation_buffer": "its reads and writes",
    "constant_buffer": "channel records",
    "post_processor": "the requantiser",
    "vector_unit": "its products and tables",
    "cell": "LSTM cell and softmax unit",
    "commands": "command words, from memory on",
    "memory": "what the data port reads and writes",
    "interface": "wires between the data port and memory",
    "static": "leakage of the machine in the layer's time",
}
"""Of a layer's energy."""

BITS = 8

PICO = 1e12


@dataclass(frozen=True)
class LayerEvents:
    """What the commands of a layer do.

    Attributes
    ----------
    compute : CommandEvents
        Of its compute commands.
    parameter_writes, activation_writes, constant_writes : int
        Bytes that its loads write to the buffers.
    activation_reads : int
        Bytes that its stores read.
    command_words : int
        Words that are fetched for it.
    """

    compute: CommandEvents = field(default_factory=CommandEvents)
    parameter_writes: int = 0
    activation_writes: int = 0
    constant_writes: int = 0
    activation_reads: int = 0
    command_words: int = 0

    def to_json(self) -> dict[str, int]:
        """All counts by name."""
        own = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        for each in fields(self.compute)[1:]:
            own[each.name] = own.get(each.name, 0) + getattr(self.compute, each.name)
        return own


_WRITES = {
    Space.ACTIVATION: "activation_writes",
    Space.PARAMETER: "parameter_writes",
    Space.CONSTANT: "constant_writes",
}


def layer_events(machine: Machine, commands: Iterable[Command]) -> dict[int, LayerEvents]:
    """Events of a program's commands by tag."""
    counts: dict[int, dict[str, int]] = {}
    computed: dict[int, CommandEvents] = {}
    before = -1
    for command in commands:
        own = counts.setdefault(command.tag, {})
        own["command_words"] = own.get("command_words", 0) + command.word_index - before
        before = command.word_index
        if command.unit is Unit.COMPUTE:
            found = command_events(machine, command.registers)
            computed[command.tag] = computed.get(command.tag, CommandEvents()) + found
        else:
            loads = command.unit is Unit.LOAD
            name = _WRITES[Space(command["SPACE"])] if loads else "activation_reads"
            own[name] = own.get(name, 0) + command["ROWS"] * command["ROW_BYTES"]
    return {
        tag: LayerEvents(compute=computed.get(tag, CommandEvents()), **own)
        for tag, own in counts.items()
    }


@dataclass(frozen=True)
class EnergyModel:
    """Energy and area of a machine on a memory, made in a technology."""

    machine: Machine
    memory: Memory
    technology: Technology = field(default_factory=Technology)

    def of(
        self, events: LayerEvents, read_bytes: int, write_bytes: int, time_ns: float
    ) -> dict[str, float]:
        """Energy of a layer by `COMPONENTS` [pJ].

        Parameters: its events, what the data port reads and writes for it, and its time.
        """
        machine, array, compute = self.machine, self.machine.array, events.compute
        scale = constants().energy_scale(self.technology.node_nm)
        moved = read_bytes * self._memory("read") + write_bytes * self._memory("write")
        words = WORD_BYTES * events.command_words
        pitch_mm = math.sqrt(self._constant("array.pe_area"))
        wire = self._constant("array.wire") * BITS * scale
        distance = self._constant(f"memories.{self.memory.kind}.distance")
        return {
            "mac": compute.macs * self._constant("array.mac") * scale,
            "registers": (
                compute.macs
                * array.register_bytes_per_mac
                * self._constant("array.register")
                * scale
            ),
            "kept_sums": self._buffer(
                array.kept_bank_bytes or 1, compute.kept_sums / 2, compute.kept_sums / 2
            ),
            "links": compute.macs * array.link_bytes_per_mac * wire * pitch_mm * self._shrink,
            "parameter_buffer": self._buffer(
                array.parameter_bank_bytes or machine.parameter_bytes,
                compute.parameter_reads,
                events.parameter_writes,
            ),
            "activation_buffer": self._buffer(
                machine.activation_buffer_bytes,
                compute.activation_reads + events.activation_reads,
                compute.activation_writes + events.activation_writes,
            ),
            "constant_buffer": self._buffer(
                machine.constant_buffer_bytes,
                compute.constant_reads,
                events.constant_writes * CHANNEL_RECORD_USED_BYTES / CHANNEL_RECORD_BYTES,
            ),
            "post_processor": compute.requantised * self._constant("units.requantise") * scale,
            "vector_unit": (
                compute.vector_operations * self._constant("units.vector_operation") * scale
                + self._buffer(TABLE_BYTES, compute.table_reads, 0)
            ),
            "cell": scale
            * (
                compute.cell_results * self._constant("units.cell_result")
                + compute.exponentials * self._constant("units.exponential")
            ),
            "commands": (
                events.command_words * self._constant("units.command_word") * scale
                + words * self._memory("read")
            ),
            "memory": moved,
            "interface": (read_bytes + write_bytes + words) * wire * distance,
            "static": self.static_w * time_ns * 1e-9 * PICO,
        }

    @cached_property
    def static_w(self) -> float:
        """Leakage [W]: of the buffers by their size, of logic by its area."""
        technology = self.technology
        per_kb = constants().leakage[technology.device][technology.temperature_k] * 1e-6
        reference = 1 << 17
        per_mm2 = per_kb * (reference >> 10) / constants().buffer(reference, "mm2")
        # Leakage per transistor is taken as the same at every node.
        logic_mm2 = self.area_mm2["pes"] / constants().area_scale(technology.node_nm)
        return per_kb * self._buffer_bytes / 1024 + per_mm2 * logic_mm2

    @cached_property
    def area_mm2(self) -> dict[str, float]:
        """Area of the PEs and of each buffer [mm2]; no other logic is in it."""
        machine, known = self.machine, constants()
        scale = known.area_scale(self.technology.node_nm)
        bank = machine.array.parameter_bank_bytes or machine.parameter_bytes
        banks = machine.parameter_bytes / bank
        return {
            "pes": machine.peak_macs_per_cycle * self._constant("array.pe_area") * scale,
            "parameter_buffer": banks * known.buffer(bank, "mm2") * scale,
            "activation_buffer": known.buffer(machine.activation_buffer_bytes, "mm2") * scale,
            "constant_buffer": known.buffer(machine.constant_buffer_bytes, "mm2") * scale,
        }

    @property
    def _buffer_bytes(self) -> int:
        machine = self.machine
        return (
            machine.parameter_bytes
            + machine.activation_buffer_bytes
            + machine.constant_buffer_bytes
            + (machine.array.kept_bank_bytes or 0) * machine.array.group
        )

    @property
    def _shrink(self) -> float:
        """Length at the node beside that at the reference."""
        return math.sqrt(constants().area_scale(self.technology.node_nm))

    def _buffer(self, nbytes: int, reads: float, writes: float) -> float:
        """Reads and writes, in bytes, of a buffer of so many."""
        known = constants()
        factor = known.devices[self.technology.device]
        factor *= known.energy_scale(self.technology.node_nm) * BITS
        read, write = known.buffer(nbytes, "read"), known.buffer(nbytes, "write")
        return (reads * read + writes * write) * factor

    def _memory(self, access: str) -> float:
        """Of a byte."""
        return BITS * self._constant(f"memories.{self.memory.kind}.{access}")

    @staticmethod
    def _constant(name: str) -> float:
        return constants().single[name].value
