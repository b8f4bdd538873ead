"""Graphs with a STABLEHLO_COMPOSITE, which golden writes and, when it reads them, inlines."""

from flatbuffers import flexbuffers

import mensa.golden as golden
from mensa.golden.options import StableHLOCompositeOptions

KINDS = {"scale": 0.1, "zero_point": -3}


def add_composite(builder, number, inputs, outputs):
    """Adds a composite that stands for subgraph `number`."""
    options = StableHLOCompositeOptions(
        name="tests.composite",
        decomposition_subgraph_index=number,
        composite_attributes=bytes(flexbuffers.Dumps({})),
    )
    builder.operator("STABLEHLO_COMPOSITE", tuple(inputs), tuple(outputs), options)


def copies(builder, graph, indices):
    """New tensors of the builder that are like these of `graph`."""
    return [
        builder.tensor(
            tensor.shape,
            dtype=tensor.dtype,
            scale=tensor.scale if tensor.scale.size else None,
            zero_point=tensor.zero_point,
            quantized_dimension=tensor.quantized_dimension,
        )
        for tensor in (graph.tensors[index] for index in indices)
    ]


def wrapped(graph, times=1):
    """A graph of composites that each stand for all of `graph`, on the same inputs."""
    builder = golden.GraphBuilder("composite")
    number = builder.subgraph(graph)
    inputs = []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        scale = tensor.scale if tensor.scale.size else None
        kinds = {"dtype": tensor.dtype, "zero_point": tensor.zero_point}
        inputs.append(builder.input(tensor.shape, scale=scale, **kinds))
    outputs = []
    for _ in range(times):
        outputs += copies(builder, graph, graph.outputs)
        add_composite(builder, number, inputs, outputs[-len(graph.outputs) :])
    return builder.build(outputs)


def sums(**kinds):
    """Two additions: of both inputs, and of that and the first input."""
    kinds = {**KINDS, **kinds}
    builder = golden.GraphBuilder("sums")
    x, y = (builder.input((1, 4), **kinds) for _ in range(2))
    z = builder.add(x, y, scale=0.2, activation="RELU")
    return builder.build([builder.add(z, x, **KINDS)])


def composite_network():
    """A composite in a composite, and an operator before and after them."""
    inner = sums()
    builder = golden.GraphBuilder("outer")
    x, y = (builder.input((1, 4), **KINDS) for _ in range(2))
    (z,) = copies(builder, inner, inner.outputs)
    add_composite(builder, 1, (x, y), (z,))
    outer = builder.build([builder.add(z, y, **KINDS)])

    builder = golden.GraphBuilder("network")
    builder.subgraph(inner)
    number = builder.subgraph(outer)
    x = builder.input((1, 4), **KINDS)
    y = builder.add(x, x, **KINDS)
    (z,) = copies(builder, outer, outer.outputs)
    add_composite(builder, number, (x, y), (z,))
    return builder.build([builder.add(z, y, scale=0.4)])
