"""Report: what a run gave, layer by layer, and which engine produced each number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mensa.rtl.strict_json import json_text
from mensa.sim.host import ESTIMATE, HOST, NANOSECONDS

__all__ = ["HOST", "NANOSECONDS", "LayerReport", "MachineTotal", "Report", "TimingCheck"]


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """One operator of the network.

    Attributes
    ----------
    index : int
        Its place among the file's operators.
    op : str
        The schema's name, such as ``"CONV_2D"``.
    name : str
        Name of its output tensor.
    shape : tuple of int
        Shape of its output tensor.
    machine : str
        Name of the machine that ran it, or `HOST`.
    macs : int
        Multiply-accumulates, padding included.
    cycles : int or None
        From the end of the layer before to its own end; None on the host, or from an engine
        without time.
    time_ns : float or None
        The same in nanoseconds of the machine's clock; on the host a rough estimate, see
        `mensa.sim.host`. None from an engine without time.
    utilization : float or None
        Share of the array's multiply-accumulates that were used in these cycles, 0 to 1.
    stalls : mapping of str to int, or None
        Where the cycles went, by category of docs/architecture.md. They sum to `cycles`:
        ``compute`` and ``fill_drain`` are work, the others are waiting.
    dram_read_bytes, dram_write_bytes : int or None
        Bytes over the data port, whole beats.
    parameter_bytes : mapping of str to int, or None
        Bytes of parameters and constants, as the machine stores them: ``cached`` stay on chip from
        inference to inference, ``streamed`` are loaded by each; None on the host.
    energy_pj : mapping of str to float, or None
        Energy by component (`mensa.sim.energy.model.COMPONENTS`) in picojoule; None on the host,
        or from an engine without time.
    energy_events : mapping of str to int, or None
        What it is made of, beside the bytes of memory and the time: counts of
        `mensa.sim.energy.model.LayerEvents`; None on the host.
    roofline : mapping of str to values, or None
        Its place on the roofline, and what bounds it (`mensa.sched.roofline.Roofline`); None on
        the host, without a time, and of a layer that takes none.
    spilled_bytes : int or None
        Among the bytes read and written, results that the operator's own stages hand over through
        memory, such as sums of an LSTM's inputs; its operands and outputs are not among them, nor
        what bursts read beyond a row. None on the host.
    buffer_reads : mapping of str to int, or None
        Words that the machine reads from its buffers of ``parameters`` and of ``activations``
        (`mensa.rtl.buffer_reads`); None on the host.
    bit_exact : bool or None
        Whether its output equals golden's; None when that was not compared.
    reason : str or None
        Why it ran on the host.
    copies : bool
        Whether the machine ran it as a copy: it computes nothing.
    table_of : int or None
        The layer whose table holds what it computes too: it has no time and no output of its own.
    """

    index: int
    op: str
    name: str
    shape: tuple[int, ...]
    machine: str
    macs: int
    cycles: int | None = None
    time_ns: float | None = None
    utilization: float | None = None
    stalls: Mapping[str, int] | None = None
    dram_read_bytes: int | None = None
    dram_write_bytes: int | None = None
    parameter_bytes: Mapping[str, int] | None = None
    energy_pj: Mapping[str, float] | None = None
    energy_events: Mapping[str, int] | None = None
    roofline: Mapping[str, Any] | None = None
    spilled_bytes: int | None = None
    buffer_reads: Mapping[str, int] | None = None
    bit_exact: bool | None = None
    reason: str | None = None
    copies: bool = False
    table_of: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the layer's entry in the report's JSON."""
        return {
            "index": self.index,
            "op": self.op,
            "name": self.name,
            "machine": self.machine,
            "cycles": self.cycles,
            "time_ns": self.time_ns,
            "macs": self.macs,
            "utilization": self.utilization,
            "stalls": None if self.stalls is None else dict(self.stalls),
            "dram_read_bytes": self.dram_read_bytes,
            "dram_write_bytes": self.dram_write_bytes,
            "parameter_bytes": (
                None if self.parameter_bytes is None else dict(self.parameter_bytes)
            ),
            "spilled_bytes": self.spilled_bytes,
            "buffer_reads": None if self.buffer_reads is None else dict(self.buffer_reads),
            "energy_pj": None if self.energy_pj is None else dict(self.energy_pj),
            "roofline": None if self.roofline is None else dict(self.roofline),
            "energy_events": None if self.energy_events is None else dict(self.energy_events),
            "bit_exact": self.bit_exact,
            "reason": self.reason,
            "copies": self.copies,
            "table_of": self.table_of,
        }


@dataclass(frozen=True, kw_only=True)
class MachineTotal:
    """Sums over the layers that one machine ran.

    Attributes
    ----------
    macs : int
        Multiply-accumulates.
    cycles : int
        Of the machine's clock.
    time_ns : float
        The same in nanoseconds.
    """

    macs: int
    cycles: int
    time_ns: float


@dataclass(frozen=True, kw_only=True)
class TimingCheck:
    """The timing model's numbers beside those of the engine that ran.

    Attributes
    ----------
    cycles : mapping of int to int
        The model's cycles by operator index.
    differences : tuple of str
        A line for every number (cycles, a stall, bytes) that differs.
    """

    cycles: Mapping[int, int]
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether every number is the same."""
        return not self.differences


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run gave.

    Attributes
    ----------
    mensa : str
        Version of this project.
    model : str
        Name of the network.
    soc : str
        Name of the system.
    engine : str
        Which engine gave the times: "rtl", "model", or "functional", which has none.
    layers : tuple of LayerReport
        In the order of execution.
    provenance : mapping
        Everything else that the numbers depend on.
    timing : TimingCheck or None
        The comparison with the timing model, if there was one.
    setup_cycles : mapping of str to int
        By machine, what loading the parameters that stay on chip takes, once, before the first
        inference and not counted in any; nothing without such parameters or without time.
    idle_pj : float or None
        Leakage of all machines while others work; None from an engine without time.
    """

    mensa: str
    model: str
    soc: str
    engine: str
    layers: tuple[LayerReport, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    timing: TimingCheck | None = None
    setup_cycles: Mapping[str, int] = field(default_factory=dict)
    idle_pj: float | None = None

    @property
    def machines(self) -> dict[str, MachineTotal]:
        """Totals by machine, the host left out; nothing from an engine without time."""
        totals: dict[str, MachineTotal] = {}
        for layer in self.layers:
            if layer.cycles is not None and layer.time_ns is not None:
                before = totals.get(layer.machine, MachineTotal(macs=0, cycles=0, time_ns=0.0))
                totals[layer.machine] = MachineTotal(
                    macs=before.macs + layer.macs,
                    cycles=before.cycles + layer.cycles,
                    time_ns=before.time_ns + layer.time_ns,
                )
        return totals

    @property
    def cycles(self) -> dict[str, int]:
        """Cycles by machine, the host left out."""
        return {name: total.cycles for name, total in self.machines.items()}

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameter_bytes(self) -> dict[str, int]:
        """The same of all layers: bytes that are cached, and that are streamed."""
        known = [each.parameter_bytes for each in self.layers if each.parameter_bytes is not None]
        return {name: sum(each[name] for each in known) for name in ("cached", "streamed")}

    @property
    def energy_pj(self) -> dict[str, float] | None:
        """Energy of all layers but the host's by component, and of machines that are `idle`.

        None from an engine without time, and if all is on the host.
        """
        known = [each.energy_pj for each in self.layers if each.energy_pj is not None]
        if not known or self.idle_pj is None:
            return None
        return {
            **{name: sum(each[name] for each in known) for name in known[0]},
            "idle": self.idle_pj,
        }

    @property
    def pj_per_mac(self) -> float | None:
        """Energy over the multiply-accumulates of the layers that it is of; None if there are none
        of either."""
        energy = self.energy_pj
        macs = sum(each.macs for each in self.layers if each.energy_pj is not None)
        return None if energy is None or not macs else sum(energy.values()) / macs

    @property
    def host_layers(self) -> tuple[LayerReport, ...]:
        """The layers on the host."""
        return tuple(layer for layer in self.layers if layer.machine == HOST)

    @property
    def time_ns(self) -> float | None:
        """Time of all layers, the host's estimated; None from an engine without time."""
        return self._time_ns(self.layers)

    @property
    def time_ns_without_host(self) -> float | None:
        """The same of all layers but those on the host."""
        return self._time_ns(layer for layer in self.layers if layer.machine != HOST)

    @property
    def host_time_ns(self) -> float | None:
        """The same of the layers on the host."""
        return self._time_ns(self.host_layers)

    def _time_ns(self, layers: Iterable[LayerReport]) -> float | None:
        # One time that is missing says that the engine has none, also of no layer at all.
        if any(layer.time_ns is None for layer in self.layers):
            return None
        return sum((layer.time_ns or 0.0 for layer in layers), 0.0)

    @property
    def bit_exact(self) -> bool | None:
        """Whether every layer equals golden; None if one was not compared, or there is none."""
        found = [layer.bit_exact for layer in self.layers]
        if False in found:
            return False
        return None if None in found or not found else True

    @property
    def passed(self) -> bool:
        """Whether no comparison failed."""
        return self.bit_exact is not False and (self.timing is None or self.timing.equal)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a tree of JSON values."""
        provenance = dict(self.provenance)
        if self.host_layers and self.host_time_ns is not None:
            provenance["host_time"] = ESTIMATE
        provenance["timing_check"] = self._timing_json()
        return {
            "mensa": self.mensa,
            "model": self.model,
            "soc": self.soc,
            "engine": self.engine,
            "layers": [layer.to_json() for layer in self.layers],
            "totals": {
                "cycles": self.cycles,
                "setup_cycles": dict(self.setup_cycles),
                "time_ns": self.time_ns,
                "time_ns_without_host": self.time_ns_without_host,
                "host_time_ns": self.host_time_ns,
                "macs": self.macs,
                "parameter_bytes": self.parameter_bytes,
                "energy_pj": self.energy_pj,
                "pj_per_mac": self.pj_per_mac,
                "bit_exact": self.bit_exact,
            },
            "provenance": provenance,
        }

    def _timing_json(self) -> dict[str, Any] | None:
        if self.timing is None:
            return None
        return {
            "engine": "model",
            "equal": self.timing.equal,
            "cycles": {str(index): cycles for index, cycles in self.timing.cycles.items()},
            "differences": list(self.timing.differences),
        }

    def json_text(self) -> str:
        """Return the report as JSON text."""
        return json_text(self.to_json())
