"""A small detector of wake words, as microWakeWord's converter lays them out."""

import numpy as np

import mensa.golden as golden
from mensa.golden.options import ConcatenationOptions, StridedSliceOptions

FEATURES, FRAMES, CHANNELS = 10, 3, 12


class _Detector:
    """Convolutions over time, each of which remembers the frames that its next window needs."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)
        self.builder = golden.GraphBuilder("wake word")
        self.first = golden.GraphBuilder("first values")
        self.memories = 0

    def values(self, *shape):
        return self.generator.integers(-127, 128, shape).astype(np.int8)

    def bias(self, channels):
        return self.generator.integers(-4000, 4000, channels).astype(np.int32)

    def remember(self, x, frames, name):
        """The last `frames` frames and those of `x`, ``[1, frames + new, 1, channels]``."""
        builder = self.builder
        tensor = builder.build([]).tensors[x]
        _, new, one, channels = tensor.shape
        kinds = {"scale": tensor.scale, "zero_point": tensor.zero_point}
        shape = (1, frames, one, channels)
        # At the start there was silence.
        silence = np.full(shape, tensor.zero_point[0], np.int8)
        self.first.assign_variable(
            self.first.var_handle(name), self.first.tensor(data=silence, **kinds)
        )
        handle = builder.var_handle(name)
        memory = builder.read_variable(handle, shape, **kinds)
        both = builder.apply("CONCATENATION", memory, x, options=ConcatenationOptions(axis=1))
        corners = ([0, new, 0, 0], [1, frames + new, one, channels], [1, 1, 1, 1])
        limits = (builder.tensor(data=each, dtype=np.int32) for each in corners)
        newest = builder.apply("STRIDED_SLICE", both, *limits, options=StridedSliceOptions())
        builder.assign_variable(handle, newest)
        return both

    def graph(self):
        builder = self.builder
        sound = builder.input((1, FRAMES, FEATURES), scale=0.1, zero_point=-128, name="sound")
        x = builder.reshape(sound, (1, FRAMES, 1, FEATURES))
        x = self.remember(x, 2, "stream")
        x = builder.conv2d(
            x,
            self.values(CHANNELS, 5, 1, FEATURES),
            self.bias(CHANNELS),
            weight_scale=self.generator.uniform(0.002, 0.01, CHANNELS),
            scale=0.3,
            zero_point=-128,
            padding="VALID",
            activation="RELU",
        )
        for number in range(2):
            x = self.remember(x, 4, f"stream_{number}")
            x = builder.depthwise_conv2d(
                x,
                self.values(1, 5, 1, CHANNELS),
                self.bias(CHANNELS),
                weight_scale=self.generator.uniform(0.002, 0.01, CHANNELS),
                scale=0.4,
                zero_point=4,
                padding="VALID",
            )
            x = builder.conv2d(
                x,
                self.values(CHANNELS, 1, 1, CHANNELS),
                self.bias(CHANNELS),
                weight_scale=self.generator.uniform(0.002, 0.01, CHANNELS),
                scale=0.3,
                zero_point=-128,
                activation="RELU",
            )
        x = self.remember(x, 3, "stream_of_scores")
        x = builder.reshape(x, (1, 4 * CHANNELS))
        x = builder.fully_connected(
            x, self.values(1, 4 * CHANNELS), self.bias(1), weight_scale=0.005, scale=0.1
        )
        return builder.build([builder.apply("LOGISTIC", x, scale=1 / 256, zero_point=-128)])


def wake_word(seed=1):
    """The detector: a probability for every three frames, int8 throughout."""
    # CALL_ONCE comes first, so that what it assigns has to be known before: build it twice.
    detector = _Detector(seed)
    detector.graph()
    first = detector.first.build([])
    detector = _Detector(seed)
    detector.builder.call_once(first)
    return detector.graph()
