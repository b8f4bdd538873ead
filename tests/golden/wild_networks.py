"""Small networks of the kinds that public files turned out to be made of, each with its oddity."""

import numpy as np
from flatbuffers import flexbuffers

import mensa.golden as golden
from mensa.golden.options import ReducerOptions
from tests.golden.disguise import without_shapes
from tests.golden.streaming import wake_word

SIDE, CHANNELS = 6, 4


class _Network:
    """A builder that begins with an image and two convolutions, which run on the machine."""

    def __init__(self, name, dtype):
        self.generator = np.random.default_rng(len(name))
        self.dtype = np.dtype(dtype)
        self.zero = 128 if self.dtype == np.uint8 else 0
        self.builder = golden.GraphBuilder(name, self.dtype)
        image = self.builder.input(
            (1, SIDE, SIDE, 3), scale=0.0235, zero_point=self.zero, name="image"
        )
        self.features = self.convolution(image, 3)
        self.features = self.convolution(self.features, CHANNELS)

    def weights(self, *shape):
        low = 0 if self.dtype == np.uint8 else -127
        return self.generator.integers(low, low + 255, shape).astype(self.dtype)

    def convolution(self, x, channels, count=CHANNELS, size=3):
        return self.builder.conv2d(
            x,
            self.weights(count, size, size, channels),
            self.generator.integers(-500, 500, count).astype(np.int32),
            weight_scale=0.01,
            **({"weight_zero_point": 128} if self.dtype == np.uint8 else {}),
            scale=0.0235,
            zero_point=self.zero,
            activation="RELU",
        )

    def constant(self, *values):
        return self.builder.tensor(data=list(values), dtype=np.int32)


def detection(dtype):
    """Boxes and classes from convolutions, then detections, of whose shapes the file says nothing.

    As the quantised COCO SSD MobileNetV1.
    """
    network = _Network("detection", dtype)
    builder, boxes = network.builder, SIDE * SIDE
    codes = builder.reshape(network.convolution(network.features, CHANNELS, 4, 1), (1, boxes, 4))
    marks = builder.reshape(network.convolution(network.features, CHANNELS, 3, 1), (1, boxes, 3))
    codes, marks = (builder.apply("DEQUANTIZE", x, dtype=np.float32) for x in (codes, marks))
    anchors = builder.tensor(data=network.generator.uniform(0.2, 0.6, (boxes, 4)), dtype=np.float32)
    options = {
        "max_detections": 5, "max_classes_per_detection": 1, "num_classes": 2,
        "nms_score_threshold": 0.1, "nms_iou_threshold": 0.5,
        "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0,
    }  # fmt: skip
    outputs = [
        builder.tensor(shape, dtype=np.float32) for shape in ((1, 5, 4), (1, 5), (1, 5), (1,))
    ]
    builder.operator(
        "CUSTOM:TFLite_Detection_PostProcess",
        (codes, marks, anchors),
        tuple(outputs),
        custom_options=bytes(flexbuffers.Dumps(options)),
    )
    return builder.build(outputs)


def empty_constants(dtype):
    """A mean over no axes and a reshape to a scalar: both have a constant without elements."""
    network = _Network("empty constants", dtype)
    builder = network.builder
    nothing = builder.tensor(data=np.zeros(0, np.int32), dtype=np.int32)
    same = builder.apply(
        "MEAN", network.features, nothing, scale=0.0235, zero_point=network.zero,
        options=ReducerOptions(keep_dims=True),
    )  # fmt: skip
    again = network.convolution(same, CHANNELS)
    pooled = builder.apply(
        "MEAN", network.convolution(again, CHANNELS, 1), network.constant(0, 1, 2, 3),
        scale=0.0235, zero_point=network.zero, options=ReducerOptions(keep_dims=True),
    )  # fmt: skip
    return builder.build([again, builder.apply("RESHAPE", pooled, nothing)])


def stripped_shapes(dtype):
    """A residual network and a classifier; no computed tensor has a shape in the file."""
    network = _Network("stripped shapes", dtype)
    builder = network.builder
    other = network.convolution(network.features, CHANNELS)
    x = builder.add(network.features, other, scale=0.04, zero_point=network.zero)
    x = builder.reshape(x, (1, SIDE * SIDE * CHANNELS))
    x = builder.fully_connected(
        x, network.weights(5, SIDE * SIDE * CHANNELS), np.zeros(5, np.int32),
        weight_scale=0.005, scale=0.1, zero_point=network.zero,
        **({"weight_zero_point": 128} if network.dtype == np.uint8 else {}),
    )  # fmt: skip
    return builder.build([builder.softmax(x)])


def tiny_scale(dtype):
    """A product whose output has a scale of 3e-35, where training left a constant zero.

    As a published recurrent detector has one.
    """
    network = _Network("tiny scale", dtype)
    builder = network.builder
    size = (1, SIDE, SIDE, CHANNELS)
    gate = builder.tensor(data=network.weights(*size), scale=1 / 256, zero_point=network.zero)
    product = builder.apply("MUL", network.features, gate, scale=3e-35, zero_point=network.zero)
    return builder.build([product, network.convolution(network.features, CHANNELS)])


def streaming(dtype):
    """A detector of wake words, whose variables remember frames from step to step."""
    del dtype  # such networks are of int8
    return wake_word()


#: By name: how to make it, the types that it is made in, and whether its file has no shapes.
WILD = {
    "streaming": (streaming, ("int8",), False),
    "detection": (detection, ("int8", "uint8"), True),
    "empty constants": (empty_constants, ("int8", "uint8"), False),
    "stripped shapes": (stripped_shapes, ("int8", "uint8"), True),
    "tiny scale": (tiny_scale, ("int8", "uint8"), False),
}
CASES = [(name, dtype) for name, (_, dtypes, _) in WILD.items() for dtype in dtypes]


def wild(name, dtype):
    """A network as a file, and the same file with the shapes of computed tensors."""
    make, _, stripped = WILD[name]
    graph = make(dtype)
    return golden.write(without_shapes(graph) if stripped else graph), golden.write(graph)
