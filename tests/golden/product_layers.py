"""How random layers of products are drawn; importing this registers them."""

import math

import numpy as np

from mensa.golden.options import BatchMatMulOptions, TransposeConvOptions
from tests.golden.strategies import WITH_INT16, maker


@maker("TRANSPOSE_CONV", **WITH_INT16)
def _transpose_conv(d):
    n, h, w, c = d.image()
    kernel = d.number(1, 5), d.number(1, 5)
    stride = d.number(1, 3), d.number(1, 3)
    padding = d.choice("SAME", "VALID")
    oc = d.number(1, d.max_channels)
    sizes = []
    for size, taps, step in zip((h, w), kernel, stride, strict=True):
        # Any output whose forward convolution would give this input.
        largest = size * step if padding == "SAME" else (size - 1) * step + taps
        sizes.append(d.number(largest - step + 1, largest) if padding == "SAME" else largest)
        if padding == "VALID":
            sizes[-1] += d.number(0, step - 1)
    scale = d.scale()
    output_shape = d.builder.tensor(data=[n, *sizes, oc], dtype=np.int32)
    shape = (oc, *kernel, c)
    taps = max(1, math.prod(kernel) * c // math.prod(stride))
    bias, kinds = d.weights(shape, oc, taps, scale)
    filters = d.builder.tensor(
        data=d.values(shape, d.weight_dtype),
        dtype=d.weight_dtype,
        scale=kinds["weight_scale"],
        zero_point=kinds["weight_zero_point"],
    )
    x = d.builder.input((n, h, w, c), scale=scale, zero_point=d.zero_point())
    inputs = [output_shape, filters, x]
    bias_type = np.dtype(np.int32)
    if d.int16:
        # TFLM takes a bias of 16 bits, too; LiteRT wants one of 32 announced.
        other = np.int16 if d.oracle == "tflm" else np.int32
        bias_type = np.dtype(d.choice(np.int64, other))
    if bias is not None:
        scales = np.atleast_1d(np.asarray(kinds["weight_scale"], np.float32)) * np.float32(scale)
        bias = bias.astype(bias_type)
        inputs.append(d.builder.tensor(data=bias, dtype=bias_type, scale=scales))
    announced = d.int16 and d.oracle != "tflm"
    options = TransposeConvOptions(
        padding=padding,
        stride_h=stride[0],
        stride_w=stride[1],
        activation=kinds["activation"],
        quantized_bias_type=bias_type.name.upper() if announced else "FLOAT32",
    )
    return d.builder.apply(
        "TRANSPOSE_CONV",
        *inputs,
        options=options,
        scale=kinds["scale"],
        zero_point=kinds["zero_point"],
        dtype=d.builder.dtype,
    )


@maker("BATCH_MATMUL", tflm=("int8", "int16"), litert=("int8", "int16"))
def _batch_matmul(d):
    rows, depth, columns = d.number(1, 6), d.number(1, 20), d.number(1, 6)
    batch = d.choice((), (d.number(1, 3),), (d.number(1, 3), d.number(2, 3)))
    # One operand's dimensions may be fewer, or 1, or each has some that are 1.
    other = d.choice(batch, batch[1:], (1,) * len(batch), (1, *batch[1:])[: len(batch)])
    if len(batch) == 2 and other == (1, batch[1]):
        batch = batch[0], 1
    elif d.choice(True, False):
        batch, other = other, batch
    adj_x, adj_y = d.choice(True, False), d.choice(True, False)
    shapes = (
        (*batch, *((depth, rows) if adj_x else (rows, depth))),
        (*other, *((columns, depth) if adj_y else (depth, columns))),
    )
    scales = d.scale(-8, -2), d.scale(-8, -2)
    first = d.builder.input(shapes[0], scale=scales[0], zero_point=d.zero_point())
    # LiteRT also multiplies int16 by int8.
    dtype = d.weight_dtype if d.oracle == "litert" and d.choice(True, False) else d.builder.dtype
    kinds = {"dtype": dtype, "scale": scales[1], "zero_point": d.zero_point()}
    if d.choice(True, False):
        second = d.builder.input(shapes[1], **kinds)
    else:
        second = d.builder.tensor(data=d.values(shapes[1], dtype), **kinds)
    steps = 2.0 ** d.choice(5, 5, 6, 2, 8) * (256 if d.int16 else 1)
    deviation = d.deviation * (d.deviation if dtype == d.builder.dtype else 74.0)
    deviation *= math.sqrt(depth)
    return d.builder.apply(
        "BATCH_MATMUL",
        first,
        second,
        options=BatchMatMulOptions(adj_x=adj_x, adj_y=adj_y),
        scale=float(np.float32(scales[0] * scales[1] * deviation / steps)),
        zero_point=d.zero_point(),
    )
