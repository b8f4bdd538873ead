"""The page docs/accelerated.md: what runs on the machine, under which restrictions, and how fast.

python -m mensa.sched.lower.accelerated_page > docs/accelerated.md
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mensa.golden import Graph, GraphBuilder
from mensa.golden.options import (
    BatchMatMulOptions,
    PackOptions,
    ReducerOptions,
    ResizeBilinearOptions,
    SVDFOptions,
    TransposeConvOptions,
    UnidirectionalSequenceLSTMOptions,
)
from mensa.rtl.machine import edge_tpu
from mensa.sched.lower.functions import ELEMENTWISE
from mensa.sched.lower.network import lower
from mensa.sched.lower.supported import RESTRICTIONS
from mensa.sched.placement import all_on
from mensa.sim.engines.events import layer_timing
from mensa.sim.engines.model.engine import ModelEngine
from mensa.sim.memory import lpddr4

__all__ = ["KINDS", "Kind", "cycles_per_output", "page"]

_SHAPE = (1, 28, 28, 64)
"""Of the samples' input."""

_SCALE = 0.1

Sample = Callable[[GraphBuilder, int], int]
"""Adds an operator to a builder, on the tensor of that index. Returns: its output."""


@dataclass(frozen=True)
class Kind:
    """Operators that run in the same way.

    Attributes
    ----------
    operators : tuple of str
        By the schema's names.
    how : str
        What the machine does.
    sample : callable
        One of them.
    sample_name : str
        What the page calls it.
    """

    operators: tuple[str, ...]
    how: str
    sample: Sample
    sample_name: str


def _weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-127, 128, shape, np.int8)


def _conv(builder: GraphBuilder, x: int) -> int:
    return builder.conv2d(x, _weights(64, 3, 3, 64), np.zeros(64), weight_scale=0.01, scale=1.0)


def _depthwise(builder: GraphBuilder, x: int) -> int:
    weights = _weights(1, 3, 3, 64)
    return builder.depthwise_conv2d(x, weights, np.zeros(64), weight_scale=0.01, scale=1.0)


def _dense(builder: GraphBuilder, x: int) -> int:
    flat = builder.reshape(x, (784, 64))
    return builder.fully_connected(
        flat, _weights(64, 64), np.zeros(64), weight_scale=0.01, scale=1.0
    )


def _matmul(builder: GraphBuilder, x: int) -> int:
    flat = builder.reshape(x, (784, 64))
    return builder.apply("BATCH_MATMUL", flat, flat, options=BatchMatMulOptions(adj_y=True))


def _transposed(builder: GraphBuilder, x: int) -> int:
    shape = builder.tensor(data=np.array([1, 56, 56, 64], np.int32), dtype=np.int32)
    weights = builder.tensor(data=_weights(64, 4, 4, 64), scale=0.01, dtype=np.int8)
    y = builder.tensor((1, 56, 56, 64), scale=1.0)
    options = TransposeConvOptions(padding="SAME", stride_w=2, stride_h=2)
    builder.operator("TRANSPOSE_CONV", (shape, weights, x), (y,), options)
    return y


def _resized(op: str) -> Sample:
    def sample(builder: GraphBuilder, x: int) -> int:
        size = builder.tensor(data=np.array([56, 56], np.int32), dtype=np.int32)
        options = ResizeBilinearOptions(half_pixel_centers=True)
        return builder.apply(op, x, size, options=options if op == "RESIZE_BILINEAR" else None)

    return sample


def _mean(builder: GraphBuilder, x: int) -> int:
    axes = builder.tensor(data=np.array([1, 2], np.int32), dtype=np.int32)
    return builder.apply("MEAN", x, axes, options=ReducerOptions(keep_dims=True))


def _sum(builder: GraphBuilder, x: int) -> int:
    axes = builder.tensor(data=np.array([3], np.int32), dtype=np.int32)
    return builder.apply("SUM", x, axes, scale=1.0)


def _transpose(builder: GraphBuilder, x: int) -> int:
    order = builder.tensor(data=np.array([0, 3, 1, 2], np.int32), dtype=np.int32)
    return builder.apply("TRANSPOSE", x, order)


def _pair(op: str) -> Sample:
    return lambda builder, x: builder.apply(op, x, x, scale=_SCALE)


def _pool(builder: GraphBuilder, x: int) -> int:
    return builder.pool2d("max", x, window=(2, 2), stride=(2, 2))


def _logistic(builder: GraphBuilder, x: int) -> int:
    return builder.apply("LOGISTIC", x, scale=1 / 256, zero_point=-128)


def _prelu(builder: GraphBuilder, x: int) -> int:
    slopes = builder.tensor(data=_weights(1, 1, 64), scale=0.01, dtype=np.int8)
    return builder.apply("PRELU", x, slopes)


def _softmax(builder: GraphBuilder, x: int) -> int:
    return builder.softmax(x)


def _lstm(builder: GraphBuilder, x: int) -> int:
    sequence = builder.reshape(x, (1, 784, 64))
    inputs = [sequence] + [-1] * 23
    for gate in range(4):
        for place in (1, 5):
            inputs[place + gate] = builder.tensor(data=_weights(64, 64), scale=0.01, dtype=np.int8)
        inputs[12 + gate] = builder.tensor(data=np.zeros(64), dtype=np.int32)
    inputs[18] = builder.tensor((1, 64), scale=2.0**-7, is_variable=True)
    inputs[19] = builder.tensor((1, 64), dtype=np.int16, scale=2.0**-12, is_variable=True)
    internal = [builder.tensor((0,), dtype=np.float32) for _ in range(4)]
    internal.append(builder.tensor((0,), scale=2.0**-7))
    y = builder.tensor((1, 784, 64), scale=2.0**-7)
    builder.operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        tuple(inputs),
        (y,),
        UnidirectionalSequenceLSTMOptions(activation="TANH"),
        intermediates=tuple(internal),
    )
    return y


def _svdf(builder: GraphBuilder, x: int) -> int:
    rows = builder.reshape(x, (784, 64))
    features = builder.tensor(data=_weights(64, 64), scale=0.01, dtype=np.int8)
    times = builder.tensor(data=_weights(64, 8), scale=2.0**-7, dtype=np.int16)
    bias = builder.tensor(data=np.zeros(64), dtype=np.int32)
    memory = builder.tensor((784, 512), dtype=np.int16, scale=0.001, is_variable=True)
    options = SVDFOptions(rank=1, activation="RELU")
    return builder.apply("SVDF", rows, features, times, bias, memory, options=options)


def _pack(builder: GraphBuilder, x: int) -> int:
    return builder.apply("PACK", x, x, options=PackOptions(values_count=2, axis=0))


KINDS = (
    Kind(("CONV_2D",), "on the array", _conv, "3x3, 64 to 64"),
    Kind(("DEPTHWISE_CONV_2D",), "on the array, as a filter or diagonal", _depthwise, "3x3"),
    Kind(("FULLY_CONNECTED",), "on the array, as a 1x1 convolution", _dense, "64 to 64, 784 rows"),
    Kind(
        ("BATCH_MATMUL",),
        "the same for each pair of matrices; a computed second one is copied into parameters",
        _matmul,
        "784x64 by its own transpose",
    ),
    Kind(
        ("TRANSPOSE_CONV",),
        "a convolution for every comb of outputs",
        _transposed,
        "4x4, stride 2, 64 to 64",
    ),
    Kind(
        ("RESIZE_BILINEAR",),
        "a convolution for every comb of outputs, or bundle of them",
        _resized("RESIZE_BILINEAR"),
        "to twice the size",
    ),
    Kind(("AVERAGE_POOL_2D", "MAX_POOL_2D"), "in the vector unit", _pool, "2x2, stride 2"),
    Kind(("MEAN",), "in the vector unit, one window for all", _mean, "of height and width"),
    Kind(("SUM",), "the same; of channels an element a cycle", _sum, "of channels"),
    Kind(
        ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM"),
        "in the vector unit, both operands in turn",
        _pair("ADD"),
        "ADD",
    ),
    Kind(
        ("QUANTIZE",),
        "in the vector unit",
        lambda builder, x: builder.quantize(x, scale=0.2),
        "to another scale",
    ),
    Kind(
        ("ABS", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "RELU",
         "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "TANH"),
        "in the vector unit, a table of 256 bytes",
        _logistic,
        "LOGISTIC",
    ),
    Kind(("SOFTMAX",), "in the softmax unit, three times through a row", _softmax, "of 64"),
    Kind(("PRELU",), "in the vector unit, in four stages", _prelu, "a slope a channel"),
    Kind(
        ("BATCH_TO_SPACE_ND", "CONCATENATION", "DEPTH_TO_SPACE", "MIRROR_PAD", "PACK", "PAD",
         "PADV2", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH",
         "SPLIT", "SPLIT_V", "STRIDED_SLICE", "TILE", "UNPACK"),
        "a copy through the vector unit; nothing, where results or operands are parts of a tensor",
        _pack,
        "PACK of two",
    ),
    Kind(("TRANSPOSE",), "the same; a single byte takes a cycle", _transpose, "channels first"),
    Kind(
        ("UNIDIRECTIONAL_SEQUENCE_LSTM",),
        "products on the array, the rest in the LSTM cell",
        _lstm,
        "64 to 64, 784 steps",
    ),
    Kind(
        ("SVDF",),
        "features on the array, sums over time in the LSTM cell",
        _svdf,
        "64 units, 8 times, 784 rows",
    ),
    Kind(
        ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"),
        "nothing: the same bytes",
        lambda builder, x: builder.reshape(x, (784, 64)),
        "RESHAPE",
    ),
)  # fmt: skip
"""Everything that runs on the machine."""


def graph_of(kind: Kind) -> Graph:
    """A network of the kind's sample and nothing else."""
    builder = GraphBuilder("sample")
    return builder.build([kind.sample(builder, builder.input(_SHAPE, scale=_SCALE))])


def cycles_per_output(kind: Kind) -> tuple[int, float]:
    """Output elements of the kind's sample, and cycles in which the machine is fed for each."""
    graph = graph_of(kind)
    lowered = lower(graph, all_on(edge_tpu))
    (program,) = lowered.programs
    timings = layer_timing(ModelEngine(edge_tpu, lpddr4).run(program))
    fed = sum(timing.stalls["compute"] for timing in timings)
    outputs = sum(graph.tensors[index].size for index in graph.outputs)
    return outputs, fed / outputs


def page() -> str:
    """The page's text."""
    return "\n".join([*_lines(), ""])


def _lines() -> Iterator[str]:
    shape = "x".join(map(str, _SHAPE))
    yield "# What runs on the machine"
    yield ""
    yield (
        "Made by `python -m mensa.sched.lower.accelerated_page > docs/accelerated.md`. Every other "
        "operator that [golden computes](operators.md) runs on the host, and so does one of these "
        "that does not keep to a restriction below; `mensa inspect` says why."
    )
    yield ""
    yield (
        "**cycles per output** are those in which the full `edge_tpu` (64 x 64) is fed, by the "
        f"timing model, over the output elements of the sample on an input of {shape}: the bound "
        "of the mapping, without filling and draining, which `mensa run` shows for a whole layer. "
        "A cycle moves 64 bytes, or 4,096 products, at most."
    )
    yield ""
    yield "| operators | where it runs | sample | outputs | cycles per output |"
    yield "|---|---|---|---|---|"
    for kind in KINDS:
        outputs, cycles = cycles_per_output(kind)
        names = ", ".join(f"`{name}`" for name in kind.operators)
        yield f"| {names} | {kind.how} | {kind.sample_name} | {outputs:,} | {cycles:.4f} |"
    yield ""
    names = ", ".join(f"`{name}`" for name in sorted(ELEMENTWISE))
    yield "## Functions in several operators"
    yield ""
    yield (
        "Operators that together give a function of one 8-bit value, as DEQUANTIZE, SQRT and "
        "QUANTIZE do, are one table, whatever types lie between: golden says what it has for all "
        "256 values. All of them must be on one machine and among these, each but the last read "
        f"by the others alone, and constants single numbers: {names}."
    )
    yield ""
    yield "## Restrictions"
    yield ""
    yield "In the order in which they are looked at (`sched/lower/supported.py`)."
    yield ""
    for restriction in RESTRICTIONS:
        yield f"- {restriction.__doc__}"


if __name__ == "__main__":
    sys.stdout.write(page())
