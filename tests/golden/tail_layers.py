"""How random layers of a network's tail are drawn: types, places, float arithmetic."""

import numpy as np
from hypothesis import strategies as st

from mensa.golden.options import (
    ArgMaxOptions,
    ArgMinOptions,
    CastOptions,
    DivOptions,
    GatherOptions,
    ShapeOptions,
    SVDFOptions,
)
from tests.golden.strategies import maker

_NAMES = {"bool": "BOOL"} | {
    name: name.upper()
    for name in ("int8", "uint8", "int16", "int32", "int64", "uint32", "float16", "float32")
}


def _shape(d, most=4):
    return tuple(d.number(1, 5) for _ in range(d.number(1, most)))


def _constant(d, values, **kinds):
    return d.builder.tensor(data=values, dtype=values.dtype, **kinds)


@maker("DEQUANTIZE", tflm=("int8", "uint8", "int16"), litert=("int8", "uint8", "int16"))
def _dequantize(d):
    shape = _shape(d)
    zero_point = 0 if d.builder.dtype == np.int16 else d.zero_point()
    x = d.builder.input(shape, scale=d.scale(), zero_point=zero_point)
    y = d.builder.tensor(shape, dtype=np.float32)
    return d.builder.operator("DEQUANTIZE", (x,), (y,))


@maker(
    "CAST",
    tflm=("int8", "int16", "int32", "float32"),
    litert=("int8", "uint8", "int16", "int32", "int64", "float16", "float32"),
)
def _cast(d):
    shape = _shape(d)
    targets = ["int8", "int16", "int32", "float32"]
    if d.oracle != "tflm":
        targets += ["uint8", "int64", "uint32", "float16", "bool"]
    target = d.choice(*targets)
    x = d.builder.input(shape)
    y = d.builder.tensor(shape, dtype=target)
    options = CastOptions(in_data_type=_NAMES[d.builder.dtype.name], out_data_type=_NAMES[target])
    return d.builder.operator("CAST", (x,), (y,), options)


@maker("SHAPE", tflm=("int8", "int16"), litert=("int8", "uint8", "int16"))
def _shape_of(d):
    x = d.builder.input(_shape(d), scale=d.scale(), zero_point=d.zero_point())
    kind = np.int64 if d.oracle != "tflm" and d.choice(True, False) else np.int32
    options = ShapeOptions(out_type=_NAMES[np.dtype(kind).name])
    return d.builder.apply("SHAPE", x, options=options, dtype=kind)


def _arg(d, op, kind):
    shape = _shape(d)
    axis = d.number(-len(shape), len(shape) - 1)
    if d.builder.dtype.kind == "f":
        x = d.builder.input(shape)
    else:
        x = d.builder.input(shape, scale=d.scale(), zero_point=d.zero_point())
    target = np.int64 if d.oracle != "tflm" and d.choice(True, False) else np.int32
    options = kind(output_type=np.dtype(target).name.upper())
    where = _constant(d, np.array(axis, np.int32))
    return d.builder.apply(op, x, where, options=options, dtype=target)


@maker("ARG_MAX", tflm=("int8", "float32"), litert=("int8", "uint8", "float32"))
def _arg_max(d):
    return _arg(d, "ARG_MAX", ArgMaxOptions)


@maker("ARG_MIN", tflm=("int8", "float32"), litert=("int8", "uint8", "float32"))
def _arg_min(d):
    return _arg(d, "ARG_MIN", ArgMinOptions)


def _elements(d, shape):
    if d.builder.dtype.kind == "f" or d.builder.dtype.itemsize > 1:
        return d.builder.input(shape)
    return d.builder.input(shape, scale=d.scale(), zero_point=d.zero_point())


_GATHERED = ("int8", "uint8", "int16", "int32", "float32")


@maker("GATHER", tflm=("int8", "float32"), litert=_GATHERED)
def _gather(d):
    shape = _shape(d)
    axis = d.number(0, len(shape) - 1)
    batch_dims = d.number(0, axis)
    index_shape = shape[:batch_dims] + tuple(d.number(1, 4) for _ in range(d.number(0, 2)))
    if d.oracle == "tflm":
        # TFLM writes the new shape over the file's, which must have room for it.
        index_shape = index_shape or (1,)
    kind = np.int64 if d.oracle != "tflm" and d.choice(True, False) else np.int32
    values = np.asarray(d.generator.integers(0, shape[axis], index_shape), kind)
    options = GatherOptions(axis=d.choice(axis, axis - len(shape)), batch_dims=batch_dims)
    return d.builder.apply("GATHER", _elements(d, shape), _constant(d, values), options=options)


@maker("GATHER_ND", tflm=("int8", "float32"), litert=_GATHERED)
def _gather_nd(d):
    shape = _shape(d)
    depth = d.number(1, len(shape))
    outer = tuple(d.number(1, 4) for _ in range(d.number(0, 2)))
    columns = [d.generator.integers(0, size, outer) for size in shape[:depth]]
    values = np.stack(columns, axis=-1).astype(np.int32)
    return d.builder.apply("GATHER_ND", _elements(d, shape), _constant(d, values))


@maker("EMBEDDING_LOOKUP", tflm=("int8", "float32"), litert=("int8", "float32"))
def _embedding(d):
    rows, shape = d.number(1, 9), _shape(d, most=3)
    index = _constant(d, d.generator.integers(0, rows, d.number(1, 6)).astype(np.int32))
    if d.builder.dtype == np.float32:
        return d.builder.apply("EMBEDDING_LOOKUP", index, _elements(d, (rows, *shape)), dtype="f4")
    floats = d.choice(True, False)
    zero_point = 0 if floats else d.zero_point()
    kinds = {"scale": d.scale(), "zero_point": zero_point}
    table = d.builder.input((rows, *shape), **kinds)
    kinds = {"dtype": np.float32} if floats else kinds
    return d.builder.apply("EMBEDDING_LOOKUP", index, table, **({"dtype": np.int8} | kinds))


def _root(d, op, finest):
    """A root of floats, or of quantised numbers that are not below zero."""
    if d.builder.dtype.kind == "f":
        return d.builder.apply(op, d.builder.input(_shape(d)))
    scale, low = d.scale(-14 if d.int16 else -8, 0), np.iinfo(d.builder.dtype).min
    x = d.builder.input(_shape(d), scale=scale, zero_point=0 if d.int16 else low)
    if d.int16:
        # The oracles refuse to run on anything below zero.
        x = d.builder.apply("RELU", x)
    highest = scale * (32767 if d.int16 else 255)
    largest = {"SQRT": highest**0.5, "RSQRT": scale**-0.5}[op]
    # As fine as the values need it, or coarser, or some finer: then they are clamped.
    out = largest / (2.0 ** d.draw(st.floats(2, finest, width=32)))
    zero_point = 0 if d.int16 else d.zero_point()
    return d.builder.apply(op, x, scale=float(np.float32(out)), zero_point=zero_point)


@maker("SQRT", tflm=("float32",), litert=("float32", "int8", "int16"))
def _sqrt(d):
    return _root(d, "SQRT", 17 if d.int16 else 9)


@maker("RSQRT", tflm=("float32", "int8", "int16"), litert=("float32", "int8", "int16"))
def _rsqrt(d):
    return _root(d, "RSQRT", 17 if d.int16 else 9)


@maker("EXP", tflm=("float32",), litert=("float32", "int8", "int16"))
def _exp(d):
    if d.builder.dtype.kind == "f":
        return d.builder.apply("EXP", d.builder.input(_shape(d)))
    # The largest argument is at most 16: what overflows int32 is undefined.
    scale = d.scale(-18, -11) if d.int16 else d.scale(-10, -4)
    x = d.builder.input(_shape(d), scale=scale, zero_point=d.zero_point())
    return d.builder.apply("EXP", x, scale=d.scale(-7, 4), zero_point=d.zero_point())


def _two(d):
    shape = _shape(d)
    other = tuple(d.choice(size, 1) for size in shape)
    kind = d.builder.dtype
    limit = 9 if kind.kind == "f" else np.iinfo(kind).max
    values = d.generator.uniform(1, limit, other) * d.generator.choice([-1, 1], other)
    values = values.astype(kind)
    if kind.kind == "i":
        # The lowest integer has no quotient by -1: LiteRT gives the lowest or the highest, as its
        # compiler happened to unroll the loop.
        values[values == -1] = 1
    return d.builder.input(shape), _constant(d, values)


@maker("DIV", tflm=("float32",), litert=("float32", "int32"))
def _div(d):
    activations = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
    options = DivOptions(activation=d.choice(*activations))
    return d.builder.apply("DIV", *_two(d), options=options)


@maker("FLOOR_DIV", tflm=("float32",), litert=("float32", "int32", "int16", "int8"))
def _floor_div(d):
    return d.builder.apply("FLOOR_DIV", *_two(d))


@maker("SVDF", litert=("int8",))
def _svdf(d):
    batch, features = d.number(1, 3), d.number(1, 12)
    rank, units, memory = d.number(1, 3), d.number(1, 6), d.number(1, 8)
    filters = rank * units
    state_type = np.int8 if d.oracle == "tflm" and d.choice(True, False) else np.int16
    x_scale, f_scale, t_scale = d.scale(-8, -3), d.scale(-10, -5), d.scale(-14, -7)
    s_scale = float(np.float32(x_scale * f_scale * 2.0 ** d.number(2, 10)))
    x = d.builder.input((batch, features), scale=x_scale, zero_point=d.zero_point())
    feature = _constant(d, d.values((filters, features), np.int8), scale=f_scale)
    time = _constant(d, d.values((filters, memory), state_type), scale=t_scale)
    bias = d.generator.normal(0, 2000, units).astype(np.int32)
    b_scale = float(np.float32(s_scale) * np.float32(t_scale))
    # TFLM reads the bias even where there is none.
    there = d.oracle == "tflm" or d.choice(True, False)
    bias_tensor = _constant(d, bias, scale=b_scale) if there else -1
    zero_point = d.zero_point() if state_type == np.int8 else 0
    state = d.builder.tensor(
        (batch, memory * filters),
        dtype=state_type,
        scale=s_scale,
        zero_point=zero_point,
        is_variable=True,
    )
    steps = 2.0 ** d.number(6 if state_type == np.int8 else 14, 22)
    return d.builder.apply(
        "SVDF",
        *(x, feature, time, bias_tensor, state),
        options=SVDFOptions(rank=rank, activation="RELU"),
        scale=float(np.float32(s_scale * t_scale * steps)),
        zero_point=d.zero_point(),
        dtype=np.int8,
    )
