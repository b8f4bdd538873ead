"""What a network consists of: layer by layer, what is accelerated and what is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table

from mensa.golden import Graph, GraphError, plan
from mensa.golden.error import printable
from mensa.golden.macs import operator_macs
from mensa.golden.planning import resolve_rounding
from mensa.golden.schema import INT4
from mensa.rtl.machine import Machine
from mensa.sched.lower.options import LoweringOptions
from mensa.sched.lower.room import lacks_room
from mensa.sched.lower.supported import why_on_host

__all__ = ["LayerView", "Total", "inspect", "summary", "table", "total"]


@dataclass(frozen=True, kw_only=True)
class LayerView:
    """One operator, as `mensa inspect` shows it.

    Attributes
    ----------
    index, op, name : int, str, str
        The operator and the name of its output.
    shape : tuple of int
        Of its output.
    macs, parameter_bytes, activation_bytes : int
        Its work, and what it reads and writes, every tensor once; an element of int4, of which
        a byte of the file has two, is a byte, as on the machine.
    has_int4 : bool
        Whether it reads such.
    reason : str or None
        Why it runs on the host; None if the accelerator takes it.
    computable : bool
        Whether golden can compute it at all.
    """

    index: int
    op: str
    name: str
    shape: tuple[int, ...]
    macs: int
    parameter_bytes: int
    activation_bytes: int
    has_int4: bool
    reason: str | None
    computable: bool

    @property
    def flop_per_byte(self) -> float | None:
        """Arithmetic intensity, two FLOP per MAC; None for a layer that does not multiply."""
        return _intensity(self.macs, self.parameter_bytes + self.activation_bytes)

    def to_json(self) -> dict[str, Any]:
        """Return the layer as JSON values."""
        return {
            "index": self.index,
            "op": self.op,
            "name": self.name,
            "shape": list(self.shape),
            "macs": self.macs,
            "parameter_bytes": self.parameter_bytes,
            "activation_bytes": self.activation_bytes,
            "has_int4": self.has_int4,
            "flop_per_byte": self.flop_per_byte,
            "accelerated": self.reason is None,
            "computable": self.computable,
            "reason": self.reason,
        }


def inspect(
    graph: Graph, rounding: str | None = None, machine: Machine | None = None
) -> list[LayerView]:
    """Look at every operator of a network, whether or not it can be run.

    With a machine also at whether that has room for each.

    Raises
    ------
    GraphError
        If there is no such rounding.
    """
    rounding = resolve_rounding(graph, rounding)
    layers = []
    for operator in graph.operators:
        computable, reason = True, None
        try:
            plan(graph, operator, rounding)
        except GraphError as error:
            computable, reason = False, error.reason
        else:
            reason = why_on_host(graph, operator, rounding)
            if reason is None and machine is not None:
                reason = lacks_room(graph, operator, rounding, machine, LoweringOptions())
        tensor = graph.first_output(operator)
        layers.append(
            LayerView(
                index=operator.index,
                op=operator.op,
                name=tensor.name if tensor else "",
                shape=tensor.shape if tensor else (),
                macs=operator_macs(graph, operator),
                parameter_bytes=graph.parameter_bytes(operator),
                activation_bytes=graph.activation_bytes(operator),
                has_int4=any(
                    graph.tensors[index].type_name == INT4
                    for index in operator.inputs
                    if index >= 0
                ),
                reason=reason,
                computable=computable,
            )
        )
    return layers


@dataclass(frozen=True, kw_only=True)
class Total:
    """Sums over all layers; see `LayerView`."""

    macs: int
    parameter_bytes: int
    activation_bytes: int

    @property
    def flop_per_byte(self) -> float | None:
        """Of all layers, each reading and writing memory."""
        return _intensity(self.macs, self.parameter_bytes + self.activation_bytes)

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        return {**asdict(self), "flop_per_byte": self.flop_per_byte}


def total(layers: Sequence[LayerView]) -> Total:
    """Add up all layers."""
    return Total(
        macs=sum(layer.macs for layer in layers),
        parameter_bytes=sum(layer.parameter_bytes for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
    )


def _intensity(macs: int, moved_bytes: int) -> float | None:
    return 2 * macs / moved_bytes if macs and moved_bytes else None


LEGEND = "Bytes are read and written, every tensor once; FLOP/B is two FLOP per MAC over both."

INT4_LEGEND = (
    "Weights of int4 count a byte each, as the machine stores them; the file has two a byte."
)


def table(layers: Sequence[LayerView]) -> Table:
    """Return a row per layer, and their sum."""
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    sizes = ("MACs", "parameter\nbytes", "activation\nbytes", "FLOP/B")
    for heading in ("#", "layer", "output", *sizes, "on"):
        left = heading in ("layer", "output", "on")
        rows.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for layer in layers:
        place = "machine" if layer.reason is None else "host"
        rows.add_row(
            str(layer.index),
            printable(layer.op),
            "x".join(map(str, layer.shape)),
            *_cells(layer),
            place if layer.computable else "nothing",
        )
    rows.add_section()
    rows.add_row("", "all", "", *_cells(total(layers)), "")
    return rows


def _cells(work: LayerView | Total) -> Iterator[str]:
    yield f"{work.macs:,}"
    yield f"{work.parameter_bytes:,}"
    yield f"{work.activation_bytes:,}"
    yield "-" if work.flop_per_byte is None else f"{work.flop_per_byte:.3g}"


def summary(layers: Sequence[LayerView]) -> Iterator[str]:
    """What the columns mean, how much is accelerated, and why the rest is not."""
    yield LEGEND
    if any(layer.has_int4 for layer in layers):
        yield INT4_LEGEND
    macs = total(layers).macs
    ours = total([layer for layer in layers if layer.reason is None]).macs
    count = sum(layer.reason is None for layer in layers)
    yield f"{count} of {len(layers)} layers accelerated, {ours:,} of {macs:,} MACs"
    alike: dict[tuple[str, bool, str], list[int]] = {}
    for layer in layers:
        if layer.reason is not None:
            alike.setdefault((layer.op, layer.computable, layer.reason), []).append(layer.index)
    for (op, computable, reason), places in alike.items():
        which = f"layer {places[0]}" if len(places) == 1 else f"layers {_list(places)}"
        are = "is" if len(places) == 1 else "are"
        state = f"{are} on the host" if computable else "can't be run"
        yield printable(f"{which} {op} {state}: {reason}")


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
