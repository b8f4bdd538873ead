"""How random layers of one function of each element are drawn; importing registers them."""

import numpy as np
from hypothesis import strategies as st

from mensa.golden.options import GeluOptions
from tests.golden.strategies import maker

_NONE = "it has no such kernel"


def _halves(d):
    """Floats, many of them in the middle between two whole numbers."""
    x = d.builder.input(
        d.image(), dtype=np.int8, scale=d.choice(0.25, 0.5), zero_point=d.number(-9, 9)
    )
    y = d.builder.tensor(d.builder.build([]).tensors[x].shape)
    return d.builder.operator("DEQUANTIZE", (x,), (y,))


def _numbers(d):
    """Numbers that are not quantised."""
    if d.builder.dtype != np.float32:
        return d.builder.input(d.image())
    if d.choice(True, False):
        return _halves(d)
    factor = d.builder.tensor(data=[d.choice(1.0, 64.0)])
    return d.builder.apply("MUL", d.builder.input(d.image()), factor)


def _plain(op):
    return lambda d: d.builder.apply(op, _numbers(d))


maker("FLOOR", tflm=("float32",), litert=("float16", "float32"))(_plain("FLOOR"))
maker("CEIL", tflm=("float32",), litert=_NONE)(_plain("CEIL"))
maker("ROUND", tflm=("float32",), litert=_NONE)(_plain("ROUND"))
maker("SIGN", tflm=_NONE, litert=("int32", "float32", "float64"))(_plain("SIGN"))
maker("SQUARE", tflm=("float32",), litert=("float32",))(_plain("SQUARE"))
maker(
    "NEG",
    tflm=("float32",),
    litert=("int8", "int16", "int32", "int64", "float16", "float32"),
)(_plain("NEG"))


def _quantized(d, op, low, options=None):
    """A layer of quantised values whose output is some times coarser or finer than its input."""
    scale = d.scale(low, 1)
    x = d.builder.input(d.image(), scale=scale, zero_point=d.zero_point())
    out = scale if d.choice(True, False) else scale * 2.0 ** d.draw(st.floats(-3, 3, width=32))
    zero_point = d.zero_point()
    return d.builder.apply(op, x, options=options, scale=out, zero_point=zero_point)


@maker("ABS", tflm=("int8", "int16", "float32"), litert=("int8", "int16", "int32", "float32"))
def _abs(d):
    if d.builder.dtype.itemsize > 2 or (d.int16 and d.choice(True, False)):
        return _plain("ABS")(d)
    return _quantized(d, "ABS", -8)


@maker("ELU", tflm=("int8", "float32"), litert=_NONE)
def _elu(d):
    if d.builder.dtype.kind == "f":
        return _plain("ELU")(d)
    return _quantized(d, "ELU", -8)


@maker("GELU", tflm=_NONE, litert=("int8", "uint8", "int16"))
def _gelu(d):
    options = GeluOptions(approximate=d.choice(True, False))
    return _quantized(d, "GELU", -16 if d.int16 else -8, options)


@maker(
    "SQUARED_DIFFERENCE",
    tflm=("int8", "int16", "int32", "float32"),
    litert=("int8", "int32", "float32"),
)
def _squared_difference(d):
    shape = d.image()
    other = d.choice(shape, shape, (1, 1, 1, shape[3]), shape[3:], ())
    shapes = (shape, other) if d.choice(True, False) else (other, shape)
    if d.builder.dtype.itemsize > 2:
        return d.builder.apply("SQUARED_DIFFERENCE", *(d.builder.input(size) for size in shapes))
    scales = d.scale(-6, 0), d.scale(-6, 0)
    pair = [
        d.builder.input(size, scale=scale, zero_point=d.zero_point())
        if size is shape or d.choice(True, False)
        else d.builder.tensor(data=d.values(size), scale=scale, zero_point=d.zero_point())
        for size, scale in zip(shapes, scales, strict=True)
    ]
    # From all differences within range to the squares of the smallest ones alone.
    bits = d.draw(st.floats(-8, 12, width=32)) + (16 if d.int16 else 0)
    return d.builder.apply(
        "SQUARED_DIFFERENCE",
        *pair,
        scale=max(scales) ** 2 * 2.0**bits,
        zero_point=d.zero_point(),
    )


@maker("LOG_SOFTMAX", tflm=("int8", "float32"), litert=("int8", "uint8", "float32"))
def _log_softmax(d):
    shape = d.choice((d.number(1, 3), d.number(1, 60)), (1, 2, d.number(1, 4), d.number(1, 20)))
    if d.builder.dtype.kind == "f":
        factor = d.builder.tensor(data=[d.choice(1.0, 8.0)])
        return d.builder.apply(
            "LOG_SOFTMAX", d.builder.apply("MUL", d.builder.input(shape), factor)
        )
    x = d.builder.input(shape, scale=d.scale(-10, 3), zero_point=d.zero_point())
    zero_point = 255 if d.unsigned else 127
    return d.builder.apply("LOG_SOFTMAX", x, scale=1 / 16, zero_point=zero_point)
