"""A network of a thousand cycles with every kind of command: array, filter, vectors, copies."""

import numpy as np

from mensa import golden


def small_network():
    """Its weights are random numbers of a stated seed."""
    rng = np.random.default_rng(1)

    def weights(*shape):
        return rng.integers(-127, 128, shape, np.int8)

    def bias(count):
        return rng.integers(-500, 500, count, np.int32)

    builder = golden.GraphBuilder("small")
    x = builder.input((1, 4, 4, 4), scale=0.05, zero_point=-3)
    y = builder.conv2d(
        x, weights(4, 3, 3, 4), bias(4), weight_scale=0.01, scale=0.08, zero_point=4,
        activation="RELU",
    )  # fmt: skip
    z = builder.depthwise_conv2d(
        y, weights(1, 3, 3, 4), bias(4), weight_scale=0.01, scale=0.1, zero_point=-7
    )
    sums = builder.add(y, z, scale=0.15, zero_point=5)
    z = builder.pool2d("max", sums, window=(2, 2), stride=(2, 2), padding="VALID")
    z = builder.reshape(z, (1, 16))
    z = builder.fully_connected(
        z, weights(16, 16), bias(16), weight_scale=0.01, scale=0.3, zero_point=1
    )
    return builder.build([y, sums, z])
