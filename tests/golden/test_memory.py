"""How much memory a run takes beside the interpreter's own."""

import tracemalloc

import numpy as np
import pytest

import mensa.golden as golden
from tests.models import network_path


def allowed(graph):
    """Bytes of the weights and of four times the largest activation."""
    weights = sum(tensor.nbytes for tensor in graph.tensors if tensor.data is not None)
    return weights + 4 * max(tensor.nbytes for tensor in graph.tensors if tensor.data is None)


def peak(graph):
    """Bytes that a run takes at most at any time."""
    generator = np.random.default_rng(0)
    inputs = []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        limits = np.iinfo(tensor.dtype)
        values = generator.integers(limits.min, limits.max + 1, tensor.shape)
        inputs.append(values.astype(tensor.dtype))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        golden.run(graph, inputs)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("runs", [1, 2])
def test_a_network_of_large_activations_is_computed_in_blocks(runs):
    graph = golden.load(network_path("deeplabv3_mnv2_dm05_pascal_quant"))
    for _ in range(runs):
        found = peak(graph)
        assert found <= allowed(graph)


# Size of an image that is large beside every block.
LARGE = (1, 400, 400, 8)
KINDS = {"weight_scale": 1.0, "scale": 100.0}


def conv(b, x):
    return b.conv2d(x, np.ones((8, 5, 5, 8), np.int8), None, **KINDS)


def dilated_conv(b, x):
    return b.conv2d(x, np.ones((8, 3, 3, 8), np.int8), None, dilation=(7, 7), **KINDS)


def pointwise_conv(b, x):
    return b.conv2d(x, np.ones((8, 1, 1, 8), np.int8), None, **KINDS)


def conv_in_groups(b, x):
    return b.conv2d(x, np.ones((8, 3, 3, 2), np.int8), None, **KINDS)


def conv_beyond_float32(b, x):
    # Sums of so many products need double precision.
    return b.conv2d(x, np.full((8, 20, 20, 8), 127, np.int8), None, stride=(4, 4), **KINDS)


def depthwise(b, x):
    return b.depthwise_conv2d(x, np.ones((1, 3, 3, 8), np.int8), None, **KINDS)


def depthwise_in_strides(b, x):
    return b.depthwise_conv2d(x, np.ones((1, 5, 5, 8), np.int8), None, stride=(2, 2), **KINDS)


def add(b, x):
    return b.add(x, x, scale=2.0)


def max_pool(b, x):
    return b.pool2d("max", x, window=(3, 3), stride=(1, 1), padding="SAME")


def average_pool(b, x):
    return b.pool2d("average", x, window=(9, 9), stride=(1, 1), padding="SAME")


def requantize(b, x):
    return b.quantize(x, scale=2.0)


LAYERS = (conv, dilated_conv, pointwise_conv, conv_in_groups, conv_beyond_float32, depthwise,
          depthwise_in_strides, add, max_pool, average_pool, requantize)  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS)
def test_a_large_layer_is_computed_in_blocks(layer):
    builder = golden.GraphBuilder()
    graph = builder.build([layer(builder, builder.input(LARGE, scale=1.0))])
    assert peak(graph) <= allowed(graph)
