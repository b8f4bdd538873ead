"""How random element-by-element layers are drawn; importing this registers them."""

import numpy as np
from hypothesis import strategies as st

from mensa.golden.options import LeakyReluOptions, MulOptions, SubOptions
from tests.golden.strategies import WITH_INT16, maker

AND_FLOATS = {oracle: (*types, "float32") for oracle, types in WITH_INT16.items()}
EIGHT_BIT = {"tflm": ("int8",), "litert": ("int8", "uint8")}


def _pair(d, scales):
    """Two tensors that broadcast; one of them may be a constant."""
    n, h, w, c = shape = d.image()
    other = d.choice(shape, shape, (1, 1, 1, c), (n, h, w, 1), (1, h, 1, 1), (h, w, c), (c,), ())
    shapes = (shape, other) if d.choice(True, False) else (other, shape)
    return [
        d.builder.input(size, scale=scale, zero_point=d.zero_point())
        if size is shape or d.choice(True, False)
        else d.builder.tensor(data=d.values(size), scale=scale, zero_point=d.zero_point())
        for size, scale in zip(shapes, scales, strict=True)
    ]


@maker("SUB", **WITH_INT16)
def _sub(d):
    activation = d.activation()
    options = SubOptions(activation=activation, pot_scale_int16=d.builder.dtype != np.int16)
    if d.floats and d.choice(True, False, False):
        return d.builder.apply("SUB", *d.plain_pair(), options=options)
    if d.int16 and d.choice(True, False):
        return d.powers("SUB", SubOptions)
    scales = d.scale(-6, 0), d.scale(-6, 0)
    return d.builder.apply(
        "SUB",
        *_pair(d, scales),
        options=options,
        scale=max(scales) * 2.0 ** d.draw(st.floats(-1, 2, width=32)),
        zero_point=d.zero_point(),
    )


@maker("MUL", **WITH_INT16)
def _mul(d):
    options = MulOptions(activation=d.activation())
    if d.floats and d.choice(True, False, False):
        return d.builder.apply("MUL", *d.plain_pair(), options=options)
    scales = d.scale(-6, 0), d.scale(-6, 0)
    bits = 8 if d.builder.dtype == np.int16 else 0
    return d.builder.apply(
        "MUL",
        *_pair(d, scales),
        options=options,
        scale=scales[0] * scales[1] * 2.0 ** (bits + d.draw(st.floats(-2, 9, width=32))),
        zero_point=d.zero_point(),
    )


def _extremum(op):
    def make(d):
        scale, zero_point = d.scale(-6, 0), d.zero_point()
        if d.floats and d.choice(True, False, False):
            return d.builder.apply(op, *d.plain_pair(np.float32, np.int32))
        return d.builder.apply(op, *_pair(d, (scale, scale)), scale=scale, zero_point=zero_point)

    return make


maker("MAXIMUM", **WITH_INT16)(_extremum("MAXIMUM"))
maker("MINIMUM", **WITH_INT16)(_extremum("MINIMUM"))


@maker("PRELU", **WITH_INT16)
def _prelu(d):
    _, h, w, c = shape = d.image()
    other = d.choice((1, 1, c), (1, 1, c), shape, (h, w, c), (1, 1, 1))
    scales = d.scale(-6, 0), d.scale(-8, -4)
    x = d.builder.input(shape, scale=scales[0], zero_point=d.zero_point())
    slopes = d.builder.tensor(
        data=d.values(other, d.weight_dtype),
        dtype=d.weight_dtype,
        scale=scales[1],
        zero_point=d.zero_point(),
    )
    scale = scales[0] * 2.0 ** d.draw(st.floats(-2, 2, width=32))
    return d.builder.apply("PRELU", x, slopes, scale=scale, zero_point=d.zero_point())


def _floats(d, op, options=None):
    """A layer of numbers that are not quantised, some of them large."""
    x = d.builder.input(d.image())
    factor = d.builder.tensor(data=[d.choice(1.0, 8.0)])
    return d.builder.apply(op, d.builder.apply("MUL", x, factor), options=options)


def _unary(d, low, high):
    scale = d.scale(low, high)
    return scale, d.builder.input(d.image(), scale=scale, zero_point=d.zero_point())


def _sigmoid(d, op, scale, zero_point):
    """A layer whose output has a fixed scale and, of int8, a fixed zero point."""
    if d.builder.dtype.kind == "f":
        return _floats(d, op)
    if d.int16:
        # Scales that are powers of two take a way of their own.
        low = d.draw(st.one_of(st.floats(-20, 0, width=32), st.integers(-15, -8)))
        x = d.builder.input(d.image(), scale=float(np.float32(2.0**low)))
        return d.builder.apply(op, x, scale=1 / 32768)
    _, x = _unary(d, -10, 1)
    return d.builder.apply(op, x, scale=scale, zero_point=zero_point + (128 if d.unsigned else 0))


@maker("LOGISTIC", **AND_FLOATS)
def _logistic(d):
    return _sigmoid(d, "LOGISTIC", 1 / 256, -128)


@maker("TANH", **WITH_INT16)
def _tanh(d):
    return _sigmoid(d, "TANH", 1 / 128, 0)


@maker("HARD_SWISH", tflm=("int8", "float32"), litert=("int8", "uint8", "float32"))
def _hard_swish(d):
    if d.builder.dtype.kind == "f":
        return _floats(d, "HARD_SWISH")
    scale, x = _unary(d, -9, 0)
    # The output may be up to 128 times finer.
    out = scale * 2.0 ** d.draw(st.floats(-6.5, 2, width=32))
    return d.builder.apply("HARD_SWISH", x, scale=out, zero_point=d.zero_point())


@maker("LEAKY_RELU", **AND_FLOATS)
def _leaky_relu(d):
    alpha = float(np.float32(d.choice(0.01, 0.1, 0.3, 0.0, 1.5, -0.25)))
    options = LeakyReluOptions(alpha=alpha)
    if d.builder.dtype.kind == "f":
        return _floats(d, "LEAKY_RELU", options)
    scale, x = _unary(d, -9, 0)
    out = scale * 2.0 ** d.draw(st.floats(-3, 3, width=32))
    return d.builder.apply("LEAKY_RELU", x, options=options, scale=out, zero_point=d.zero_point())


def _relu(op):
    def make(d):
        if d.builder.dtype.kind == "f":
            return _floats(d, op)
        low = -14 if d.builder.dtype == np.int16 else -8
        scale, x = _unary(d, low, 1)
        out = scale * 2.0 ** d.draw(st.floats(-2, 2, width=32))
        return d.builder.apply(op, x, scale=out, zero_point=d.zero_point())

    return make


maker("RELU", **AND_FLOATS)(_relu("RELU"))
maker("RELU6", **AND_FLOATS)(_relu("RELU6"))
for _op in ("RELU_N1_TO_1", "RELU_0_TO_1"):
    maker(_op, tflm="it has no such kernel", litert=("int8", "uint8", "float32"))(_relu(_op))
