"""How random networks with variables are drawn; importing this registers their operators."""

import mensa.golden as golden
from mensa.golden.options import ConcatenationOptions, StridedSliceOptions
from tests.golden.shape_layers import INT_TYPES
from tests.golden.strategies import maker


def _joined(d, *parts):
    return d.builder.apply("CONCATENATION", *parts, options=ConcatenationOptions(axis=1))


def _newest(d, x, frames, shape):
    """The last `frames` frames of a tensor of this shape."""
    corners = ([0, shape[1] - frames, 0], list(shape), [1, 1, 1])
    limits = (d.builder.tensor(data=each, dtype="int32") for each in corners)
    return d.builder.apply("STRIDED_SLICE", x, *limits, options=StridedSliceOptions())


def _first(d, names, shapes, kinds):
    """A graph that assigns these variables constants."""
    builder = golden.GraphBuilder("first", d.builder.dtype)
    for name, shape in zip(names, shapes, strict=True):
        value = builder.tensor(data=d.values(shape), **kinds)
        builder.assign_variable(builder.var_handle(*name), value)
    return builder.build([])


def _streaming(d):
    """Some variables, each of which remembers the newest frames of the input or of another."""
    kinds = {"scale": d.scale(), "zero_point": d.zero_point()}
    channels, new = d.number(1, 6), d.number(1, 3)
    x = d.builder.input((1, new, channels), **kinds)
    count = d.number(1, 3)
    names = [(f"memory {place}", d.choice("", "streams")) for place in range(count)]
    shapes = [(1, d.number(1, 5), channels) for _ in names]
    start = d.choice("one call", "calls", "assigned")
    if start == "one call":
        d.builder.call_once(_first(d, names, shapes, kinds))
    elif start == "calls":
        for name, shape in zip(names, shapes, strict=True):
            d.builder.call_once(_first(d, [name], [shape], kinds))
    parts = []
    for name, (_, frames, _) in zip(names, shapes, strict=True):
        handles = [d.builder.var_handle(*name) for _ in range(d.number(1, 2))]
        if start == "assigned":
            value = d.builder.tensor(data=d.values((1, frames, channels)), **kinds)
            d.builder.assign_variable(d.choice(*handles), value)
        memory = d.builder.read_variable(d.choice(*handles), (1, frames, channels), **kinds)
        both = _joined(d, memory, x)
        value = _newest(d, both, frames, (1, frames + new, channels))
        d.builder.assign_variable(d.choice(*handles), value)
        parts.append(both)
        if d.choice(True, False):
            again = d.builder.read_variable(d.choice(*handles), (1, frames, channels), **kinds)
            parts.append(again)
    return _joined(d, *parts, x)


for _op in ("ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE"):
    maker(_op, **INT_TYPES)(_streaming)
