"""What a network consists of: layer by layer, what is accelerated and what is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from mensa.golden import Graph, GraphError, plan
from mensa.golden.plan import resolve_rounding
from mensa.sched.lower.supported import why_on_host

__all__ = ["LayerView", "inspect", "summary", "table"]


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
        Its work and what it reads and writes.
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
    reason: str | None
    computable: bool

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
            "accelerated": self.reason is None,
            "computable": self.computable,
            "reason": self.reason,
        }


def inspect(graph: Graph, rounding: str | None = None) -> list[LayerView]:
    """Look at every operator of a network, whether or not it can be run.

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
        tensor = graph.tensors[operator.outputs[0]] if operator.outputs else None
        layers.append(
            LayerView(
                index=operator.index,
                op=operator.op,
                name=tensor.name if tensor else "",
                shape=tensor.shape if tensor else (),
                macs=graph.macs(operator),
                parameter_bytes=graph.parameter_bytes(operator),
                activation_bytes=graph.activation_bytes(operator),
                reason=reason,
                computable=computable,
            )
        )
    return layers


def table(layers: Sequence[LayerView]) -> Table:
    """Return a row per layer."""
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("#", "layer", "output", "MACs", "parameter B", "activation B", "runs on"):
        numeric = heading == "#" or heading.endswith(("B", "MACs"))
        rows.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    for layer in layers:
        place = "accelerator" if layer.reason is None else "host"
        rows.add_row(
            str(layer.index),
            layer.op,
            "x".join(map(str, layer.shape)),
            f"{layer.macs:,}",
            f"{layer.parameter_bytes:,}",
            f"{layer.activation_bytes:,}",
            place if layer.computable else "nothing",
        )
    return rows


def summary(layers: Sequence[LayerView]) -> Iterator[str]:
    """Totals, and why layers are not accelerated."""
    macs = sum(layer.macs for layer in layers)
    ours = sum(layer.macs for layer in layers if layer.reason is None)
    count = sum(layer.reason is None for layer in layers)
    yield f"{count} of {len(layers)} layers accelerated, {ours:,} of {macs:,} MACs"
    for layer in layers:
        if layer.reason is not None:
            where = "is on the host" if layer.computable else "can't be run"
            yield f"layer {layer.index} {layer.op} {where}: {layer.reason}"
