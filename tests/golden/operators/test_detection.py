"""TFLite_Detection_PostProcess against both oracles, on random boxes and options."""

import contextlib

import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mensa.golden as golden
from mensa.golden.flexbuffer import read_map
from tests.golden.comparison import EXAMPLES, Comparison, differ, runs_with
from tests.golden.disguise import shapes, with_false_shapes, without_shapes

OP = "CUSTOM:TFLite_Detection_PostProcess"


def layer(draw, name):
    """A graph of one operator, and arrays for its two inputs."""
    number = lambda low, high: draw(st.integers(low, high))  # noqa: E731
    regular = draw(st.booleans())
    # With one box or one detection TFLM's regular form overruns its buffers.
    least = 2 if name == "tflm" and regular else 1
    boxes, classes, background = number(least, 30), number(1, 6), number(0, 1)
    each = 1 if name == "tflm" and not regular else number(1, 3)
    options = {
        "max_detections": number(least, 12),
        "max_classes_per_detection": each,
        "num_classes": classes,
        "use_regular_nms": regular,
        "nms_score_threshold": draw(st.sampled_from([0.0, 0.2, 0.5])),
        "nms_iou_threshold": draw(st.sampled_from([0.3, 0.5, 0.6, 1.0])),
        "y_scale": 10.0,
        "x_scale": 10.0,
        "h_scale": 5.0,
        "w_scale": 5.0,
    }
    if draw(st.booleans()):
        options["detections_per_class"] = number(1, 12)
    generator = np.random.default_rng(number(0, 2**31))
    builder = golden.GraphBuilder("detector", np.float32)
    codes = generator.normal(0, 4, (1, boxes, number(4, 5)))
    marks = generator.permutation(boxes * (classes + background)).reshape(1, boxes, -1)
    marks = marks / marks.size
    anchors = generator.uniform(0.2, 0.6, (boxes, 4))
    quantized = name == "litert" and draw(st.booleans())
    if quantized:
        kinds = {"dtype": np.uint8, "scale": 0.07, "zero_point": 120}
        codes = np.clip(codes / 0.07 + 120, 0, 255).astype(np.uint8)
        # Distinct scores: the order of equal ones is the C++ library's own.
        marks = generator.permutation(255)[: marks.size].reshape(marks.shape).astype(np.uint8)
        anchors = np.clip(anchors / 0.004, 1, 255).astype(np.uint8)
        inputs = (
            builder.input(codes.shape, **kinds),
            builder.input(marks.shape, dtype=np.uint8, scale=1 / 256),
            builder.tensor(data=anchors, dtype=np.uint8, scale=0.004),
        )
    else:
        codes, marks = codes.astype(np.float32), marks.astype(np.float32)
        inputs = (
            builder.input(codes.shape),
            builder.input(marks.shape),
            builder.tensor(data=anchors.astype(np.float32)),
        )
    rows = options["max_detections"] * each
    shapes = ((1, rows, 4), (1, rows), (1, rows), (1,))
    outputs = tuple(builder.tensor(shape) for shape in shapes)
    custom = bytes(flexbuffers.Dumps(options))
    builder.operator(OP, inputs, outputs, custom_options=custom)
    return builder.build(list(outputs)), [codes, marks], options


def detections(graph, tensors, options):
    """What a run wrote of boxes, kinds and scores, and how many there are."""
    *places, count = graph.outputs
    each = options["max_classes_per_detection"]
    rows = int(tensors[count][0])
    seen = list(range(rows))
    if not options["use_regular_nms"]:
        # The kernels leave what is behind the last detection, or its last class, unwritten.
        seen = [r for r in range(rows * each) if r % each < options["num_classes"]]
    return {count: tensors[count]} | {index: tensors[index][0][seen] for index in places}


def test_random_detections_equal_the_oracle(oracle, litert_beside, record_property):
    comparison = Comparison(OP, oracle.name)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def check(data):
        graph, arrays, options = layer(data.draw, oracle.name)
        file = golden.write(graph)
        seed = data.draw(st.integers(0, 2**31))
        disguised = [without_shapes(graph), with_false_shapes(graph, seed)]
        for each in disguised:
            assert shapes(golden.read(golden.write(each))) == shapes(graph)

        def compare(who, file=file):
            (answer,) = who.run(file, [arrays], list(graph.outputs))
            wanted = detections(graph, answer, options)
            tensors = golden.run(golden.read(file), arrays, rounding=who.name)
            found = detections(graph, tensors, options)
            for index in graph.outputs:
                np.testing.assert_array_equal(found[index], wanted[index], err_msg=str(options))
            return [wanted]

        answers, differs = compare(oracle), None
        if litert_beside is not None and runs_with(graph, litert_beside):
            differs = differ(answers, compare(litert_beside))
        comparison.add(graph, differs)
        if oracle.name == "litert":
            compare(oracle, golden.write(disguised[seed % 2]))

    check()
    comparison.finish(record_property)


def test_a_map_of_numbers_is_read_as_it_was_written():
    numbers = {"small": -3, "large": 1 << 40, "half": 0.5, "third": 1 / 3, "yes": True, "no": False}
    assert read_map(bytes(flexbuffers.Dumps(numbers | {"text": "left out"}))) == numbers


def test_damaged_options_are_refused():
    data = bytes(flexbuffers.Dumps({"max_detections": 3, "nms_iou_threshold": 0.5}))
    generator = np.random.default_rng(13)
    for _ in range(3000):
        damaged = bytearray(data[: generator.integers(0, len(data) + 1)])
        for _ in range(generator.integers(0, 4)):
            if damaged:
                damaged[generator.integers(len(damaged))] = generator.integers(256)
        with contextlib.suppress(golden.GraphError):
            read_map(bytes(damaged))


def test_options_that_can_not_be_are_refused():
    builder = golden.GraphBuilder("detector", np.float32)
    inputs = (builder.input((1, 2, 4)), builder.input((1, 2, 3)), builder.input((2, 4)))
    outputs = tuple(builder.tensor(shape) for shape in ((1, 1, 4), (1, 1), (1, 1), (1,)))
    builder.operator(OP, inputs, outputs, custom_options=b"")
    with pytest.raises(golden.GraphError, match=r"TFLite_Detection_PostProcess.*flexbuffer"):
        golden.check_supported(builder.build(list(outputs)))
