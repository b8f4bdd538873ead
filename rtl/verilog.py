"""From a component to Verilog text, the same bytes every time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from amaranth.back import rtlil, verilog
from amaranth.hdl import Const, Fragment, Instance, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

__all__ = ["to_verilog", "written"]


_WITHOUT_BITS = re.compile(r"^ *wire \[-1:0\] .*;\n", re.MULTILINE)
"""How yosys declares a signal of no bits: as one of two, which nothing drives or reads."""

_BLOCK = "  always @* begin\n"
_WAKING = re.compile(rf"^{re.escape(_BLOCK)}    if \((\S+) \) begin end\n", re.MULTILINE)
"""How yosys makes a combinational block run at time 0 though its inputs may never change: it waits
for one more register, of which nothing else comes than its value in the declaration."""

_ESCAPED = re.compile(r"(?<=\\)\S+")
_ELEMENT = re.compile(r"\[(\d+)\]")
"""Amaranth calls an element of an array ``values[3]``, and yosys' abc9 a bit of a wire: where both
are there, it takes one for the other and fails."""


_texts: dict[str, str] = {}
"""Modules written in Verilog, by their names; `to_verilog` adds those that there are instances of.

They are found by name because Amaranth copies instances when a reset is put around them.
"""


def written(name: str, text: str, *, i: Mapping[str, Any], o: Mapping[str, Any]) -> Instance:
    """An instance of a module that is written in Verilog.

    Parameters
    ----------
    name : str
        Of the module, after that of the top module and a dot; says which text it is.
    text : str
        The module without its first line, up to ``endmodule``.
    i, o : mapping
        By the name of an input or output, what it is connected to.
    """
    ports = {f"i_{port}": value for port, value in i.items()}
    ports |= {f"o_{port}": value for port, value in o.items()}
    whole = f"({', '.join([*i, *o])});\n{text}"
    if _texts.setdefault(name, whole) != whole:
        raise ValueError(f"There is another module {name!r} written in Verilog")
    return Instance(name, **ports)


def _take_written(fragment: Fragment, top: str, found: dict[str, str]) -> None:
    """Find the modules written in Verilog below a fragment; give them their full names."""
    if isinstance(fragment, Instance) and fragment.type in _texts:
        text = _texts[fragment.type]
        fragment.type = f"{top}.{fragment.type}"
        found[fragment.type] = text
    for below, *_ in fragment.subfragments:
        _take_written(below, top, found)


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


def _awake(text: str) -> str:
    """Make every combinational block run at time 0, in whichever language the text is read.

    A value in a declaration is an event in Verilog, though one that may come before a block waits
    for it, and none in SystemVerilog, where the block's outputs would stay unknown. A nonblocking
    assignment comes when all blocks are waiting.
    """
    waking = _WAKING.findall(text)
    for register in sorted(set(waking)):
        parts = text.split(f"  reg {register}  = 0;\n")
        text = f"  reg {register} ;\n  initial {register}  <= 0;\n".join(parts)
        if len(parts) != 2:
            raise RuntimeError(f"yosys declares {register} in {len(parts) - 1} places, not in one")
    if text.count(_BLOCK) != len(waking):
        raise RuntimeError(
            f"of {text.count(_BLOCK)} blocks, yosys lets {len(waking)} run at time 0"
        )
    return text


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
    fragment = Fragment.get(component, None)
    modules: dict[str, str] = {}
    _take_written(fragment, name, modules)
    with _without_zeros():
        text: str = verilog.convert(
            fragment, name=name, ports=ports, emit_src=False, strip_internal_attrs=True
        )
    text = _awake(_WITHOUT_BITS.sub("", text))
    text = _ESCAPED.sub(lambda name: _ELEMENT.sub(r".\1", name[0]), text)
    return text + "".join(f"\nmodule \\{called} {rest}" for called, rest in modules.items())
