"""How random layers are drawn that put elements elsewhere, and sums and choices along a row."""

import numpy as np

import mensa.golden as golden
from mensa.golden.options import CumsumOptions, ReverseSequenceOptions
from tests.golden.strategies import maker

_NOT_THERE = "it has no such kernel"
_ALL = ("int8", "uint8", "int16", "int32", "int64", "bool", "float32")
_BLOCKS = {"tflm": ("int8", "float32"), "litert": _ALL}


def _shape(d, most=4):
    return tuple(d.number(1, 5) for _ in range(d.number(1, most)))


def _elements(d, shape):
    """An input, quantised or not where its type may be."""
    if d.builder.dtype.name in ("int8", "uint8", "int16") and d.choice(True, False):
        return d.builder.input(shape, scale=d.scale(), zero_point=d.zero_point())
    return d.builder.input(shape)


def constant(builder, values, kind=np.int32):
    """Adds a constant of integers. Returns: its tensor index."""
    return builder.tensor(data=np.array(values, kind), dtype=kind)


@maker("BROADCAST_TO", tflm=_ALL, litert=_ALL)
def _broadcast_to(d):
    shape = _shape(d, most=5)
    kept = shape[d.number(0, len(shape) - 1) :]
    source = tuple(d.choice(size, 1) for size in kept)
    kind = d.choice(np.int32, np.int64)
    return d.builder.apply("BROADCAST_TO", _elements(d, source), constant(d.builder, shape, kind))


@maker(
    "TOPK_V2",
    tflm=_NOT_THERE,
    litert=("int8", "uint8", "int16", "int32", "int64", "float32"),
)
def _topk_v2(d):
    shape = (*_shape(d, most=3), d.number(1, 24))
    x = _elements(d, shape)
    if d.choice(True, False):
        # Every element more than once: of equals the first counts.
        x = d.builder.apply(
            "TILE", x, constant(d.builder, [1] * (len(shape) - 1) + [d.number(2, 3)])
        )
    width = d.builder.build([]).tensors[x].shape[-1]
    return d.builder.top_k(x, d.number(0, width), places=d.choice(np.int32, np.int16))


@maker(
    "SCATTER_ND",
    tflm=_NOT_THERE,
    litert=("int8", "uint8", "int32", "int64", "bool", "float32"),
)
def _scatter_nd(d):
    shape = _shape(d)
    depth = d.number(1, len(shape))
    outer = tuple(d.number(1, 6) for _ in range(d.number(0, 2)))
    if not outer and depth == len(shape):
        # The kernel takes no scalar.
        outer = (1,)
    columns = [d.generator.integers(0, size, outer) for size in shape[:depth]]
    where = constant(d.builder, np.stack(columns, axis=-1))
    updates = _elements(d, (*outer, *shape[depth:]))
    source = d.builder.build([]).tensors[updates]
    kinds = {"scale": source.scale, "zero_point": source.zero_point} if source.scale.size else {}
    return d.builder.apply(
        "SCATTER_ND", where, updates, constant(d.builder, shape), dtype=source.dtype, **kinds
    )


@maker("REVERSE_V2", tflm=_ALL, litert=(*_ALL, "float16"))
def _reverse_v2(d):
    shape = _shape(d, most=5)
    first = d.number(0, len(shape) - 1)
    axes = np.arange(first, d.number(first, len(shape) - 1) + 1)
    axes = d.generator.permutation(axes - len(shape) * d.generator.integers(0, 2, len(axes)))
    return d.builder.apply("REVERSE_V2", _elements(d, shape), constant(d.builder, axes))


@maker(
    "REVERSE_SEQUENCE",
    tflm=_NOT_THERE,
    litert=("uint8", "int16", "int32", "int64", "float32"),
)
def _reverse_sequence(d):
    shape = (d.number(1, 5), *_shape(d))
    seq_dim, batch_dim = d.generator.permutation(len(shape))[:2].tolist()
    lengths = d.generator.integers(0, shape[seq_dim] + 1, shape[batch_dim])
    options = ReverseSequenceOptions(seq_dim=seq_dim, batch_dim=batch_dim)
    kind = d.choice(np.int32, np.int64)
    x = _elements(d, shape)
    return d.builder.apply(
        "REVERSE_SEQUENCE", x, constant(d.builder, lengths, kind), options=options
    )


@maker(
    "DYNAMIC_UPDATE_SLICE",
    tflm=("int8", "int16", "int32", "float32"),
    litert=(*_ALL, "float16"),
)
def _dynamic_update_slice(d):
    shape = _shape(d)
    part = tuple(d.number(1, size) for size in shape)
    kind = d.choice(np.int32, np.int64)
    # Beyond the ends, too: the kernels move the part inside.
    start = constant(d.builder, [d.number(-2, size + 1) for size in shape], kind)
    if d.choice(True, False, False):
        start = d.builder.input((len(shape),), dtype=kind)
    x, update = _elements(d, shape), _elements(d, part)
    return d.builder.apply("DYNAMIC_UPDATE_SLICE", x, update, start)


def _image(d, block):
    """Sizes that are whole blocks once something is added at each end, and what is added."""
    ends = [[d.number(0, 3), d.number(0, 3)] for _ in block]
    sizes = []
    for of, pair in zip(block, ends, strict=True):
        blocks = sum(pair) // of + d.number(1, 4)
        sizes.append(blocks * of - sum(pair))
    return sizes, ends


@maker("SPACE_TO_BATCH_ND", **_BLOCKS)
def _space_to_batch_nd(d):
    block = [d.number(1, 4) for _ in range(d.number(1, 2))]
    pixels, padding = _image(d, block)
    if d.choice(True, False, False, False):
        # Below zero, pixels are left out.
        padding[0][0] -= block[0] * d.number(1, 2)
        pixels[0] += block[0] * d.number(2, 3)
    x = _elements(d, (d.number(1, 3), *pixels, d.number(1, 4)))
    return d.builder.apply(
        "SPACE_TO_BATCH_ND", x, constant(d.builder, block), constant(d.builder, padding)
    )


@maker("BATCH_TO_SPACE_ND", **_BLOCKS)
def _batch_to_space_nd(d):
    block = [d.number(1, 4) for _ in range(d.number(1, 2))]
    pixels, crops = _image(d, block)
    whole = [(size + sum(pair)) // of for size, pair, of in zip(pixels, crops, block, strict=True)]
    x = _elements(d, (int(np.prod(block)) * d.number(1, 3), *whole, d.number(1, 4)))
    return d.builder.apply(
        "BATCH_TO_SPACE_ND", x, constant(d.builder, block), constant(d.builder, crops)
    )


@maker("CUMSUM", tflm=("int8", "float32"), litert=("int32", "int64", "float32"))
def _cumsum(d):
    # Sums of more than 16 int8 elements can wrap.
    shape = list(_shape(d))
    axis = d.number(-len(shape), len(shape) - 1)
    shape[axis] = d.number(1, 40)
    options = CumsumOptions(exclusive=d.choice(True, False), reverse=d.choice(True, False))
    kinds, outer = {}, {}
    if d.builder.dtype == np.int8:
        scale = d.scale(-8, 0)
        kinds = {"scale": scale, "zero_point": d.zero_point()}
        outer = {"scale": scale * 2.0 ** d.number(-2, 6), "zero_point": d.zero_point()}
    x = d.builder.input(tuple(shape), **kinds)
    return d.builder.apply(
        "CUMSUM", x, constant(d.builder, d.choice([axis], axis)), options=options, **outer
    )


def dilated(depthwise, zero_point, size=(9, 7), dilation=(2, 3)):
    """A dilated 3 x 3 convolution of an image ``[1, *size, 4]`` as converters write it: in batches.

    Returns: that graph, and the graph of the same convolution as one operator.
    """
    generator = np.random.default_rng(8)
    filters = generator.integers(-127, 128, (1, 3, 3, 4) if depthwise else (5, 3, 3, 4))
    bias = generator.integers(-900, 900, filters.shape[-1] if depthwise else len(filters))
    # As SAME pads it, and then up to whole blocks.
    ends = [[of, of + -(length + 2 * of) % of] for length, of in zip(size, dilation, strict=True)]
    crops = [[0, last - of] for (_, last), of in zip(ends, dilation, strict=True)]

    def layer(builder, x, **kinds):
        make = builder.depthwise_conv2d if depthwise else builder.conv2d
        kinds |= {"weight_scale": 0.01, "scale": 0.9, "zero_point": 4}
        return make(x, filters, bias, **kinds)

    graphs = []
    for whole in (False, True):
        builder = golden.GraphBuilder("dilated")
        x = builder.input((1, *size, 4), scale=0.5, zero_point=zero_point)
        if whole:
            y = layer(builder, x, dilation=dilation)
        else:
            block = constant(builder, dilation)
            y = builder.apply("SPACE_TO_BATCH_ND", x, block, constant(builder, ends))
            y = layer(builder, y, padding="VALID")
            y = builder.apply("BATCH_TO_SPACE_ND", y, block, constant(builder, crops))
        graphs.append(builder.build([y]))
    return graphs
