"""How random layers that compare, choose and combine bools are drawn; importing registers them."""

from hypothesis import strategies as st

from mensa.golden.options import ReducerOptions
from tests.golden.strategies import maker

_PLAIN = ("int32", "int64", "float32")
_COMPARED = {
    "tflm": ("int8", *_PLAIN),
    "litert": ("int8", "uint8", "int16", *_PLAIN, "float16"),
}
_EVERY_SIZE = ("bool", "int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64")
_NONE = "it has no such kernel"


def _with_bools(types):
    return {oracle: ("bool", *names) for oracle, names in types.items()}


def _shape(d):
    """One to four dimensions."""
    return d.image()[4 - d.number(1, 4) :]


def _kinds(d, finest=-8):
    """Scale and zero point of a quantised tensor; nothing of other types."""
    if d.builder.dtype.kind in "bf" or d.builder.dtype.itemsize > 2:
        return {}
    return {"scale": d.scale(finest, -0.5), "zero_point": d.zero_point()}


def _values(d, shape):
    """Constants of any type."""
    kind = d.builder.dtype
    if kind.kind == "f":
        return d.generator.normal(0, 2, shape).astype(kind)
    if kind.kind == "b":
        return d.generator.integers(0, 2, shape).astype(kind)
    return d.values(shape)


def _tensor(d, shape, kinds, constant=False):
    if constant:
        return d.builder.tensor(data=_values(d, shape), **kinds)
    return d.builder.input(shape, **kinds)


def _broadcast_pair(d, first, second):
    """Two tensors that broadcast; one of them may be a constant."""
    shape = _shape(d)
    other = tuple(d.choice(size, size, 1) for size in shape)[d.number(0, len(shape)) :]
    shapes = (shape, other) if d.choice(True, False) else (other, shape)
    constant = d.choice(None, None, 0, 1)
    return [
        _tensor(d, size, kinds, place == constant)
        for place, (size, kinds) in enumerate(zip(shapes, (first, second), strict=True))
    ]


def _comparison(op):
    def make(d):
        first = _kinds(d)
        if d.int16 and (d.oracle == "tflm" or (op != "NOT_EQUAL" and d.choice(True, False))):
            first = {}
        if d.choice(True, False):
            # All elements with all, so that some are equal.
            size = d.number(1, 12)
            x = _tensor(d, (size,), first)
            return d.builder.apply(op, x, d.builder.reshape(x, (size, 1)))
        second = {**first, **_kinds(d)} if first and d.choice(True, False) else first
        return d.builder.apply(op, *_broadcast_pair(d, first, second))

    return make


for _op in ("EQUAL", "NOT_EQUAL"):
    maker(_op, **_with_bools(_COMPARED))(_comparison(_op))
for _op in ("GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"):
    maker(_op, **_COMPARED)(_comparison(_op))


def _logical(op):
    return lambda d: d.builder.apply(op, *_broadcast_pair(d, {}, {}))


for _op in ("LOGICAL_AND", "LOGICAL_OR"):
    maker(_op, tflm=("bool",), litert=("bool",))(_logical(_op))


@maker("LOGICAL_NOT", tflm=("bool",), litert=("bool",))
def _logical_not(d):
    return d.builder.apply("LOGICAL_NOT", d.builder.input(_shape(d)))


def _bools(d, shape):
    if d.choice(True, True, False):
        return d.builder.input(shape, dtype=bool)
    return d.builder.tensor(data=d.generator.integers(0, 2, shape).astype(bool), dtype=bool)


@maker("SELECT", tflm=_NONE, litert=_EVERY_SIZE)
def _select(d):
    shape, kinds = _shape(d), _kinds(d)
    condition = _bools(d, d.choice(shape, shape, shape[:1], ()))
    pair = [_tensor(d, shape, kinds, constant) for constant in d.choice((0, 0), (0, 1), (1, 0))]
    return d.builder.apply("SELECT", condition, *pair)


@maker("SELECT_V2", tflm=("int8", "int16", "float32"), litert=_EVERY_SIZE)
def _select_v2(d):
    shape, kinds = _shape(d), _kinds(d)
    shapes = [
        tuple(d.choice(size, size, 1) for size in shape)[d.choice(0, 0, d.number(0, len(shape))) :]
        for _ in range(3)
    ]
    constants = d.choice((0, 0), (0, 1), (1, 0))
    condition = _bools(d, shapes[0])
    pair = [
        _tensor(d, size, kinds, constant)
        for size, constant in zip(shapes[1:], constants, strict=True)
    ]
    return d.builder.apply("SELECT_V2", condition, *pair)


def _extremum(op):
    def make(d):
        shape = _shape(d)
        axes = st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, max_size=len(shape))
        options = ReducerOptions(keep_dims=d.choice(True, False))
        where = d.builder.tensor(data=d.draw(axes), dtype="int32")
        x = _tensor(d, shape, _kinds(d))
        if d.builder.dtype.kind == "f" and d.choice(True, False):
            x = d.builder.apply("SQRT", x)  # NaNs among them
        return d.builder.apply(op, x, where, options=options)

    return make


_REDUCED = ("bool", "int8", "uint8", "int16", "int32", "int64", "float32")
for _op in ("REDUCE_MAX", "REDUCE_MIN"):
    maker(_op, tflm=("int8", "float32"), litert=_REDUCED)(_extremum(_op))
maker("REDUCE_ALL", tflm=("bool",), litert=("bool",))(_extremum("REDUCE_ALL"))
maker("REDUCE_ANY", tflm=_NONE, litert=("bool",))(_extremum("REDUCE_ANY"))
