"""Hypothesis strategies that draw one-layer graphs.

`layers` draws operator, shapes, strides, dilations, padding, zero points, scales and fused
activation; parameters and inputs come from a drawn seed, so that a failure shrinks to a small
layer quickly. Other folders' tests use it too: whatever runs graphs can be run on these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden.options import AddOptions, ReshapeOptions, SoftmaxOptions

# Those that the accelerators run, and SOFTMAX; `MAKERS` has all.
OPERATORS = (
    "ADD",
    "AVERAGE_POOL_2D",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "MAX_POOL_2D",
    "QUANTIZE",
    "RESHAPE",
    "SOFTMAX",
)
ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


@dataclass(frozen=True)
class Layer:
    """A graph of one operator, and inputs to run it on.

    Parameters
    ----------
    graph : golden.Graph
        The layer.
    seed : int
        Of the inputs.
    text : str
        What was drawn, for a failure's message.
    """

    graph: golden.Graph
    seed: int
    text: str

    def __repr__(self):
        return f"Layer({self.text}, seed={self.seed})"

    def inputs(self, count=1):
        """`count` lists of arrays in the graph's input order; the first has many extremes."""
        return random_inputs(self.graph, count, self.seed)


def random_inputs(graph, count, seed):
    """`count` lists of random arrays for `graph`, in its input order, the same for each seed.

    Returns uniform 8-bit values; of the first list half are the lowest or the highest value.
    Float inputs are normal, in the range that the operator reading them can hold.
    """
    generator = np.random.default_rng(seed)
    runs = []
    for run in range(count):
        arrays = []
        for index in graph.inputs:
            tensor = graph.tensors[index]
            if tensor.dtype.kind == "f":
                arrays.append(generator.normal(0, 2, tensor.shape).astype(tensor.dtype))
                continue
            if tensor.dtype.kind == "b":
                arrays.append(generator.integers(0, 2, tensor.shape).astype(tensor.dtype))
                continue
            limits = np.iinfo(tensor.dtype)
            values = generator.integers(limits.min, limits.max + 1, tensor.shape)
            if run == 0:
                extreme = generator.choice([limits.min, limits.max], tensor.shape)
                values = np.where(generator.random(tensor.shape) < 0.5, extreme, values)
            arrays.append(values.astype(tensor.dtype))
        runs.append(arrays)
    return runs


@dataclass
class Draw:
    """What all layers need of a draw."""

    draw: object
    builder: golden.GraphBuilder
    generator: np.random.Generator
    max_pixels: int
    max_channels: int
    floats: bool
    oracle: str | None = None

    def number(self, low, high):
        return self.draw(st.integers(low, high))

    def choice(self, *values):
        return self.draw(st.sampled_from(values))

    @property
    def unsigned(self):
        return self.builder.dtype == np.uint8

    @property
    def int16(self):
        """Whether activations are int16; weights are int8 then."""
        return self.builder.dtype == np.int16

    @property
    def weight_dtype(self):
        return np.int8 if self.int16 else self.builder.dtype

    def zero_point(self):
        if self.int16:
            return 0
        low = 0 if self.unsigned else -128
        return self.draw(st.one_of(st.just(low), st.integers(low, low + 255)))

    def scale(self, low=-10, high=2):
        """A positive float32, its logarithm uniform from ``2**low`` to ``2**high``."""
        exponent = self.draw(st.floats(low, high, allow_nan=False, width=32))
        return float(np.float32(2.0**exponent))

    def values(self, shape, dtype=None):
        """Weights or activations over the whole range of the type."""
        limits = np.iinfo(self.builder.dtype if dtype is None else dtype)
        return self.generator.integers(limits.min, limits.max + 1, shape).astype(limits.dtype)

    def image(self):
        return (
            self.choice(1, 1, 2),
            self.number(1, self.max_pixels),
            self.number(1, self.max_pixels),
            self.number(1, self.max_channels),
        )

    @property
    def deviation(self):
        """Standard deviation of random activations."""
        return 74.0 * (256 if self.int16 else 1)

    def bias_dtype(self):
        """Keywords of layers with int16 activations: what their sums are added up in."""
        return {"bias_dtype": self.choice(None, np.int64, np.int32)} if self.int16 else {}

    def activation(self):
        return self.choice("NONE", *ACTIVATIONS)

    def plain_pair(self, *kinds):
        """Two inputs of one of `kinds` of numbers that are not quantised."""
        if not kinds:
            kinds = (np.float32, np.int32, *([np.int64] if self.oracle == "litert" else []))
        kind, shape = self.choice(*kinds), self.image()
        other = self.choice(shape, (1, 1, 1, shape[3]), shape[3:])
        return [self.builder.input(size, dtype=kind) for size in (shape, other)]

    def powers(self, op, options):
        """ADD or SUB of int16 tensors whose scales are powers of two, which have a way of their
        own in LiteRT: one input has the output's scale and the other a finer one."""
        shape, exponent = self.image(), self.number(-12, -2)
        scales = [2.0**exponent, 2.0 ** (exponent - self.number(0, 15))]
        if self.choice(True, False):
            scales.reverse()
        # Of ADD, its kernel does not broadcast.
        other = self.choice(shape, shape[3:]) if op == "SUB" else shape
        pair = [
            self.builder.input(size, scale=scale)
            for size, scale in zip((shape, other), scales, strict=True)
        ]
        activation = self.activation()
        chosen = options(activation=activation, pot_scale_int16=self.choice(True, True, False))
        return self.builder.apply(op, *pair, options=chosen, scale=2.0**exponent)

    def windows(self, size, taps, dilated=True):
        """Kernel, stride, dilation and padding; VALID only where the kernel fits."""
        kernel = self.number(1, taps), self.number(1, taps)
        stride = self.number(1, 3), self.number(1, 3)
        dilation = (self.choice(1, 1, 2, 3), self.choice(1, 1, 2, 3)) if dilated else (1, 1)
        fits = all((k - 1) * d + 1 <= n for k, d, n in zip(kernel, dilation, size, strict=True))
        padding = self.choice("SAME", "VALID") if fits else "SAME"
        return kernel, stride, dilation, padding

    def takes_int4(self, op, per_channel):
        """Whether layers of `op` can have weights of int4 here."""
        if self.unsigned or op is None:
            return False
        if self.int16:
            # LiteRT's DEPTHWISE_CONV_2D of int16 takes their bytes for int8 weights.
            return self.oracle == "litert" and op != "DEPTHWISE_CONV_2D"
        return self.oracle == "litert" or not (per_channel and op == "FULLY_CONNECTED")

    def weights(self, shape, channels, reduced, source_scale, op=None):
        """Bias and the keywords of scales that keep outputs mostly within range.

        With `op`, what `filters` then gives may be of int4.
        """
        per_channel = not self.unsigned and self.draw(st.booleans())
        base = self.scale(-12, 0)
        weight_scale = base
        if per_channel:
            weight_scale = base * 2.0 ** self.generator.uniform(-4, 4, channels)
        self.narrow = self.takes_int4(op, per_channel) and self.choice(True, False, False, False)
        # A sum of `reduced` random products has about this deviation, in units of its scale;
        # mapped to some tens of steps, now and then to far fewer or far more.
        deviation = (4.6 if self.narrow else 74.0) * self.deviation * math.sqrt(reduced)
        steps = 2.0 ** self.draw(st.sampled_from((5, 5, 5, 6, 2, 0, 8, 12)))
        if self.int16:
            steps *= 256
        bias = None
        if self.choice(True, True, True, False) or self.no_bias_refused:
            bias = self.generator.normal(0, deviation, channels).astype(np.int32)
        return bias, {
            "weight_scale": weight_scale,
            "weight_zero_point": self.zero_point() if self.unsigned else 0,
            "scale": float(np.float32(base * source_scale * deviation / steps)),
            "zero_point": self.zero_point(),
            "activation": self.activation(),
        }

    def filters(self, shape, kinds, dimension=0):
        """Weights: a constant, now and then of int4, or now and then an input of the graph."""
        if self.narrow:
            scale = kinds["weight_scale"]
            return self.builder.tensor(
                data=self.generator.integers(-8, 8, shape),
                dtype=np.int8,
                type_name="INT4",
                scale=scale,
                quantized_dimension=dimension if np.size(scale) > 1 else 0,
            )
        one_scale = np.size(kinds["weight_scale"]) == 1
        if self.floats and not self.int16 and one_scale and self.choice(True, False, False, False):
            scale, zero_point = kinds["weight_scale"], kinds["weight_zero_point"]
            return self.builder.input(shape, scale=scale, zero_point=zero_point)
        return self.values(shape, self.weight_dtype)

    #: Whether weights of the scales that were drawn last are of int4.
    narrow: bool = False

    #: LiteRT refuses CONV_2D without a bias, so that case would be compared with TFLM alone.
    no_bias_refused: bool = False


def _conv_2d(d):
    n, h, w, c = d.image()
    groups = d.choice(*(g for g in (1, 1, 2, 3) if c % g == 0))
    oc = groups * d.number(1, max(1, d.max_channels // groups))
    kernel, stride, dilation, padding = d.windows((h, w), 5)
    shape = (oc, *kernel, c // groups)
    scale = d.scale()
    x = d.builder.input((n, h, w, c), scale=scale, zero_point=d.zero_point())
    d.no_bias_refused = True
    bias, kinds = d.weights(shape, oc, math.prod(shape[1:]), scale, "CONV_2D")
    return d.builder.conv2d(
        x,
        d.filters(shape, kinds),
        bias,
        stride=stride,
        dilation=dilation,
        padding=padding,
        **kinds,
        **d.bias_dtype(),
    )


def _depthwise_conv_2d(d):
    n, h, w, c = d.image()
    oc = c * d.choice(1, 1, 2, 3)
    kernel, stride, dilation, padding = d.windows((h, w), 5)
    shape = (1, *kernel, oc)
    scale = d.scale()
    x = d.builder.input((n, h, w, c), scale=scale, zero_point=d.zero_point())
    bias, kinds = d.weights(shape, oc, math.prod(kernel), scale, "DEPTHWISE_CONV_2D")
    return d.builder.depthwise_conv2d(
        x,
        d.filters(shape, kinds, dimension=3),
        bias,
        stride=stride,
        dilation=dilation,
        padding=padding,
        **kinds,
    )


def _fully_connected(d):
    rows, depth, outputs = d.number(1, 4), d.number(1, 12 * d.max_channels), d.number(1, 24)
    scale = d.scale()
    shape = d.choice((rows, depth), (rows, 1, 1, depth))
    x = d.builder.input(shape, scale=scale, zero_point=d.zero_point())
    bias, kinds = d.weights((outputs, depth), outputs, depth, scale, "FULLY_CONNECTED")
    keep = d.choice(True, False)
    weights = d.filters((outputs, depth), kinds)
    return d.builder.fully_connected(
        x, weights, bias, keep_num_dims=keep, **kinds, **d.bias_dtype()
    )


def _add(d):
    if d.floats and d.choice(True, False, False, False):
        options = AddOptions(activation=d.activation())
        return d.builder.apply("ADD", *d.plain_pair(), options=options)
    if d.int16 and d.choice(True, False):
        return d.powers("ADD", AddOptions)
    n, h, w, c = shape = d.image()
    other = d.choice(shape, shape, (1, 1, 1, c), (n, h, w, 1), (1, h, 1, 1), (c,), (1,))
    shapes = (shape, other) if d.choice(True, False) else (other, shape)
    scales = d.scale(-6, 0), d.scale(-6, 0)
    first, second = (
        d.builder.input(size, scale=scale, zero_point=d.zero_point())
        if size is shape or d.choice(True, False)
        else d.builder.tensor(data=d.values(size), scale=scale, zero_point=d.zero_point())
        for size, scale in zip(shapes, scales, strict=True)
    )
    return d.builder.add(
        first,
        second,
        scale=max(scales) * 2.0 ** d.draw(st.floats(-1, 2, width=32)),
        zero_point=d.zero_point(),
        activation=d.activation(),
    )


def _pool(d, kind):
    n, h, w, c = d.image()
    window, stride, _, padding = d.windows((h, w), 6, dilated=False)
    x = d.builder.input((n, h, w, c), scale=d.scale(-6, 0), zero_point=d.zero_point())
    return d.builder.pool2d(
        kind, x, window=window, stride=stride, padding=padding, activation=d.activation()
    )


def _softmax(d):
    shape = d.choice((d.number(1, 3), d.number(1, 60)), (1, 2, d.number(1, 4), d.number(1, 20)))
    beta = d.choice(1.0, 1.0, 0.5, 3.25)
    if d.builder.dtype.kind == "f":
        options = SoftmaxOptions(beta=beta)
        return d.builder.apply("SOFTMAX", d.builder.input(shape), options=options)
    scale = d.scale(-20, -5) if d.int16 else d.scale(-10, 1)
    x = d.builder.input(shape, scale=scale, zero_point=d.zero_point())
    return d.builder.softmax(x, beta=beta)


def _reshape(d):
    n, h, w, c = d.image()
    x = d.builder.input((n, h, w, c), scale=d.scale(), zero_point=d.zero_point())
    shape = d.choice((n * h, w * c), (n, h * w * c), (c, w, h, n))
    if d.floats and d.choice(True, False, False, False):
        wanted = d.builder.tensor(data=np.array(shape), dtype=np.int64)
        source = d.builder.build([]).tensors[x]
        y = d.builder.tensor(shape, scale=source.scale, zero_point=source.zero_point)
        return d.builder.operator("RESHAPE", (x, wanted), (y,), ReshapeOptions(new_shape=shape))
    return d.builder.reshape(x, shape)


def _quantize(d):
    shape, scale = d.image(), d.scale(-8, 0)
    source = d.builder.dtype
    targets = [np.int8] if d.int16 else [np.int8, np.uint8]
    if d.floats and d.choice(True, False, False):
        source = np.dtype(np.float32)
        # TFLM has no kernel from float to uint8.
        targets = [d.builder.dtype]
    elif d.int16 and d.choice(True, False, False):
        source, targets = np.dtype(np.int32), [np.int8, np.int16]
    elif d.int16:
        targets = [np.int8, np.int16, np.int32]
    elif d.floats:
        targets += [np.int16] + ([np.int32] if d.oracle == "tflm" and not d.unsigned else [])
    target = np.dtype(d.choice(*targets))
    if source == np.float32:
        x = d.builder.input(shape, dtype=source)
    else:
        zero_point = d.zero_point() if source.itemsize == 1 else 0
        x = d.builder.input(shape, dtype=source, scale=scale, zero_point=zero_point)
    bits = 8 * (source.itemsize - target.itemsize) if source.kind != "f" else 0
    # 32 bits hold left shifts of up to 30.
    steps = max(-29.0, bits + d.draw(st.floats(-6, 6, width=32)))
    limits = np.iinfo(target)
    return d.builder.quantize(
        x,
        scale=scale if d.choice(True, False) else scale * 2.0**steps,
        zero_point=d.number(limits.min, limits.max) if target.itemsize == 1 else 0,
        dtype=target,
    )


@dataclass(frozen=True)
class Maker:
    """How one operator's layers are drawn, and which oracles can run them.

    Parameters
    ----------
    make : function
        Adds a layer to the builder of a `Draw` and returns the index of its output, or of all
        of its outputs.
    types : dict
        By oracle, the types of activations that it can run, or in words why it can't run any.
    """

    make: object
    types: dict


MAKERS = {}
"""By operator; other files beside this one add more."""


def maker(op, *, tflm=("int8",), litert=("int8", "uint8")):
    """Registers the function below it as maker of `op`; the oracles' types as in `Maker`."""

    def register(make):
        assert op not in MAKERS, op
        MAKERS[op] = Maker(make, {"tflm": tflm, "litert": litert})
        return make

    return register


#: Types of operators that take int16 activations too.
WITH_INT16 = {"tflm": ("int8", "int16"), "litert": ("int8", "uint8", "int16")}

maker("ADD", **WITH_INT16)(_add)
maker("AVERAGE_POOL_2D", **WITH_INT16)(lambda d: _pool(d, "average"))
maker("CONV_2D", **WITH_INT16)(_conv_2d)
maker("DEPTHWISE_CONV_2D", **WITH_INT16)(_depthwise_conv_2d)
maker("FULLY_CONNECTED", **WITH_INT16)(_fully_connected)
maker("MAX_POOL_2D", **WITH_INT16)(lambda d: _pool(d, "max"))
maker("QUANTIZE", **WITH_INT16)(_quantize)
maker("RESHAPE", **WITH_INT16)(_reshape)
maker("SOFTMAX", **{oracle: (*types, "float32") for oracle, types in WITH_INT16.items()})(_softmax)


@st.composite
def layers(
    draw,
    operators=OPERATORS,
    dtypes=("int8", "uint8"),
    max_pixels=9,
    max_channels=12,
    floats=False,
    oracle=None,
):
    """A strategy for `Layer`: graphs of one operator out of `operators`.

    `dtypes` are the types of the activations, "int8", "uint8" and others; `max_pixels` bounds the
    height and width and `max_channels` the channels of an image; with `floats`, layers that the
    accelerators can't run are drawn too, such as of computed weights or of numbers that are not
    quantised. With `oracle`, "tflm" or "litert", only layers are drawn that this one can run.
    """
    op = draw(st.sampled_from(tuple(operators)))
    dtype = draw(st.sampled_from(tuple(dtypes)))
    seed = draw(st.integers(0, 2**31 - 1))
    builder = golden.GraphBuilder(op.lower(), dtype)
    generator = np.random.default_rng(seed)
    d = Draw(draw, builder, generator, max_pixels, max_channels, floats, oracle)
    found = MAKERS[op].make(d)
    outputs = [found] if isinstance(found, int) else list(found)
    graph = builder.build(outputs)
    operator = graph.operators[-1]
    shapes, results = (
        [list(graph.tensors[index].shape) for index in places if index >= 0]
        for places in (operator.inputs, outputs)
    )
    text = f"{dtype} {op} {shapes} -> {results} {operator.options}"
    return Layer(graph, seed, text)
