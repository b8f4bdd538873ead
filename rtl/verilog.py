"""From a component to Verilog text, the same bytes every time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Const, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

__all__ = ["to_verilog"]

_ZERO_INITIAL = re.compile(
    r"^  initial begin\n(?:    \w+\[\d+\] = \d+'h0+;\n)+  end\n", re.MULTILINE
)
"""A memory's initial contents, all 0: a line per word, so megabytes for the large buffers. Nothing
reads a word that was not written, and leaving them out lets tools infer any block RAM."""


def to_verilog(component: Any, name: str, renames: Mapping[str, str] | None = None) -> str:
    """Verilog of a component, with `clk` and `rst` beside its members as ports.

    Parameters
    ----------
    component : wiring.Component
        Its members become ports; a member `a.b` is called ``a__b``. Members that are constant (the
        `ready` of a stream that is always ready) become no ports.
    name : str
        Of the top module. Memories start with unknown contents.
    renames : mapping, optional
        From the beginning of a port's name to what stands there instead.

    Returns
    -------
    str
    """
    ports: dict[str, tuple[Any, PortDirection]] = {}
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = value.as_value()
        if isinstance(value, Const):
            continue
        port = "__".join(str(part) for part in path)
        for old, new in (renames or {}).items():
            if port.startswith(old):
                port = new + port[len(old) :]
        direction = PortDirection.Output if member.flow == wiring.Out else PortDirection.Input
        ports[port] = (value, direction)
    text = verilog.convert(
        component, name=name, ports=ports, emit_src=False, strip_internal_attrs=True
    )
    return _ZERO_INITIAL.sub("", text)
