"""How random layers that reduce, resize or move are drawn; importing this registers them."""

import numpy as np
from hypothesis import strategies as st

from mensa.golden.options import (
    ConcatenationOptions,
    DepthToSpaceOptions,
    MirrorPadOptions,
    PackOptions,
    ReducerOptions,
    ResizeBilinearOptions,
    ResizeNearestNeighborOptions,
    SpaceToDepthOptions,
    SplitOptions,
    SplitVOptions,
    SqueezeOptions,
    StridedSliceOptions,
    UnpackOptions,
)
from tests.golden.strategies import maker

EIGHT_BIT = {"tflm": ("int8",), "litert": ("int8", "uint8")}
INT_TYPES = {"tflm": ("int8", "int16"), "litert": ("int8", "uint8", "int16")}


def _integers(d, values, kind=np.int32):
    return d.builder.tensor(data=np.array(values, kind), dtype=kind)


def _input(d, shape):
    return d.builder.input(shape, scale=d.scale(-8, 0), zero_point=d.zero_point())


def _any_shape(d, least=1):
    """One to four dimensions."""
    return d.image()[4 - d.number(least, 4) :]


def _reduce(op):
    def make(d):
        shape = _any_shape(d)
        scale = d.scale(-8, 0)
        x = d.builder.input(shape, scale=scale, zero_point=d.zero_point())
        rank = len(shape)
        axes = d.draw(st.lists(st.integers(-rank, rank - 1), max_size=rank))
        keep = ReducerOptions(keep_dims=d.choice(True, False))
        out = scale * 2.0 ** d.draw(st.floats(-2, 2 if op == "MEAN" else 6, width=32))
        return d.builder.apply(
            op, x, _integers(d, axes), options=keep, scale=out, zero_point=d.zero_point()
        )

    return make


maker("MEAN", **INT_TYPES)(_reduce("MEAN"))
# LiteRT's SUM takes int16 tensors for bytes.
maker("SUM", tflm=("int8", "int16"))(_reduce("SUM"))


@maker("RESIZE_BILINEAR", tflm=("int8",), litert=("int8", "uint8", "int16"))
def _resize_bilinear(d):
    x = _input(d, d.image())
    corners, half = d.choice((False, False), (True, False), (False, True))
    options = ResizeBilinearOptions(align_corners=corners, half_pixel_centers=half)
    size = _integers(d, [d.number(1, 20), d.number(1, 20)])
    return d.builder.apply("RESIZE_BILINEAR", x, size, options=options)


@maker("RESIZE_NEAREST_NEIGHBOR", **INT_TYPES)
def _resize_nearest(d):
    x = _input(d, d.image())
    options = ResizeNearestNeighborOptions(
        align_corners=d.choice(True, False), half_pixel_centers=d.choice(True, False)
    )
    size = _integers(d, [d.number(1, 20), d.number(1, 20)])
    return d.builder.apply("RESIZE_NEAREST_NEIGHBOR", x, size, options=options)


@maker("CONCATENATION", **INT_TYPES)
def _concatenation(d):
    shape = _any_shape(d)
    axis = d.number(-len(shape), len(shape) - 1)
    scale, zero_point = d.scale(-6, 0), d.zero_point()
    inputs = []
    for _ in range(d.number(1, 4)):
        size = list(shape)
        size[axis] = d.number(1, 6)
        kinds = {"scale": scale, "zero_point": zero_point}
        if d.unsigned and d.choice(True, False):
            factor = 2.0 ** d.draw(st.floats(-2, 2, width=32))
            kinds = {"scale": scale * factor, "zero_point": d.zero_point()}
        inputs.append(d.builder.input(tuple(size), **kinds))
    if d.choice(True, False, False, False):
        size[axis] = 0
        inputs.insert(d.number(0, 1), d.builder.tensor(data=np.zeros(size), **kinds))
    return d.builder.apply(
        "CONCATENATION",
        *inputs,
        options=ConcatenationOptions(axis=axis),
        scale=scale,
        zero_point=zero_point,
    )


@maker("PACK", **INT_TYPES)
def _pack(d):
    shape = _any_shape(d)[:3]
    count = d.number(1, 4)
    inputs = [d.builder.input(shape, scale=0.5, zero_point=0) for _ in range(count)]
    options = PackOptions(values_count=count, axis=d.number(-len(shape) - 1, len(shape)))
    return d.builder.apply("PACK", *inputs, options=options)


@maker("UNPACK", **INT_TYPES)
def _unpack(d):
    shape = _any_shape(d, 2)
    # TFLM's outputs must not be scalars.
    axis = d.number(-len(shape), len(shape) - 1)
    options = UnpackOptions(num=shape[axis], axis=axis)
    return d.builder.apply_all("UNPACK", _input(d, shape), options=options)


@maker("SPLIT", **INT_TYPES)
def _split(d):
    count, part = d.number(1, 4), d.number(1, 4)
    shape = list(_any_shape(d))
    axis = d.number(-len(shape), len(shape) - 1)
    shape[axis] = count * part
    x = _input(d, tuple(shape))
    axes = _integers(d, d.choice([axis], axis))
    options = SplitOptions(num_splits=count)
    source = d.builder.build([]).tensors[x]
    return d.builder.apply_all(
        "SPLIT",
        axes,
        x,
        options=options,
        scale=source.scale,
        zero_point=source.zero_point,
        dtype=source.dtype,
    )


@maker("SPLIT_V", **INT_TYPES)
def _split_v(d):
    sizes = [d.number(1, 4) for _ in range(d.number(1, 4))]
    shape = list(_any_shape(d))
    axis = d.number(-len(shape), len(shape) - 1)
    shape[axis] = sum(sizes)
    # TFLM takes the sizes from the outputs.
    if d.choice(True, False):
        sizes[d.number(0, len(sizes) - 1)] = -1
    x = _input(d, tuple(shape))
    options = SplitVOptions(num_splits=len(sizes))
    return d.builder.apply_all(
        "SPLIT_V", x, _integers(d, sizes), _integers(d, axis), options=options
    )


def _paddings(d, shape, limits):
    return [
        [d.number(0, limit), d.number(0, limit)] for _, limit in zip(shape, limits, strict=True)
    ]


@maker("PAD", **INT_TYPES)
def _pad(d):
    shape = _any_shape(d)
    paddings = _paddings(d, shape, [4] * len(shape))
    kind = d.choice(np.int32, np.int32, np.int64) if d.oracle == "litert" else np.int32
    return d.builder.apply("PAD", _input(d, shape), _integers(d, paddings, kind))


@maker("PADV2", **INT_TYPES)
def _padv2(d):
    shape = _any_shape(d)
    kinds = {"scale": d.scale(-8, 0), "zero_point": d.zero_point()}
    x = d.builder.input(shape, **kinds)
    value = d.builder.tensor(data=d.values((1,)), **kinds)
    paddings = _integers(d, _paddings(d, shape, [4] * len(shape)))
    return d.builder.apply("PADV2", x, paddings, value)


@maker("MIRROR_PAD", tflm=("int8",), litert=("int8", "uint8", "int16"))
def _mirror_pad(d):
    shape = _any_shape(d)
    reflect = d.choice(True, False)
    paddings = _paddings(d, shape, [size - reflect for size in shape])
    options = MirrorPadOptions(mode="REFLECT" if reflect else "SYMMETRIC")
    return d.builder.apply("MIRROR_PAD", _input(d, shape), _integers(d, paddings), options=options)


@maker("SLICE", **INT_TYPES)
def _slice(d):
    shape = _any_shape(d)
    starts = [d.number(0, size - 1) for size in shape]
    sizes = [
        d.choice(-1, d.number(1, size - start)) for start, size in zip(starts, shape, strict=True)
    ]
    return d.builder.apply("SLICE", _input(d, shape), _integers(d, starts), _integers(d, sizes))


@maker("STRIDED_SLICE", **INT_TYPES)
def _strided_slice(d):
    shape = _any_shape(d)
    # Dimensions that are not named are left whole, which TFLM does not know.
    rank = len(shape) if d.oracle == "tflm" else d.number(0, len(shape))
    begins, ends, strides = [], [], []
    for size in shape[:rank]:
        begin = d.number(0, size - 1)
        backwards = d.choice(False, False, True)
        end = d.number(-1, begin - 1) if backwards else d.number(begin + 1, size + 2)
        begins.append(begin - size if d.choice(True, False, False) else begin)
        ends.append(end - size if end < 0 else end)
        strides.append(d.number(1, 3) * (-1 if backwards else 1))
        if backwards and end < 0:
            ends[-1] = -size - 1
    masks = {name: d.number(0, (1 << rank) - 1) for name in ("begin_mask", "end_mask")}
    # Not all, because TFLM has no scalar outputs here.
    shrink = d.number(0, max(0, (1 << rank) - 2)) if d.choice(True, False) else 0
    masks["begin_mask"] &= ~shrink
    strides = [abs(s) if shrink >> axis & 1 else s for axis, s in enumerate(strides)]
    if d.oracle != "tflm" and rank and d.choice(True, False, False):
        masks["new_axis_mask"] = 1 << d.number(0, rank - 1)
        masks["end_mask"] |= (1 << rank) - 1
        masks["begin_mask"] |= (1 << rank) - 1
        strides = [abs(stride) for stride in strides]
        shrink = 0
    elif d.oracle != "tflm" and rank and d.choice(True, False, False):
        masks["ellipsis_mask"] = 1 << d.number(0, rank - 1)
        # Behind it, other dimensions are meant than those that begins were drawn for.
        shrink &= masks["ellipsis_mask"] - 1
    options = StridedSliceOptions(shrink_axis_mask=shrink, **masks)
    inputs = (_integers(d, values) for values in (begins, ends, strides))
    return d.builder.apply("STRIDED_SLICE", _input(d, shape), *inputs, options=options)


@maker("TRANSPOSE", **INT_TYPES)
def _transpose(d):
    shape = _any_shape(d)
    order = d.draw(st.permutations(range(len(shape))))
    return d.builder.apply("TRANSPOSE", _input(d, shape), _integers(d, order))


@maker("SPACE_TO_DEPTH", **EIGHT_BIT)
def _space_to_depth(d):
    block = d.number(1, 3)
    shape = (d.number(1, 2), block * d.number(1, 4), block * d.number(1, 4), d.number(1, 4))
    options = SpaceToDepthOptions(block_size=block)
    return d.builder.apply("SPACE_TO_DEPTH", _input(d, shape), options=options)


@maker("DEPTH_TO_SPACE", **EIGHT_BIT)
def _depth_to_space(d):
    block = d.number(1, 3)
    shape = (d.number(1, 2), d.number(1, 5), d.number(1, 5), block * block * d.number(1, 4))
    options = DepthToSpaceOptions(block_size=block)
    return d.builder.apply("DEPTH_TO_SPACE", _input(d, shape), options=options)


@maker("TILE", tflm="it has no such kernel", litert=INT_TYPES["litert"])
def _tile(d):
    shape = _any_shape(d)
    times = [d.number(1, 3) for _ in shape]
    return d.builder.apply("TILE", _input(d, shape), _integers(d, times))


@maker("SQUEEZE", **INT_TYPES)
def _squeeze(d):
    shape = [d.choice(1, d.number(1, 6)) for _ in range(d.number(1, 4))]
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    dims = d.draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
    options = SqueezeOptions(squeeze_dims=tuple(dims))
    return d.builder.apply("SQUEEZE", _input(d, tuple(shape)), options=options)


@maker("EXPAND_DIMS", **INT_TYPES)
def _expand_dims(d):
    shape = _any_shape(d)[:3]
    axis = d.number(-len(shape) - 1, len(shape))
    return d.builder.apply("EXPAND_DIMS", _input(d, shape), _integers(d, d.choice([axis], axis)))


@maker("L2_NORMALIZATION", **EIGHT_BIT)
def _l2_normalization(d):
    x = _input(d, _any_shape(d))
    zero_point = 128 if d.unsigned else 0
    return d.builder.apply("L2_NORMALIZATION", x, scale=1 / 128, zero_point=zero_point)
