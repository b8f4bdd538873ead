"""From a component to Verilog text, the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from amaranth.back import rtlil, verilog
from amaranth.hdl import Const, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

__all__ = ["to_verilog"]


@contextmanager
def _without_zeros() -> Iterator[None]:
    """Leave out the initial contents of memories that start as zeros.

    Amaranth writes them bit by bit and yosys a line per word: minutes and megabytes for a buffer
    of 4 MiB. Nothing reads a word that was not written, and tools infer any block RAM this way.
    The method is not public; pyproject.toml holds Amaranth to the version that has it.
    """
    emit = rtlil.ModuleEmitter.emit_memory

    def emit_unless_zero(self: Any, cell_index: int, cell: Any) -> None:
        if any(cell.init):
            emit(self, cell_index, cell)

    rtlil.ModuleEmitter.emit_memory = emit_unless_zero
    try:
        yield
    finally:
        rtlil.ModuleEmitter.emit_memory = emit


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
    with _without_zeros():
        text: str = verilog.convert(
            component, name=name, ports=ports, emit_src=False, strip_internal_attrs=True
        )
    return text
